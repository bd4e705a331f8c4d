"""How much of what has no place on disk yet may be in memory, and who waits for there to be less."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Room"]


class Room:
    """A bound in bytes. What was taken in is counted always; who could take in more waits while it is full.

    :param limit: bytes beyond which it is full.

    ``on_wanted`` is called when somebody begins to wait.
    """

    __slots__ = ("_error", "_waiters", "held", "limit", "on_wanted")

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.held = 0
        self.on_wanted: Callable[[], object] = int
        self._waiters: set[asyncio.Future[None]] = set()
        self._error: Exception | None = None

    @property
    def full(self) -> bool:
        """Whether there is more than there should be."""
        return self.held > self.limit

    @property
    def wanted(self) -> bool:
        """Whether somebody waits."""
        return bool(self._waiters)

    def give(self, size: int) -> None:
        """Let go of ``size`` bytes."""
        self.held -= size
        if self._waiters and not self.full:
            for waiter in self._waiters:
                if not waiter.done():
                    waiter.set_result(None)

    async def wait(self) -> None:
        """Return when it is not full. Cancellable; raises what it was closed with."""
        while self.full:
            if self._error is not None:
                raise self._error
            waiter = asyncio.get_running_loop().create_future()
            self._waiters.add(waiter)
            self.on_wanted()
            try:
                await waiter
            finally:
                self._waiters.discard(waiter)

    def close(self, error: Exception) -> None:
        """Raise ``error`` for all who wait and will."""
        self._error = error
        for waiter in self._waiters:
            if not waiter.done():
                waiter.set_result(None)
