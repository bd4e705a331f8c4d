"""Swarms of every pattern in this process, one member of which fails, on a clock that stands still but for that."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import TYPE_CHECKING, Any, TypeVar

from anyio import sleep_forever
from tests.support.swarms_cast import Cast, Notebook
from tests.support.swarms_lives import told
from tests.support.swarms_patterns import PATTERNS, make

from overwinter import Runtime, events
from overwinter.agents.swarms.policy import MemberPolicy
from overwinter.testing import FakeClock

if TYPE_CHECKING:
    from collections.abc import Awaitable, Sequence
    from pathlib import Path

    from overwinter.agents.profile import Durability
    from overwinter.agents.runs import Runs
    from overwinter.agents.swarms.base import Swarm
    from overwinter.agents.swarms.results import SwarmResult

__all__ = ["AGENTS", "ALWAYS", "CASES", "EVERYBODY", "FailingCast", "Stage", "assert_once", "undisturbed"]

T = TypeVar("T")

#: In each pattern an agent that fails; ``zoe``, where there is one, is no agent, and fails in other tests.
AGENTS = {
    "SequentialWorkflow": "ann",
    "ConcurrentWorkflow": "ann",
    "AgentRearrange": "ben",
    "GraphWorkflow": "draft",
    "MixtureOfAgents": "ann",
    "MajorityVoting": "ann",
    "RoundRobin": "ann",
    "GroupChat": "ann",
    "HierarchicalSwarm": "ann",
    "MapReduce": "mapper",
    "MapReduce-saved": "mapper",
    "SwarmRouter": "ben",
    "Handoffs": "ben",
    "nested": "ann",
}
FOREIGNERS = {
    pattern: "side" if pattern == "GraphWorkflow" else "zoe"
    for pattern in PATTERNS
    if not pattern.startswith("MapReduce")
}
WAYS = ["raises", "hangs", "is stopped"]
FOREIGN_WAYS = ["raises", "hangs", "is cancelled"]
CASES = [
    *((pattern, victim, way) for pattern, victim in AGENTS.items() for way in WAYS),
    *((pattern, victim, way) for pattern, victim in FOREIGNERS.items() for way in FOREIGN_WAYS),
]
ALWAYS = 1_000_000
EVERYBODY = "everybody"


class Broken(Exception):
    """What a member raises."""


class FailingCast(Cast):
    """A cast of which one fails, so many times."""

    def __init__(self, book: Notebook, victim: str, way: str, times: int, *, session: str = "") -> None:
        super().__init__(book, session=session)
        self.failures = 0
        self.times = times
        self.hangs = asyncio.Event()
        self.runtime: Runtime | None = None
        self._victim = victim
        self._way = way
        self._stopping: list[asyncio.Task[None]] = []

    async def comes_to(self, who: str, asked: Sequence[object]) -> None:
        if self._victim not in (who, EVERYBODY) or self.failures >= self.times:
            return
        # Of the copies of a mapper the first alone fails, for the others to have something to be told apart from.
        if self._victim == "mapper" and "item 1" not in str(asked):
            return
        self.failures += 1
        if self._way == "raises":
            raise Broken(f"{who} does not feel well")
        if self._way == "is cancelled":
            raise asyncio.CancelledError
        if self._way == "is stopped":
            assert self.runtime is not None
            guests = [guest for guest in self.runtime.guests if _is_at(guest, who)]
            self._stopping += [asyncio.create_task(self.runtime.stop(guest)) for guest in guests]
            assert guests
        self.hangs.set()
        try:
            await sleep_forever()
        finally:
            self.hangs.clear()


def _is_at(guest: Runs[Any, Any], who: str) -> bool:
    """Whether it is the one who fails, of copies the first."""
    if guest.agent_name != who or guest.status != "running":
        return False
    return who != "mapper" or "item 1" in guest.state.conversation[-1].content


class Stage:
    """A swarm of a pattern on a runtime whose clock runs as fast as it can."""

    def __init__(
        self,
        pattern: str,
        victim: str = "nobody",
        way: str = "raises",
        times: int = 0,
        *,
        workspace: Path | None = None,
        session: str = "",
        durability: Durability = "async",
        **policy: Any,
    ) -> None:
        self.workspace = workspace
        self.book = Notebook()
        self.clock = FakeClock()
        self.cast = FailingCast(self.book, victim, way, times, session=session)
        if policy.get("fallback"):
            policy["fallback"] = self.cast.agent("stand-in")
        if way == "hangs":
            policy["timeout"] = 5.0
        who_fails: dict[str, Any] = {"policies": {victim: MemberPolicy(**policy)} if policy else None}
        if victim == EVERYBODY:
            who_fails = {"policy": MemberPolicy(**policy)}
        saved: dict[str, Any] = {} if workspace is None else {"autosave": True, "durability": durability}
        self.swarm: Swarm[str] = make(pattern, self.cast, **who_fails, **saved)
        self.failed: list[events.MemberFailed] = []

    async def run(self, resume: bool = False) -> SwarmResult[Any]:
        async with Runtime(self.workspace, clock=self.clock) as runtime:
            self.cast.runtime = runtime
            await runtime.spawn(self.swarm)
            unwatch = self.swarm.watch(self._watch)
            try:
                work = self.swarm.resume() if resume else self.swarm.run("the task")
                return await self.while_time_passes(work)
            finally:
                unwatch()

    async def while_time_passes(self, work: Awaitable[T]) -> T:
        """Turn the clock, but only while somebody hangs: others may be held up by a thread."""
        task = asyncio.ensure_future(work)
        try:
            while not task.done():
                hangs = asyncio.ensure_future(self.cast.hangs.wait())
                await asyncio.wait({task, hangs}, return_when=asyncio.FIRST_COMPLETED)
                hangs.cancel()
                if self.cast.hangs.is_set():
                    await self.clock.advance(1.0)
        except asyncio.CancelledError:
            task.cancel()
            await asyncio.wait({task})
            raise
        return await task

    def _watch(self, event: events.Event) -> None:
        if isinstance(event, events.MemberFailed):
            self.failed.append(event)

    @property
    def answered(self) -> Counter[str]:
        return Counter(entry.key for entry in self.book.entries if entry.kind == "answered")


async def undisturbed(pattern: str, session: str = "") -> tuple[dict[str, Any], Counter[str]]:
    """What comes of a run that nobody disturbs, and the calls that are answered in it."""
    stage = Stage(pattern, session=session)
    return told(await stage.run()), stage.answered


def assert_once(pattern: str, answered: Counter[str], calls: Counter[str], *, saved: bool = False) -> None:
    """Each call was answered once. What copies that are not saved had said when they were interrupted nobody knows."""
    if pattern == "MapReduce" or (pattern == "MapReduce-saved" and not saved):
        assert answered.keys() == calls.keys()
    else:
        assert answered == calls
