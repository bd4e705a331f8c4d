"""Agents whose answers follow from everything that they were told, cut off wherever a test likes."""

from __future__ import annotations

from inspect import isawaitable
from typing import TYPE_CHECKING, Any
from zlib import crc32

import anyio
import anyio.to_thread
from anyio.lowlevel import checkpoint

from overwinter import Agent, Runtime
from overwinter.testing import FakeClock, ScriptedModel

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from overwinter.agents.models.protocol import ModelRequest
    from overwinter.agents.swarms.base import Swarm
    from overwinter.agents.swarms.results import SwarmResult

__all__ = ["Rehearsal", "broken", "goes_on_after_every_cut", "run_past_timeouts"]


def broken(times: int = 1000) -> list[Exception]:
    """A script that fails so many times."""
    return [RuntimeError("out of order") for _ in range(times)]


class Rehearsal:
    """One performance of a swarm: its agents, and a ledger of what they were told and answered.

    An agent without a script answers a text of its own that is another one whenever anything in its conversation is
    another one. The ``hangs_at``-th time that any agent is asked, it never answers, and ``hung`` is set.
    """

    def __init__(self, where: Path | None = None, *, hangs_at: int = 0) -> None:
        self.where = where
        self.hung = anyio.Event()
        self.ledger: list[tuple[str, str]] = []
        self.at_work = self.most_at_work = 0
        self._hangs_at = hangs_at
        self.asked = 0

    def agent(self, name: str, *script: Any, **settings: Any) -> Agent[str]:
        """An agent that answers by the *script*, or in its own way."""

        async def answer(request: ModelRequest) -> Any:
            return await self._answer(name, replies, request)

        replies = list(script)
        return Agent(name, model=ScriptedModel([answer], loop=True), **self._settings, **settings)

    def agents(self, *names: str) -> list[Agent[str]]:
        """Agents that answer in their own way."""
        return [self.agent(name) for name in names]

    @property
    def saved(self) -> dict[str, Any]:
        """The settings of a swarm that is saved beside its agents."""
        return {"autosave": True, "workspace_dir": self.where}

    @property
    def _settings(self) -> dict[str, Any]:
        return {} if self.where is None else {"workspace_dir": self.where}

    def told(self, name: str) -> list[str]:
        """What the agent was told last, each time that it answered."""
        return [told for one, told in self.ledger if one == name]

    @property
    def order(self) -> list[str]:
        """Who answered, in order."""
        return [name for name, _ in self.ledger]

    async def note(self, what: str, text: str = "") -> None:
        """Something else that is to happen once, and may hang as well."""
        self.asked += 1
        self.at_work += 1
        self.most_at_work = max(self.most_at_work, self.at_work)
        try:
            if self.asked == self._hangs_at:
                self.hung.set()
                await anyio.sleep_forever()
            await checkpoint()
        finally:
            self.at_work -= 1
        self.ledger.append((what, text))

    async def _answer(self, name: str, script: list[Any], request: ModelRequest) -> Any:
        await self.note(name, request.messages[-1].content)
        if script:
            part = script.pop(0)
            part = part(request) if callable(part) else part
            return await part if isawaitable(part) else part
        heard = "\n".join(f"{message.role}: {message.content}" for message in request.messages)
        return f"{name} says {crc32(heard.encode()):08x}"


async def _cut_off(swarm: Swarm[Any], task: str, at: anyio.Event) -> None:
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(swarm.run, task)
        await at.wait()
        tasks.cancel_scope.cancel()


async def goes_on_after_every_cut(
    make: Callable[[Rehearsal], Swarm[Any]], where: Path, *, at_most: int = 1000
) -> SwarmResult[Any]:
    """Cut a swarm off at each answer in turn, and have fresh objects of the same names finish it.

    What comes out, and everything that anybody was told, has to be what it is without a cut, and nothing is done twice.
    """
    whole = Rehearsal(where / "whole")
    expected = await make(whole).run("the task")
    for cut in range(1, min(whole.asked, at_most) + 1):
        first = Rehearsal(where / f"cut-{cut}", hangs_at=cut)
        with anyio.fail_after(30):
            await _cut_off(make(first), "the task", first.hung)
        second = Rehearsal(first.where)
        result = await make(second).resume()
        assert result.text == expected.text
        assert sorted([*first.ledger, *second.ledger]) == sorted(whole.ledger)
        assert {(one.key, one.text) for one in result.members} == {
            (one.key, one.text) for one in expected.members
        }
    assert isinstance(expected.members, tuple)
    return expected


async def run_past_timeouts(swarm: Swarm[Any], seconds: Sequence[float]) -> Any:
    """Run *swarm* on a clock that is turned on by each of *seconds* in turn."""
    clock, results = FakeClock(), []

    async def run() -> None:
        results.append(await swarm.run("the task"))

    async with Runtime(clock=clock) as runtime:
        await runtime.spawn(swarm)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(run)
            while not clock.pending:
                # Until somebody has a time limit: what comes before may take place in a thread.
                await anyio.to_thread.run_sync(int)
            for each in seconds:
                await clock.advance(each)
    return results[0]
