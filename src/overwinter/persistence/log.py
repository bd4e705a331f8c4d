"""The log of a runtime: where every record goes first, those of all agents in one write."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Final, Protocol

from overwinter.errors import SaveFailed
from overwinter.persistence.open_journal import LogEntry
from overwinter.runtime import Backoff

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from concurrent.futures import Future

    from overwinter.persistence.health import DiskHealth
    from overwinter.persistence.log_file import LogFile, Written
    from overwinter.persistence.open_journal import OpenJournal
    from overwinter.persistence.threads import DiskThread
    from overwinter.runtime import Cancellable, Clock

__all__ = ["RuntimeLog", "Waiter"]

logger = logging.getLogger("overwinter.persistence")

_SYNC_WITHIN = 0.5
_RETRY: Final = Backoff(initial=0.1, factor=2.0, maximum=5.0, jitter=0.1)
_YIELD_EVERY = 0.001
_YIELD_FOR = 0.00002
_YIELDS = 100


class Waiter(Protocol):
    """Who waits for records to be in the log, as a future does. What is done is told nothing more."""

    def done(self) -> bool: ...

    def set_result(self, result: None, /) -> None: ...

    def set_exception(self, exception: Exception, /) -> None: ...


class RuntimeLog:
    """Hands records to the log's thread, in batches: what came while a batch was at the disk is the next.

    :param on_synced: called with entries once they are in the log for good, and with the seconds for which the
        first of them has been in it.

    What is taken in is counted: up to ``appended`` it was handed over, up to ``written`` it is in the log, up
    to ``synced`` it is there for good; ``records`` and ``pending`` count the lines in it, those handed over
    and those not written yet. What is written is fsynced half a second later unless somebody asks
    for it before. A disk that fails is tried again until it does not; nothing is dropped. For the event loop
    only; it never waits there.
    """

    def __init__(
        self,
        file: LogFile,
        thread: DiskThread,
        clock: Clock,
        health: DiskHealth,
        on_synced: Callable[[Sequence[LogEntry], Written, float], object],
        *,
        retry: Backoff = _RETRY,
    ) -> None:
        self.appended = self.written = self.synced = 0
        self.records = self.pending = self.batches = self.syncs = self.bytes = 0
        self.error: Exception | None = None
        self._file = file
        self._thread = thread
        self._clock = clock
        self._health = health
        self._on_synced = on_synced
        self._retry = retry
        self._name = str(file.folder)
        self._loop = asyncio.get_running_loop()
        self._waiting: list[LogEntry] = []
        self._batch: list[LogEntry] = []  # at the disk
        self._unsynced: list[LogEntry] = []
        self._since = 0.0  # when the first of them was written
        self._wanted = 0  # an fsync is asked for up to here
        self._waiters: list[tuple[int, bool, Waiter]] = []
        self._trying: list[tuple[int, asyncio.Future[None]]] = []
        self._out = False
        self._scheduled = False
        self._failures = 0
        self._timer: Cancellable | None = None
        self._yielding: asyncio.TimerHandle | None = None
        self._closed: Exception | None = None

    @property
    def waiting(self) -> bool:
        """Whether the disk refused the last batch, and is waited for."""
        return self._failures > 0

    def add(self, journal: OpenJournal, lines: Sequence[bytes], last: int) -> int:
        """Take lines in; their number, to wait for."""
        if self._closed is not None:
            raise self._closed
        journal.appended = last
        self.appended += 1
        count = len(lines)
        self.records += count
        self.pending += count
        waiting = self._waiting
        if waiting and waiting[-1].journal is journal:
            # A step has several records, one right after the other. The thread has none of what waits.
            newest = waiting[-1]
            if isinstance(newest.lines, tuple):
                newest.lines = [*newest.lines]
            newest.lines += lines
            newest.last = last
        else:
            waiting.append(LogEntry(journal, tuple(lines), last))
        if not self._scheduled and not self._out:
            self._schedule()
        return self.appended

    def settled(self, position: int, *, sync: bool) -> asyncio.Future[None]:
        """Done when everything up to ``position`` is in the log, or fsynced there."""
        future = self._loop.create_future()
        self.tell(future, position, sync=sync)
        return future

    def tell(self, waiter: Waiter, position: int, *, sync: bool) -> None:
        """Set its result when everything up to ``position`` is in the log, or fsynced there; at once, if it is."""
        if (self.synced if sync else self.written) >= position:
            waiter.set_result(None)
        elif self._closed is not None:
            waiter.set_exception(self._closed)
        else:
            self._waiters.append((position, sync, waiter))
            if sync:
                self._want(position)

    def tried(self, position: int) -> asyncio.Future[None]:
        """Done when everything up to ``position`` is fsynced, or the disk has refused that just now."""
        future = self._loop.create_future()
        if self.synced >= position or self._closed is not None:
            future.set_result(None)
        else:
            self._trying.append((position, future))
            self._want(position)
            if self.waiting and not self._out:
                self._cancel_timer()
                self._schedule()
        return future

    def close(self, error: Exception) -> None:
        """Take no more; whoever waits gets ``error``. A batch that is out goes on in its thread."""
        self._closed = error
        self._cancel_timer()
        self._stop_yielding()
        for _, _, waiter in self._waiters:
            if not waiter.done():
                waiter.set_exception(error)
        self._waiters.clear()
        self._try_over(self.appended)

    @property
    def unsynced(self) -> int:
        """How many lines are not known to be in the log for good."""
        return self.pending + _lines_in(self._unsynced)

    def unwritten(self) -> list[LogEntry]:
        """What is not known to be in the log for good, for a last attempt when it is closed."""
        return [*self._unsynced, *self._batch, *self._waiting]

    def sync_soon(self) -> None:
        """Have everything fsynced now, and not when half a second is over."""
        if self.synced < self.appended and self._closed is None:
            self._want(self.appended)

    def _want(self, position: int) -> None:
        self._wanted = max(self._wanted, position)
        if not self._scheduled and not self._out:
            self._schedule()

    def _schedule(self) -> None:
        # In the next turn of the loop, so that everybody's records of this one are in it.
        self._scheduled = True
        self._loop.call_soon(self._begin)

    def _begin(self) -> None:
        self._scheduled = False
        resting = self.waiting and self._timer is not None
        if self._out or resting or self._closed is not None:
            return
        sync = self.waiting or self._wanted > self.synced
        if not self._waiting and not sync:
            return
        self._batch = batch = self._waiting
        self._waiting = []
        again = self._unsynced if self.waiting else []
        self._out = True
        future = self._thread.submit(self._file.write, [*again, *batch], sync=sync)
        position = self.appended
        future.add_done_callback(lambda done: self._from_thread(done, position))
        self._yielding = self._loop.call_later(_YIELD_EVERY, self._yield, _YIELDS)

    def _from_thread(self, future: Future[Written], position: int) -> None:
        # In the log's thread; the loop may be gone by now.
        with suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._done, future, position)

    def _done(self, future: Future[Written], position: int) -> None:
        self._out = False
        self._stop_yielding()
        batch, self._batch = self._batch, []
        error = future.exception()
        if error is None:
            self._succeeded(future.result(), batch, position)
        else:
            self._failed(error, batch)
        if self._closed is None and (self._waiting or self._wanted > self.synced):
            self._schedule()

    def _succeeded(self, written: Written, batch: list[LogEntry], position: int) -> None:
        self.batches += 1
        self.bytes += written.size
        self.pending -= _lines_in(batch)
        self.written = position
        now = self._clock.monotonic()
        if not self._unsynced:
            self._since = now
        self._unsynced += batch
        synced: Sequence[LogEntry] = ()
        if written.synced:
            self.syncs += 1
            self.synced = position
            synced, self._unsynced = self._unsynced, []
        if self._failures:
            self._failures = 0
            self.error = None
            self._health.succeeded(self._name)
        if self.synced < position and self._timer is None and self._closed is None:
            self._timer = self._clock.call_later(_SYNC_WITHIN, self._due)
        waiters, self._waiters = self._waiters, []
        for waiting in waiters:
            target, sync, waiter = waiting
            if (self.synced if sync else position) < target:
                self._waiters.append(waiting)
            elif not waiter.done():
                waiter.set_result(None)
        self._try_over(self.synced)
        if synced:
            self._on_synced(synced, written, now - self._since)

    def _failed(self, error: BaseException, batch: list[LogEntry]) -> None:
        self._waiting = batch + self._waiting
        self._failures += 1
        # Without its traceback, which would keep the batch.
        self.error = _refused(self._name, error)
        self._health.failed(self._name, self.error)
        self._try_over(self.appended)
        self._cancel_timer()
        if self._closed is None:
            self._timer = self._clock.call_later(self._retry.delay(self._failures, random), self._due)

    def _try_over(self, position: int) -> None:
        trying, self._trying = self._trying, []
        for target, future in trying:
            if target > position:
                self._trying.append((target, future))
            elif not future.done():
                future.set_result(None)

    def _due(self) -> None:
        self._timer = None
        self._want(self.appended)

    def _cancel_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _yield(self, left: int) -> None:
        # A thread that comes back from the system waits for the GIL; beside a coroutine that is always ready
        # it would wait five milliseconds each time. A disk that takes longer than that is past this help.
        time.sleep(_YIELD_FOR)
        if left:
            self._yielding = self._loop.call_later(_YIELD_EVERY, self._yield, left - 1)

    def _stop_yielding(self) -> None:
        if self._yielding is not None:
            self._yielding.cancel()
            self._yielding = None


def _lines_in(entries: Sequence[LogEntry]) -> int:
    return sum([len(entry.lines) for entry in entries])


def _refused(path: str, error: BaseException) -> SaveFailed:
    reason = (isinstance(error, OSError) and error.strerror) or str(error)
    return SaveFailed(
        f"the log in {path} could not be written: {reason}. Records wait in memory, and are tried again.",
        path,
    )
