"""What a pattern is written against."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, Any, Unpack

from msgspec import to_builtins

from overwinter.agents.swarms.company import Company
from overwinter.agents.swarms.graph import to_mermaid
from overwinter.agents.swarms.options import OutputT
from overwinter.agents.swarms.orchestration import Orchestration

if TYPE_CHECKING:
    from collections.abc import Iterable

    from overwinter.agents.swarms.graph import Graph
    from overwinter.agents.swarms.member import Member
    from overwinter.agents.swarms.options import SwarmOptions
    from overwinter.agents.swarms.team import Team

__all__ = ["Swarm"]


class Swarm(Company[OutputT]):
    """A group of agents and swarms that do tasks together, in a pattern that a subclass says.

    ``described``, plain data, stands in ``config.json``; the other settings are told of at :class:`Company`.
    """

    def __init__(
        self,
        name: str,
        members: Iterable[Member],
        *,
        described: dict[str, Any] | None = None,
        **options: Unpack[SwarmOptions[OutputT]],
    ) -> None:
        super().__init__(name, members, Orchestration, options)
        self.describe({"graph": to_builtins(self.graph()), **(described or {})})

    @abstractmethod
    async def orchestrate(self, task: str, team: Team) -> str:
        """Have the team do *task* by ``await team.ask(member, task, key=...)``, and return the answer.

        A run that goes on runs it again from its start: what may turn out differently is asked of the ``team``.
        """

    @abstractmethod
    def graph(self) -> Graph:
        """Who gives work to whom. It is asked for when the swarm is made."""

    def to_mermaid(self) -> str:
        """The :meth:`graph` as a Mermaid flowchart."""
        return to_mermaid(self.graph())
