"""One after the other, each going on from what the one before it wrote."""

from __future__ import annotations

from typing import TYPE_CHECKING, Unpack

from overwinter.agents.swarms.answers import anyone, handed_on
from overwinter.agents.swarms.base import Swarm
from overwinter.agents.swarms.checks import at_least_one
from overwinter.agents.swarms.drawing import graph_of_steps, node_of
from overwinter.agents.swarms.options import OutputT

if TYPE_CHECKING:
    from collections.abc import Iterable

    from overwinter.agents.swarms.graph import Graph
    from overwinter.agents.swarms.member import Member
    from overwinter.agents.swarms.options import SwarmOptions
    from overwinter.agents.swarms.results import MemberResult
    from overwinter.agents.swarms.team import Team

__all__ = ["SequentialWorkflow"]


class SequentialWorkflow(Swarm[OutputT]):
    """The ``agents`` work one after the other; the result is what the last of them wrote.

    The first is told the task as it is, every other one the task and what the one before it wrote. An agent may stand
    in it more than once. One that is skipped is left out: the next goes on from what was there before. When all were
    skipped the run fails.

    :param name: any text; the swarm's, as an ``agent_name`` is an agent's.
    :param agents: agents, swarms, or any other :class:`~overwinter.Member`.
    :param max_loops: how many times they all work; the first then goes on from what the last one wrote.
    :raises ConfigurationError: a setting cannot work; the message names it.
    """

    def __init__(
        self,
        name: str,
        agents: Iterable[Member],
        *,
        max_loops: int = 1,
        **options: Unpack[SwarmOptions[OutputT]],
    ) -> None:
        self._line = tuple(agents)
        self._max_loops = at_least_one("max_loops", max_loops)
        super().__init__(name, self._line, described={"max_loops": max_loops}, **options)

    async def orchestrate(self, task: str, team: Team) -> str:
        """Pass the work from one to the next."""
        asked: list[MemberResult] = []
        last: MemberResult | None = None
        for loop in range(1, self._max_loops + 1):
            for number, member in enumerate(self._line, 1):
                told = handed_on(task, [(last.member, last.text)]) if last is not None else task
                result = await team.ask(member, told, key=_key(loop, number, member))
                asked.append(result)
                if result.ok:
                    last = result
        return anyone(self.agent_name, asked)[-1].text

    def graph(self) -> Graph:
        """A line."""
        line = [[node_of(member, _key(1, number, member))] for number, member in enumerate(self._line, 1)]
        return graph_of_steps(line, again=self._max_loops)


def _key(loop: int, number: int, member: Member) -> str:
    key = f"{number}-{member.agent_name}"
    return key if loop == 1 else f"loop-{loop}/{key}"
