"""Handling messages, one at a time: the hot path."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from overwinter.runtime.envelope import Envelope
from overwinter.runtime.failing import failed
from overwinter.runtime.hooks import awaited_cancelled, being_cancelled
from overwinter.runtime.mailbox import NOTHING
from overwinter.runtime.refusal import refuse
from overwinter.runtime.scope import in_hand

if TYPE_CHECKING:
    from overwinter.runtime.cell import Cell

__all__ = ["handle_messages"]

#: After so many messages in a row the other tasks of the loop get a turn.
_TURN = 64


async def handle_messages(cell: Cell) -> bool:
    """Handle messages until there is none (True) or something urgent has come up (False)."""
    # A message takes 0.3 µs here, of which a call takes a tenth: so the mailbox's queue is popped from in place.
    receive = cell.actor.receive
    set_in_hand = in_hand.set
    number = cell.handled
    turn_ends = number + _TURN
    answered = False
    while True:
        envelope: Envelope | None = None
        if cell.room:
            queue = cell.queue
            if queue:
                message = queue.popleft()
            elif cell.only is not NOTHING:
                message, cell.only = cell.only, NOTHING
            elif answered:
                # Who asked often asks again at once: to stay for it takes half the time of another task.
                answered = False
                await _let_others_run(cell, number)
                if cell.interrupted:
                    # What is urgent came to those before it first, and they have to be woken.
                    await asyncio.sleep(0)
                continue
            else:
                cell.put_down(number)
                return True
            if type(message) is Envelope:
                if not cell.opened(message):
                    continue
                cell.envelope = envelope = message
                message = envelope.message
        elif cell.interrupted or (envelope := cell.take()) is None:
            cell.put_down(number)
            return not cell.interrupted
        else:
            cell.envelope = envelope
            message = envelope.message
        number += 1
        cell.in_hand = number
        set_in_hand(number)
        try:
            value = await receive(message)
        except BaseException as error:  # noqa: BLE001 - what is not for the supervision is raised again
            await _went_wrong(cell, number, error, message if envelope is None else envelope)
            receive = cell.actor.receive
        else:
            if envelope is not None:
                cell.envelope = None
                if envelope.future is not None:
                    envelope.complete(value)
                    answered = True
        if number == turn_ends:
            turn_ends += _TURN
            await _let_others_run(cell, number)


async def _let_others_run(cell: Cell, handled: int) -> None:
    cell.put_down(handled)
    await asyncio.sleep(0)


async def _went_wrong(cell: Cell, number: int, error: BaseException, message: Any) -> None:
    """Have a failure handled by the supervision; raise what ends the task of the cell."""
    if isinstance(error, asyncio.CancelledError):
        if being_cancelled():
            refuse(cell, [message], "was cancelled while it handled the message")
            cell.put_down(number - 1)
            raise error
        error = awaited_cancelled("receive", error)
    if not isinstance(error, Exception):
        # A GeneratorExit comes when there is no event loop any more to answer on.
        if not isinstance(error, GeneratorExit):
            refuse(cell, [message], f"was torn down by {type(error).__name__}")
        cell.put_down(number - 1)
        raise error
    cell.put_down(number)
    await failed(cell, error, message if isinstance(message, Envelope) else None)
