"""The named agents that nobody uses, and when it is time to let go of them."""

from __future__ import annotations

from collections import OrderedDict
from itertools import islice, takewhile
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Callable

    from overwinter.agents.berth import Berth
    from overwinter.runtime.clock import Cancellable, Clock

__all__ = ["Key", "Resting"]

_TRIFLE = 0.001  # seconds

#: The name of an agent, and its session.
Key: TypeAlias = tuple[str, str]


class Resting:
    """Berths in the order in which their last use ended.

    :param idle_timeout: seconds after which ``due`` is called with those that have rested for so long; None for never.
    """

    def __init__(
        self, clock: Clock, idle_timeout: float | None, due: Callable[[list[tuple[Key, Berth]]], None]
    ) -> None:
        self._clock = clock
        self._idle_timeout = idle_timeout
        self._due = due
        self._berths: OrderedDict[Key, Berth] = OrderedDict()
        self._timer: Cancellable | None = None

    def __len__(self) -> int:
        return len(self._berths)

    def __contains__(self, key: object) -> bool:
        return key in self._berths

    def add(self, key: Key, berth: Berth) -> None:
        """Its rest begins now, or anew."""
        berth.rested = self._clock.monotonic()
        self._berths[key] = berth
        self._berths.move_to_end(key)
        self._arm()

    def remove(self, key: Key) -> None:
        """It does not rest any more, if it did."""
        self._berths.pop(key, None)

    def longest(self, number: int, which: Callable[[Berth], bool]) -> list[Key]:
        """At most so many *which* may go, those that have rested longest."""
        return list(islice((key for key, berth in self._berths.items() if which(berth)), max(0, number)))

    def close(self) -> None:
        """Nothing is due any more."""
        self._idle_timeout = None
        if self._timer is not None:
            self._timer.cancel()

    def _arm(self) -> None:
        if self._timer is None and self._berths and self._idle_timeout is not None:
            first = next(iter(self._berths.values())).rested
            self._timer = self._clock.call_later(
                first + self._idle_timeout - self._clock.monotonic(), self._ring
            )

    def _ring(self) -> None:
        self._timer = None
        if self._idle_timeout is None:
            return
        # A little more: sums of times are rounded, and a timer that rings a trifle early would ring for ever.
        latest = self._clock.monotonic() - self._idle_timeout + _TRIFLE
        self._due(list(takewhile(lambda one: one[1].rested <= latest, self._berths.items())))
        self._arm()
