"""Messages that nobody will handle."""

from __future__ import annotations

import logging
from collections import deque
from typing import TYPE_CHECKING

import msgspec

from overwinter.runtime.address import Address

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = ["DeadLetter", "DeadLetters"]

_logger = logging.getLogger("overwinter.runtime")


class DeadLetter(msgspec.Struct, frozen=True):
    """A message that could not be handled: whom it was for, the name of its type, and why."""

    address: Address
    message_type: str
    reason: str


class DeadLetters:
    """Counts the undeliverable messages of a system, and remembers the last ``limit`` of them.

    Their content is not kept, only its type.
    """

    def __init__(self, limit: int = 100) -> None:
        self._count = 0
        self._recent: deque[DeadLetter] = deque(maxlen=limit)
        self._watchers: list[Callable[[DeadLetter], object]] = []

    @property
    def count(self) -> int:
        """How many there have been."""
        return self._count

    @property
    def recent(self) -> Sequence[DeadLetter]:
        """The last ones, the newest at the end."""
        return tuple(self._recent)

    def watch(self, callback: Callable[[DeadLetter], object]) -> Callable[[], None]:
        """Call ``callback`` for each from now on, on the event loop; call what is returned to end that."""
        # The list is replaced, never changed, so that a callback may watch and unwatch.
        watcher = [callback]
        self._watchers = [*self._watchers, watcher[0]]

        def unwatch() -> None:
            if watcher:
                remaining = list(self._watchers)
                remaining.remove(watcher.pop())
                self._watchers = remaining

        return unwatch

    def add(self, address: Address, message: object, reason: str) -> None:
        """Count a message that could not be handled and tell the watchers."""
        letter = DeadLetter(address, type(message).__qualname__, reason)
        self._count += 1
        self._recent.append(letter)
        _logger.debug("dead letter for %s: %s (%s)", address.path, letter.message_type, reason)
        for callback in self._watchers:
            try:
                callback(letter)
            except Exception:
                _logger.exception("a watcher of the dead letters failed")
