"""How messages reach an actor, and what becomes of those that do not."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING, Any

from overwinter.errors import ActorStopped, AskDeadlock, AskTimeout, MailboxFull
from overwinter.runtime.envelope import Envelope
from overwinter.runtime.messages import PLAIN_TYPES, check_message
from overwinter.runtime.scope import is_handling, is_inside, owner
from overwinter.runtime.state import State

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from overwinter.runtime.cell import Cell

__all__ = ["ask", "deliver", "deliver_nowait", "stop"]


def deliver(cell: Cell, message: Any) -> Coroutine[Any, Any, object] | None:
    """Hand over a told message; what is returned is to be awaited if there is no room yet."""
    waiting = _hand_over(cell, message)
    if waiting is None:
        return None
    if is_handling(cell):
        # It would wait for room that only it can make.
        raise _full(cell, waiting, "tell yourself from a job, or make the mailbox larger")
    return cell.admission(waiting)


def deliver_nowait(cell: Cell, message: Any) -> None:
    """Hand over a told message, or raise :class:`MailboxFull`."""
    waiting = _hand_over(cell, message)
    if waiting is not None:
        raise _full(cell, waiting, "use tell, which waits, or slow down")


async def ask(cell: Cell, message: Any, timeout: float | None) -> Any:  # noqa: ASYNC109
    """Hand over a message and return its reply; see :meth:`ActorRef.ask`."""
    if type(message) not in PLAIN_TYPES:
        check_message(message)
    if cell.closed:
        _bury(cell, message)
        raise ActorStopped(f"{cell.path} {_whither(cell)}; it was not asked")
    if is_handling(cell):
        raise AskDeadlock(
            f"{cell.path} asked itself while it handles a message, and would wait for ever; "
            "use tell, call the method, or ask from a job (context.start_soon)"
        )
    future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
    envelope = Envelope(message, owner.get(), future)
    cell.accept(envelope)
    timer = None
    if timeout is not None:
        timer = cell.exchange.clock.call_later(timeout, partial(_expire, cell, envelope, timeout))
    try:
        return await future
    except asyncio.CancelledError:
        cell.withdraw(envelope)
        envelope.abandon()
        if future.done() and not future.cancelled():
            # The answer and the cancellation came together; of an error nobody sees asyncio would complain.
            future.exception()
        raise
    finally:
        if timer is not None:
            timer.cancel()


async def stop(cell: Cell, *, drain: bool, timeout: float | None) -> None:  # noqa: ASYNC109
    """Stop the actor and return when it has stopped; see :meth:`ActorRef.stop`."""
    if cell.state is State.STOPPED:
        return
    deadline = None if timeout is None else cell.exchange.clock.monotonic() + max(0.0, timeout)
    cell.request_stop(drain=drain, deadline=deadline)
    if not is_inside(cell):
        await cell.ended()


def _hand_over(cell: Cell, message: Any) -> Envelope | None:
    """Put a told message into the mailbox; return its envelope if that waits for room."""
    if type(message) not in PLAIN_TYPES:
        check_message(message)
    if cell.closed:
        _bury(cell, message)
        return None
    sender = owner.get()
    if sender is None and cell.accept_bare(message):
        return None
    envelope = Envelope(message, sender)
    return None if cell.accept(envelope) else envelope


def _bury(cell: Cell, message: Any) -> None:
    cell.exchange.dead_letters.add(cell.address, message, f"the actor {_whither(cell)}")


def _whither(cell: Cell) -> str:
    return "has stopped" if cell.state is State.STOPPED else "is stopping"


def _full(cell: Cell, envelope: Envelope, advice: str) -> MailboxFull:
    cell.withdraw(envelope)
    return MailboxFull(
        f"the mailbox of {cell.path} is full ({len(cell)} messages, and "
        f"{cell.waiting} that wait for room); {advice}"
    )


def _expire(cell: Cell, envelope: Envelope, timeout: float) -> None:
    withdrawn = cell.withdraw(envelope)
    state = (
        "it had not begun the message, which is withdrawn" if withdrawn else "it may still finish the message"
    )
    envelope.abandon(AskTimeout(f"no reply from {cell.path} within {timeout:g} s; {state}"))
