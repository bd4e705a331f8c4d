"""Points at which a process kills itself: at an event, or in the middle of its work on the disk."""

from __future__ import annotations

import itertools
import os
import signal
from typing import TYPE_CHECKING, NoReturn

from tests.support.processes import say

from overwinter.persistence import FileOperations

if TYPE_CHECKING:
    from pathlib import Path

    from overwinter.events import Event

__all__ = ["DeadlyDisk", "Watcher"]


def die(at: str) -> NoReturn:
    """Say where, and die as by ``kill -9``."""
    say("hit", at)
    os.kill(os.getpid(), signal.SIGKILL)
    # The signal may reach another thread first; this one does nothing more.
    signal.pause()
    raise AssertionError("it lives")


class Watcher:
    """Dies at the so-many-th event."""

    def __init__(self, number: int) -> None:
        self._left = number

    def __call__(self, event: Event) -> None:
        self._left -= 1
        if self._left == 0:
            die(event.kind)


class DeadlyDisk(FileOperations):
    """Its process dies when so many operations that change something are done; half a write counts as one.

    :param kind: the one kind of operation that is counted; all of them by default.
    """

    def __init__(self, number: int, kind: str = "") -> None:
        super().__init__()
        self._number = number
        self._kind = kind
        self._count = itertools.count(1)

    def _done(self, operation: str) -> None:
        if self._kind in ("", operation) and next(self._count) == self._number:
            die(operation)

    def open_new(self, path: Path) -> int:
        fd = super().open_new(path)
        self._done("open_new")
        return fd

    def write(self, fd: int, data: bytes | memoryview) -> int:
        half = super().write(fd, data[: len(data) // 2])
        self._done("half a write")
        rest = super().write(fd, data[half:])
        self._done("write")
        return half + rest

    def fsync(self, fd: int) -> None:
        super().fsync(fd)
        self._done("fsync")

    def replace(self, source: Path, target: Path) -> None:
        super().replace(source, target)
        self._done("replace")

    def link(self, existing: Path, new: Path) -> None:
        super().link(existing, new)
        self._done("link")

    def unlink(self, path: Path) -> None:
        super().unlink(path)
        self._done("unlink")

    def sync_folder(self, path: Path) -> None:
        super().sync_folder(path)
        self._done("sync_folder")

    def mkdir(self, path: Path) -> None:
        super().mkdir(path)
        self._done("mkdir")

    def overwrite(self, path: Path, data: bytes) -> int:
        written = super().overwrite(path, data)
        self._done("overwrite")
        return written

    def truncate(self, path: Path, size: int) -> None:
        super().truncate(path, size)
        self._done("truncate")

    def remove_folder(self, path: Path) -> None:
        super().remove_folder(path)
        self._done("remove_folder")
