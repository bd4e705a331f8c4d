"""A clock for tests, turned by hand."""

from __future__ import annotations

import asyncio
import heapq
from collections import deque
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import count
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["FakeClock"]

_EPOCH = datetime(2030, 1, 1, tzinfo=UTC)
_ROUNDS = 1000
_BLIND_ROUNDS = 50


class _Timer:
    __slots__ = ("callback", "cancelled")

    def __init__(self, callback: Callable[[], object]) -> None:
        self.callback = callback
        self.cancelled = False

    def cancel(self) -> None:
        self.cancelled = True


class FakeClock:
    """A :class:`~overwinter.runtime.Clock` that stands still until :meth:`advance` turns it.

    ``start`` is what :meth:`now` says at first (with a time zone; 2030-01-01 UTC unless given);
    :meth:`monotonic` begins at 0.
    """

    def __init__(self, start: datetime = _EPOCH) -> None:
        self._start = start.astimezone(UTC)
        self._elapsed = 0.0
        self._timers: list[tuple[float, int, _Timer]] = []
        self._serial = count()

    def monotonic(self) -> float:
        """Seconds this clock has been advanced by."""
        return self._elapsed

    def now(self) -> datetime:
        """``start`` and the seconds this clock has been advanced by."""
        return self._start + timedelta(seconds=self._elapsed)

    @property
    def pending(self) -> int:
        """How many timers wait to ring, sleepers among them."""
        return sum(not timer.cancelled for _, _, timer in self._timers)

    async def sleep(self, seconds: float) -> None:
        """Return once the clock was advanced by ``seconds``; cancelling it leaves no timer behind."""
        if seconds <= 0:
            await asyncio.sleep(0)
            return
        woken: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        timer = self.call_later(seconds, partial(_wake_up, woken))
        try:
            await woken
        finally:
            timer.cancel()

    def call_later(self, seconds: float, callback: Callable[[], object]) -> _Timer:
        """Call ``callback`` inside the :meth:`advance` that reaches ``seconds`` from now."""
        timer = _Timer(callback)
        heapq.heappush(self._timers, (self._elapsed + max(0.0, seconds), next(self._serial), timer))
        return timer

    async def advance(self, seconds: float) -> None:
        """Turn the clock on by ``seconds``.

        The timers due ring in their order, each at its own time, and before and after each the other tasks
        run until none has anything left to do. What goes on in a thread is not waited for.
        """
        target = self._elapsed + seconds
        await self._settle()
        while self._timers and self._timers[0][0] <= target:
            when, _, timer = heapq.heappop(self._timers)
            if timer.cancelled:
                continue
            self._elapsed = max(self._elapsed, when)
            timer.callback()
            await self._settle()
        self._elapsed = target
        await self._settle()

    async def _settle(self) -> None:
        # asyncio's own loops keep what is ready to run in a deque; other loops get a fixed number of rounds.
        ready = getattr(asyncio.get_running_loop(), "_ready", None)
        if isinstance(ready, deque):
            for _ in range(_ROUNDS):
                await asyncio.sleep(0)
                if not ready:
                    return
        else:
            for _ in range(_BLIND_ROUNDS):
                await asyncio.sleep(0)


def _wake_up(sleeper: asyncio.Future[None]) -> None:
    if not sleeper.done():
        sleeper.set_result(None)
