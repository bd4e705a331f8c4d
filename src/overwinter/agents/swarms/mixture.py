"""Several answer, see each other's answers and answer again, and one makes the best of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Unpack

from overwinter.agents.swarms.answers import anyone, under_names
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

__all__ = ["MixtureOfAgents"]

TASK = """\
The task:

{task}

"""

AGAIN = """\
{task}Others who work on the same task answered:

{answers}

Some of that may be wrong. Take up what is right and missing in your own answer, leave what is not, and answer the \
task again, in full."""

# What a worker is told in a further layer when none of the others has said anything since.
ALONE = "Nobody else has answered. Look at your answer once more, and answer the task again, in full."

AGGREGATE = """\
The task:

{task}

Several who worked on it answered:

{answers}

Some of that may be wrong. Weigh the answers against each other and give the one best answer to the task, in full. Do \
not write about the answers themselves."""


class MixtureOfAgents(Swarm[OutputT]):
    """The ``agents`` answer in layers, and the ``aggregator_agent`` makes one answer of their last; that is the result.

    In the first layer each is told the task as it is, in every further one what the others answered since, and answers
    again. The aggregator is told the task and the answers of the last layer. All of a layer work at the same time.

    One that is skipped has no answer in that layer, and is told in the next what it missed. A layer of which all were
    skipped is left out. When no layer has an answer the run fails, and so it does when the aggregator is skipped.

    :param name: any text; the swarm's, as an ``agent_name`` is an agent's.
    :param agents: agents, swarms, or any other :class:`~overwinter.Member`, each of them once.
    :param aggregator_agent: who makes one answer of them all; it may be one of the ``agents``.
    :param layers: how many times the ``agents`` answer; with 1 none of them hears of the others.
    :raises ConfigurationError: a setting cannot work; the message names it.
    """

    def __init__(
        self,
        name: str,
        agents: Iterable[Member],
        aggregator_agent: Member,
        *,
        layers: int = 3,
        **options: Unpack[SwarmOptions[OutputT]],
    ) -> None:
        self._workers = all_different(agents)
        self._aggregator = aggregator_agent
        self._layers = at_least_one("layers", layers)
        described = {"layers": layers, "aggregator_agent": aggregator_agent.agent_name}
        super().__init__(name, [*self._workers, aggregator_agent], described=described, **options)

    async def orchestrate(self, task: str, team: Team) -> str:
        """Ask layer after layer, and then the aggregator."""
        transcript = Transcript()
        asked: list[MemberResult] = []
        last: list[MemberResult] = []
        for layer in range(1, self._layers + 1):
            results = await team.ask_all(
                [
                    (member, _told(member, task, transcript), f"layer-{layer}/{member.agent_name}")
                    for member in self._workers
                ]
            )
            transcript.take(results)
            asked += results
            last = [result for result in results if result.ok] or last
        anyone(self.agent_name, asked)
        answers = under_names((result.member, result.text) for result in last)
        aggregator = self._aggregator
        result = await team.ask(
            aggregator,
            AGGREGATE.format(task=task, answers=answers),
            key=f"aggregator/{aggregator.agent_name}",
        )
        return anyone(self.agent_name, [result])[0].text

    def graph(self) -> Graph:
        """Layer by layer, and the aggregator."""
        layers = [
            [node_of(member, f"layer-{layer}/{member.agent_name}") for member in self._workers]
            for layer in range(1, self._layers + 1)
        ]
        aggregator = node_of(self._aggregator, f"aggregator/{self._aggregator.agent_name}")
        return graph_of_steps([*layers, [aggregator]])


def _told(member: Member, task: str, transcript: Transcript) -> str:
    name = member.agent_name
    news, knows = transcript.news(name), transcript.knows_the_task(name)
    if news:
        return AGAIN.format(task="" if knows else TASK.format(task=task), answers=news)
    return ALONE if knows else task
