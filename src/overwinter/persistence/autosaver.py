"""Keeping one file up to date with what changes in memory."""

from __future__ import annotations

import asyncio
import logging
import random
from typing import TYPE_CHECKING, Final, TypeVar

from overwinter.errors import RuntimeClosed, SaveFailed, SaveNotDurable
from overwinter.runtime import Backoff

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from overwinter.persistence.messages import ReplaceDocument, Saved
    from overwinter.persistence.storage import Storage

__all__ = ["Autosaver"]

T = TypeVar("T")

logger = logging.getLogger("overwinter.persistence")

_RETRY: Final = Backoff(initial=0.25, factor=2.0, maximum=30.0, jitter=0.1)


class Autosaver:
    """Saves what ``produce`` makes, in the background, whenever it was marked as changed.

    :param produce: makes the whole document as it is now; called on the event loop at the start of each
        attempt.
    :param prepare: awaited before it: what may take several turns of the loop. What it raises counts as raised by
        ``produce``.
    :param min_interval: seconds from the start of one write to that of the next; ``settle`` does not wait for
        it.
    :param retry: how long to wait after a write that failed; ``settle`` does not wait for it either.
    :param on_saved: called with each ``Saved``.
    :param on_error: called with what ``produce`` raised, and with the first of several failed writes in a
        row.

    At most one write is under way, and what changes meanwhile is saved by the next one, all at once. A write
    that fails is tried again, with what is newest then, until one succeeds. What cannot be stored is not
    tried again until it is marked again. Nothing runs while there is nothing to save.
    """

    __slots__ = (
        "__weakref__",
        "_begun",
        "_clock",
        "_closed",
        "_error",
        "_failures",
        "_hurried",
        "_marked",
        "_min_interval",
        "_on_error",
        "_on_saved",
        "_pausing",
        "_prepare",
        "_produce",
        "_retry",
        "_retry_at",
        "_saved",
        "_settling",
        "_storage",
        "_task",
        "_tried",
    )

    def __init__(
        self,
        storage: Storage,
        produce: Callable[[], ReplaceDocument],
        *,
        prepare: Callable[[], Awaitable[None]] | None = None,
        min_interval: float = 0.0,
        retry: Backoff = _RETRY,
        on_saved: Callable[[Saved], object] | None = None,
        on_error: Callable[[Exception], object] | None = None,
    ) -> None:
        self._storage = storage
        self._clock = storage.clock
        self._produce = produce
        self._prepare = prepare
        self._min_interval = min_interval
        self._retry = retry
        self._on_saved = on_saved
        self._on_error = on_error
        # Marks are counted: those up to _tried need no attempt, those up to _saved are on disk.
        self._marked = self._tried = self._saved = 0
        self._begun = self._retry_at = float("-inf")
        self._failures = 0
        self._error: Exception | None = None
        self._settling: list[tuple[int, asyncio.Future[None]]] = []
        self._hurried = False
        self._pausing: asyncio.Future[None] | None = None
        self._task: asyncio.Task[None] | None = None
        self._closed = False

    @property
    def unsaved(self) -> bool:
        """Whether something was marked that is not on disk."""
        return self._marked > self._saved

    @property
    def error(self) -> Exception | None:
        """Why the newest attempt failed; None if it did not."""
        return self._error

    def mark(self) -> None:
        """Say that the owner has changed; a save that shows it will follow. ``RuntimeClosed`` when closed."""
        if self._closed:
            raise RuntimeClosed("the autosaver is closed; what changes now would not be saved")
        self._marked += 1
        self._start()

    async def settle(self) -> None:
        """Return when everything marked so far is on disk; at once when it is.

        An attempt that waits for its time is made at once, and its error is raised here; saving goes on
        behind, as always. Cancelled, it leaves the save alone.

        :raises SaveError: it could not be saved.
        :raises RuntimeClosed: the autosaver or its storage was closed before.
        """
        if not self.unsaved:
            return
        if self._closed:
            raise _closed()
        if self._task is None:
            self._tried = self._saved
        settled = asyncio.get_running_loop().create_future()
        self._settling.append((self._marked, settled))
        self._hurry()
        self._start()
        await settled

    async def aclose(self) -> None:
        """Stop saving; what is unsaved stays so (``settle`` first).

        Whoever settles gets ``RuntimeClosed``. A write under way goes on to its end. Idempotent.
        """
        self._closed = True
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait({self._task})
        # Nobody is asked or told any more, and who was may be gone with its last user.
        self._produce = _no_document
        self._prepare = self._on_saved = self._on_error = None

    def _start(self) -> None:
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._save_until_clean())
            # Not the task's own business: cancelled before its first step it would never get to it.
            self._task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._task = None
        if self._closed or task.cancelled():
            self._answer(self._marked, _closed())
        elif self._tried < self._marked:
            self._start()

    async def _save_until_clean(self) -> None:
        while self._tried < self._marked:
            await self._pause()
            await self._attempt()

    async def _pause(self) -> None:
        """Wait for the time of the next attempt, or for somebody in a hurry."""
        seconds = max(self._begun + self._min_interval, self._retry_at) - self._clock.monotonic()
        if seconds > 0 and not self._hurried:
            self._pausing = asyncio.get_running_loop().create_future()
            timer = self._clock.call_later(seconds, self._hurry)
            try:
                await self._pausing
            finally:
                self._pausing = None
                timer.cancel()
        self._hurried = False

    def _hurry(self) -> None:
        self._hurried = True
        if self._pausing is not None and not self._pausing.done():
            self._pausing.set_result(None)

    async def _attempt(self) -> None:
        mark = self._marked
        self._begun = self._clock.monotonic()
        try:
            if self._prepare is not None:
                await self._prepare()
            saved = await self._storage.replace(self._produce())
        except (SaveFailed, SaveNotDurable) as error:
            self._failures += 1
            self._retry_at = self._clock.monotonic() + self._retry.delay(self._failures, random)
            # Its traceback would keep the document for as long as the disk fails.
            self._failed(mark, error.with_traceback(None), tell=self._failures == 1)
        except Exception as error:  # noqa: BLE001  (it goes to whoever settles, and to on_error)
            self._tried = mark
            self._failed(mark, error, tell=True)
        else:
            self._failures = 0
            self._retry_at = float("-inf")
            self._error = None
            self._tried = self._saved = mark
            self._answer(mark, None)
            _tell(self._on_saved, saved)

    def _failed(self, mark: int, error: Exception, *, tell: bool) -> None:
        self._error = error
        self._answer(mark, error)
        if tell:
            _tell(self._on_error, error)

    def _answer(self, mark: int, error: Exception | None) -> None:
        waiting, self._settling = self._settling, []
        for target, settled in waiting:
            if target > mark:
                self._settling.append((target, settled))
            elif settled.done():
                continue
            elif error is None:
                settled.set_result(None)
            else:
                settled.set_exception(error)
        if not self._settling:
            self._hurried = False


def _tell(listener: Callable[[T], object] | None, news: T) -> None:
    if listener is not None:
        try:
            listener(news)
        except Exception:
            logger.exception("A listener of an autosaver failed on %r", news)


def _no_document() -> ReplaceDocument:
    raise AssertionError("a closed autosaver makes no documents")


def _closed() -> RuntimeClosed:
    return RuntimeClosed("the autosaver was closed before everything was saved")
