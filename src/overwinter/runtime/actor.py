"""What users write: a class with a ``receive``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Generic, TypeGuard, TypeVar

from overwinter.runtime.context import ActorContext

if TYPE_CHECKING:
    from overwinter.runtime.cell import Cell
__all__ = ["Actor", "MessageT", "Unsaid", "is_actor"]

MessageT = TypeVar("MessageT")


class Unsaid(int):
    """A capacity that nobody chose: the system's holds in its place."""

    __slots__ = ()


class Actor(Generic[MessageT]):
    """Something that handles messages, one at a time, and keeps what it knows to itself.

    Its code runs in a copy of the context (:mod:`contextvars`) it was spawned in. An actor that is restarted
    is made anew if it was spawned as a class or another callable; spawned as an object, it stays the same
    object.
    """

    #: How many messages have room in the mailbox; None is no bound. ``spawn`` may say otherwise.
    mailbox_capacity: int | None = Unsaid(1024)
    #: What the messages in the mailbox may weigh together, as :meth:`weigh` weighs them; None is no bound.
    mailbox_weight: int | None = None

    #: Where the runtime keeps it; leave it alone.
    overwinter_cell: Cell | None = None

    @property
    def context(self) -> ActorContext:
        """The actor's own side of the runtime; there from :meth:`on_start` on, not yet in ``__init__``."""
        if self.overwinter_cell is None:
            raise AttributeError(f"this {type(self).__name__} was not spawned yet, and has no context")
        return ActorContext(self.overwinter_cell)

    async def receive(self, message: MessageT) -> Any:
        """Handle one message; what is returned is the reply to an ask.

        An exception is raised at the asker and handled by the actor's supervision. Cancellation comes only
        from a stop whose time is over.
        """
        raise NotImplementedError(f"{type(self).__name__} has no receive()")

    async def on_start(self) -> None:
        """Called before the first message, and again after a restart.

        An exception is raised by ``spawn``, and there is no actor; at a restart it is a failure like any
        other.
        """

    async def on_stop(self) -> None:
        """Called after the last message, when the children have stopped and the actor's jobs still run.

        Called once for each :meth:`on_start` that returned, unless :meth:`on_restart` was called in its
        stead. An exception is logged. It is cancelled when the time of the stop is over, and has the
        system's ``patience`` at least.
        """

    async def on_restart(self, error: Exception) -> None:
        """Called on an actor that failed by ``error`` and is to be started again, before :meth:`on_start`.

        Its children have stopped and its jobs have ended. This is the place to let go of what
        :meth:`on_start` took; if that failed half-way, it is called as well. An exception is a failure in its
        turn, or only logged where a new object takes the place of this one.
        """

    def weigh(self, message: MessageT) -> int:  # noqa: ARG002
        """What a message weighs against :attr:`mailbox_weight`; called by the sender, once a message."""
        return 1


def is_actor(thing: object) -> TypeGuard[Actor[Any]]:
    """Whether it is an actor, of whatever messages."""
    return isinstance(thing, Actor)
