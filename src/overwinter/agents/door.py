"""The door to a runtime's memory: who wakes up waits there while too many are still on their way out."""

from __future__ import annotations

import asyncio
from collections import deque

__all__ = ["Door"]

_LEAST_SLACK = 4


class Door:
    """Counts the named agents that are in memory.

    Waking up is faster than passivating, which waits for the disk. So that memory is bounded all the same, one waits
    when ``limit`` and a tenth are inside and some of them are leaving. When nobody is leaving all are let in.
    """

    def __init__(self, limit: int | None) -> None:
        self._most = None if limit is None else limit + max(limit // 10, _LEAST_SLACK)
        self._waiting: deque[asyncio.Future[None]] = deque()
        self.inside = 0
        self.leaving = 0

    async def enter(self) -> None:
        """Count one in, as soon as there is room. Cancelled, it is not counted."""
        while self._is_crowded or (self._waiting and self.leaving):
            turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiting.append(turn)
            try:
                await turn
            except asyncio.CancelledError:
                self._let_in()
                raise
            if not self._is_crowded:
                break
        self.inside += 1

    def left(self) -> None:
        """Count one out."""
        self.inside -= 1
        self._let_in()

    def begin_to_leave(self) -> None:
        """One is on its way out; whether it gets there is said with :meth:`end_to_leave`."""
        self.leaving += 1

    def end_to_leave(self) -> None:
        """It is out, or has stayed."""
        self.leaving -= 1
        self._let_in()

    @property
    def _is_crowded(self) -> bool:
        return self._most is not None and self.inside >= self._most and self.leaving > 0

    def _let_in(self) -> None:
        """Wake the first who waits, if it can come in; who comes in wakes nobody, so all are woken when none leaves."""
        number = len(self._waiting) if not self.leaving else 1
        while number > 0 and self._waiting and not self._is_crowded:
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_result(None)
                number -= 1
