"""What people decide about the calls of a swarm's members."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

from overwinter.agents.asking import listed
from overwinter.agents.handle import AgentHandle
from overwinter.agents.person import PersonInTheLoop
from overwinter.agents.teams import is_part_of
from overwinter.errors import NothingPending, StateNotFound

if TYPE_CHECKING:
    import os
    from collections.abc import Iterator

    from overwinter.agents.records import Pending
    from overwinter.agents.swarms.member import Member
    from overwinter.agents.swarms.roster import Roster

__all__ = ["SwarmPeople"]

OutputT = TypeVar("OutputT")


class SwarmPeople(AgentHandle[OutputT]):
    """The calls of all members that wait for a person. See :class:`~overwinter.agents.person.PersonInTheLoop`.

    While one waits, the swarm's run pauses when nothing else is left to do; :meth:`resume` goes on with it.
    """

    roster: Roster

    @property
    def copied(self) -> tuple[Member, ...]:
        """The members that never work themselves, but have copies of them made for it."""
        return ()

    async def load(self, path: str | os.PathLike[str] | None = None) -> None:
        """Take over everything that was saved; where the run is paused, also what is known of the members in it."""
        await super().load(path)
        begun = {work.member for work in self._state.begun_of(self._state.run_id).values()}
        for member in self._waiting():
            if member.agent_name in begun and member.is_vacant:
                await _load(member)

    async def cancel(self) -> None:
        """Give up the run under way, or the one that is paused, and what paused in its members with it."""
        await super().cancel()
        for member in self._waiting():
            if member.status == "paused" and self._is_mine(member):
                await member.cancel()

    def pending(self) -> tuple[Pending, ...]:
        """The calls that wait for a person, of all members."""
        return tuple(call for member in self._waiting() if self._is_mine(member) for call in member.pending())

    def _is_mine(self, member: AgentHandle[Any]) -> bool:
        """Whether what the member is at, or stopped at, is part of a run of this swarm."""
        return is_part_of(member.state.run_id, [self._state.run_ids])

    async def approve(self, call_id: str = "") -> None:
        """Allow the call: it runs, once."""
        await (await self._holder_of(call_id)).approve(call_id)

    async def deny(self, reason: str = "", call_id: str = "") -> None:
        """Forbid the call: it does not run, and the model is told so, and why."""
        await (await self._holder_of(call_id)).deny(reason, call_id)

    async def answer(self, text: str, call_id: str = "") -> None:
        """Answer the question: *text* is the call's result."""
        await (await self._holder_of(call_id)).answer(text, call_id)

    async def _holder_of(self, call_id: str) -> PersonInTheLoop[Any] | SwarmPeople[Any]:
        await self.load_if_fresh()
        holders = [member for member in self._waiting() if member.pending() and self._is_mine(member)]
        if call_id:
            holders = [one for one in holders if any(call.call_id == call_id for call in one.pending())]
        which = f"call {call_id!r}" if call_id else "a call"
        if not holders:
            waiting = listed(self.pending()) or "nothing"
            raise NothingPending(
                f"no member of swarm {self.agent_name!r} has {which} that waits for a person; what waits is: {waiting}"
            )
        if len(holders) > 1:
            names = ", ".join(repr(one.agent_name) for one in holders)
            raise NothingPending(
                f"several members of swarm {self.agent_name!r} have {which} that waits for a person: {names}; say it "
                "to the one that is meant, as in swarm.member(name).approve()"
            )
        return holders[0]

    def _waiting(self) -> Iterator[PersonInTheLoop[Any] | SwarmPeople[Any]]:
        for member in self.roster.everybody():
            if member not in self.copied and isinstance(member, (PersonInTheLoop, SwarmPeople)):
                # In a process that has not asked the member yet, it does not know that it is saved, and where.
                member.be_in(self._member.workspace)
                if self._profile.settings.autosave:
                    member.be_saved(self._profile.settings.durability)
                yield member


async def _load(member: PersonInTheLoop[Any] | SwarmPeople[Any]) -> None:
    try:
        await member.load_if_fresh()
    except StateNotFound:
        return
