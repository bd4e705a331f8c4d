"""A message on its way."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec

from overwinter.runtime.reply import Reply, raise_in

__all__ = ["Envelope"]


class Envelope(msgspec.Struct, eq=False):
    """A message with what its delivery needs. Two envelopes are never equal.

    Not every message has one: what is told by nobody in particular, and has room, stands in the mailbox as it is.
    ``sender`` is the cell of the actor that sent it, and ``future`` is there if somebody waits for an answer;
    ``reply`` is the answering end of it, once an actor has asked for that. ``queued`` tells whether it stands in a
    mailbox, ``weight`` what it weighs there.
    """

    # A Struct and not a class with slots: it is made in half the time.
    message: Any
    sender: Any = None
    future: asyncio.Future[Any] | None = None
    reply: Reply | None = None
    queued: bool = False
    weight: int = 0

    def defer(self) -> Reply:
        """The answering end, for the actor that has it in hand; from now on only that answers."""
        if self.reply is None:
            # Only the asker can have ended the wait for a message that is in hand.
            self.reply = Reply(self.future, abandoned=self.future is not None and self.future.done())
        return self.reply

    def complete(self, value: Any) -> None:
        """Answer with what ``receive`` returned, unless the answer was deferred."""
        future = self.future
        if future is not None and self.reply is None and not future.done():
            future.set_result(value)

    def fail(self, error: BaseException) -> None:
        """Answer with an error, a deferred answer too."""
        if self.reply is not None:
            self.reply.fail(error)
        elif self.future is not None:
            raise_in(self.future, error)

    def abandon(self, error: BaseException | None = None) -> None:
        """The asker waits no more; with an ``error``, that is what it sees raised."""
        if self.reply is not None:
            self.reply.abandon(error)
        elif self.future is not None and error is not None:
            raise_in(self.future, error)
