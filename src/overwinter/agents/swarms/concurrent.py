"""All at the same time, each on the same task."""

from __future__ import annotations

from typing import TYPE_CHECKING, Unpack

from overwinter.agents.swarms.answers import answers_of, anyone
from overwinter.agents.swarms.base import Swarm
from overwinter.agents.swarms.checks import all_different, at_least_one
from overwinter.agents.swarms.drawing import graph_of_steps, node_of
from overwinter.agents.swarms.options import OutputT

if TYPE_CHECKING:
    from collections.abc import Iterable

    from overwinter.agents.swarms.graph import Graph
    from overwinter.agents.swarms.member import Member
    from overwinter.agents.swarms.options import SwarmOptions
    from overwinter.agents.swarms.team import Team

__all__ = ["ConcurrentWorkflow"]


class ConcurrentWorkflow(Swarm[OutputT]):
    """The ``agents`` work at the same time; the result is each one's answer under its name, in their order.

    Each is told the task as it is. Of one that is skipped the result says that there is no answer. When all were
    skipped the run fails.

    :param name: any text; the swarm's, as an ``agent_name`` is an agent's.
    :param agents: agents, swarms, or any other :class:`~overwinter.Member`, each of them once.
    :param at_once: how many work at the same time; unless given, all of them do.
    :raises ConfigurationError: a setting cannot work; the message names it.
    """

    def __init__(
        self,
        name: str,
        agents: Iterable[Member],
        *,
        at_once: int | None = None,
        **options: Unpack[SwarmOptions[OutputT]],
    ) -> None:
        self._workers = all_different(agents)
        self._at_once = None if at_once is None else at_least_one("at_once", at_once)
        super().__init__(name, self._workers, described={"at_once": at_once}, **options)

    async def orchestrate(self, task: str, team: Team) -> str:
        """Give the task to all of them and wait for all of them."""
        asks = ((member, task, member.agent_name) for member in self._workers)
        results = await team.ask_all(asks, at_once=self._at_once)
        anyone(self.agent_name, results)
        return answers_of(results)

    def graph(self) -> Graph:
        """All side by side."""
        return graph_of_steps([[node_of(member) for member in self._workers]])
