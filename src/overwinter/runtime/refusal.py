"""What becomes of messages that will not be handled."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from overwinter.errors import ActorStopped
from overwinter.runtime.envelope import Envelope

if TYPE_CHECKING:
    from collections.abc import Iterable

    from overwinter.runtime.cell import Cell

__all__ = ["describe", "refuse", "stopped"]


def refuse(cell: Cell, messages: Iterable[Any], why: str = "stopped before it began the message") -> None:
    """Make dead letters of the messages, in envelopes or not, and answer those who asked with ``ActorStopped``."""
    for message in messages:
        envelope = message if isinstance(message, Envelope) else Envelope(message)
        cell.exchange.dead_letters.add(cell.address, envelope.message, f"the actor {why}")
        # A deferred answer is not this message's any more: the actor may give it still, and its end fails it.
        if envelope.future is not None and envelope.reply is None:
            envelope.fail(stopped(cell, why))


def stopped(cell: Cell, why: str) -> ActorStopped:
    """The error for somebody who waited for a cell that stops; what it failed by, if it did, is the cause."""
    error = ActorStopped(f"{cell.path} {why}")
    if cell.stopping is not None:
        error.__cause__ = cell.stopping.error
    return error


def describe(error: BaseException) -> str:
    """An error in one line: its type and its text."""
    text = str(error)
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
