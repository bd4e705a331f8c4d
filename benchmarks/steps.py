"""Whole steps of agents a second: a model call, a tool call, and what is saved of them.

100 agents make 20 steps each, all at once. The model is scripted and answers in no time with replies made before, as a
provider's are; each asks for one call of a tool that may not be repeated, so that its start is on the disk before it
begins. An answer without a call ends the run, and is not counted as a step. Agents are made and spawned before the
clock starts, and it stops when every run has returned.
"""

from __future__ import annotations

import asyncio
import tempfile
import time
from statistics import median
from typing import TYPE_CHECKING, Self

from benchmarks.agents import spawn_all
from benchmarks.contest import Contest, Goal, Row, Size, clock
from overwinter import Agent, Message, ModelReply, Runtime, ToolCall, Usage, tool
from overwinter.persistence import JournalWriter
from overwinter.testing import ScriptedModel

if TYPE_CHECKING:
    from collections.abc import Iterator

    from benchmarks.contest import Figures
    from overwinter.agents.profile import Durability

__all__ = ["CONTESTS", "add", "steps", "team_of"]

_SLICE = 200e-6


@tool
async def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


def team_of(number: int, loops: int, durability: Durability | None) -> list[Agent[str]]:
    """Agents that call a tool in each of *loops* steps, and then answer."""
    script = [_reply("", ToolCall(f"call_{step}", "add", '{"a": 1, "b": 2}')) for step in range(loops)]
    script.append(_reply("It is three."))
    return [
        Agent(
            f"agent-{one}",
            model=ScriptedModel(script),
            tools=[add],
            max_loops=loops + 1,
            autosave=durability is not None,
            durability=durability or "async",
        )
        for one in range(number)
    ]


def _reply(text: str, *calls: ToolCall) -> ModelReply:
    usage = Usage(input_tokens=100, output_tokens=20, cost=0.0, calls=1)
    return ModelReply(message=Message("assistant", text, calls), usage=usage, model="scripted")


async def steps(
    number: int, loops: int, durability: Durability | None, *, busy: bool = False
) -> dict[str, float]:
    """Steps a second, seconds, and of ``"sync"`` the median milliseconds of a batch."""
    with tempfile.TemporaryDirectory() as folder:
        async with Runtime(folder) as runtime:
            team = team_of(number, loops, durability)
            await spawn_all(runtime, team)
            other = asyncio.create_task(_always_ready()) if busy else None
            with _Batches() as batches:
                began = clock()
                async with asyncio.TaskGroup() as tasks:
                    runs = [tasks.create_task(agent.run("1 + 2?")) for agent in team]
                seconds = clock() - began
            if other is not None:
                other.cancel()
            assert all(run.result().loop_count == loops + 1 for run in runs)
        said = runtime.statistics().persistence
    written = (said.bytes_written + said.log_bytes) / (number * loops)
    waited = median(batches.taken) * 1000 if batches.taken else 0.0
    return {"rate": number * loops / seconds, "seconds": seconds, "batch": waited, "written": written}


async def _always_ready() -> None:
    while True:
        until = time.perf_counter() + _SLICE
        while time.perf_counter() < until:
            pass
        await asyncio.sleep(0)


class _Batches:
    """Notes how long each ``settle(sync=True)`` of a journal's writer takes: from the append to the acknowledgement."""

    def __init__(self) -> None:
        self.taken: list[float] = []

    def __enter__(self) -> Self:
        taken, settle = self.taken, JournalWriter.settle

        def timed(self: JournalWriter, *, sync: bool) -> asyncio.Future[None]:
            settled = settle(self, sync=sync)
            if sync and not settled.done():
                began = time.perf_counter()
                settled.add_done_callback(lambda _: taken.append(time.perf_counter() - began))
            return settled

        self._settle = settle
        JournalWriter.settle = timed  # type: ignore[method-assign]
        return self

    def __exit__(self, *_: object) -> None:
        JournalWriter.settle = self._settle  # type: ignore[method-assign]


def _numbers(size: Size) -> tuple[int, int]:
    return size.of(100, 5), size.of(20, 3)


def _off(size: Size) -> Figures:
    return asyncio.run(steps(*_numbers(size), None))


def _async(size: Size) -> Figures:
    return asyncio.run(steps(*_numbers(size), "async"))


def _sync(size: Size) -> Figures:
    return asyncio.run(steps(*_numbers(size), "sync"))


def _sync_busy(size: Size) -> Figures:
    return asyncio.run(steps(*_numbers(size), "sync", busy=True))


def _rows() -> Iterator[Row]:
    team = "100 agents x 20 steps"
    a_second = "steps/s"
    off = "autosave off"
    yield Row("steps-off", f"{team}, autosave off", "rate", a_second, of=off)
    yield Row(
        "steps-async",
        f'{team}, "async"',
        "rate",
        a_second,
        of="async",
        goals=(Goal("value", 10_000, "least"),),
    )
    yield Row(
        "steps-async-time",
        f'{team}, "async": time against autosave off',
        "seconds",
        "s",
        of="async",
        against=off,
        goals=(Goal("ratio", 1.5, "most"),),
    )
    yield Row(
        "steps-sync",
        f'{team}, "sync"',
        "rate",
        a_second,
        of="sync",
        against=off,
        goals=(Goal("value", 5000, "least"),),
    )
    busy = "sync, beside a busy coroutine"
    yield Row(
        "steps-busy",
        f'{team}, "sync", beside a busy coroutine',
        "rate",
        a_second,
        of=busy,
        against="sync",
        goals=(Goal("value", 2500, "least"),),
    )
    yield Row(
        "steps-busy-batch",
        "a batch of it, median",
        "batch",
        "ms",
        of=busy,
        against="sync",
        goals=(Goal("value", 20, "most"),),
    )
    yield Row("steps-written", 'written a step, "sync"', "written", "bytes", of="sync")


CONTESTS = (
    Contest(
        "steps",
        {"autosave off": _off, "async": _async, "sync": _sync, "sync, beside a busy coroutine": _sync_busy},
        tuple(_rows()),
    ),
)
