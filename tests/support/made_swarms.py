"""Swarms whose pattern is a function, and members of all kinds."""

from __future__ import annotations

import json
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import anyio

from overwinter import (
    Agent,
    Swarm,
    tool,
)
from overwinter.agents.swarms.graph import Edge, Graph, Node
from overwinter.testing import ScriptedModel

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable
    from pathlib import Path

    from overwinter.agents.swarms.team import Team


class Made(Swarm[Any]):
    """A swarm whose pattern is a function; without one, its members work one after the other."""

    def __init__(
        self,
        name: str,
        members: list[Any],
        work: Callable[[Made, str, Team], Awaitable[str]] | None = None,
        **options: Any,
    ) -> None:
        self._in_turn = list(members)
        self._work = work
        super().__init__(name, members, **options)

    async def orchestrate(self, task: str, team: Team) -> str:
        if self._work is not None:
            return await self._work(self, task, team)
        for number, member in enumerate(self._in_turn, 1):
            task = (await team.ask(member, task, key=f"{number}-{member.agent_name}")).text
        return task

    def graph(self) -> Graph:
        nodes = tuple(Node(member.agent_name, member.agent_name) for member in self._in_turn)
        pairs = pairwise(nodes)
        return Graph(nodes, tuple(Edge(one.id, other.id) for one, other in pairs))


async def together(swarm: Made, task: str, team: Team) -> str:
    asked = [(member, task, member.agent_name) for member in swarm.members]
    return " ".join(result.text for result in await team.ask_all(asked))


def agent(name: str, *script: Any, **settings: Any) -> Agent[str]:
    return Agent(name, model=ScriptedModel(script), **settings)


async def read(path: Path) -> str:
    return await anyio.Path(path).read_text()


async def journal_of(workspace: Path) -> list[dict[str, Any]]:
    (journal,) = [path async for path in anyio.Path(workspace / "swarms").glob("*/journal/*.jsonl")]
    return [json.loads(line)["record"] for line in (await journal.read_text()).splitlines()]


@tool
async def look() -> str:
    """Look."""
    return "seen"


class Foreign:
    """A member that is none of ours: it can be cut off, and finishes what it was at."""

    def __init__(self, name: str, *answers: Any) -> None:
        self.agent_name = name
        self.asked: list[str] = []
        self._answers = list(answers)

    async def run(self, task: str) -> str:
        self.asked.append(f"run {task}")
        return self._next()

    async def stream(self, task: str) -> AsyncGenerator[Any, None]:
        yield await self.run(task)

    async def resume(self) -> str:
        self.asked.append("resume")
        return self._next()

    async def save(self) -> None:
        return None

    def _next(self) -> str:
        answer = self._answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return str(answer)


class ById(Foreign):
    async def run(self, task: str, *, run_id: str = "") -> str:
        self.asked.append(run_id.partition(":")[2])
        return self._next()


async def together_by_number(swarm: Made, task: str, team: Team) -> str:
    for number, member in enumerate(swarm.members):
        task = (await team.ask(member, task, key=str(number))).text
    return task
