"""The persistence actor: many senders, one writer, and of each file only the newest."""

from __future__ import annotations

import asyncio
import os
from collections import deque
from itertools import islice
from typing import TYPE_CHECKING

import msgspec

from overwinter.errors import ActorStopped, OverwinterError, SaveRejected
from overwinter.persistence.codec import encode
from overwinter.persistence.messages import (
    Appended,
    AppendRecords,
    Flushed,
    PersistenceMessage,
    ReplaceDocument,
    Saved,
)
from overwinter.runtime import Actor

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from overwinter.persistence.batch import BatchWriter, Outcome
    from overwinter.persistence.health import DiskHealth
    from overwinter.persistence.record_keeping import RecordKeeping
    from overwinter.runtime import Job, Reply

__all__ = ["PersistenceActor"]

# Few enough that the first of many waiters soon has its answer, many enough that a hop to the thread is
# cheap.
_BATCH_DOCUMENTS = 64
_BATCH_BYTES = 16 << 20
_DOCUMENT_OVERHEAD = 1024


class PersistenceActor(Actor[PersistenceMessage]):
    """Takes documents from everybody and has them written in batches, one at a time, beside its mailbox.

    Of several unwritten documents of one path only the newest is written, and all who sent one are answered
    with its outcome. What it holds is bounded by ``max_pending_bytes``, half of it in the mailbox; beyond
    that senders wait. One document that is larger passes alone.
    A disk that fails is no failure of the actor: the senders are told, and ``health`` is.

    Records go to ``records``, which have threads of their own. What a document says was in a record before,
    or so the sender means it: before documents are written, the log is on the disk as far as it was handed
    over when the newest of them came.
    """

    mailbox_capacity = None

    def __init__(
        self, writer: BatchWriter, health: DiskHealth, records: RecordKeeping, *, max_pending_bytes: int
    ) -> None:
        self.mailbox_weight = self._limit = max(max_pending_bytes // 2, 1)
        self.saves = 0
        self.batches = 0
        self.bytes_written = 0
        self.superseded = 0
        self.pending_bytes = 0
        self._writer = writer
        self._health = health
        self._records = records
        self._pending: dict[str, _Entry] = {}
        self._batch: list[_Entry] = []
        self._flushes: deque[tuple[int, Reply]] = deque()
        self._received = 0
        self._tried = 0
        self._room = asyncio.Event()
        self._pump: Job | None = None
        self._given_up = False

    @property
    def pending(self) -> int:
        """Documents received whose outcome is not known."""
        return len(self._pending) + len(self._batch)

    def is_busy_in(self, folder: Path) -> bool:
        """Whether a file in the folder is pending or being written."""
        inside = os.fspath(folder) + os.sep
        return any(path.startswith(inside) for path in self._pending) or any(
            entry.document.path.startswith(inside) for entry in self._batch
        )

    def weigh(self, message: PersistenceMessage) -> int:
        """The bytes a message keeps in memory, about."""
        if isinstance(message, ReplaceDocument):
            return _DOCUMENT_OVERHEAD + sum(map(len, message.members))
        if isinstance(message, AppendRecords):
            return sum(map(len, message.lines))
        return 0

    async def receive(self, message: PersistenceMessage) -> None:
        """Take a document, records or a flush; all are answered later."""
        reply = self.context.defer_reply()
        if isinstance(message, ReplaceDocument):
            await self._take(message, reply)
        elif isinstance(message, AppendRecords):
            if self._records.room.full:
                await self._append_when_there_is_room(message, reply)
            else:
                self._append(message, reply)
        else:
            log = self._records.log
            tried = log.tried(log.appended)
            number = self._received
            tried.add_done_callback(lambda _: self._flush(number, reply))

    async def on_stop(self) -> None:
        """Write what is pending first, for as long as the system lets it."""
        if self._pump is not None and not self._given_up:
            await self._pump.wait()

    def give_up(self) -> None:
        """Answer everybody who waits, and let the writer begin no other document."""
        self._given_up = True
        self._writer.give_up()
        gone = ActorStopped("the storage was closed before the disk answered; the save may still come about")
        for entry in (*self._batch, *self._pending.values()):
            for reply in entry.replies:
                reply.fail(gone)
            entry.replies.clear()
        for _, reply in self._flushes:
            reply.fail(gone)
        self._flushes.clear()
        self._pending.clear()
        self._room.set()

    async def _append_when_there_is_room(self, message: AppendRecords, reply: Reply) -> None:
        try:
            await self._records.room.wait()
        except OverwinterError as error:
            reply.fail(error)
        else:
            self._append(message, reply)

    def _append(self, message: AppendRecords, reply: Reply) -> None:
        try:
            journal = self._records.find(message.folder, message.incarnation)
            position = self._records.append(journal, message.lines, message.last)
        except OverwinterError as error:
            reply.fail(error)
        else:
            self._records.tell(_Appending(reply, message.last), position, sync=message.sync)

    def _flush(self, number: int, reply: Reply) -> None:
        self._flushes.append((number, reply))
        self._answer_flushes()

    async def _take(self, document: ReplaceDocument, reply: Reply) -> None:
        try:
            encode(document.metadata)
        except (ValueError, TypeError) as error:
            # Found out here and not by the writer, where it would have displaced a good one.
            reply.fail(
                SaveRejected(
                    f"the metadata of {document.path} cannot be stored: {error}", document.path, "metadata"
                )
            )
            return
        weight = self.weigh(document)
        while self._is_too_much(document.path, weight):
            self._room.clear()
            await self._room.wait()
        entry = self._pending.get(document.path)
        if entry is None:
            self._received += 1
            entry = self._pending[document.path] = _Entry(self._received)
        else:
            self.superseded += 1
            self.pending_bytes -= entry.weight
        entry.document, entry.weight = document, weight
        entry.behind = self._records.log.appended
        entry.replies = [*(waiting for waiting in entry.replies if not waiting.done), reply]
        self.pending_bytes += weight
        if self._pump is None:
            self._pump = self.context.start_soon(self._write_pending, name="writer")

    def _is_too_much(self, path: str, weight: int) -> bool:
        entry = self._pending.get(path)
        others = self.pending_bytes - (0 if entry is None else entry.weight)
        return others > 0 and others + weight > self._limit

    async def _write_pending(self) -> None:
        try:
            while self._pending:
                self._batch = self._next_batch()
                outcomes: Sequence[Outcome]
                try:
                    await self._records.log.tried(max(entry.behind for entry in self._batch))
                    outcomes = await self._writer.write([entry.document for entry in self._batch])
                except Exception as error:  # noqa: BLE001  (the outcome of all of them)
                    outcomes = [error] * len(self._batch)
                self._conclude(outcomes)
        except asyncio.CancelledError:
            # The thread has a batch in hand: it ends with the document it is at.
            self.give_up()
            raise
        finally:
            self._batch = []
            self._pump = None

    def _next_batch(self) -> list[_Entry]:
        batch: list[_Entry] = []
        size = 0
        for entry in islice(self._pending.values(), _BATCH_DOCUMENTS):
            batch.append(entry)
            size += entry.weight
            if size >= _BATCH_BYTES:
                break
        for entry in batch:
            del self._pending[entry.document.path]
        return batch

    def _conclude(self, outcomes: Sequence[Outcome]) -> None:
        self.batches += 1
        batch, self._batch = self._batch, []
        for entry, outcome in zip(batch, outcomes, strict=True):
            self.pending_bytes -= entry.weight
            self._tried = entry.number
            if isinstance(outcome, Saved):
                self.saves += 1
                self.bytes_written += outcome.bytes
                self._health.succeeded(outcome.path)
            else:
                self._health.failed(entry.document.path, outcome)
            entry.answer(outcome)
        self._room.set()
        self._answer_flushes()

    def _answer_flushes(self) -> None:
        while self._flushes and self._flushes[0][0] <= self._tried:
            _, reply = self._flushes.popleft()
            reply.complete(Flushed(dict(self._health.failing)))


class _Appending:
    """Who sent records, and waits for them to be in the log."""

    __slots__ = ("_last", "_reply")

    def __init__(self, reply: Reply, last: int) -> None:
        self._reply = reply
        self._last = last

    def done(self) -> bool:
        return self._reply.done

    def set_result(self, _: None, /) -> None:
        self._reply.complete(Appended(self._last))

    def set_exception(self, error: Exception, /) -> None:
        self._reply.fail(error)


class _Entry:
    """One path that is to be written, and everybody who asked for it."""

    __slots__ = ("behind", "document", "number", "replies", "weight")

    document: ReplaceDocument

    def __init__(self, number: int) -> None:
        self.number = number
        self.behind = 0  # as far as the log is to be on disk before it
        self.weight = 0
        self.replies: list[Reply] = []

    def answer(self, outcome: Outcome) -> None:
        """Tell everybody; all but the last had sent a document that was superseded."""
        for reply in self.replies:
            if isinstance(outcome, Saved):
                reply.complete(msgspec.structs.replace(outcome, superseded=reply is not self.replies[-1]))
            else:
                reply.fail(outcome)
