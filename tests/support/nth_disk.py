"""A disk of which the Nth operation fails, for N = 1, 2, 3 ... until a run completes."""

from __future__ import annotations

import errno
import os
import sys
import threading
from typing import TYPE_CHECKING

from overwinter.persistence import FileOperations

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

ERRORS = [errno.EIO, errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EROFS, errno.EMFILE, errno.EINVAL]
NAMES = [errno.errorcode[code] for code in ERRORS]
MOST = 60


class Died(BaseException):
    """The process is gone: nothing after it happens."""


class Nth(FileOperations):
    """Fails the operation number ``nth`` with ``code``, and counts them, in any thread.

    Without a code the process dies there: nothing happens from then on. With ``short`` no write takes more
    than some bytes; without ``links`` there are none. Looking whether a file exists cannot fail.
    """

    def __init__(self, nth: int, code: int | None, *, short: int = 1 << 30, links: bool = True) -> None:
        super().__init__(sync_folders=True)
        self.nth = nth
        self.code = code
        self.short = short
        self.links = links
        self.count = 0
        self.failed = ""
        self.open: set[int] = set()
        self._unsynced: set[int] = set()
        self._lock = threading.Lock()

    def _step(self, name: str) -> None:
        with self._lock:
            self.count += 1
            count = self.count
        if self.code is None and count >= self.nth:
            raise Died
        if count == self.nth and self.code is not None:
            self.failed = name
            raise OSError(self.code, os.strerror(self.code))

    def open_append(self, path: Path) -> int:
        self._step("open_append")
        fd = super().open_append(path)
        self.open.add(fd)
        return fd

    def open_new(self, path: Path) -> int:
        self._step("open_new")
        fd = super().open_new(path)
        self.open.add(fd)
        return fd

    def write(self, fd: int, data: bytes | memoryview) -> int:
        self._step("write")
        self._unsynced.add(fd)
        return super().write(fd, data[: self.short])

    def fsync(self, fd: int) -> None:
        self._step("fsync")
        self._unsynced.discard(fd)

    def close(self, fd: int) -> None:
        try:
            self._step("close" if fd in self._unsynced else "close what is synced")
        finally:
            # Whatever close answers, the descriptor is gone.
            self.open.discard(fd)
            self._unsynced.discard(fd)
            super().close(fd)

    def replace(self, source: Path, target: Path) -> None:
        self._step("replace")
        super().replace(source, target)

    def link(self, existing: Path, new: Path) -> None:
        self._step("link")
        if not self.links:
            raise OSError(errno.EPERM, os.strerror(errno.EPERM))
        super().link(existing, new)

    def unlink(self, path: Path) -> None:
        self._step("unlink")
        super().unlink(path)

    def sync_folder(self, path: Path) -> None:
        self._step("sync_folder")

    def mkdir(self, path: Path) -> None:
        self._step("mkdir")
        super().mkdir(path)

    def read_bytes(self, path: Path) -> bytes:
        self._step("read_bytes")
        return super().read_bytes(path)

    def read_range(self, path: Path, start: int, length: int) -> bytes:
        self._step("read_range")
        return super().read_range(path, start, length)

    def size(self, path: Path) -> int:
        self._step("size")
        return super().size(path)

    def list(self, path: Path) -> Sequence[str]:
        self._step("list")
        return super().list(path)

    def overwrite(self, path: Path, data: bytes) -> int:
        self._step("overwrite")
        return super().overwrite(path, data)

    def truncate(self, path: Path, size: int) -> None:
        self._step("truncate")
        super().truncate(path, size)

    def remove_folder(self, path: Path) -> None:
        self._step("remove_folder")
        super().remove_folder(path)

    def rename_aside(self, source: Path, target: Path) -> None:
        self._step("rename_aside")
        super().rename_aside(source, target)


def descriptors() -> int:
    """How many this process holds, where the system tells."""
    return len([*os.scandir("/proc/self/fd")]) if sys.platform == "linux" else 0
