"""What an actor costs before it has anything to do: its spawn, its memory, and a hundred thousand of them.

Beside it stands the least that a program without a framework does: a queue and a task that waits on it. The bytes are
those that Python allocated (``tracemalloc``), the objects themselves and the list of references included, after a
garbage collection; the time of a spawn is measured without that.
"""

from __future__ import annotations

import asyncio
import gc
import tracemalloc
from typing import TYPE_CHECKING

from benchmarks.contest import Contest, Goal, Row, Size, clock
from overwinter import Actor, Runtime

if TYPE_CHECKING:
    from benchmarks.contest import Figures
    from overwinter import ActorRef

__all__ = ["CONTESTS"]


class Idle(Actor[int]):
    """Remembers the last thing it was told."""

    def __init__(self) -> None:
        self.told = 0

    async def receive(self, message: int) -> None:
        """Remember it."""
        self.told = message


class Roll:
    """Counts who has been heard of, and says when that is everybody."""

    def __init__(self, missing: int) -> None:
        self.missing = missing
        self.complete = asyncio.Event()

    def heard(self) -> None:
        """One more."""
        self.missing -= 1
        if not self.missing:
            self.complete.set()


class Present(Actor[int]):
    """Reports when it is told something."""

    def __init__(self, roll: Roll) -> None:
        self.roll = roll

    async def receive(self, message: int) -> None:
        """Report."""
        self.roll.heard()


async def spawn(number: int) -> float:
    """Microseconds for each of so many actors."""
    async with Runtime() as runtime:
        began = clock()
        refs = [await runtime.spawn(Idle()) for _ in range(number)]
        seconds = clock() - began
        assert len(refs) == number
    return seconds / number * 1e6


async def weigh(number: int) -> float:
    """Bytes for each of so many actors."""
    async with Runtime() as runtime:
        await runtime.spawn(Idle())
        gc.collect()
        tracemalloc.start()
        refs: list[ActorRef[int]] = []
        try:
            for _ in range(number):
                refs.append(await runtime.spawn(Idle()))  # noqa: PERF401  (a comprehension keeps more of it until it ends)
            gc.collect()
            return tracemalloc.get_traced_memory()[0] / number
        finally:
            tracemalloc.stop()


async def _wait(queue: asyncio.Queue[int], roll: Roll | None = None) -> None:
    while True:
        await queue.get()
        if roll is not None:
            roll.heard()


async def spawn_tasks(number: int) -> float:
    """Microseconds for each of so many tasks, until all of them wait at their queues."""
    began = clock()
    members = [(queue, asyncio.create_task(_wait(queue))) for queue in map(_queue, range(number))]
    await asyncio.sleep(0)
    seconds = clock() - began
    await _end([task for _, task in members])
    return seconds / number * 1e6


async def weigh_tasks(number: int) -> float:
    """Bytes for each of so many tasks that wait at their queues."""
    gc.collect()
    tracemalloc.start()
    members = []
    try:
        for _ in range(number):
            queue: asyncio.Queue[int] = asyncio.Queue()
            members.append((queue, asyncio.create_task(_wait(queue))))
        await asyncio.sleep(0)
        gc.collect()
        weight = tracemalloc.get_traced_memory()[0] / number
    finally:
        tracemalloc.stop()
    await _end([task for _, task in members])
    return weight


async def crowd(number: int) -> float:
    """Seconds to spawn so many actors and to have each of them handle one message."""
    roll = Roll(number)
    async with Runtime() as runtime:
        began = clock()
        refs = [await runtime.spawn(Present(roll)) for _ in range(number)]
        for ref in refs:
            ref.tell_nowait(1)
        await roll.complete.wait()
        return clock() - began


async def crowd_of_tasks(number: int) -> float:
    """The same with a queue and a task each."""
    roll = Roll(number)
    began = clock()
    members = [(queue, asyncio.create_task(_wait(queue, roll))) for queue in map(_queue, range(number))]
    for queue, _ in members:
        queue.put_nowait(1)
    await roll.complete.wait()
    seconds = clock() - began
    await _end([task for _, task in members])
    return seconds


def _queue(_: int) -> asyncio.Queue[int]:
    return asyncio.Queue()


async def _end(tasks: list[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)


def _spawned(size: Size) -> int:
    return size.of(10_000, 200)


def _spawn(size: Size) -> Figures:
    return {"spawn": asyncio.run(spawn(_spawned(size))), "bytes": asyncio.run(weigh(_spawned(size)))}


def _spawn_tasks(size: Size) -> Figures:
    number = _spawned(size)
    return {"spawn": asyncio.run(spawn_tasks(number)), "bytes": asyncio.run(weigh_tasks(number))}


def _crowd(size: Size) -> Figures:
    return {"seconds": asyncio.run(crowd(size.of(100_000, 500)))}


def _crowd_of_tasks(size: Size) -> Figures:
    return {"seconds": asyncio.run(crowd_of_tasks(size.of(100_000, 500)))}


_TASK = "Queue + Task"

CONTESTS = (
    Contest(
        "idle",
        {"overwinter": _spawn, _TASK: _spawn_tasks},
        (
            Row("spawn", "spawn an actor", "spawn", "µs", against=_TASK, goals=(Goal("value", 5, "most"),)),
            Row(
                "idle-actor",
                "an idle actor",
                "bytes",
                "bytes",
                against=_TASK,
                goals=(Goal("value", 1000, "most"),),
            ),
        ),
    ),
    Contest(
        "crowd",
        {"overwinter": _crowd, _TASK: _crowd_of_tasks},
        (
            Row(
                "crowd",
                "100,000 actors, then one message each",
                "seconds",
                "s",
                against=_TASK,
                goals=(Goal("value", 1, "most"),),
            ),
        ),
        turns=1,
    ),
)
