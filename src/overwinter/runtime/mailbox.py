"""The messages that wait for one actor, in order and within bounds."""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque
from typing import TYPE_CHECKING, Any, Final

from overwinter.errors import ActorStopped, ConfigurationError
from overwinter.runtime.envelope import Envelope

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["NOTHING", "Mailbox"]

_UNBOUNDED = 1 << 62
#: What :attr:`Mailbox.only` is when there is none.
NOTHING: Final = object()


class Mailbox:
    """A bounded queue of messages, with a lane for the system's, which overtake.

    ``capacity`` is how many messages have room (None: no bound). With ``weigh``, ``max_weight`` bounds the sum of the
    weights as well; a message heavier than that passes alone, when the mailbox is empty. Whoever finds no room waits in
    a line, and room goes to the head of the line before it goes to anybody new.

    ``queue`` is what has room, in order: envelopes, and messages that need none. It may be appended to as long as it is
    there and shorter than ``room``, and popped from as long as ``room`` is not 0: that is so when it is closed or
    weighed, when somebody waits, when there is something of the system's, and when it is interrupted. What comes first
    to a mailbox at rest is ``only`` there, and no queue is made for it.
    """

    __slots__ = (
        "_capacity",
        "_closed",
        "_scales",
        "_system",
        "_waiting",
        "_withdrawn",
        "interrupted",
        "only",
        "queue",
        "room",
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
        # None while it is empty and at rest: an empty deque would be the greater part of an idle actor.
        self.queue: deque[Any] | None = None
        self.only: Any = NOTHING
        self._capacity = _UNBOUNDED if capacity is None else capacity
        self._scales = None if weigh is None or max_weight is None else _Scales(weigh, max_weight)
        self._system: deque[Envelope] | None = None
        self._waiting: OrderedDict[Envelope, asyncio.Future[bool] | None] | None = None
        self._withdrawn = 0
        self._closed = False
        self.interrupted = False
        self.room = self._capacity if self._scales is None else 0

    def __bool__(self) -> bool:
        """It is there, also when it is empty."""
        return True

    def __len__(self) -> int:
        """How many messages have room in it and were not taken, without the system's."""
        inside = 0 if self.only is NOTHING else 1
        return (inside if self.queue is None else len(self.queue) + inside) - self._withdrawn

    @property
    def waiting(self) -> int:
        """How many envelopes wait for room."""
        return len(self._waiting or ())

    @property
    def weight(self) -> int:
        """What the envelopes in it weigh; 0 without ``weigh``."""
        return 0 if self._scales is None else self._scales.total

    @property
    def closed(self) -> bool:
        """Whether it takes no more."""
        return self._closed

    def append(self, message: Any) -> bool:
        """Take in a message without an envelope; return False if it needs one, to be weighed or to wait for room."""
        if self.only is NOTHING and self.queue is None:
            if not self.room:
                return False
            self.only = message
            return True
        if len(self) >= self.room:
            return False
        self._line_up(message)
        return True

    def offer(self, envelope: Envelope) -> bool:
        """Take the envelope in and return True, or put it in the line for room and return False.

        Raises :class:`ActorStopped` when the mailbox is closed.
        """
        queue = self.queue
        if queue is not None and len(queue) < self.room:
            envelope.queued = True
            queue.append(envelope)
            return True
        if self._closed:
            raise ActorStopped("the actor has stopped")
        if self._scales is not None:
            envelope.weight = self._scales.weigh(envelope.message)
        if self._waiting or not self._fits(envelope):
            if self._waiting is None:
                self._waiting = OrderedDict()
            self._waiting[envelope] = None
            self.room = 0
            return False
        self._enqueue(envelope)
        return True

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
            self._unload(envelope)
            self._withdrawn += 1
            queue = self.queue
            if envelope is self.only:
                self.only = NOTHING
                self._withdrawn = 0
            elif queue is not None and self._withdrawn > 32 and self._withdrawn * 2 > len(queue):
                kept = [message for message in queue if type(message) is not Envelope or message.queued]
                queue.clear()
                queue.extend(kept)
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
        self.room = 0

    def take(self) -> Envelope | None:
        """Take out the next message, in an envelope, the system's first; None when there is none."""
        if self._system:
            envelope = self._system.popleft()
            self._look_again()
            return envelope
        while True:
            if self.queue:
                message = self.queue.popleft()
            elif self.only is not NOTHING:
                message, self.only = self.only, NOTHING
            else:
                return None
            if type(message) is not Envelope:
                message = Envelope(message)
            elif not self.opened(message):
                continue
            self._admit()
            return message

    def opened(self, envelope: Envelope) -> bool:
        """Whether an envelope that was popped from the queue is to be handled; else it had been withdrawn."""
        if not envelope.queued:
            self._withdrawn -= 1
            return False
        envelope.queued = False
        self._unload(envelope)
        return True

    def close(self, *, admit: bool = False) -> list[Envelope]:
        """Take no more; return the envelopes that waited for room, which now are nowhere.

        With ``admit`` these are taken in, beyond the bounds, and the list is empty.
        """
        self._closed = True
        self.room = 0
        if not self._waiting:
            return []
        waiting, self._waiting = self._waiting, None
        for envelope, admitted in waiting.items():
            if admit:
                self._enqueue(envelope)
            if admitted is not None and not admitted.done():
                admitted.set_result(admit)
        return [] if admit else list(waiting)

    def discard(self) -> list[Any]:
        """Empty it; return what was in it, messages and envelopes, without the system's."""
        left: list[Any] = []
        for message in self.queue or (() if self.only is NOTHING else (self.only,)):
            if type(message) is Envelope:
                if not message.queued:
                    continue
                message.queued = False
            left.append(message)
        self.queue = None
        self.only = NOTHING
        self._system = None
        self._withdrawn = 0
        if self._scales is not None:
            self._scales.total = 0
        return left

    def interrupt(self) -> None:
        """Let whoever takes messages out look up from them."""
        self.interrupted = True
        self.room = 0

    def resume(self) -> None:
        """Call :meth:`interrupt` off."""
        self.interrupted = False
        self._look_again()

    def rest(self) -> None:
        """Give back the memory of a queue that is empty."""
        if not self.queue:
            self.queue = None

    def drop_system(self, unwanted: Callable[[Any], bool]) -> None:
        """Drop those of the system's messages that are unwanted."""
        if self._system:
            self._system = deque(envelope for envelope in self._system if not unwanted(envelope.message))
            self._look_again()

    def _enqueue(self, envelope: Envelope) -> None:
        envelope.queued = True
        if self._scales is not None:
            self._scales.total += envelope.weight
        self._line_up(envelope)

    def _line_up(self, message: Any) -> None:
        if self.queue is not None:
            self.queue.append(message)
        elif self.only is NOTHING:
            self.only = message
        else:
            self.queue = deque((self.only, message))
            self.only = NOTHING

    def _unload(self, envelope: Envelope) -> None:
        if self._scales is not None:
            self._scales.total -= envelope.weight

    def _fits(self, envelope: Envelope) -> bool:
        count = len(self)
        if count == 0:
            return True
        scales = self._scales
        return count < self._capacity and (
            scales is None or scales.total + envelope.weight <= scales.max_weight
        )

    def _admit(self) -> None:
        """Give the room there is to the head of the line."""
        waiting = self._waiting
        if not waiting:
            return
        while waiting:
            envelope, admitted = next(iter(waiting.items()))
            if not self._fits(envelope):
                return
            del waiting[envelope]
            self._enqueue(envelope)
            if admitted is not None and not admitted.done():
                admitted.set_result(True)
        self._look_again()

    def _look_again(self) -> None:
        special = self._closed or self._waiting or self._system or self._scales or self.interrupted
        self.room = 0 if special else self._capacity


class _Scales:
    """What bounds a mailbox by weight."""

    __slots__ = ("max_weight", "total", "weigh")

    def __init__(self, weigh: Callable[[Any], int], max_weight: int) -> None:
        self.weigh = weigh
        self.max_weight = max_weight
        self.total = 0
