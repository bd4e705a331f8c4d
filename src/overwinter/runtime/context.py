"""What an actor knows of itself and may ask of its runtime."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar, TypeVarTuple

from overwinter.errors import ConfigurationError
from overwinter.runtime.jobs import Job, start_job
from overwinter.runtime.messages import Terminated
from overwinter.runtime.reference import ActorRef, cell_of
from overwinter.runtime.reply import Reply
from overwinter.runtime.state import State
from overwinter.runtime.supervision import Restart
from overwinter.runtime.watching import unwatch, watch

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from overwinter.runtime.actor import Actor
    from overwinter.runtime.cell import Cell
    from overwinter.runtime.clock import Clock
    from overwinter.runtime.supervision import Supervision
    from overwinter.runtime.system import ActorSystem

__all__ = ["ActorContext"]

M = TypeVar("M")
Ts = TypeVarTuple("Ts")

_DEFAULT_SUPERVISION = Restart()


class ActorContext:
    """An actor's own side of the runtime, as ``self.context``; not to be given away."""

    __slots__ = ("_cell",)

    def __init__(self, cell: Cell) -> None:
        self._cell = cell

    @property
    def alive(self) -> bool:
        """Whether the actor has not stopped yet."""
        return self._cell.state is not State.STOPPED

    @property
    def ref(self) -> ActorRef[Any]:
        """The reference to this actor."""
        return ActorRef(self._cell)

    @property
    def system(self) -> ActorSystem:
        """The system it lives in."""
        return self._cell.exchange.system

    @property
    def clock(self) -> Clock:
        """The system's clock; wait with it and not with asyncio's, so that tests can turn it."""
        return self._cell.exchange.clock

    @property
    def sender(self) -> ActorRef[Any] | None:
        """The actor that sent the message in hand; None if no actor did, or none is in hand."""
        envelope = self._cell.envelope
        # A sender of another system in this process is out of this one's reach.
        if envelope is None or envelope.sender is None or envelope.sender.exchange is not self._cell.exchange:
            return None
        return ActorRef(envelope.sender)

    def defer_reply(self) -> Reply:
        """Answer the message in hand later, through what this returns, and not by what ``receive`` returns.

        If ``receive`` raises all the same, that answers it. Of a told message it is a ``Reply`` that goes
        nowhere. Those still open when the actor has stopped, or is restarted, are answered with
        ``ActorStopped``. Raises ``RuntimeError`` outside of ``receive``.
        """
        cell = self._cell
        if type(cell.in_hand) is not int:
            raise RuntimeError("defer_reply() is for receive(): there is no message in hand")
        envelope = cell.envelope
        if envelope is None or envelope.future is None:
            return Reply()
        reply = envelope.defer()
        reply.stand_in(cell)
        return reply

    def start_soon(
        self, function: Callable[[*Ts], Coroutine[Any, Any, object]], *args: *Ts, name: str | None = None
    ) -> Job:
        """Run ``function(*args)`` as a task of this actor, beside its mailbox.

        An exception in it is a failure of the actor, handled by its supervision between two messages. It is
        cancelled when the actor is restarted and, after ``on_stop``, when it stops. Raises ``ActorStopped``
        after that.
        """
        return start_job(self._cell, function, args, name)

    async def spawn(
        self,
        actor: Actor[M] | Callable[[], Actor[M]],
        *,
        name: str | None = None,
        supervision: Supervision = _DEFAULT_SUPERVISION,
        mailbox_capacity: int | None = 0,
    ) -> ActorRef[M]:
        """Start a child; see :meth:`ActorSystem.spawn`. Its ``on_start`` must not wait for this actor.

        Children stop before their parent does, and when it is restarted. Raises ``ActorStopped`` once this
        actor stops its children.
        """
        return await self._cell.exchange.spawn(
            actor, parent=self._cell, name=name, supervision=supervision, capacity=mailbox_capacity
        )

    def watch(self, ref: ActorRef[Any]) -> None:
        """Have ``receive`` told ``Terminated``, ahead of other messages, when the actor ``ref`` has stopped.

        Told once, at once if it has stopped already. Restarts are not told; this actor's own restart keeps
        it.
        """
        cell = cell_of(ref)
        if cell is self._cell:
            raise ConfigurationError("an actor cannot watch itself; use on_stop")
        if cell.state is State.STOPPED or cell.exchange is not self._cell.exchange:
            self._cell.accept_system(Terminated(cell.address, "gone"))
        else:
            watch(self._cell, cell)

    def unwatch(self, ref: ActorRef[Any]) -> None:
        """Call :meth:`watch` off; a ``Terminated`` not yet handled is dropped."""
        unwatch(self._cell, cell_of(ref))
        self._cell.drop_system(
            lambda message: isinstance(message, Terminated) and message.address == ref.address
        )

    def stop_self(self, *, drain: bool = False) -> None:
        """Stop this actor when the message in hand is finished; with ``drain``, when the mailbox is empty."""
        self._cell.request_stop(drain=drain)
