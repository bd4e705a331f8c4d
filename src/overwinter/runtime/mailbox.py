"""The messages that wait for one actor, in order and within bounds."""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque
from typing import TYPE_CHECKING, Any

from overwinter.errors import ActorStopped, ConfigurationError, MailboxFull

if TYPE_CHECKING:
    from collections.abc import Callable

    from overwinter.runtime.envelope import Envelope

__all__ = ["Mailbox"]

_UNBOUNDED = 1 << 62


class Mailbox:
    """A bounded queue of envelopes, with a lane for the system's, which overtake.

    ``capacity`` is how many envelopes have room (None: no bound). With ``weigh``, ``max_weight`` bounds the
    sum of the weights as well; a message heavier than that passes alone, when the mailbox is empty. Whoever
    finds no room waits in a line, and room goes to the head of the line before it goes to anybody new.
    """

    __slots__ = (
        "_capacity",
        "_closed",
        "_max_weight",
        "_queue",
        "_system",
        "_waiting",
        "_weigh",
        "_weight",
        "_withdrawn",
    )

    def __init__(
        self,
        capacity: int | None = 1024,
        weigh: Callable[[Any], int] | None = None,
        max_weight: int | None = None,
    ) -> None:
        if capacity is not None and capacity < 1:
            raise ConfigurationError(
                f"mailbox_capacity must be at least 1, or None for no bound; it is {capacity}"
            )
        if max_weight is not None and max_weight < 1:
            raise ConfigurationError(
                f"mailbox_weight must be at least 1, or None for no bound; it is {max_weight}"
            )
        self._capacity = _UNBOUNDED if capacity is None else capacity
        self._weigh = weigh if max_weight is not None else None
        self._max_weight = _UNBOUNDED if max_weight is None else max_weight
        # None while it is empty and at rest: an empty deque is the greater part of an idle actor.
        self._queue: deque[Envelope] | None = None
        self._system: deque[Envelope] | None = None
        self._waiting: OrderedDict[Envelope, asyncio.Future[bool] | None] | None = None
        self._weight = 0
        self._withdrawn = 0
        self._closed = False

    def __len__(self) -> int:
        """How many envelopes have room in it and were not taken, without the system's."""
        return 0 if self._queue is None else len(self._queue) - self._withdrawn

    @property
    def waiting(self) -> int:
        """How many envelopes wait for room."""
        return len(self._waiting or ())

    @property
    def weight(self) -> int:
        """What the envelopes in it weigh; 0 without ``weigh``."""
        return self._weight

    @property
    def closed(self) -> bool:
        """Whether it takes no more."""
        return self._closed

    def offer(self, envelope: Envelope) -> bool:
        """Take the envelope in and return True, or put it in the line for room and return False.

        Raises :class:`ActorStopped` when the mailbox is closed.
        """
        if self._closed:
            raise ActorStopped("the actor has stopped")
        if self._weigh is not None:
            envelope.weight = self._weigh(envelope.message)
        if self._waiting or not self._fits(envelope):
            if self._waiting is None:
                self._waiting = OrderedDict()
            self._waiting[envelope] = None
            return False
        # What _append does, on the path of every message.
        envelope.queued = True
        self._weight += envelope.weight
        queue = self._queue
        if queue is None:
            queue = self._queue = deque()
        queue.append(envelope)
        return True

    def put_nowait(self, envelope: Envelope) -> None:
        """Take the envelope in.

        Raises :class:`MailboxFull` when there is no room or others wait for it, :class:`ActorStopped` when
        closed.
        """
        if not self.offer(envelope):
            self.withdraw(envelope)
            raise MailboxFull(
                f"the mailbox is full ({len(self)} messages, {self.waiting} more waiting); "
                "use tell, which waits, or slow down"
            )

    async def put(self, envelope: Envelope) -> None:
        """Take the envelope in as soon as there is room; :class:`ActorStopped` when closed before.

        Cancelled, it withdraws the envelope, unless it was taken out in the same instant.
        """
        if not self.offer(envelope) and not await self.admission(envelope):
            raise ActorStopped("the actor stopped before there was room in its mailbox")

    async def admission(self, envelope: Envelope) -> bool:
        """Wait until an envelope that was just put in the line has left it; cancelled, withdraw it.

        Returns whether it was taken in; False when the mailbox was closed before.
        """
        admitted: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        if self._waiting is None or envelope not in self._waiting:
            return envelope.queued
        self._waiting[envelope] = admitted
        try:
            return await admitted
        except asyncio.CancelledError:
            self.withdraw(envelope)
            raise

    def withdraw(self, envelope: Envelope) -> bool:
        """Take back an envelope that was not taken out yet; return whether that was so."""
        if envelope.queued:
            envelope.queued = False
            envelope.message = None
            self._weight -= envelope.weight
            self._withdrawn += 1
            queue = self._queue
            if queue is not None and self._withdrawn > 32 and self._withdrawn * 2 > len(queue):
                self._queue = deque(kept for kept in queue if kept.queued)
                self._withdrawn = 0
            self._admit()
            return True
        if self._waiting and envelope in self._waiting:
            del self._waiting[envelope]
            # It may have been the one too heavy for the room that those behind it fit into.
            self._admit()
            return True
        return False

    def put_system(self, envelope: Envelope) -> None:
        """Take in an envelope of the system's: without bounds, ahead of the others, even when closed."""
        if self._system is None:
            self._system = deque()
        self._system.append(envelope)

    def take(self) -> Envelope | None:
        """Take out the next envelope, the system's first; None when there is none."""
        if self._system:
            return self._system.popleft()
        queue = self._queue
        while queue:
            envelope = queue.popleft()
            if not envelope.queued:
                self._withdrawn -= 1
                continue
            envelope.queued = False
            self._weight -= envelope.weight
            if self._waiting:
                self._admit()
            return envelope
        return None

    def close(self, *, admit: bool = False) -> list[Envelope]:
        """Take no more; return the envelopes that waited for room, which now are nowhere.

        With ``admit`` these are taken in, beyond the bounds, and the list is empty.
        """
        self._closed = True
        if not self._waiting:
            return []
        waiting, self._waiting = self._waiting, None
        for envelope, admitted in waiting.items():
            if admit:
                self._append(envelope)
            if admitted is not None and not admitted.done():
                admitted.set_result(admit)
        return [] if admit else list(waiting)

    def discard(self) -> list[Envelope]:
        """Empty it; return what was in it, without the system's."""
        left = [envelope for envelope in self._queue or () if envelope.queued]
        for envelope in left:
            envelope.queued = False
        self._queue = None
        self._system = None
        self._weight = 0
        self._withdrawn = 0
        return left

    def rest(self) -> None:
        """Give back the memory of a queue that is empty."""
        if not self._queue:
            self._queue = None

    def forget(self, unwanted: Callable[[Any], bool]) -> None:
        """Drop those of the system's messages that are unwanted."""
        if self._system:
            self._system = deque(envelope for envelope in self._system if not unwanted(envelope.message))

    def _append(self, envelope: Envelope) -> None:
        envelope.queued = True
        self._weight += envelope.weight
        if self._queue is None:
            self._queue = deque()
        self._queue.append(envelope)

    def _fits(self, envelope: Envelope) -> bool:
        queue = self._queue
        if not queue:
            return True
        count = len(queue) - self._withdrawn
        return count == 0 or (count < self._capacity and self._weight + envelope.weight <= self._max_weight)

    def _admit(self) -> None:
        """Give the room there is to the head of the line."""
        waiting = self._waiting
        while waiting:
            envelope, admitted = next(iter(waiting.items()))
            if not self._fits(envelope):
                return
            del waiting[envelope]
            self._append(envelope)
            if admitted is not None and not admitted.done():
                admitted.set_result(True)
