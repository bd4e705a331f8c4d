"""A line in which the agents that wait take turns."""

from __future__ import annotations

from collections import OrderedDict, deque
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterator

__all__ = ["Line"]

T = TypeVar("T")


class Line(Generic[T]):
    """Round robin over those who wait, and first come, first served within each: fair queuing.

    While somebody waits, anybody else is served at most once before it: whoever has a hundred things to do stands
    behind whoever has one (J. Nagle, "On Packet Switches With Infinite Storage", RFC 970).
    """

    __slots__ = ("_length", "_queues")

    def __init__(self) -> None:
        # Ordered by whose turn it is. A plain dict would look at all that ever stood before the first.
        self._queues: OrderedDict[Hashable, deque[T]] = OrderedDict()
        self._length = 0

    def __len__(self) -> int:
        return self._length

    def __iter__(self) -> Iterator[T]:
        return (one for queue in self._queues.values() for one in queue)

    @property
    def who(self) -> list[Hashable]:
        """Who waits, in the order of their turns. It is copied in one step, so that a thread may look."""
        return list(self._queues)

    @property
    def first(self) -> T:
        """What is served next; the line is not empty."""
        return next(iter(self._queues.values()))[0]

    def join(self, who: Hashable, one: T) -> None:
        """Let *one* wait, for *who*."""
        self._queues.setdefault(who, deque()).append(one)
        self._length += 1

    def step_up(self) -> T:
        """Take out what is served next; whoever it was for stands at the end now, if it waits for more."""
        who, queue = next(iter(self._queues.items()))
        one = queue.popleft()
        self._length -= 1
        if queue:
            self._queues.move_to_end(who)
        else:
            del self._queues[who]
        return one

    def leave(self, who: Hashable, one: T) -> bool:
        """Take *one* out, wherever it stands; whether it stood there."""
        queue = self._queues.get(who)
        if queue is None or one not in queue:
            return False
        queue.remove(one)
        self._length -= 1
        if not queue:
            del self._queues[who]
        return True
