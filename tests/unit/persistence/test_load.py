"""Whether the event loop is busy, seen from the threads beside it."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

from overwinter.persistence.load import LoopLoad

if TYPE_CHECKING:
    import pytest


class _Clocks:
    def __init__(self) -> None:
        self.cpu = self.at = 0.0

    def __call__(self) -> tuple[float, float]:
        return self.cpu, self.at

    def go_on(self, *, computing: float, waiting: float) -> None:
        self.cpu += computing
        self.at += computing + waiting


def test_a_loop_that_computes_more_than_half_of_the_time_is_busy() -> None:
    clocks = _Clocks()
    load = LoopLoad(clocks)
    assert not load.busy()
    clocks.go_on(computing=0.006, waiting=0.005)
    assert load.busy()
    clocks.go_on(computing=0.005, waiting=0.006)
    assert not load.busy()


def test_a_moment_is_too_short_to_tell_and_the_last_answer_stands() -> None:
    clocks = _Clocks()
    load = LoopLoad(clocks)
    clocks.go_on(computing=0.006, waiting=0.0)
    assert load.busy()
    clocks.go_on(computing=0.0, waiting=0.004)
    assert load.busy()
    clocks.go_on(computing=0.0, waiting=0.002)
    assert not load.busy()


def test_it_is_the_thread_in_which_it_was_made_that_is_looked_at() -> None:
    load = LoopLoad()
    answers: list[bool] = []

    def work() -> None:
        until = time.perf_counter() + 0.02
        while time.perf_counter() < until:
            pass
        answers.append(load.busy())

    other = threading.Thread(target=work)
    other.start()
    other.join()
    assert answers == [False]


def test_a_thread_that_has_ended_is_not_busy() -> None:
    made: list[LoopLoad] = []
    thread = threading.Thread(target=lambda: made.append(LoopLoad()))
    thread.start()
    thread.join()
    until = time.perf_counter() + 0.006
    while time.perf_counter() < until:
        pass
    assert not made[0].busy()


def test_where_the_system_does_not_tell_no_loop_is_busy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(time, "pthread_getcpuclockid")
    assert not LoopLoad().busy()
