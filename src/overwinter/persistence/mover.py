"""From the log into the journals: what every record does within a second."""

from __future__ import annotations

import asyncio
import random
from contextlib import suppress
from typing import TYPE_CHECKING, Final, NamedTuple

from overwinter.errors import RuntimeClosed, SaveFailed
from overwinter.persistence.journal_file import JournalFile
from overwinter.persistence.load import LoopLoad
from overwinter.persistence.together import together
from overwinter.runtime import Backoff

if TYPE_CHECKING:
    from collections.abc import Sequence
    from concurrent.futures import Future

    from overwinter.persistence.files import FileOperations
    from overwinter.persistence.health import DiskHealth
    from overwinter.persistence.log_file import LogFile, Written
    from overwinter.persistence.open_journal import LogEntry, OpenJournal
    from overwinter.persistence.room import Room
    from overwinter.persistence.threads import DiskThread
    from overwinter.runtime import Cancellable, Clock

__all__ = ["Mover"]

_MOVE_WITHIN = 0.5
_REST = 5.0  # seconds after which journals are synced when nothing is left to move
_PIECE_JOURNALS = 32
_PIECE_BYTES = 1 << 20
_RETRY: Final = Backoff(initial=0.1, factor=2.0, maximum=5.0, jitter=0.1)


class _Job(NamedTuple):
    journal: OpenJournal
    lines: list[bytes]
    last: int
    sync: bool


class Mover:
    """Appends logged records to their journals in the writer's thread, a bounded piece at a time.

    Records are in memory until their journal is synced, and count in ``room`` as long. Journals are synced
    when a segment of the log has ended, which is then removed; when somebody waits for it; when room is
    wanted; and some seconds after all has moved, so that nobody at rest keeps what it said in memory. One whose
    disk fails is tried again until it does not. For the event loop only.
    """

    def __init__(
        self,
        log_file: LogFile,
        thread: DiskThread,
        files: FileOperations,
        clock: Clock,
        health: DiskHealth,
        room: Room,
    ) -> None:
        self._log_file = log_file
        self._thread = thread
        self._files = files
        self._clock = clock
        self._health = health
        self._room = room
        self._load = LoopLoad()
        self._loop = asyncio.get_running_loop()
        self._ready: dict[OpenJournal, None] = {}  # they have lines to move
        self._dirty: dict[OpenJournal, None] = {}  # they have moved lines that are not synced
        self._urgent: dict[OpenJournal, bool] = {}  # somebody waits for them; whether for a sync
        self._awaited: set[OpenJournal] = set()
        self._resting: dict[OpenJournal, None] = {}  # their disk failed
        self._segments: dict[int, dict[OpenJournal, int]] = {}
        self._ended: set[int] = set()  # segments that take no more
        self._to_sync: dict[OpenJournal, None] = {}  # so that these can go
        self._out = False
        self._scheduled = False
        self._due = False
        self._stirred = False  # something was moved or synced since the rest timer was set
        self._timer: Cancellable | None = None
        self._retry_timer: Cancellable | None = None
        self._rest_timer: Cancellable | None = None
        self._trying: list[asyncio.Future[None]] = []
        self._closed = False

    @property
    def clean(self) -> bool:
        """Whether all that was logged is in its journal for good."""
        return not (self._ready or self._dirty or self._out)

    def take(self, entries: Sequence[LogEntry], written: Written, age: float) -> None:
        """Take over what is in the log for good now, and has been in it for ``age`` seconds.

        Not before: of what has moved, and is not synced in either place, a power cut could leave the later part
        and not the earlier one.
        """
        if self._closed:
            return
        touched = self._segments.get(written.segment)
        if touched is None:
            # One in which a write has failed ends as well.
            self._end(tuple(self._segments))
            touched = self._segments[written.segment] = {}
        for entry in entries:
            journal = entry.journal
            journal.lines += entry.lines
            journal.taken = touched[journal] = entry.last
            self._ready[journal] = None
            if journal.waiters:
                self._urge(journal, sync=any(sync for _, sync, _ in journal.waiters))
        if written.ended:
            self._end((written.segment,))
        if self._room.wanted:
            self.hurry()
        elif age >= _MOVE_WITHIN:
            self._hurry()
        elif self._timer is None and not self._due:
            self._timer = self._clock.call_later(_MOVE_WITHIN - age, self._hurry)

    def settled(self, journal: OpenJournal, *, sync: bool) -> asyncio.Future[None]:
        """Done when everything appended to the journal so far is in its file, or synced there."""
        future = self._loop.create_future()
        target = journal.appended
        if (journal.synced if sync else journal.moved) >= target:
            future.set_result(None)
        elif self._closed:
            future.set_exception(_closed())
        else:
            journal.waiters.append((target, sync, future))
            self._awaited.add(journal)
            self._urge(journal, sync=sync)
        return future

    def forget(self, journal: OpenJournal) -> None:
        """It was closed, and all there was is in its file for good: no segment of the log is kept for it any more."""
        for touched in self._segments.values():
            touched.pop(journal, None)

    def tried(self) -> asyncio.Future[None]:
        """Done when each journal was synced, or its disk has refused that just now."""
        future = self._loop.create_future()
        if self.clean or self._closed:
            future.set_result(None)
        else:
            self._trying.append(future)
            for journal in (*self._ready, *self._dirty):
                self._urge(journal, sync=True)
        return future

    def hurry(self) -> None:
        """Move and sync everything now, because somebody waits for room."""
        for journal in {**self._ready, **self._dirty}.keys() - self._resting.keys():
            self._urge(journal, sync=True)

    def close(self) -> None:
        """Begin nothing more; whoever waits gets ``RuntimeClosed``."""
        self._closed = True
        for timer in filter(None, (self._timer, self._retry_timer, self._rest_timer)):
            timer.cancel()
        for journal in self._awaited:
            for _, _, future in journal.waiters:
                if not future.done():
                    future.set_exception(_closed())
            journal.waiters.clear()
        self._awaited.clear()
        self._try_over()

    def _end(self, segments: Sequence[int]) -> None:
        for segment in segments:
            if segment not in self._ended:
                self._ended.add(segment)
                self._to_sync.update(dict.fromkeys(self._segments[segment]))
        if self._to_sync:
            self._hurry()

    def _urge(self, journal: OpenJournal, *, sync: bool) -> None:
        self._resting.pop(journal, None)
        self._urgent[journal] = self._urgent.get(journal, False) or sync
        self._schedule()

    def _hurry(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._due = True
        self._schedule()

    def _schedule(self) -> None:
        if not self._scheduled and not self._out and not self._closed:
            self._scheduled = True
            self._loop.call_soon(self._begin)

    def _begin(self) -> None:
        self._scheduled = False
        if self._closed:
            return
        jobs = self._next_piece()
        gone = [] if self._to_sync else self._retired()
        if not jobs and not gone:
            self._try_over()
            return
        self._out = True
        future = self._thread.submit(self._work_now, jobs, gone)
        future.add_done_callback(lambda done: self._from_thread(done, jobs))

    def _next_piece(self) -> list[_Job]:
        jobs: list[_Job] = []
        size = 0
        for journal in tuple(self._urgent):
            if len(jobs) == _PIECE_JOURNALS or size >= _PIECE_BYTES:
                return jobs
            sync = self._urgent.pop(journal) or journal in self._to_sync
            if journal.lines or (sync and journal.synced < journal.taken):
                jobs.append(self._job(journal, sync=sync))
                size += sum(map(len, jobs[-1].lines))
        if self._due:
            for journal in tuple(self._ready):
                if len(jobs) == _PIECE_JOURNALS or size >= _PIECE_BYTES:
                    return jobs
                if journal not in self._resting:
                    jobs.append(self._job(journal, sync=journal in self._to_sync))
                    size += sum(map(len, jobs[-1].lines))
            self._due = False
        for journal in tuple(self._to_sync):
            if len(jobs) == _PIECE_JOURNALS:
                break
            if journal in self._resting or journal.synced == journal.taken:
                del self._to_sync[journal]
            else:
                jobs.append(self._job(journal, sync=True))
        return jobs

    def _job(self, journal: OpenJournal, *, sync: bool) -> _Job:
        lines, journal.lines = journal.lines, []
        self._ready.pop(journal, None)
        if sync:
            self._to_sync.pop(journal, None)
        return _Job(journal, lines, journal.taken, sync)

    def _retired(self) -> list[int]:
        gone = [
            segment
            for segment in self._ended
            if all(journal.synced >= last for journal, last in self._segments[segment].items())
        ]
        for segment in gone:
            self._ended.discard(segment)
            del self._segments[segment]
        return gone

    def _work_now(self, jobs: Sequence[_Job], gone: Sequence[int]) -> list[tuple[bool, Exception | None]]:
        """In the thread: for each of the jobs whether its lines have moved, and what went wrong."""
        with suppress(OSError):
            self._log_file.remove(gone)
        # Folders and files that several threads make at once cost ext4 twice as much as one after another.
        begun = {job.journal: self._append_now(job) for job in jobs if job.journal.file is None}
        return together(lambda job: self._move_now(job, begun), jobs, alone=self._load.busy)

    def _move_now(
        self, job: _Job, begun: dict[OpenJournal, Exception | None]
    ) -> tuple[bool, Exception | None]:
        error = begun[job.journal] if job.journal in begun else self._append_now(job)
        if error is not None:
            return False, error
        if job.sync and job.journal.file is not None:
            try:
                job.journal.file.sync()
            except Exception as failed:  # noqa: BLE001  (it is the outcome of this journal, and of no other)
                return True, failed
        return True, None

    def _append_now(self, job: _Job) -> Exception | None:
        journal = job.journal
        if journal.file is None:
            journal.file = JournalFile(
                journal.directory, journal.end, files=self._files, names_synced=journal.clean
            )
        if job.lines:
            try:
                journal.file.append(job.lines, job.last)
            except Exception as error:  # noqa: BLE001  (as above)
                return error
        return None

    def _from_thread(self, future: Future[list[tuple[bool, Exception | None]]], jobs: list[_Job]) -> None:
        # In the writer's thread; the loop may be gone by now.
        with suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._done, future, jobs)

    def _done(self, future: Future[list[tuple[bool, Exception | None]]], jobs: list[_Job]) -> None:
        self._out = False
        for job, (moved, error) in zip(jobs, future.result(), strict=True):
            self._conclude(job, moved=moved, error=error)
        if self._closed:
            return
        if self._timer is None and any(journal not in self._resting for journal in self._ready):
            self._timer = self._clock.call_later(_MOVE_WITHIN, self._hurry)
        self._stirred = True
        if self._rest_timer is None:
            self._wait_for_rest()
        self._schedule()

    def _wait_for_rest(self) -> None:
        self._rest_timer = None
        if self._stirred and self._dirty:
            self._stirred = False
            self._rest_timer = self._clock.call_later(_REST, self._wait_for_rest)
        elif self._dirty:
            self._to_sync.update(self._dirty)
            self._schedule()

    def _conclude(self, job: _Job, *, moved: bool, error: Exception | None) -> None:
        journal, lines, last, sync = job
        if moved:
            size = sum(map(len, lines))
            journal.moved = last
            journal.unsynced += size
            self._dirty[journal] = None
            if sync and error is None:
                journal.synced = last
                self._dirty.pop(journal, None)
                self._room.give(journal.unsynced)
                journal.unsynced = 0
        else:
            journal.lines[:0] = lines
            self._ready[journal] = None
        if error is None:
            if journal.failures:
                journal.failures = 0
                self._health.succeeded(str(journal.directory))
        else:
            self._rest(journal, error)
        waiters, journal.waiters = journal.waiters, []
        for waiter in waiters:
            target, synced, waiting = waiter
            if (journal.synced if synced else journal.moved) < target:
                journal.waiters.append(waiter)
            elif not waiting.done():
                waiting.set_result(None)
        if not journal.waiters:
            self._awaited.discard(journal)
        elif error is None:
            self._urge(journal, sync=any(sync for _, sync, _ in journal.waiters))

    def _rest(self, journal: OpenJournal, error: Exception) -> None:
        journal.failures += 1
        self._resting[journal] = None
        self._urgent.pop(journal, None)
        self._health.failed(str(journal.directory), _refused(journal, error))
        if self._retry_timer is None and not self._closed:
            self._retry_timer = self._clock.call_later(_RETRY.delay(journal.failures, random), self._retry)

    def _retry(self) -> None:
        self._retry_timer = None
        for journal in tuple(self._resting):
            self._urge(journal, sync=True)

    def _try_over(self) -> None:
        trying, self._trying = self._trying, []
        for future in trying:
            if not future.done():
                future.set_result(None)


def _refused(journal: OpenJournal, error: Exception) -> SaveFailed:
    reason = (isinstance(error, OSError) and error.strerror) or str(error)
    return SaveFailed(
        f"the journal {journal.directory} could not be written: {reason}. Its records are in the log, and are "
        "tried again.",
        journal.directory,
    )


def _closed() -> RuntimeClosed:
    return RuntimeClosed("the storage was closed before the records were seen to be in their journal")
