"""Taking turns, without a turn of the event loop where nobody else is there."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Hashable
    from types import TracebackType

__all__ = ["Turns"]

KeyT = TypeVar("KeyT", bound="Hashable")


class Turns(Generic[KeyT]):
    """One after the other for each key, in the order in which they came; nothing is kept of a key nobody is at.

    Cancelled while it waits, whoever waits is passed over.
    """

    __slots__ = ("_waiting",)

    def __init__(self) -> None:
        self._waiting: dict[KeyT, deque[asyncio.Future[None]] | None] = {}

    def at(self, key: KeyT) -> _Turn[KeyT]:
        """A turn at *key*, for ``async with``."""
        return _Turn(self, key)

    async def begin(self, key: KeyT) -> None:
        """Wait for the turn."""
        if key not in self._waiting:
            self._waiting[key] = None
            return
        waiting = self._waiting[key]
        if waiting is None:
            waiting = self._waiting[key] = deque()
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        waiting.append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if not turn.cancelled():
                # The turn came in the very moment of the cancellation.
                self.end(key)
            raise

    def end(self, key: KeyT) -> None:
        """Let the next one have it."""
        waiting = self._waiting[key]
        while waiting:
            turn = waiting.popleft()
            if not turn.done():  # whoever was cancelled does not want it any more
                turn.set_result(None)
                return
        del self._waiting[key]


class _Turn(Generic[KeyT]):
    __slots__ = ("_key", "_turns")

    def __init__(self, turns: Turns[KeyT], key: KeyT) -> None:
        self._turns = turns
        self._key = key

    async def __aenter__(self) -> None:
        await self._turns.begin(self._key)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._turns.end(self._key)
