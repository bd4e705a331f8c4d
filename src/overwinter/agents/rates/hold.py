"""When a provider wants to be left alone, and how one comes back to it."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from overwinter.agents.rates.window import INSTANT

if TYPE_CHECKING:
    from overwinter.agents.models.retry import RetryPolicy

__all__ = ["FIRST_GAP", "LONGEST_HOLD", "Hold"]

#: Seconds between the first call after a hold and the second; the next gap is half of it, then a third, and so on.
FIRST_GAP = 1.0
#: Seconds after which somebody asks again, whatever the provider said: it may have been wrong, or been paid meanwhile.
LONGEST_HOLD = 300.0
_AS_GOOD_AS_THE_SAME = 0.1  # seconds


class Hold:
    """Nobody goes before the provider's time; then one goes after the other, at gaps that grow shorter.

    The gap after the *n*-th is ``FIRST_GAP / n``, so that twenty come back within four seconds and a thousand within
    eight, and the rate grows from one to the next as in a slow start (RFC 5681): where the first are refused again, the
    others have not gone yet. Times are those of one clock.
    """

    __slots__ = ("_answered_at", "_gone", "_next", "_until", "refusals")

    def __init__(self) -> None:
        self.refusals = 0
        self._answered_at = 0
        self._until = self._next = -math.inf
        self._gone = 0

    def begin(self, now: float, seconds: float, *, began: float | None) -> bool:
        """The provider refused a call and said to come back in so many *seconds*.

        :param began: when that call began, where anybody knows. One that began before the hold is the same refusal,
            heard once more.

        Returns whether that is news to those who wait, and not what a thousand others have heard at the same time.
        """
        is_new = self._until - now <= INSTANT if began is None else began >= self._until
        until = max(self._until, now + min(seconds, LONGEST_HOLD))
        is_later = until - self._until > _AS_GOOD_AS_THE_SAME
        self.refusals += is_new
        self._until = self._next = until
        self._gone = 0
        return is_new or is_later

    def left(self, now: float) -> float:
        """Seconds until the provider's time has come; 0.0 when it has."""
        left = self._until - now
        return left if left > INSTANT else 0.0

    def wait(self, now: float) -> float:
        """Seconds until the next call may go; 0.0 when it may."""
        wait = self._next - now
        return wait if wait > INSTANT else 0.0

    def went(self, now: float) -> None:
        """A call goes now."""
        if self._next > -math.inf:
            self._gone += 1
            self._next = now + FIRST_GAP / self._gone

    def answered(self, began: float) -> None:
        """A call that began then was answered: what went before was not in vain."""
        if began >= self._until:
            self._answered_at = self.refusals

    def end(self) -> None:
        """Nobody waits any more: from now on calls go as they come."""
        self._next = -math.inf
        self._gone = 0

    def is_hopeless(self, now: float, policy: RetryPolicy, since: int) -> bool:
        """Whether *policy* gives the model up here, for a call that waits and came when *since* refusals were counted.

        It does so as if the call had been refused itself: when the provider wants to be left alone for longer than its
        ``longest_wait``, or has refused whoever went, ``max_attempts`` times in a row.
        """
        in_a_row = self.refusals - max(since, self._answered_at)
        return self.left(now) > 0 and (
            self.left(now) > policy.longest_wait or in_a_row >= policy.max_attempts
        )
