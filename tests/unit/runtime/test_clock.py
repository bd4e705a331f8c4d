"""Time that is taken from a clock can be turned by hand."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta, timezone

import pytest
from tests.unit.runtime.actors import settle

from overwinter.runtime import Clock, SystemClock
from overwinter.testing import FakeClock

pytestmark = pytest.mark.anyio


async def test_timers_ring_in_order_at_their_own_time_and_tasks_run_between() -> None:
    """R62: advancing over many timers is as if time had passed."""
    clock = FakeClock()
    log: list[tuple[str, float]] = []

    async def sleeper(name: str, *seconds: float) -> None:
        for pause in seconds:
            await clock.sleep(pause)
            log.append((name, clock.monotonic()))

    tasks = [asyncio.create_task(sleeper("a", 1, 1, 1)), asyncio.create_task(sleeper("b", 2, 5))]
    await clock.advance(3)
    assert log == [("a", 1), ("b", 2), ("a", 2), ("a", 3)]
    assert clock.pending == 1
    await clock.advance(3.9)
    assert clock.monotonic() == pytest.approx(6.9)
    assert not tasks[1].done()
    await clock.advance(0.2)
    assert log[-1] == ("b", 7)
    await asyncio.gather(*tasks)


async def test_cancelled_timers_and_sleepers_do_not_ring() -> None:
    """R62: what was cancelled leaves nothing behind."""
    clock = FakeClock()
    rung: list[int] = []
    timer = clock.call_later(1, lambda: rung.append(1))
    clock.call_later(1, lambda: rung.append(2))
    sleeping = asyncio.create_task(clock.sleep(1))
    await settle()
    assert clock.pending == 3
    timer.cancel()
    sleeping.cancel()
    await settle()
    assert clock.pending == 1
    await clock.advance(2)
    assert rung == [2]


async def test_a_sleep_of_nothing_only_lets_others_run() -> None:
    """R62: it needs no advance."""
    await FakeClock().sleep(0)
    await FakeClock().sleep(-1)


async def test_the_time_of_day_moves_with_the_clock() -> None:
    """R62: now() is in UTC, from any start."""
    start = datetime(2031, 5, 1, 12, tzinfo=timezone(timedelta(hours=2)))
    clock = FakeClock(start)
    assert clock.now() == start
    assert clock.now().tzinfo is UTC
    await clock.advance(90)
    assert clock.now() - start == timedelta(seconds=90)
    assert FakeClock().now().tzinfo is UTC


async def test_the_system_clock_is_the_time() -> None:
    """R62: both clocks keep to the one protocol."""
    clock: Clock = SystemClock()
    before = clock.monotonic()
    rung = asyncio.Event()
    timer = clock.call_later(-1, rung.set)
    clock.call_later(0, lambda: None).cancel()
    await rung.wait()
    timer.cancel()
    await clock.sleep(0)
    assert clock.monotonic() >= before
    assert abs(clock.now() - datetime.now(UTC)) < timedelta(seconds=5)
    assert clock.now().tzinfo is UTC
    fake: Clock = FakeClock()
    assert fake.monotonic() == 0
