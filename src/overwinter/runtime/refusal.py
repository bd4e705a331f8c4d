"""What becomes of messages that will not be handled."""

from __future__ import annotations

from typing import TYPE_CHECKING

from overwinter.errors import ActorStopped

if TYPE_CHECKING:
    from collections.abc import Iterable

    from overwinter.runtime.cell import Cell
    from overwinter.runtime.envelope import Envelope

__all__ = ["describe", "refuse", "stopped"]


def refuse(
    cell: Cell, envelopes: Iterable[Envelope], why: str = "stopped before it began the message"
) -> None:
    """Make dead letters of the messages, and answer those who asked with ``ActorStopped``."""
    for envelope in envelopes:
        cell.exchange.dead_letters.add(cell.address, envelope.message, f"the actor {why}")
        if envelope.reply is not None:
            envelope.reply.fail(stopped(cell, why))


def stopped(cell: Cell, why: str) -> ActorStopped:
    """The error for somebody who waited for a cell that stops; what it failed by, if it did, is the cause."""
    error = ActorStopped(f"{cell.address.path} {why}")
    if cell.stopping is not None:
        error.__cause__ = cell.stopping.error
    return error


def describe(error: BaseException) -> str:
    """An error in one line: its type and its text."""
    text = str(error)
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
