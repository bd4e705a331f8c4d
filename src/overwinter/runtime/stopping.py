"""A stop under way: how far it is, and when it loses patience."""

from __future__ import annotations

import asyncio
import enum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from overwinter.runtime.clock import Cancellable, Clock

__all__ = ["Step", "Stopping"]


class Step(enum.IntEnum):
    """The steps of a stop, in order."""

    IN_HAND = 0
    MAILBOX = 1
    CHILDREN = 2
    GOODBYE = 3
    JOBS = 4
    DONE = 5


class Stopping:
    """What is known of a stop that was asked for.

    ``deadline`` is in the clock's monotonic seconds; None waits for as long as it takes. At the deadline the
    step that runs is cut. ``on_stop`` and the end of the jobs get at least ``grace`` seconds each, and what
    does not heed its cancellation for another ``grace`` seconds is abandoned.
    """

    __slots__ = (
        "_clock",
        "_timer",
        "cut",
        "deadline",
        "drain",
        "error",
        "grace",
        "reason",
        "skip_goodbye",
        "step",
    )

    def __init__(
        self, clock: Clock, grace: float, *, drain: bool, reason: str, error: BaseException | None
    ) -> None:
        self._clock = clock
        self._timer: Cancellable | None = None
        self.grace = grace
        self.drain = drain
        self.reason = reason
        self.error = error
        self.deadline: float | None = None
        self.step = Step.IN_HAND
        self.cut = False
        self.skip_goodbye = False

    def tighten(self, deadline: float | None) -> bool:
        """Make ``deadline`` hold if it is the earlier one; return whether it was."""
        if deadline is None or (self.deadline is not None and self.deadline <= deadline):
            return False
        self.deadline = deadline
        return True

    def arm(self, ring: Callable[[], object]) -> None:
        """Let ``ring`` be called when the patience with the present step is over."""
        self.disarm()
        # The children have deadlines of their own.
        if self.deadline is None or self.step is Step.CHILDREN:
            return
        left = self.deadline - self._clock.monotonic()
        if self.cut or self.step >= Step.GOODBYE:
            left = max(left, self.grace)
        if left > 0:
            self._timer = self._clock.call_later(left, ring)
        else:
            self._timer = asyncio.get_running_loop().call_soon(ring)

    def disarm(self) -> None:
        """Take the timer back."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def advance(self) -> None:
        """Go on to the next step."""
        self.step = Step(self.step + 1)
        self.cut = False
