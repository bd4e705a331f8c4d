"""The members of a swarm on the runtime where it lives."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

from anyio import Lock, create_task_group

from overwinter.agents.runs import Runs
from overwinter.errors import StateNotFound

if TYPE_CHECKING:
    from collections.abc import Callable

    from overwinter.agents.events import Event
    from overwinter.agents.profile import Durability
    from overwinter.agents.runtime import Runtime
    from overwinter.agents.swarms.member import Member

__all__ = ["Crew"]


class Crew:
    """Brings members to their swarm's runtime before their first work there, and lets go of them.

    A member that was spawned there by somebody else stays that one's to stop. Members of a swarm that is saved are
    saved too. One that was loaded has its members load what was saved of them, so that each goes on in its own
    conversation.

    :param relay: is handed the events of all that were brought.
    """

    def __init__(self, relay: Callable[[Event], None]) -> None:
        self._relay = relay
        self._unwatch: dict[Runs[Any, Any], Callable[[], None]] = {}
        self._runtime: Runtime | None = None
        self._brought: set[Runs[Any, Any]] = set()
        self._met: set[Runs[Any, Any]] = set()
        self._coming: dict[Runs[Any, Any], Lock] = {}

    async def ready(
        self, member: Runs[Any, Any], runtime: Runtime, *, saved: Durability | None, load: bool
    ) -> None:
        """Return when *member* lives on *runtime*.

        :param saved: how its swarm is saved, if it is.
        :param load: it goes on in the conversation that was saved of it, unless this object has been at work already.
        :raises AgentInUse: somebody else holds it.
        """
        if self._runtime is not runtime:
            self._runtime = runtime
            self._brought.clear()
        if member in self._met and member.reference_on(runtime) is not None:
            return
        lock = self._coming.setdefault(member, Lock())
        async with lock:
            if member.reference_on(runtime) is None:
                if saved is not None:
                    member.be_saved(saved)
                await runtime.take_in(member, to_be_loaded=load and member not in self._met)
                self._brought.add(member)
            if load and member not in self._met:
                with suppress(StateNotFound):
                    await member.load_if_fresh()
            if member not in self._met:
                self._met.add(member)
                self._unwatch[member] = member.watch(self._relay)
        self._coming.pop(member, None)

    async def let_go(self, member: Member) -> None:
        """Stop a member that will not be asked again, and forget it."""
        if not isinstance(member, Runs):
            return
        self._met.discard(member)
        self._unwatch.pop(member, _nothing)()
        if member in self._brought and self._runtime is not None:
            self._brought.discard(member)
            await self._runtime.stop(member)

    async def aclose(self) -> None:
        """Stop those that were brought along; the swarm stops."""
        brought, self._brought = self._brought, set()
        if self._runtime is not None and self._runtime.running:
            async with create_task_group() as tasks:
                for member in brought:
                    tasks.start_soon(self._runtime.stop, member)


def _nothing() -> None:
    """Nobody watched."""
