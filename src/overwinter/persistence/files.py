"""The one seam through which overwinter touches files, so that a test can make any operation fail.

Every method is one operation of the system, blocks, and raises ``OSError``. None of them belongs on the event
loop.
"""

from __future__ import annotations

import errno
import os
import sys
import time
import warnings
from typing import TYPE_CHECKING

from overwinter.errors import PlatformLimitation

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

__all__ = ["FILES", "FileOperations", "probe_files"]

_ALWAYS = getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_NOINHERIT", 0) | getattr(os, "O_BINARY", 0)
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0) | _ALWAYS
_APPEND = os.O_WRONLY | os.O_APPEND | getattr(os, "O_NOFOLLOW", 0) | _ALWAYS
_READ = os.O_RDONLY | _ALWAYS
_AT_FIRST = 1 << 16  # bytes, which is more than most files have
_FILE_MODE = 0o600
_FOLDER_MODE = 0o700
_UNSUPPORTED = {errno.EINVAL, errno.ENOTSUP, errno.ENOSYS, errno.EOPNOTSUPP}


class FileOperations:
    """The operations on files that persistence is built of.

    :param sync_folders: False where the filesystem cannot sync a folder (see :func:`probe_files`).
    """

    def __init__(self, *, sync_folders: bool = sys.platform != "win32") -> None:
        self.sync_folders = sync_folders

    def open_new(self, path: Path) -> int:
        """Create the file, for its owner only, and open it for writing; one that exists is an error."""
        return os.open(path, _NEW, _FILE_MODE)

    def open_append(self, path: Path) -> int:
        """Open the file, which must exist, for writing at its end."""
        return os.open(path, _APPEND)

    def write(self, fd: int, data: bytes | memoryview) -> int:
        """Write what the system takes at once; returns how many bytes that was."""
        return os.write(fd, data)

    def fsync(self, fd: int) -> None:
        """Return when what was written to *fd* is on the disk."""
        if sys.platform == "darwin":  # pragma: no cover
            import fcntl

            # There fsync leaves the data in the drive's cache; its manual page says so.
            try:
                fcntl.fcntl(fd, fcntl.F_FULLFSYNC)
            except OSError as error:
                if error.errno not in _UNSUPPORTED:
                    raise
            else:
                return
        os.fsync(fd)

    def close(self, fd: int) -> None:
        """Close *fd*; also when this raises, *fd* is closed."""
        os.close(fd)

    def replace(self, source: Path, target: Path) -> None:
        """Make *source* the file at *target*, at one instant."""
        if sys.platform == "win32":  # pragma: no cover
            # There a file that somebody reads cannot be replaced; readers are soon done.
            for _ in range(20):
                try:
                    source.replace(target)
                except PermissionError:
                    time.sleep(0.05)
                else:
                    return
        source.replace(target)

    def link(self, existing: Path, new: Path) -> None:
        """Give the file *existing* the second name *new*; one that exists is an error."""
        new.hardlink_to(existing)

    def unlink(self, path: Path) -> None:
        """Remove the file."""
        path.unlink()

    def sync_folder(self, path: Path) -> None:
        """Return when the names in the folder are on the disk; nothing where ``sync_folders`` is False."""
        if not self.sync_folders:
            return
        fd = os.open(path, os.O_RDONLY | getattr(os, "O_DIRECTORY", 0) | _ALWAYS)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)

    def mkdir(self, path: Path) -> None:
        """Create the folder, open to its owner only."""
        path.mkdir(_FOLDER_MODE)

    def read_bytes(self, path: Path) -> bytes:
        """The whole content of the file."""
        # Not by a Python file object, which costs twice as many system calls, and the GIL with each.
        fd = os.open(path, _READ)
        try:
            data = os.read(fd, _AT_FIRST)
            if len(data) < _AT_FIRST and not os.read(fd, 1):
                return data
            os.lseek(fd, 0, os.SEEK_SET)
            pieces: list[bytes] = []
            while piece := os.read(fd, max(_AT_FIRST, os.fstat(fd).st_size)):
                pieces.append(piece)
            return b"".join(pieces)
        finally:
            os.close(fd)

    def read_range(self, path: Path, start: int, length: int) -> bytes:
        """At most *length* bytes of the file, from *start* on."""
        fd = os.open(path, _READ)
        try:
            if start:
                os.lseek(fd, start, os.SEEK_SET)
            return os.read(fd, length)
        finally:
            os.close(fd)

    def size(self, path: Path) -> int:
        """The bytes of the file."""
        return path.stat().st_size

    def modified(self, path: Path) -> float:
        """When the file was last written to, in seconds since 1970."""
        return path.stat().st_mtime

    def exists(self, path: Path) -> bool:
        """Whether there is something of that name, be it a link to nothing."""
        return os.path.lexists(path)

    def is_folder(self, path: Path) -> bool:
        """Whether there is a folder of that name."""
        return path.is_dir()

    def list(self, path: Path) -> Sequence[str]:
        """The names in the folder, in any order."""
        return os.listdir(path)  # noqa: PTH208

    def truncate(self, path: Path, size: int) -> None:
        """Cut the file off at *size* bytes."""
        os.truncate(path, size)

    def overwrite(self, path: Path, data: bytes) -> int:
        """Write *data* over a file of the same size, in one go; returns how many bytes of it were written.

        Nothing is, when the file has another size.
        """
        fd = os.open(path, os.O_WRONLY | getattr(os, "O_NOFOLLOW", 0) | _ALWAYS)
        try:
            return os.write(fd, data) if os.fstat(fd).st_size == len(data) else 0
        finally:
            os.close(fd)

    def remove_folder(self, path: Path) -> None:
        """Remove the folder, which must be empty."""
        path.rmdir()

    def rename_aside(self, source: Path, target: Path) -> None:
        """Rename a damaged file."""
        source.rename(target)


FILES = FileOperations()
"""The operations of this system, for whoever is not handed others."""


def probe_files(folder: Path) -> FileOperations:
    """The operations that suit the filesystem of *folder*, which must exist.

    :raises OSError: the folder cannot be opened, or its disk fails.
    :warns PlatformLimitation: names in a folder cannot be synced here (Windows, some shared folders of
        virtual machines), so that a power cut may undo the last saves.
    """
    files = FileOperations()
    if files.sync_folders:
        try:
            files.sync_folder(folder)
        except OSError as error:
            if error.errno not in _UNSUPPORTED:
                raise
        else:
            return files
    warnings.warn(
        f"{folder} is on a filesystem that cannot sync a folder: "
        "a save is never torn, but a power cut may undo the last ones.",
        PlatformLimitation,
        stacklevel=2,
    )
    return FileOperations(sync_folders=False)
