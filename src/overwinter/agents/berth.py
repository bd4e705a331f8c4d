"""Where a named agent is while it is in memory."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import asyncio

    from overwinter.agents.runs import Runs
    from overwinter.runtime import ActorRef

__all__ = ["Berth"]


class Berth:
    """One named agent from the moment it is woken up to the moment it has been passivated.

    :ivar activation: what makes it, and brings it up.
    :ivar agent: it, and ``ref`` the reference of its actor; None until it is up.
    :ivar owes: it has not gone on with the tasks that it had accepted.
    :ivar users: how many calls and accepted tasks need it.
    :ivar rested: when its last use ended, in the clock's monotonic seconds.
    :ivar parting: it is being saved, to be passivated if nobody comes meanwhile.
    :ivar left: it is on its way out; set when it is gone.
    """

    __slots__ = ("activation", "agent", "left", "owes", "parting", "ref", "rested", "users")

    def __init__(self) -> None:
        self.activation: asyncio.Task[None] | None = None
        self.agent: Runs[Any, Any] | None = None
        self.ref: ActorRef[Any] | None = None
        self.owes = False
        self.users = 0
        self.rested = 0.0
        self.parting = False
        self.left: asyncio.Event | None = None
