"""In turns, each hearing what was said since its last one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Unpack

from overwinter.agents.swarms.answers import anyone
from overwinter.agents.swarms.base import Swarm
from overwinter.agents.swarms.checks import all_different, at_least_one
from overwinter.agents.swarms.drawing import graph_of_steps, node_of
from overwinter.agents.swarms.options import OutputT
from overwinter.agents.swarms.transcript import Transcript

if TYPE_CHECKING:
    from collections.abc import Iterable

    from overwinter.agents.swarms.graph import Graph
    from overwinter.agents.swarms.member import Member
    from overwinter.agents.swarms.options import SwarmOptions
    from overwinter.agents.swarms.results import MemberResult
    from overwinter.agents.swarms.team import Team

__all__ = ["RoundRobin"]

FIRST = """\
You are {name}, and work on a task in turns with {others}.

The task:

{task}

{news}It is your turn. Build on what was said, add what you can, and answer with what the work is now."""

NEXT = """\
{news}It is your turn again. Build on what was said, add what you can, and answer with what the work is now."""

NEWS = """\
What the others said{since}:

{said}

"""


class RoundRobin(Swarm[OutputT]):
    """The ``agents`` work in turns, in their order, ``max_loops`` times round; the result is what was said last.

    On its first turn each is told the task, who the others are, and what they said; then what they said since its last
    turn, for it remembers the rest itself. The turn of one that is skipped passes to the next, and on its own next turn
    it is told what it missed. When all turns were skipped the run fails.

    :param name: any text; the swarm's, as an ``agent_name`` is an agent's.
    :param agents: agents, swarms, or any other :class:`~overwinter.Member`, each of them once.
    :param max_loops: how many turns each has.
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
        self._circle = all_different(agents)
        self._max_loops = at_least_one("max_loops", max_loops)
        super().__init__(name, self._circle, described={"max_loops": max_loops}, **options)

    async def orchestrate(self, task: str, team: Team) -> str:
        """Give each its turn, round after round."""
        transcript = Transcript()
        asked: list[MemberResult] = []
        for loop in range(1, self._max_loops + 1):
            for member in self._circle:
                told = self._told(member.agent_name, task, transcript)
                result = await team.ask(member, told, key=f"round-{loop}/{member.agent_name}")
                transcript.take([result])
                asked.append(result)
        return anyone(self.agent_name, asked)[-1].text

    def _told(self, name: str, task: str, transcript: Transcript) -> str:
        said, knows = transcript.news(name), transcript.knows_the_task(name)
        news = NEWS.format(since=" since your last turn" if knows else " so far", said=said) if said else ""
        if knows:
            return NEXT.format(news=news)
        others = ", ".join(member.agent_name for member in self._circle if member.agent_name != name)
        return FIRST.format(name=name, others=others or "nobody else", task=task, news=news)

    def graph(self) -> Graph:
        """A line, back to its beginning for as many rounds as there are."""
        return graph_of_steps([[node_of(member)] for member in self._circle], again=self._max_loops)
