"""A handle on an actor, which may be given away."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from overwinter.runtime.address import Address

__all__ = ["ActorRef", "Transport"]

MessageT_contra = TypeVar("MessageT_contra", contravariant=True)


class Transport(Protocol):
    """What carries messages to an address. A system has one; others could reach other machines."""

    def deliver(self, address: Address, message: Any) -> Awaitable[object] | None:
        """Hand the message over; what is returned is to be awaited if there is no room yet."""
        ...

    def deliver_nowait(self, address: Address, message: Any) -> None:
        """Hand the message over or raise ``MailboxFull``."""
        ...

    async def ask(self, address: Address, message: Any, timeout: float | None) -> Any:  # noqa: ASYNC109
        """Hand the message over and return its reply."""
        ...

    async def stop(self, address: Address, *, drain: bool, timeout: float | None) -> None:  # noqa: ASYNC109
        """Return when the actor has stopped."""
        ...

    def is_alive(self, address: Address) -> bool:
        """Whether the actor takes messages."""
        ...


class ActorRef(Generic[MessageT_contra]):
    """A reference to one incarnation of an actor. It holds an address and never the actor.

    Two references are equal when their addresses are. It may be sent in messages and kept for as long as one
    likes: when the actor has stopped, what is told becomes a dead letter and what is asked raises
    ``ActorStopped``. To be used on the event loop's thread only.
    """

    __slots__ = ("_address", "_transport")

    def __init__(self, address: Address, transport: Transport) -> None:
        self._address = address
        self._transport = transport

    @property
    def address(self) -> Address:
        """Where the actor is."""
        return self._address

    @property
    def alive(self) -> bool:
        """Whether the actor still takes messages; False from the moment it was asked to stop."""
        return self._transport.is_alive(self._address)

    async def tell(self, message: MessageT_contra) -> None:
        """Put ``message`` into the actor's mailbox, waiting for room; nobody waits for it to be handled.

        Messages of one sender are handled in the order in which they were told. For an actor that has stopped
        it becomes a dead letter. Raises ``MessageRefused`` if it is not plain data, and ``MailboxFull`` where
        an actor would wait in its own ``receive`` for room in its own mailbox. Cancelled while it waits, the
        message is withdrawn, unless the actor began it in the same instant.
        """
        waiting = self._transport.deliver(self._address, message)
        if waiting is not None:
            await waiting

    def tell_nowait(self, message: MessageT_contra) -> None:
        """Like :meth:`tell`, but raise ``MailboxFull`` where that would wait."""
        self._transport.deliver_nowait(self._address, message)

    async def ask(self, message: MessageT_contra, timeout: float | None = None) -> Any:  # noqa: ASYNC109
        """Put ``message`` into the actor's mailbox and return what its ``receive`` answers.

        An exception of ``receive`` is raised here too. ``timeout`` is in seconds, the time for room included,
        and None waits for ever; when it is over, or the caller is cancelled, a message not yet begun is
        withdrawn, and of one already begun the reply is abandoned (:meth:`Reply.on_abandon`).

        Raises ``AskTimeout``; ``ActorStopped`` when the actor stops before it has answered; ``AskDeadlock``
        when an actor asks itself from within its own ``receive``; ``MessageRefused`` if the message is not
        plain data.
        """
        return await self._transport.ask(self._address, message, timeout)

    async def stop(self, *, drain: bool = False, timeout: float | None = None) -> None:  # noqa: ASYNC109
        """Stop the actor and return when it has stopped; at once when it already has.

        The message in hand is finished. Those in the mailbox are answered with ``ActorStopped`` (told ones
        become dead letters), or with ``drain`` are handled first. After ``timeout`` seconds what it still
        does is cancelled; None waits for as long as it takes. Cancelling this call does not call off the
        stop.

        Called from inside the actor, or one of its children, it cannot wait: it returns at once, and the
        actor stops when it has come to the end of what it is doing.
        """
        await self._transport.stop(self._address, drain=drain, timeout=timeout)

    def __eq__(self, other: object) -> bool:
        if isinstance(other, ActorRef):
            return self._address == other.address
        return NotImplemented

    def __hash__(self) -> int:
        return hash(self._address)

    def __repr__(self) -> str:
        return f"<ActorRef {self._address}>"
