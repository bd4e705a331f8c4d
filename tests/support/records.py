"""Records in a storage, and a disk on which any operation on any file can be refused or held up."""

from __future__ import annotations

import errno
import os
import threading
from typing import TYPE_CHECKING

from tests.support.disk import UnsyncedDisk, off_loop, turns

from overwinter.persistence import JournalWriter, journal_line, read_journal
from overwinter.persistence.lines import read_log_line
from overwinter.persistence.segments import segment_numbers, segment_path

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from overwinter.persistence import Claim, Storage

_LONGEST = 60.0


class StubbornDisk(UnsyncedDisk):
    """A disk that tells what is done to which file.

    ``refused`` has the operations that fail, on paths which hold ``only``; ``held`` those that wait until
    ``let_go``, with ``stuck`` set meanwhile. ``before`` is called with each operation and path, and may raise.
    """

    def __init__(self) -> None:
        super().__init__()
        self.done: list[tuple[str, str]] = []
        self.refused: set[str] = set()
        self.held: set[str] = set()
        self.only = ""
        self.code = errno.EIO
        self.before: Callable[[str, str], object] | None = None
        self.stuck = threading.Event()
        self._free = threading.Event()
        self._paths: dict[int, str] = {}

    def let_go(self) -> None:
        self.held = set()
        self._free.set()

    async def until_stuck(self) -> None:
        assert await off_loop(self.stuck.wait, _LONGEST), "nobody came to the disk"

    def told(self, operation: str, part: str = "") -> list[str]:
        """The paths which hold ``part`` and had that operation, in order."""
        return [path for each, path in self.done if each == operation and part in path]

    def _tell(self, operation: str, path: Path | str) -> None:
        path = str(path)
        self.done.append((operation, path))
        if self.before is not None:
            self.before(operation, path)
        if operation in self.refused and self.only in path:
            raise OSError(self.code, os.strerror(self.code))
        if operation in self.held and self.only in path:
            self.stuck.set()
            assert self._free.wait(_LONGEST), "the test never let the disk go"

    def open_new(self, path: Path) -> int:
        self._tell("open_new", path)
        fd = super().open_new(path)
        self._paths[fd] = str(path)
        return fd

    def open_append(self, path: Path) -> int:
        self._tell("open_append", path)
        fd = super().open_append(path)
        self._paths[fd] = str(path)
        return fd

    def write(self, fd: int, data: bytes | memoryview) -> int:
        self._tell("write", self._paths[fd])
        return super().write(fd, data)

    def fsync(self, fd: int) -> None:
        self._tell("fsync", self._paths[fd])

    def close(self, fd: int) -> None:
        self._tell("close", self._paths.pop(fd))
        super().close(fd)

    def replace(self, source: Path, target: Path) -> None:
        self._tell("replace", target)
        super().replace(source, target)

    def unlink(self, path: Path) -> None:
        self._tell("unlink", path)
        super().unlink(path)

    def sync_folder(self, path: Path) -> None:
        self._tell("sync_folder", path)

    def mkdir(self, path: Path) -> None:
        self._tell("mkdir", path)
        super().mkdir(path)

    def read_bytes(self, path: Path) -> bytes:
        self._tell("read_bytes", path)
        return super().read_bytes(path)

    def read_range(self, path: Path, start: int, length: int) -> bytes:
        self._tell("read_range", path)
        return super().read_range(path, start, length)

    def overwrite(self, path: Path, data: bytes) -> int:
        self._tell("overwrite", path)
        return super().overwrite(path, data)

    def truncate(self, path: Path, size: int) -> None:
        self._tell("truncate", path)
        super().truncate(path, size)

    def list(self, path: Path) -> Sequence[str]:
        self._tell("list", path)
        return super().list(path)

    def rename_aside(self, source: Path, target: Path) -> None:
        self._tell("rename_aside", source)
        super().rename_aside(source, target)


def numbered(sequence: int, size: int = 0) -> bytes:
    """A record that can be told from others."""
    return b'{"number":%d,"text":"%b"}' % (sequence, b"x" * size)


def lines_of(sequences: range) -> tuple[bytes, ...]:
    """Lines for ``AppendRecords``."""
    return tuple(journal_line(each, numbered(each)) for each in sequences)


async def writer_of(storage: Storage, name: str = "writer") -> tuple[Claim, JournalWriter]:
    """A claim of that name and a writer under it."""
    held = await storage.claim(storage.workspace.folder(name, f"id-of-{name}"))
    return held, JournalWriter(storage, held, held.journal.sequence)


def append(writer: JournalWriter, count: int = 1, size: int = 0) -> None:
    """Append so many records."""
    for _ in range(count):
        writer.append(numbered(writer.sequence + 1, size))


async def threads_done(storage: Storage) -> None:
    """Return when the storage's threads have done everything they were given, and the loop has heard of it."""
    threads = storage._current().threads
    for _ in range(4):
        await turns()
        for thread in (threads.log, threads.writer, threads.opener):
            await off_loop(thread.submit(int).result, _LONGEST)
    await turns()


async def in_journal(held: Claim) -> list[int]:
    """The sequences in the journal of a claim, as they stand on disk."""
    reading = await off_loop(read_journal, held.folder.journal_dir)
    assert (reading.torn, reading.gaps) == ("", ())
    return [line.sequence for line in reading.lines]


def in_log(folder: Path) -> list[tuple[str, int]]:
    """What stands in the log of a runtime, the damaged left out: folder names and sequences. Blocking."""
    found: list[tuple[str, int]] = []
    for number in segment_numbers(folder):
        for text in segment_path(folder, number).read_bytes().split(b"\n"):
            line = read_log_line(text)
            if line is not None:
                found.append((line.folder.rpartition("/")[2], line.sequence))
    return found


def log_folder(storage: Storage) -> Path:
    """Where the log of an open storage stands."""
    return storage.workspace.runtimes_dir / storage.runtime_id
