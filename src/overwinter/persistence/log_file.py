"""The files of a runtime's log, ``.runtimes/{id}/000001.jsonl`` and on: what happens in the log's thread."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple

from overwinter.persistence.atomic import write_all
from overwinter.persistence.lines import log_line
from overwinter.persistence.segments import segment_path

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

    from overwinter.persistence.files import FileOperations
    from overwinter.persistence.open_journal import LogEntry

__all__ = ["LogFile", "Written"]

# Its end costs an fsync a journal, and its bytes are in memory until then, and read again after a kill.
_SEGMENT_BYTES = 4 << 20
_CHUNK = 1 << 18


class Written(NamedTuple):
    """What became of a batch: the ``segment`` it is in, whether that was fsynced and ended with it, and its
    ``size`` in bytes."""

    segment: int
    synced: bool
    ended: bool
    size: int


class LogFile:
    """Appends batches to the newest segment, each with one write and, where asked, one fsync. Blocking.

    :param folder: the folder of the runtime, which exists.
    :param segment_bytes: a segment that has so many is ended, and the next batch begins another.

    After a failure nothing is written to that segment again: the next batch begins a new one, and must hold
    everything that was not synced.
    """

    def __init__(self, folder: Path, files: FileOperations, *, segment_bytes: int = _SEGMENT_BYTES) -> None:
        self.folder = folder
        self._files = files
        self._segment_bytes = segment_bytes
        self._number = 0
        self._there: set[int] = set()
        self._fd: int | None = None
        self._size = 0
        self._named = False  # whether the segment's name is on the disk
        self._kept = False  # whether something in the segment was synced, which may be nowhere else
        self._spare: int | None = None  # a segment that failed, all of which the next one holds too
        self._folder_named = False

    def write(self, entries: Sequence[LogEntry], *, sync: bool) -> Written:
        """Append the lines of ``entries``; ``OSError`` when it cannot be said that they are there."""
        before = self._size if self._fd is not None else 0
        fd = self._begin() if self._fd is None else self._fd
        try:
            for chunk in _chunks(entries):
                write_all(fd, chunk, self._files)
                self._size += len(chunk)
        except BaseException:
            self._leave(broken=True)
            raise
        number, size = self._number, self._size - before
        ended = self._size >= self._segment_bytes
        if sync or ended:
            try:
                self._sync(fd)
            except BaseException:
                self._leave(broken=False)
                raise
            self._kept = True
            self._drop_spare()
        if ended:
            self.close()
        return Written(number, sync or ended, ended, size)

    def remove(self, segments: Iterable[int]) -> None:
        """Remove segments whose records have all moved; one that is gone already is fine."""
        for number in segments:
            with suppress(FileNotFoundError):
                self._files.unlink(segment_path(self.folder, number))
            self._there.discard(number)

    def remove_all(self) -> None:
        """Remove the whole log."""
        self.close()
        self.remove(tuple(self._there))

    def close(self) -> None:
        """Close the newest segment."""
        if self._fd is not None:
            fd, self._fd = self._fd, None
            with suppress(OSError):
                self._files.close(fd)

    def _begin(self) -> int:
        self._number += 1
        self._fd = fd = self._files.open_new(segment_path(self.folder, self._number))
        self._there.add(self._number)
        self._size = 0
        self._named = self._kept = False
        return fd

    def _sync(self, fd: int) -> None:
        self._files.fsync(fd)
        if not self._named:
            self._files.sync_folder(self.folder)
            if not self._folder_named:
                self._files.sync_folder(self.folder.parent)
                self._folder_named = True
            self._named = True

    def _leave(self, *, broken: bool) -> None:
        """Give the segment up; of those that hold the same unsynced records only one is left standing."""
        self.close()
        if self._kept:
            return
        if broken and self._spare is not None:
            # The spare one has more of what both were to have.
            self._drop(self._number)
        else:
            self._drop_spare()
            self._spare = self._number

    def _drop_spare(self) -> None:
        if self._spare is not None:
            self._drop(self._spare)
            self._spare = None

    def _drop(self, number: int) -> None:
        # Not worth a failure: replaying it again does nothing.
        with suppress(OSError):
            self.remove((number,))


def _chunks(entries: Sequence[LogEntry]) -> Iterator[bytes]:
    """The lines of the log in few pieces: each call of the system is a fight for the GIL."""
    lines: list[bytes] = []
    size = 0
    for entry in entries:
        journal = entry.journal
        for record in entry.lines:
            line = log_line(journal.folder, journal.incarnation, record)
            lines.append(line)
            size += len(line)
        if size >= _CHUNK:
            yield b"".join(lines)
            lines.clear()
            size = 0
    if lines:
        yield b"".join(lines)
