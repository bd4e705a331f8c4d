"""The records of one storage, from the event loop to the disk: the log, the journals, and what is on its way."""

from __future__ import annotations

import logging
from functools import partial
from typing import TYPE_CHECKING

from overwinter.errors import RuntimeClosed, WorkspaceError
from overwinter.persistence.log import RuntimeLog
from overwinter.persistence.log_file import LogFile
from overwinter.persistence.mover import Mover
from overwinter.persistence.open_journal import OpenJournal
from overwinter.persistence.room import Room

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from overwinter.persistence.files import FileOperations
    from overwinter.persistence.health import DiskHealth
    from overwinter.persistence.lease import Claim
    from overwinter.persistence.log import Waiter
    from overwinter.persistence.open_journal import LogEntry
    from overwinter.persistence.runtime_lock import RuntimeLock
    from overwinter.persistence.threads import DiskThreads
    from overwinter.runtime import Clock

__all__ = ["RecordKeeping"]

logger = logging.getLogger("overwinter.persistence")


class RecordKeeping:
    """Takes records in, for the persistence actor: they go to the log, and from there to the journals."""

    def __init__(
        self,
        lock: RuntimeLock,
        threads: DiskThreads,
        files: FileOperations,
        clock: Clock,
        health: DiskHealth,
        *,
        max_bytes: int,
    ) -> None:
        self._check_process = lock.check_process
        self._root = lock.workspace.root
        self._threads = threads
        self._journals: dict[str, OpenJournal] = {}
        self.file = LogFile(lock.folder, files)
        self.room = Room(max_bytes)
        self.mover = Mover(self.file, threads.writer, files, clock, health, self.room)
        self.log = RuntimeLog(self.file, threads.log, clock, health, self.mover.take)
        self.room.on_wanted = self._make_room

    def open(self, claim: Claim) -> None:
        """Know the journal of a claim that was just taken."""
        folder = self._relative(claim.folder.path)
        self._journals[folder] = OpenJournal(
            folder,
            claim.lease.incarnation,
            claim.folder.journal_dir,
            claim.journal,
            clean=claim.sequence is not None,
        )

    async def let_go(self, claim: Claim) -> None:
        """Take no more for that claim; return when all there was is in its journal for good.

        :raises RuntimeClosed: the storage was closed before.
        """
        journal = self._journals.pop(self._relative(claim.folder.path), None)
        if journal is not None:
            journal.closed = True
            self.log.sync_soon()
            await self.mover.settled(journal, sync=True)
            self.mover.forget(journal)

    def journal_of(self, claim: Claim) -> OpenJournal:
        """The journal of a claim that is held."""
        return self.find(self._relative(claim.folder.path), claim.lease.incarnation)

    def find(self, folder: str, incarnation: str) -> OpenJournal:
        """The journal of that folder; ``WorkspaceError`` when this runtime does not hold it."""
        journal = self._journals.get(folder)
        if journal is None or journal.incarnation != incarnation:
            raise WorkspaceError(
                f"records for {folder!r} are refused: this runtime does not hold that agent. Claim it first."
            )
        return journal

    def append(self, journal: OpenJournal, lines: Sequence[bytes], last: int) -> int:
        """Send lines off; the number to ``settle`` with."""
        self._check_process()
        if journal.closed:
            raise RuntimeClosed(f"{journal.folder} was released; what is appended now would not be saved")
        position = self.log.add(journal, lines, last)
        self.room.held += sum(map(len, lines))
        return position

    def settle(self, position: int, *, sync: bool) -> asyncio.Future[None]:
        """Done when what has that number is in the log, or on the disk."""
        self._check_process()
        return self.log.settled(position, sync=sync)

    def tell(self, waiter: Waiter, position: int, *, sync: bool) -> None:
        """The same, for who has something to set the result of."""
        self.log.tell(waiter, position, sync=sync)

    async def gather(self, folder: Path, *, sync: bool = False) -> None:
        """Return when all records of the folder are in its journal; with ``sync``, for good."""
        journal = self._journals.get(self._relative(folder))
        if journal is not None:
            self.log.sync_soon()
            await self.mover.settled(journal, sync=sync)

    async def finish(self) -> None:
        """Bring everything to its place: once, and what the disk refuses stays in the log."""
        await self.log.tried(self.log.appended)
        await self.mover.tried()

    @property
    def complete(self) -> bool:
        """Whether all records are in their journals for good, so that nobody needs the log."""
        return self.log.synced == self.log.appended and self.mover.clean

    def close(self) -> Callable[[], None]:
        """Take nothing more; whoever waits gets ``RuntimeClosed``. What it returns is for the log's thread to
        do last: to remove the log, or to have in it what is nowhere else."""
        complete, unwritten = self.complete, self.log.unwritten()
        error = RuntimeClosed("the storage was closed before the records were seen to be on disk")
        self.log.close(error)
        self.mover.close()
        self.room.close(error)
        return partial(self._end_now, complete=complete, unwritten=unwritten)

    def _end_now(self, *, complete: bool, unwritten: Sequence[LogEntry]) -> None:
        try:
            if complete:
                self.file.remove_all()
            elif unwritten:
                self.file.write(unwritten, sync=True)
        except OSError as error:
            what = "is not needed any more and could not be removed" if complete else "lacks the last records"
            logger.error("the log in %s %s: %s", self.file.folder, what, error)  # noqa: TRY400
        finally:
            self.file.close()

    def _make_room(self) -> None:
        self.log.sync_soon()
        self.mover.hurry()

    def _relative(self, folder: Path) -> str:
        return folder.relative_to(self._root).as_posix()
