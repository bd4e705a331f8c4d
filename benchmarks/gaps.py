"""How long the event loop is kept from others while 1,000 agents are saved.

A watcher sleeps for a millisecond again and again, and notes by how much it was late; the longest of these is the gap.
Once all agents save at the same moment: ``save()`` of conversations of some ten messages, in one task group. Once they
work: each asks a model that takes about a second, and calls a tool, for some steps, ``"async"``; the first second, in
which all of them are begun, is left out. Beside it: the same watcher on a loop that has nothing to do, for as long,
which is what the machine itself adds.
"""

from __future__ import annotations

import asyncio
import random
import tempfile
import time
from typing import TYPE_CHECKING, Self

from benchmarks.agents import all_on_disk, spawn_all
from benchmarks.contest import Contest, Goal, Row, Size
from overwinter import Agent, Message, ModelReply, ModelRequest, Runtime, ToolCall, Usage, tool

if TYPE_CHECKING:
    from collections.abc import Callable

    from benchmarks.contest import Figures
    from overwinter.agents.profile import Durability

__all__ = ["CONTESTS", "Gap"]

_TICK = 0.001
_STEPS = 4
_TEXT = "There is much to say about willows and bees. " * 10


class Gap:
    """The longest time by which the event loop was late, in milliseconds."""

    def __init__(self) -> None:
        self.longest = 0.0
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._watch())
        await asyncio.sleep(10 * _TICK)
        self.longest = 0.0
        return self

    async def __aexit__(self, *_: object) -> None:
        await asyncio.sleep(2 * _TICK)
        assert self._task is not None
        self._task.cancel()

    async def _watch(self) -> None:
        last = time.perf_counter()
        while True:
            await asyncio.sleep(_TICK)
            now = time.perf_counter()
            self.longest = max(self.longest, (now - last - _TICK) * 1000)
            last = now


@tool(idempotent=True)
async def look_up(term: str) -> str:
    """Look a term up."""
    return _TEXT


class Taking:
    """A model that takes about so many seconds, and has the tool called in each step but the last."""

    name = "taking"
    price = None

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._random = random.Random(1)

    async def prepare(self) -> None:
        """Nothing needs to be loaded."""

    async def complete(
        self, request: ModelRequest, *, on_text: Callable[[str], None] | None = None
    ) -> ModelReply:
        """Take the time, and say something."""
        await asyncio.sleep(self._seconds * self._random.uniform(0.5, 1.5))
        said = sum(message.role == "assistant" for message in request.messages)
        calls = (ToolCall(f"call_{said}", "look_up", '{"term":"willow"}'),) if said < _STEPS else ()
        return ModelReply(message=Message("assistant", _TEXT, calls), usage=Usage(calls=1), model=self.name)


async def _team(runtime: Runtime, number: int, seconds: float, durability: Durability) -> list[Agent[str]]:
    model = Taking(seconds)
    team = [
        Agent(f"agent-{one}", model=model, tools=[look_up], autosave=True, durability=durability)
        for one in range(number)
    ]
    await spawn_all(runtime, team)
    return team


async def saving(number: int) -> Figures:
    """All of them save at once."""
    with tempfile.TemporaryDirectory() as folder:
        async with Runtime(folder) as runtime:
            team = await _team(runtime, number, 0.0, "async")
            async with asyncio.TaskGroup() as tasks:
                for agent in team:
                    tasks.create_task(agent.run("What is there to say about willows?"))
            await all_on_disk(runtime, team)
            began = time.perf_counter()
            async with Gap() as gap, asyncio.TaskGroup() as tasks:
                for agent in team:
                    tasks.create_task(agent.save())
            seconds = time.perf_counter() - began
    return {"gap": gap.longest, "idle": await idle(seconds), "seconds": seconds}


async def working(number: int, seconds: float) -> Figures:
    """All of them work, out of step."""
    with tempfile.TemporaryDirectory() as folder:
        async with Runtime(folder) as runtime:
            team = await _team(runtime, number, seconds, "async")
            async with asyncio.TaskGroup() as tasks:
                for agent in team:
                    tasks.create_task(agent.run("What is there to say about willows?"))
                await asyncio.sleep(1.2 * seconds)
                began = time.perf_counter()
                async with Gap() as gap:
                    await asyncio.sleep(2.0 * seconds)
                taken = time.perf_counter() - began
    return {"gap": gap.longest, "idle": await idle(taken)}


async def idle(seconds: float) -> float:
    """The gap of a loop that does nothing for so long."""
    async with Gap() as gap:
        await asyncio.sleep(seconds)
    return gap.longest


def _saving(size: Size) -> Figures:
    return asyncio.run(saving(size.of(1000, 20)))


def _working(size: Size) -> Figures:
    return asyncio.run(working(size.of(1000, 20), 0.02 if size is Size.TINY else 1.0))


_GOAL = (Goal("value", 20, "most"),)


def _row(key: str, what: str, of: str) -> Row:
    return Row(
        key,
        what,
        "gap",
        "ms",
        of=of,
        against=of,
        against_figure="idle",
        beside="nothing at work",
        goals=_GOAL,
    )


CONTESTS = (
    Contest(
        "gaps",
        {"saving": _saving},
        (
            _row("gap", "longest gap of the loop, 1,000 agents save at once", "saving"),
            Row("gap-saving", "until all 1,000 are saved", "seconds", "s", of="saving"),
        ),
        turns=1,
        rounds=2,
    ),
    Contest(
        "gaps-working",
        {"working": _working},
        (_row("gap-working", 'longest gap, 1,000 agents work, "async", a step a second', "working"),),
        turns=1,
        rounds=2,
        slow=True,
    ),
)
