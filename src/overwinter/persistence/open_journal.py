"""What is known on the event loop of a journal that this runtime writes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct

if TYPE_CHECKING:
    import asyncio
    from pathlib import Path

    from overwinter.persistence.journal import JournalEnd
    from overwinter.persistence.journal_file import JournalFile

__all__ = ["LogEntry", "OpenJournal"]


class OpenJournal:
    """The journal of one claimed folder: how far it has got, and what is on its way into it.

    ``folder`` is relative to the workspace, with slashes; ``clean`` tells that its last owner had released
    it. Sequences: ``appended`` was handed over, ``taken`` is in the log, ``moved`` in the journal's file,
    ``synced`` is there for good. ``lines`` are in the log and not moved, ``unsynced`` bytes moved and not
    synced. Once ``closed`` it takes no more.
    """

    __slots__ = (
        "appended",
        "clean",
        "closed",
        "directory",
        "end",
        "failures",
        "file",
        "folder",
        "incarnation",
        "lines",
        "moved",
        "synced",
        "taken",
        "unsynced",
        "waiters",
    )

    def __init__(
        self, folder: str, incarnation: str, directory: Path, end: JournalEnd, *, clean: bool
    ) -> None:
        self.folder = folder
        self.incarnation = incarnation
        self.directory = directory
        self.end = end
        self.clean = clean
        self.closed = False
        self.file: JournalFile | None = None
        self.appended = self.taken = self.moved = self.synced = end.sequence
        self.lines: list[bytes] = []
        self.unsynced = 0
        self.failures = 0
        self.waiters: list[tuple[int, bool, asyncio.Future[None]]] = []


class LogEntry(Struct, gc=False):
    """Lines of one journal that follow one another, the last of which has the sequence ``last``.

    No journal knows of its entries, so they are in no circle.
    """

    journal: OpenJournal
    lines: tuple[bytes, ...] | list[bytes]
    last: int
