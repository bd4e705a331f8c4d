"""The answer to an ask, to be given now or later."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any

from overwinter.errors import ActorError

if TYPE_CHECKING:
    from collections.abc import Callable

    from overwinter.runtime.cell import Cell

__all__ = ["Reply", "raise_in"]

_logger = logging.getLogger("overwinter.runtime")


class Reply:
    """The answering end of an ``ask``; for a told message, one that goes nowhere.

    The first of :meth:`complete`, :meth:`fail` and :meth:`abandon` counts, the others do nothing. To be used
    on the event loop's thread only; from another one go through ``loop.call_soon_threadsafe``.
    """

    __slots__ = ("_abandoned", "_callbacks", "_cell", "_done", "_future")

    def __init__(self, future: asyncio.Future[Any] | None = None, *, abandoned: bool = False) -> None:
        self._future = future
        self._done = abandoned
        self._abandoned = abandoned
        self._callbacks: list[Callable[[], object]] | None = None
        self._cell: Cell | None = None

    @property
    def done(self) -> bool:
        """Whether it was answered, or nobody waits for an answer any more."""
        return self._done

    @property
    def abandoned(self) -> bool:
        """Whether the asker was cancelled, or its timeout was over, before the answer came."""
        return self._abandoned

    def complete(self, value: Any = None) -> None:
        """Answer with a value."""
        if not self._done:
            future = self._future
            if future is not None and not future.done():
                future.set_result(value)
            self._settle()

    def fail(self, error: BaseException) -> None:
        """Answer with an error, which the asker sees raised."""
        if not self._done:
            if self._future is not None:
                raise_in(self._future, error)
            self._settle()

    def abandon(self, error: BaseException | None = None) -> None:
        """Give up waiting (the asker's side); with an ``error``, that is what the asker sees raised."""
        if self._done:
            return
        self._abandoned = True
        if error is not None and self._future is not None:
            raise_in(self._future, error)
        callbacks = self._callbacks or ()
        self._settle()
        for callback in callbacks:
            _call(callback)

    def on_abandon(self, callback: Callable[[], object]) -> None:
        """Call ``callback`` when the asker gives up: at once if it already has, never once it is answered."""
        if self._abandoned:
            _call(callback)
        elif not self._done:
            if self._callbacks is None:
                self._callbacks = []
            self._callbacks.append(callback)

    def stand_in(self, cell: Cell) -> None:
        """Be one of the cell's deferred ones until it is done, whichever way."""
        if self._done:
            return
        if cell.deferred is None:
            cell.deferred = set()
        cell.deferred.add(self)
        self._cell = cell

    def _settle(self) -> None:
        self._done = True
        self._callbacks = None
        cell, self._cell = self._cell, None
        if cell is not None and cell.deferred is not None:
            cell.deferred.discard(self)
            if not cell.deferred:
                # Most actors have none most of the time, and an empty set takes two hundred bytes.
                cell.deferred = None


def raise_in(future: asyncio.Future[Any], error: BaseException) -> None:
    """Let whoever waits for ``future`` see ``error`` raised, if it is not done."""
    if future.done():
        return
    if isinstance(error, (StopIteration, asyncio.CancelledError)):
        # A future refuses the first, and by the second the asker would seem to have been cancelled itself.
        cause = error
        error = ActorError(f"the actor answered with {cause!r}")
        error.__cause__ = cause
    future.set_exception(error)


def _call(callback: Callable[[], object]) -> None:
    try:
        callback()
    except Exception:
        _logger.exception("a callback of Reply.on_abandon failed")
