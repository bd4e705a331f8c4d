"""A message on its way."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

import msgspec

from overwinter.runtime.reply import Reply

if TYPE_CHECKING:
    from overwinter.runtime.address import Address

__all__ = ["Envelope", "JobEnvelope", "Receiver", "Reply"]


class Receiver(Protocol):
    """What an envelope knows of the actor it is for."""

    address: Address
    envelope: Envelope | None

    @property
    def parent(self) -> Receiver | None:
        """The actor that spawned it; None at the root."""
        ...


class Envelope(msgspec.Struct, eq=False):
    """A message with what its delivery needs. Two envelopes are never equal.

    ``receiver`` is the actor it is for, ``sender`` the address of the actor that sent it, and ``reply`` is there
    if somebody waits for an answer; it becomes ``deferred`` when the answer is to be given later. ``queued``
    tells whether it stands in a mailbox, ``weight`` what it weighs there.
    """

    # A Struct and not a class with slots: one is made for every message, at half the time.
    message: Any
    receiver: Any
    sender: Any = None
    reply: Reply | None = None
    queued: bool = False
    weight: int = 0
    deferred: Reply | None = None


class JobEnvelope(Envelope, eq=False):
    """What a job has in hand: no message, and whether the job has ended."""

    ended: bool = False
