"""A thousand agents at work, without end and without growth by design: what ``tests.soak_agents`` looks at.

Three kinds of workers, each with a loop of its own, run after run with nothing between: agents that are spawned, do
some runs and are stopped, to come back as fresh ones; named agents, of which only half fit in memory, so that they are
passivated and woken up again all the time; and swarms. Half of each save in "sync", half in "async". A conversation
has a few runs, requests carry the last of it, and what is past is dropped by the agents' retention.

`Colony.still` stops all of them between two runs, with everything written and everybody at rest who has to be: then
what the process holds can be counted exactly.
"""

from __future__ import annotations

import asyncio
import time
from array import array
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from tests.support.flatness import Counts

from overwinter import (
    Agent,
    ConcurrentWorkflow,
    KeepLast,
    Message,
    ModelReply,
    Retention,
    Runtime,
    SequentialWorkflow,
    Usage,
    tool,
)
from overwinter.agents.models.protocol import ToolCall

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable
    from pathlib import Path

    from overwinter import ModelRequest
    from overwinter.agents.profile import Durability

__all__ = ["Colony"]

_MEMBERS = 4  # of a swarm
_PATIENCE = 60.0  # seconds, for a disk that is slow to let go of an agent that was stopped
_LOOK, _SAME = 0.05, 25  # seconds between two looks, and how many have to be the same
_TEXT = "What there is to say about it, and not a word more than that. " * 12


@tool(idempotent=True)
async def look_up(word: str) -> str:
    """Look a word up; this may be repeated."""
    return f"{word}: {_TEXT}"


@tool
async def note(word: str) -> str:
    """Note a word; this may not, and its start is on disk before it starts."""
    return f"{word} is noted"


class Answering:
    """A model that answers at once: first a call of a tool, and then a text. It remembers nothing.

    :ivar calls: how often it was asked.
    """

    name = "answering"
    price = None

    def __init__(self) -> None:
        self.calls = 0

    async def prepare(self) -> None:
        """Nothing needs to be loaded."""

    async def complete(
        self, request: ModelRequest, *, on_text: Callable[[str], None] | None = None
    ) -> ModelReply:
        """Every fourth call is of the tool that may not be repeated."""
        self.calls += 1
        if request.messages[-1].role == "tool":
            said = Message("assistant", _TEXT)
        else:
            called = "look_up" if self.calls % 4 else "note"
            call = ToolCall(f"call_{self.calls}", called, f'{{"word": "bee-{self.calls}"}}')
            said = Message("assistant", "", (call,))
        return ModelReply(
            message=said, usage=Usage(calls=1, input_tokens=50, output_tokens=20), model=self.name
        )


class Colony:
    """So many agents on one runtime.

    :param runs: in one conversation, before a fresh agent begins the next.
    :ivar model: what they all ask; its ``calls`` are the steps.
    :ivar runs: seconds that each run took since this was emptied; ``saves``, the same of ``save()`` in "sync".
    """

    def __init__(self, workspace: Path, agents: int = 1000, *, runs: int = 20) -> None:
        self.workspace = workspace
        self._runs_each = runs
        self._kept = Retention(runs=2 * runs)
        self.model = Answering()
        self.runs, self.saves = array("d"), array("d")
        self.swarms = agents // 5 // _MEMBERS
        self.named = agents // 4
        self.alone = agents - self.named - self.swarms * _MEMBERS
        self.active_limit = max(1, self.named // 2)
        self.runtime = Runtime(
            workspace, agents=self._known, active_limit=self.active_limit, idle_timeout=None
        )
        self._open = asyncio.Event()
        self._all_wait = asyncio.Event()
        self._waiting, self._workers = 0, self.alone + self.named + self.swarms
        self._ends = False

    @asynccontextmanager
    async def at_work(self) -> AsyncGenerator[None]:
        """All of them work within the block; its end has them finish the runs at hand.

        An error of one ends it, and is raised here in a group.
        """
        async with self.runtime, asyncio.TaskGroup() as tasks:
            for kind, how_many in (
                (self._alone, self.alone),
                (self._named, self.named),
                (self._swarm, self.swarms),
            ):
                for number in range(how_many):
                    tasks.create_task(self._lives(kind, number))
            self._open.set()
            try:
                yield
            finally:
                self._ends = True
                self._open.set()

    @asynccontextmanager
    async def still(self) -> AsyncGenerator[None]:
        """Within the block nobody works, all is on disk, and no more named agents are in memory than may be."""
        self._open.clear()
        await self._all_wait.wait()
        await self._settled()
        await (await self.runtime.storage()).flush()
        try:
            yield
        finally:
            self._open.set()

    async def _settled(self) -> None:
        """Nobody is at work, and nothing has come or gone for more than a second.

        Configurations are saved behind the runs, and within a second records move into the journals.
        """
        counted, same = Counts(0, 0, 0), 0
        while same < _SAME:
            before, counted = counted, Counts.now()
            same = same + 1 if counted == before and self._at_rest() else 0
            await asyncio.sleep(_LOOK)

    def _at_rest(self) -> bool:
        directory = self.runtime.directory
        there = directory.statistics()
        return not (
            self.runtime.statistics().jobs
            or there.at_work
            or there.active > self.active_limit
            or len(directory.background)
        )

    async def _lives(self, live: Callable[[int, int], Awaitable[None]], number: int) -> None:
        # The first conversations have different lengths, so that they do not all end at once.
        runs = 1 + number % self._runs_each
        while not self._ends:
            await live(number, runs)
            runs = self._runs_each

    async def _turn(self) -> bool:
        """Before each run: wait while all are to be still; whether to go on."""
        if not self._open.is_set():
            self._waiting += 1
            if self._waiting == self._workers:
                self._all_wait.set()
            await self._open.wait()
            self._waiting -= 1
            self._all_wait.clear()
        return not self._ends

    async def _turns(self, run: Callable[[str], Awaitable[object]], runs: int) -> None:
        """The runs of one conversation."""
        for turn in range(runs):
            if not await self._turn():
                return
            await _timed(run(f"Tell me of {turn}."), self.runs)

    async def _alone(self, number: int, runs: int) -> None:
        """An agent that is spawned, runs, saves, and is stopped."""
        agent = self._agent(f"bee-{number}", number)
        await self.runtime.spawn(agent)
        await self._turns(agent.run, runs)
        await _timed(agent.save(), self.saves)
        await self.runtime.stop(agent)

    async def _named(self, number: int, runs: int) -> None:
        """A named agent, which is asked; then a fresh one begins its next conversation."""
        name = f"named-{number}"
        handle = self.runtime.agent(name)
        await self._turns(handle.ask, runs)
        while not await self.runtime.passivate(name):
            await asyncio.sleep(0)
        fresh = self._agent(name, number)
        await self.runtime.spawn(fresh)
        await fresh.run("Begin anew.")
        await self.runtime.stop(fresh)

    async def _swarm(self, number: int, runs: int) -> None:
        """A swarm that brings its members along, and takes them away with it."""
        members = [self._agent(f"member-{number}-{place}", number) for place in range(_MEMBERS)]
        pattern = SequentialWorkflow if number % 2 else ConcurrentWorkflow
        swarm = pattern(
            f"swarm-{number}",
            members,
            autosave=True,
            durability=_durability(number // 2),
            retention=self._kept,
            lease_timeout=_PATIENCE,
        )
        await self.runtime.spawn(swarm)
        await self._turns(swarm.run, runs)
        await self.runtime.stop(swarm)

    def _agent(self, name: str, number: int) -> Agent[str]:
        return Agent(
            name,
            model=self.model,
            tools=[look_up, note],
            autosave=True,
            durability=_durability(number),
            context=KeepLast(8),
            retention=self._kept,
            lease_timeout=_PATIENCE,
        )

    def _known(self, name: str, session: str) -> Agent[str]:
        return self._agent(name, int(name.rpartition("-")[2]))


def _durability(number: int) -> Durability:
    return "sync" if number % 2 else "async"


async def _timed(work: Awaitable[object], seconds: array[float]) -> None:
    began = time.perf_counter()
    await work
    seconds.append(time.perf_counter() - began)
