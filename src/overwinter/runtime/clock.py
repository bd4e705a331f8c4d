"""Time as actors see it: a protocol, and the clock of the system."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Cancellable", "Clock", "SystemClock"]


class Cancellable(Protocol):
    """A timer that has not rung yet."""

    def cancel(self) -> None:
        """Keep it from ringing; nothing happens when it already has."""
        ...


class Clock(Protocol):
    """Where a runtime takes the time from.

    Everything that waits for time waits on a clock, so that a test can turn it by hand
    (:class:`overwinter.testing.FakeClock`).
    """

    def monotonic(self) -> float:
        """Seconds since some fixed moment; never goes back."""
        ...

    def now(self) -> datetime:
        """The time of day, in UTC, with its time zone."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Return after ``seconds``; cancelling it leaves no timer behind."""
        ...

    def call_later(self, seconds: float, callback: Callable[[], object]) -> Cancellable:
        """Call ``callback`` on the event loop after ``seconds``, once."""
        ...


class SystemClock:
    """The real time. It holds nothing and may be shared."""

    def monotonic(self) -> float:
        """Seconds of :func:`time.monotonic`."""
        return time.monotonic()

    def now(self) -> datetime:
        """The time of day, in UTC, with its time zone."""
        return datetime.now(UTC)

    async def sleep(self, seconds: float) -> None:
        """Return after ``seconds``; cancelling it leaves no timer behind."""
        await asyncio.sleep(seconds)

    def call_later(self, seconds: float, callback: Callable[[], object]) -> Cancellable:
        """Call ``callback`` on the running event loop after ``seconds``, once."""
        return asyncio.get_running_loop().call_later(seconds if seconds > 0 else 0.0, callback)
