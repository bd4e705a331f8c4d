"""Who belongs to a swarm, by name, and what becomes of each that fails."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from overwinter.agents.agent import Agent
from overwinter.agents.swarms.member import is_ours
from overwinter.agents.swarms.policy import MemberPolicy
from overwinter.errors import ConfigurationError
from overwinter.persistence.names import storable_name

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from overwinter.agents.runs import Runs
    from overwinter.agents.swarms.member import Member

__all__ = ["Roster"]

_NEEDED = ("run", "stream", "resume", "save")


class Roster:
    """The members of one swarm, each once, and those who stand in for them.

    :raises ConfigurationError: nobody is in it, somebody cannot be a member, or two have one name.
    """

    def __init__(
        self,
        swarm: str,
        members: Iterable[Member],
        policy: MemberPolicy | None,
        policies: Mapping[str, MemberPolicy] | None,
    ) -> None:
        self._swarm = swarm
        for given in (policy, *(policies or {}).values()):
            if given is not None and not isinstance(given, MemberPolicy):  # pyright: ignore[reportUnnecessaryIsInstance]
                raise ConfigurationError(
                    f"{given!r} is no policy; give a MemberPolicy, as in MemberPolicy(then='skip')"
                )
        self._policy = policy or MemberPolicy()
        self._policies = dict(policies or {})
        self._named: dict[str, Member] = {}
        self.members = tuple(self._enter(members))
        if not self.members:
            raise ConfigurationError(f"swarm {swarm!r} has no members; give it agents")
        for name in self._policies:
            self.named(name)
        self._enter(
            given.fallback for given in (self._policy, *self._policies.values()) if given.fallback is not None
        )

    def named(self, name: str) -> Member:
        """The member, or the fallback, of that name.

        :raises ConfigurationError: there is none.
        """
        if name not in self._named:
            names = ", ".join(map(repr, self._named))
            raise ConfigurationError(f"swarm {self._swarm!r} has no member {name!r}; it has {names}")
        return self._named[name]

    def everybody(self) -> tuple[Member, ...]:
        """The members and the fallbacks."""
        return tuple(self._named.values())

    def policy_of(self, member: Member) -> MemberPolicy:
        """What becomes of *member* when it fails."""
        return self._policies.get(member.agent_name, self._policy)

    def reader_of(self, name: str) -> Callable[[str], Any]:
        """What makes the typed answer of a member out of its text."""
        member = self._named.get(name)
        return member.read_output if is_ours(member) else str

    def check_sessions(self, session: str, *, saved: bool, but: tuple[Member, ...] = ()) -> None:
        """Raise ``ConfigurationError`` where what is saved of a member would be mixed with what is saved of another.

        :param but: those that never work themselves.
        """
        seen: dict[str, object] = {}
        for member in _all_of_ours(self):
            if not (saved or member.is_saved):
                continue
            if session and not member.session and member not in but:
                raise ConfigurationError(
                    f"swarm {self._swarm!r} has the session {session!r}, and its member {member.agent_name!r} has none "
                    f"and would be the same for all sessions; give it session={session!r} too"
                )
            if seen.setdefault(member.agent_id, member) is not member:
                raise ConfigurationError(
                    f"two members of swarm {self._swarm!r}, or of those within it, are saved in one folder: "
                    f"{member.agent_name!r}; pass the same object where the same member is meant, or give one of them "
                    "another name or session"
                )

    def describe(self) -> list[dict[str, str]]:
        """The members as plain data."""
        return [_described(member) for member in self.members]

    def _enter(self, members: Iterable[Member]) -> list[Member]:
        entered: dict[int, Member] = {}
        for member in members:
            self._check(member)
            known = self._named.setdefault(member.agent_name, member)
            if known is not member:
                raise ConfigurationError(
                    f"swarm {self._swarm!r} has two members named {member.agent_name!r}; give each a name of its own, "
                    "or pass the same object where the same member is meant"
                )
            entered[id(member)] = member
        return list(entered.values())

    def _check(self, member: Any) -> None:
        if is_ours(member):
            return
        missing = [name for name in _NEEDED if not callable(getattr(member, name, None))]
        if not isinstance(getattr(member, "agent_name", None), str):
            missing.append("agent_name")
        if missing:
            raise ConfigurationError(
                f"{type(member).__name__} {member!r} cannot be a member of swarm {self._swarm!r}: it has no "
                f"{', '.join(missing)}; "
                "give an Agent, a swarm, or an object that has all of these"
            )


def _described(member: Member) -> dict[str, str]:
    if not is_ours(member):
        return {"name": storable_name(member.agent_name), "kind": "other"}
    kind = "agent" if isinstance(member, Agent) else "swarm"
    return {
        "name": storable_name(member.agent_name),
        "kind": kind,
        "session": storable_name(member.session),
        "agent_id": storable_name(member.agent_id),
    }


def _all_of_ours(roster: Roster) -> Iterator[Runs[Any, Any]]:
    for member in roster.everybody():
        if is_ours(member):
            yield member
            within = getattr(member, "roster", None)
            if isinstance(within, Roster):
                yield from _all_of_ours(within)
