"""Handling messages, one at a time: the hot path."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from overwinter.runtime.failing import failed
from overwinter.runtime.hooks import awaited_cancelled, being_cancelled
from overwinter.runtime.refusal import refuse
from overwinter.runtime.scope import current

if TYPE_CHECKING:
    from overwinter.runtime.cell import Cell

__all__ = ["handle_messages"]

#: After so many messages in a row the other tasks of the loop get a turn.
_TURN = 64


async def handle_messages(cell: Cell) -> bool:
    """Handle messages until there is none (True) or something urgent has come up (False)."""
    take = cell.mailbox.take
    receive = cell.actor.receive
    turn = 0
    while not cell.urgent:
        envelope = take()
        if envelope is None:
            return True
        cell.envelope = envelope
        current.set(envelope)
        try:
            value = await receive(envelope.message)
        except Exception as error:  # noqa: BLE001 - the supervision has the say
            await failed(cell, error, envelope)
            receive = cell.actor.receive
        except asyncio.CancelledError as cancelled:
            if being_cancelled():
                refuse(cell, [envelope], "was cancelled while it handled the message")
                raise
            await failed(cell, awaited_cancelled("receive", cancelled), envelope)
            receive = cell.actor.receive
        except BaseException as error:
            # A GeneratorExit comes when there is no event loop any more to answer on.
            if not isinstance(error, GeneratorExit):
                refuse(cell, [envelope], f"was torn down by {type(error).__name__}")
            raise
        else:
            if envelope.reply is not None:
                envelope.reply.complete(value)
        cell.handled += 1
        turn += 1
        if turn == _TURN:
            turn = 0
            await asyncio.sleep(0)
    return False
