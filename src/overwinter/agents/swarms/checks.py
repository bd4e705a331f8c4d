"""What several patterns ask of their settings."""

from __future__ import annotations

from typing import TYPE_CHECKING

from overwinter.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from overwinter.agents.swarms.member import Member

__all__ = ["all_different", "at_least_one"]


def at_least_one(name: str, value: int) -> int:
    """*value*, the setting *name*, which has to be a whole number from 1 up.

    :raises ConfigurationError: it is none.
    """
    if type(value) is not int or value < 1:
        raise ConfigurationError(f"{name} is a whole number from 1 up, not {value!r}")
    return value


def all_different(agents: Iterable[Member]) -> tuple[Member, ...]:
    """The *agents*, none of which may stand there twice, because they work at the same time.

    :raises ConfigurationError: one does.
    """
    members = tuple(agents)
    seen: set[str] = set()
    for member in members:
        if member.agent_name in seen:
            raise ConfigurationError(
                f"agent {member.agent_name!r} stands twice in agents, and cannot do two things at the same time; make "
                "another agent, with a name of its own"
            )
        seen.add(member.agent_name)
    return members
