"""What can stand where an agent stands."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol, TypeGuard

from overwinter.agents.runs import Runs

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

__all__ = ["Member", "is_ours"]


class Member(Protocol):
    """A member of a swarm: an :class:`~overwinter.Agent`, another swarm, or anything of your own that has these.

    What ``run`` returns is read with ``str()``; if it has a ``usage`` of type :class:`~overwinter.Usage`, that counts.
    An object of your own whose ``run`` takes a ``run_id`` gets the same one again after its work was cut off, and must
    not do it twice; of any other ``resume`` is called then, and ``run`` if that raises ``NothingToResume``.
    """

    @property
    def agent_name(self) -> str:
        """The name under which the swarm knows it; no two members have the same."""
        ...

    async def run(self, task: str) -> Any:
        """Do *task*. Cancelling it must leave it resumable."""
        ...

    def stream(self, task: str) -> AsyncGenerator[Any, None]:
        """Do *task* and yield its events."""
        ...

    async def resume(self) -> Any:
        """Finish what was cut off, or raise ``NothingToResume``."""
        ...

    async def save(self) -> Any:
        """Save what it knows."""
        ...


def is_ours(member: object) -> TypeGuard[Runs[Any, Any]]:
    """Whether it is an agent or a swarm of this project, which can be brought to a runtime."""
    return isinstance(member, Runs)
