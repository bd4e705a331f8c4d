"""Replacing a file as a whole: whoever reads sees the old one or the new one, never anything between.

The four outcomes are a normal return (new, durable), ``SaveFailed`` (old), ``SaveNotDurable`` (new, but a
power cut may undo it), and, before anything is touched, the codec's ``SaveRejected`` (old).
"""

from __future__ import annotations

import errno
import os
from contextlib import suppress
from typing import TYPE_CHECKING

from overwinter.errors import SaveFailed, SaveNotDurable, WorkspaceError
from overwinter.persistence.files import FILES

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from datetime import datetime
    from pathlib import Path

    from overwinter.persistence.files import FileOperations

__all__ = ["is_temporary", "not_durable", "replace_file", "set_aside", "write_all", "write_once"]

_CHUNK = 1 << 20
_PREFIX = ".overwinter-"
_SUFFIX = ".tmp"

# What link() answers on a filesystem that has no hard links (FAT, some network shares), or no more of them.
_NO_LINKS = {errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK, errno.EINVAL}

_WRITABLE = "Make the folder writable for this user"
_ADVICE = {
    errno.ENOSPC: "Free some space on the disk",
    errno.EDQUOT: "Free some of the quota",
    errno.EFBIG: "Raise the limit on the size of a file (ulimit -f)",
    errno.EACCES: _WRITABLE,
    errno.EPERM: _WRITABLE,
    errno.EROFS: "Remount the filesystem writable, or choose another workspace_dir",
    errno.EMFILE: "Raise the limit on open files (ulimit -n)",
    errno.ENFILE: "Raise the system's limit on open files",
    errno.ENOENT: "Somebody has removed the folder; create it again",
}


def replace_file(
    path: Path,
    pieces: Sequence[bytes],
    *,
    files: FileOperations = FILES,
    keep_previous: Path | None = None,
    sync: bool = True,
) -> None:
    """Make the joined *pieces* the content of the file at *path*, durably, and at one instant.

    With *keep_previous* the file that stood at *path* is to be found there afterwards. A crash leaves at most
    a temporary file behind, which :func:`overwinter.persistence.sweep_temporaries` removes. Without *sync* it is
    durable once the caller has synced the folder. Blocking.

    :raises SaveFailed: the file at *path* is what it was. The cause is chained, and nothing is left behind.
    :raises SaveNotDurable: the new file is in place, but its folder could not be synced.
    """
    temporary = _temporary_beside(path)
    try:
        _write_new(temporary, pieces, files)
        try:
            if keep_previous is not None:
                _keep(path, keep_previous, files)
            files.replace(temporary, path)
        except BaseException:
            _discard(temporary, files)
            raise
    except OSError as error:
        raise SaveFailed(_explain(path, error), path) from error
    if sync:
        _sync(path, files)


def not_durable(path: Path, error: OSError) -> SaveNotDurable:
    """What it is to be called that the file at *path* was replaced and *error* came when its folder was synced."""
    failed = SaveNotDurable(
        f"{path} is written, but its folder could not be synced: {_reason(error)}. "
        "A power cut may undo this save; check the disk and save again.",
        path,
    )
    failed.__cause__ = error
    return failed


def write_once(path: Path, pieces: Sequence[bytes], *, files: FileOperations = FILES) -> bool:
    """Create the file at *path* with the joined *pieces*, durably, unless there is one already.

    Returns whether this call made it. Of several callers at once exactly one makes it, where the filesystem
    knows hard links. Blocking.

    :raises SaveFailed: there is no new file. The cause is chained, and nothing is left behind.
    :raises SaveNotDurable: the new file is in place, but its folder could not be synced.
    """
    temporary = _temporary_beside(path)
    try:
        _write_new(temporary, pieces, files)
        try:
            files.link(temporary, path)
        except FileExistsError:
            return False
        except OSError as error:
            if error.errno not in _NO_LINKS:
                raise
            if files.exists(path):
                return False
            files.replace(temporary, path)
        finally:
            _discard(temporary, files)
    except OSError as error:
        raise SaveFailed(_explain(path, error), path) from error
    _sync(path, files)
    return True


def set_aside(path: Path, now: datetime, *, files: FileOperations = FILES) -> Path:
    """Rename the damaged file at *path* to ``*.corrupt-<time>`` and return its new path. Blocking.

    :raises WorkspaceError: it could not be renamed; it stands where it stood.
    """
    stem = f"{path.name}.corrupt-{now:%Y%m%dT%H%M%SZ}"
    target = path.with_name(stem)
    attempt = 1
    while files.exists(target):
        attempt += 1
        target = path.with_name(f"{stem}-{attempt}")
    try:
        files.rename_aside(path, target)
    except OSError as error:
        raise WorkspaceError(
            f"{path} is damaged and could not be renamed to {target.name}: {_reason(error)}. "
            "Move it away yourself."
        ) from error
    return target


def is_temporary(name: str) -> bool:
    """Whether a file of this name is a temporary of this module, of no use once its writer is gone."""
    return name.startswith(_PREFIX) and name.endswith(_SUFFIX)


def _temporary_beside(path: Path) -> Path:
    return path.with_name(f"{_PREFIX}{os.urandom(8).hex()}{_SUFFIX}")


def _write_new(temporary: Path, pieces: Iterable[bytes], files: FileOperations) -> None:
    fd = files.open_new(temporary)
    try:
        try:
            for chunk in _chunks(pieces):
                write_all(fd, chunk, files)
            files.fsync(fd)
        except BaseException:
            with suppress(OSError):
                files.close(fd)
            raise
        files.close(fd)
    except BaseException:
        _discard(temporary, files)
        raise


def _chunks(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """The same bytes in few calls: each one is a fight for the GIL."""
    gathered: list[bytes] = []
    size = 0
    for piece in pieces:
        gathered.append(piece)
        size += len(piece)
        if size >= _CHUNK:
            yield b"".join(gathered)
            gathered.clear()
            size = 0
    if gathered:
        yield b"".join(gathered)


def write_all(fd: int, data: bytes, files: FileOperations) -> None:
    """Write all of *data* to *fd*, in as many pieces as the system makes of it; raises ``OSError``."""
    rest = memoryview(data)
    while rest:
        written = files.write(fd, rest)
        if written <= 0:
            raise OSError(errno.EIO, "the system wrote nothing and gave no reason")
        rest = rest[written:]


def _keep(path: Path, previous: Path, files: FileOperations) -> None:
    second = _temporary_beside(path)
    try:
        try:
            files.link(path, second)
        except OSError as error:
            if error.errno not in _NO_LINKS:
                raise
            _write_new(second, [files.read_bytes(path)], files)
        files.replace(second, previous)
    except FileNotFoundError:
        if files.exists(path):
            raise
    finally:
        # Also after success: renaming one name of a file to another of its names does nothing, says POSIX.
        _discard(second, files)


def _discard(temporary: Path, files: FileOperations) -> None:
    with suppress(OSError):
        files.unlink(temporary)


def _sync(path: Path, files: FileOperations) -> None:
    try:
        files.sync_folder(path.parent)
    except OSError as error:
        raise not_durable(path, error) from error


def _explain(path: Path, error: OSError) -> str:
    advice = _ADVICE.get(error.errno or 0, "Check the disk")
    return (
        f"{path} could not be saved: {_reason(error)}. What was there before is unchanged. "
        f"{advice} and save again."
    )


def _reason(error: OSError) -> str:
    return error.strerror or str(error)
