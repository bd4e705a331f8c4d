"""The members that swarms brought to a runtime."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from overwinter.agents.turns import Turns

if TYPE_CHECKING:
    from collections.abc import Iterator

    from overwinter.agents.runs import Runs
    from overwinter.agents.runtime import Runtime

__all__ = ["Guests"]


class Guests:
    """Who was brought along, and by which swarms: whoever is needed by none any more is stopped."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._hosts: dict[Runs[Any, Any], set[object]] = {}
        # One after the other: two swarms may want the same member at once.
        self._door: Turns[Runs[Any, Any]] = Turns()

    def __iter__(self) -> Iterator[Runs[Any, Any]]:
        return iter(tuple(self._hosts))

    async def bring(self, member: Runs[Any, Any], host: object, *, to_be_loaded: bool = False) -> None:
        """Return when *member* lives here. It stays at least until *host* lets go of it.

        One that was spawned here by somebody else is that one's, and stays as it is.

        :raises AgentInUse: somebody else holds it, or it lives elsewhere in this process.
        """
        async with self._door.at(member):
            there = member.reference_on(self._runtime)
            if there is not None and not there.alive:
                # Somebody is stopping it, and it can come back when that is done.
                await there.stop()
            if member.reference_on(self._runtime) is None:
                await member.join(self._runtime, to_be_loaded=to_be_loaded)
                self._runtime.directory.spawned(member, guest=True)
                self._hosts[member] = set()
            if member in self._hosts:
                self._hosts[member].add(host)

    async def let_go(self, member: Runs[Any, Any], host: object) -> None:
        """Stop *member*, unless another host needs it here, or it is nobody's guest."""
        async with self._door.at(member):
            hosts = self._hosts.get(member)
            if hosts is None:
                return
            hosts.discard(host)
            if not hosts:
                del self._hosts[member]
                await self._runtime.stop(member)

    def adopt(self, member: Runs[Any, Any]) -> bool:
        """Make a guest a resident, which is stopped by whoever spawned it; whether it was a guest."""
        return self._hosts.pop(member, None) is not None
