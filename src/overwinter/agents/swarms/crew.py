"""The members of a swarm on the runtime where it lives."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from anyio import create_task_group

from overwinter.agents.swarms.member import is_ours
from overwinter.errors import AgentInUse, ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Callable
    from collections.abc import Set as AbstractSet

    from overwinter.agents.events import Event
    from overwinter.agents.hub import EventHub
    from overwinter.agents.profile import Durability
    from overwinter.agents.runs import Runs
    from overwinter.agents.runtime import Runtime
    from overwinter.agents.swarms.member import Member

__all__ = ["Crew"]


class Crew:
    """Brings members to their swarm's runtime before their first work there, and lets go of them.

    :param relay: is handed the events of all that are there, while anybody hears the swarm's *hub*.
    """

    def __init__(self, relay: Callable[[Event], None], hub: Callable[[], EventHub]) -> None:
        self._relay = relay
        self._hub = hub
        self._runtime: Runtime | None = None
        self._unwatch: dict[Runs[Any, Any], Callable[[], None]] = {}

    async def ready(
        self,
        member: Runs[Any, Any],
        runtime: Runtime,
        *,
        saved: Durability | None,
        gone_on: tuple[AbstractSet[str], ...],
    ) -> None:
        """Return when *member* lives on *runtime*, and knows what it has to.

        :param saved: how it is saved because its swarm is, unless it says so itself.
        :param gone_on: the runs that go on with what another process began: a member that was at work for one of them
            goes on in the conversation that it had there.
        :raises AgentInUse: another process holds it.
        :raises ConfigurationError: it lives elsewhere in this process, or cannot be saved any more.
        """
        there = member.reference_on(runtime)
        here = there is not None and there.alive
        if self._runtime is runtime and here and member in self._unwatch:
            return
        self._runtime = runtime
        if saved is not None and not member.is_saved:
            if not member.is_vacant:
                raise ConfigurationError(
                    f"its swarm is saved, but {member.agent_name!r} was spawned without being saved; make it with "
                    "autosave=True, or leave it to the swarm to spawn it"
                )
            member.be_saved(saved)
        try:
            await runtime.guests.bring(member, self, to_be_loaded=bool(gone_on))
        except AgentInUse as error:
            if member.is_vacant and error.pid != os.getpid():
                raise
            raise ConfigurationError(
                f"{member.agent_name!r} is at work elsewhere in this process already; open one Runtime, and spawn all "
                "that share it there: `async with Runtime() as runtime: await runtime.spawn(swarm)`"
            ) from error
        if gone_on and member.was_at_work_for(gone_on):
            await member.load_if_saved()
        if member not in self._unwatch:
            self._unwatch[member] = member.watch_for(self._hub(), self._relay)

    async def let_go(self, member: Member) -> None:
        """Stop a member that will not be asked again, and forget it."""
        if is_ours(member):
            self._unwatch.pop(member, _nothing)()
            if self._runtime is not None:
                await self._runtime.guests.let_go(member, self)

    async def aclose(self) -> None:
        """Let go of all; the swarm stops."""
        there, self._unwatch = self._unwatch, {}
        for unwatch in there.values():
            unwatch()
        if self._runtime is not None and self._runtime.running:
            async with create_task_group() as tasks:
                for member in there:
                    tasks.start_soon(self._runtime.guests.let_go, member, self)


def _nothing() -> None:
    """Nobody watched."""
