"""What a run works with."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path
    from random import Random

    from anyio import CapacityLimiter

    from overwinter.agents.allowance import Account
    from overwinter.agents.estimate import Estimator
    from overwinter.agents.events import Event
    from overwinter.agents.hub import EventHub
    from overwinter.agents.place import Place
    from overwinter.agents.profile import Profile
    from overwinter.agents.runtime import Runtime
    from overwinter.agents.saving import Saving
    from overwinter.agents.state import AgentState
    from overwinter.agents.teams import TeamAtWork
    from overwinter.runtime import Clock

__all__ = ["Stage"]


class Stage:
    """One agent on the runtime where it works: who it is, what it knows, and what surrounds it.

    ``estimator`` guesses the size of the agent's next call. ``saving`` is ``None`` while nothing of the agent is saved.
    """

    __slots__ = (
        "clock",
        "estimator",
        "hub",
        "limiter",
        "place",
        "profile",
        "random",
        "runtime",
        "saving",
        "state",
    )

    def __init__(
        self,
        *,
        profile: Profile[Any],
        state: AgentState,
        clock: Clock,
        random: Random,
        limiter: CapacityLimiter,
        place: Place,
        hub: EventHub,
        runtime: Runtime,
        estimator: Estimator,
        saving: Saving | None = None,
    ) -> None:
        self.profile = profile
        self.state = state
        self.clock = clock
        self.random = random
        self.limiter = limiter
        self.place = place
        self.hub = hub
        self.runtime = runtime
        self.estimator = estimator
        self.saving = saving

    @property
    def workspace_dir(self) -> Path:
        """The agent's own folder."""
        return self.place.folder.path

    def accounts(self, within: tuple[str, ...]) -> tuple[Account, ...]:
        """On what a run draws that is part of the runs *within*: their swarms' accounts, and the runtime's."""
        return (*(team.account for team in self.teams(within)), self.runtime.account)

    def teams(self, within: tuple[str, ...]) -> tuple[TeamAtWork, ...]:
        """The swarms that wait for a run that is part of the runs *within*."""
        teams = self.runtime.teams
        return tuple(teams[key] for key in within if key in teams)

    def emit(self, event: type[Event], **fields: Any) -> None:
        """Publish an event of the current run, which is made only if somebody hears it."""
        if not (self.hub.heard or self.runtime.watched):
            self.runtime.stirred()
            return
        state = self.state
        fields.setdefault("loop", state.loop_count)
        self.publish(event(agent_name=self.profile.name, run_id=state.run_id, **fields))

    def publish(self, event: Event) -> None:
        """Hand an event of the agent to those who watch it, and then to those who watch its runtime."""
        self.hub.publish(event)
        self.runtime.publish(event)

    def now(self) -> str:
        """The time, ISO 8601 in UTC."""
        return self.clock.now().isoformat()

    def scrub(self, text: str) -> str:
        """*text*, which may quote a provider, without the credentials it may hold, and fit to be stored."""
        import os

        from overwinter.persistence.secrets import credential_values, scrub

        storable = text.encode("utf-8", "replace").decode("utf-8")
        return scrub(storable, credential_values(self.profile.model_args, os.environ))
