"""The same for many files, several at once."""

from __future__ import annotations

import threading

import pytest

from overwinter.persistence.together import together


def test_many_are_done_several_at_once_and_told_in_their_order() -> None:
    met = threading.Barrier(4)

    def do(number: int) -> tuple[int, str]:
        met.wait(30)
        return number * number, threading.current_thread().name

    done = together(do, range(8))
    assert [square for square, _ in done] == [0, 1, 4, 9, 16, 25, 36, 49]
    assert len({name for _, name in done}) == 4


@pytest.mark.parametrize("number", [0, 1, 4])
def test_a_few_are_done_by_whoever_asks(number: int) -> None:
    here = threading.current_thread()
    assert together(lambda _: threading.current_thread() is here, range(number)) == [True] * number


def test_what_goes_wrong_is_raised_once_all_that_began_have_ended() -> None:
    met, ended = threading.Barrier(4), set[int]()

    def do(number: int) -> None:
        if number < 4:  # another may have been begun before the error was known, and would wait alone
            met.wait(30)
        if number == 1:
            raise OSError(5, "broken")
        ended.add(number)

    with pytest.raises(OSError, match="broken"):
        together(do, range(4 + 4))
    assert {0, 2, 3} <= ended


def test_none_is_begun_after_one_that_failed() -> None:
    seen: list[int] = []

    def do(number: int) -> None:
        seen.append(number)
        raise ValueError("first")

    with pytest.raises(ValueError, match="first"):
        together(do, range(3))
    assert seen == [0]


def test_when_the_time_is_over_the_first_have_been_done_and_the_others_are_left() -> None:
    assert together(str, range(100), seconds=-1.0) == ["0"]
    assert together(str, range(3), seconds=60.0) == ["0", "1", "2"]


def test_where_it_is_better_to_be_alone_nobody_helps() -> None:
    here = threading.current_thread()
    assert (
        together(lambda _: threading.current_thread() is here, range(20), alone=lambda: True) == [True] * 20
    )


def test_who_helps_stops_when_it_becomes_better_to_be_alone_and_all_is_done() -> None:
    met, crowded = threading.Barrier(4), threading.Event()
    here, late = threading.current_thread(), list[threading.Thread]()

    def do(number: int) -> int:
        if number < 4:
            met.wait(30)
            crowded.set()
        else:
            late.append(threading.current_thread())
        return number

    assert together(do, range(20), alone=crowded.is_set) == [*range(20)]
    assert set(late) == {here}
