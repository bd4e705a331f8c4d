"""A group with members that is run, saved and resumed like an agent, whatever its pattern."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, cast

from overwinter.agents.membership import Membership
from overwinter.agents.profile import Settings
from overwinter.agents.retention import KEEP_64_MB
from overwinter.agents.retrospect import Retrospect
from overwinter.agents.runs import Runs
from overwinter.agents.state import AgentState
from overwinter.agents.swarms.crew import Crew
from overwinter.agents.swarms.options import OutputT, refuse_unknown
from overwinter.agents.swarms.people import SwarmPeople
from overwinter.agents.swarms.profile import SwarmProfile
from overwinter.agents.swarms.results import SwarmResult
from overwinter.agents.swarms.roster import Roster
from overwinter.errors import ConfigurationError
from overwinter.persistence.workspace import Workspace

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from overwinter.agents.budget import Budget
    from overwinter.agents.commands import ResumeRun
    from overwinter.agents.events import Event
    from overwinter.agents.profile import Durability
    from overwinter.agents.swarms.member import Member
    from overwinter.agents.swarms.options import SwarmOptions
    from overwinter.agents.swarms.orchestration import Orchestration

__all__ = ["Company"]


class Company(SwarmPeople[OutputT], Runs[OutputT, SwarmResult[OutputT]], Retrospect[OutputT]):
    """What a swarm is before it has a pattern: members, settings, a mailbox, a journal and a folder.

    It is used like an agent, and can be a member of another swarm. What a member finished is recorded and never asked
    for again.

    :param name: any text; the same name and session in the same workspace is the same swarm in every process.
    :param members: agents, swarms, or what else has the shape of :class:`~overwinter.Member`.
    :param begin: what carries the pattern out; called with the swarm, once a run.
    :param options: what every swarm takes by keyword, :class:`~overwinter.agents.swarms.options.SwarmOptions`.
    :raises ConfigurationError: a setting cannot work; the message names it.
    """

    pattern: ClassVar[str] = ""

    def __init__(
        self,
        name: str,
        members: Iterable[Member],
        begin: Callable[..., Orchestration],
        options: SwarmOptions[OutputT],
    ) -> None:
        refuse_unknown(type(self).__name__, options)
        self.roster = Roster(name, members, options.get("policy"), options.get("policies"))
        self.crew = Crew(self.relay, lambda: self._member.hub)
        settings = Settings(
            agent_name=name,
            session=options.get("session", ""),
            agent_id=options.get("agent_id") or "",
            agent_description=options.get("description", ""),
            autosave=options.get("autosave", False),
            durability=options.get("durability", "async"),
            verbose=options.get("verbose", False),
            lease_timeout=options.get("lease_timeout", 0.0),
            budget=options.get("budget"),
            retention=options.get("retention") or KEEP_64_MB,
        )
        profile = SwarmProfile(
            settings,
            pattern=self.pattern or type(self).__name__,
            output_type=options.get("output_type", cast("type[OutputT]", str)),
            make_loop=partial(begin, self),
            closing=self.crew.aclose,
            pending=self.pending,
            read=self.roster.reader_of,
        )
        self._profile = profile
        self._tell = profile.tell
        self._state = AgentState()
        workspace_dir = options.get("workspace_dir")
        self._member = Membership(
            self._profile, self._state, Workspace(workspace_dir) if workspace_dir else None
        )
        self.orchestration: Orchestration | None = None
        self.roster.check_sessions(settings.session, saved=settings.autosave, but=self.copied)
        self.describe({"members": self.roster.describe()})

    @property
    def members(self) -> tuple[Member, ...]:
        """Who belongs to it, each once."""
        return self.roster.members

    def member(self, name: str) -> Any:
        """The member of that name.

        :raises ConfigurationError: there is none.
        """
        return self.roster.named(name)

    def describe(self, more: Mapping[str, Any]) -> None:
        """Have *more*, plain data, stand in ``config.json`` under ``swarm``.

        :raises ConfigurationError: it cannot be stored.
        """
        self._tell(more)

    def _resumption(
        self, run_id: str, max_loops: int | None, budget: Budget | None, *, streams: bool = False
    ) -> ResumeRun:
        if max_loops is not None:
            raise ConfigurationError(
                f"max_loops is no limit of swarm {self.agent_name!r}; give it to the member that is paused: "
                "swarm.member(name).resume(max_loops=...)"
            )
        return super()._resumption(run_id, max_loops, budget, streams=streams)

    def hold(self) -> None:
        """Pause when the work under way has ended: what a swarm that is paused says to those that work for it."""
        if self.orchestration is not None:
            self.orchestration.pause()

    @property
    def saved_as(self) -> Durability | None:
        """The durability of a swarm that is saved; None for another."""
        settings = self._profile.settings
        return settings.durability if settings.autosave else None

    @property
    def went_on(self) -> bool:
        """Whether it goes on with what another object, or process, began."""
        return self._member.went_on

    def relay(self, event: Event) -> None:
        """Hand an event of a member's work to those who watch the swarm."""
        if event.run_id.startswith(f"{self._state.run_id}:"):
            self._member.hub.publish(event)

    def __repr__(self) -> str:
        names = ", ".join(member.agent_name for member in self.members[:5])
        more = ", …" if len(self.members) > 5 else ""
        return f"<{type(self).__name__} {self.agent_name!r} {self.status} of {names}{more}>"
