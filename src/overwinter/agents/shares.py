"""Work on the event loop of which each turn has a share, whoever it is for."""

from __future__ import annotations

import asyncio
from collections import deque

__all__ = ["Shares"]


class Shares:
    """Lets pieces of work go, in the order in which they came, until a turn of the loop has had *a_turn* of it.

    Small pieces of many so share a turn, and many at once do not hold the loop up.

    :param a_turn: how much of it, by any measure; a piece that is more has a turn, or the rest of one, for itself.
    :param a_second: how much at least, where turns are so long that they would not come to that.
    """

    def __init__(self, a_turn: int, *, a_second: int = 0) -> None:
        self._a_turn = self._left = a_turn
        self._a_second = a_second
        self._began = 0.0
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()
        self._renewing = False

    async def take(self, amount: int) -> None:
        """Return when there is room for *amount* in this turn. What is cancelled just then is lost to the turn."""
        if self._left > 0 and not self._waiting:
            self._spend(amount)
            return
        room = asyncio.get_running_loop().create_future()
        self._waiting.append((amount, room))
        await room

    def _spend(self, amount: int) -> None:
        self._left -= amount
        if not self._renewing:
            self._renewing = True
            loop = asyncio.get_running_loop()
            self._began = loop.time()
            loop.call_soon(self._renew)

    def _renew(self) -> None:
        """The next turn has come."""
        self._renewing = False
        took = asyncio.get_running_loop().time() - self._began
        self._left = max(self._a_turn, int(took * self._a_second))
        while self._waiting and self._left > 0:
            amount, room = self._waiting.popleft()
            if not room.done():  # cancelled
                self._spend(amount)
                room.set_result(None)
