"""A lock on a file: held by a live process, free the moment that process is gone.

On POSIX systems it is ``flock``, which belongs to the open file and not to the process: two locks on one path
exclude each other in one process too. A forked child inherits the open file, and with it the lock, so that
the lock would outlive its owner for as long as the child lives; therefore every child closes its copies at
once.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from overwinter.errors import ForkedRuntime, WorkspaceError

if TYPE_CHECKING:
    from collections.abc import Generator
    from pathlib import Path

__all__ = ["FileLock", "locked"]

_FLAGS = os.O_RDWR | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)
_PATIENCE = 10.0

_guard = threading.Lock()
_open_locks: set[FileLock] = set()


if sys.platform == "win32":  # pragma: no cover
    import msvcrt

    # The lock is mandatory for the bytes it covers: far behind the content, it leaves that readable.
    _LOCKED_BYTE = 0x7FFF0000

    def _lock(fd: int) -> bool:
        os.lseek(fd, _LOCKED_BYTE, os.SEEK_SET)
        try:
            msvcrt.locking(fd, msvcrt.LK_NBLCK, 1)
        except PermissionError:
            return False
        return True

    def _unlock(fd: int) -> None:
        os.lseek(fd, _LOCKED_BYTE, os.SEEK_SET)
        msvcrt.locking(fd, msvcrt.LK_UNLCK, 1)

else:
    import fcntl

    def _lock(fd: int) -> bool:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def _unlock(fd: int) -> None:
        fcntl.flock(fd, fcntl.LOCK_UN)


class FileLock:
    """An exclusive lock on the file at ``path``. Its methods block: call them in a thread."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._fd: int | None = None
        self._forked = False

    @property
    def held(self) -> bool:
        """Whether this object holds the lock."""
        return self._fd is not None

    @property
    def forked(self) -> bool:
        """Whether this process was forked from the one that held the lock."""
        return self._forked

    def check_process(self) -> None:
        """Raise ``ForkedRuntime`` in a child forked while the lock was held."""
        if self._forked:
            raise ForkedRuntime(
                f"this process was forked from the one that holds {self.path}, and two must not write there. "
                "Start a Runtime of its own in the child, or start the child with the 'spawn' method."
            )

    def try_acquire(self, *, create: bool = True) -> bool:
        """Take the lock if it is free, and say whether it is held now; never wait.

        Raise ``OSError`` when the file cannot be opened or its filesystem knows no locks, and
        ``FileNotFoundError`` when there is none and ``create`` is false.
        """
        self.check_process()
        if self._fd is not None:
            return True
        while True:
            fd = self._open(create=create)
            try:
                if not _lock(fd):
                    self._close()
                    return False
                if self._is_current(fd):
                    return True
            except BaseException:
                self._close()
                raise
            # Its last holder removed the file between our opening and locking it: what we hold has no name.
            self._close()

    def acquire(self, *, patience: float = _PATIENCE) -> None:
        """Take the lock, waiting for at most ``patience`` seconds; ``WorkspaceError`` when they are over.

        It polls instead of waiting in the system: a holder that was stopped in a debugger, or whose container
        is paused, must not take this thread with it.
        """
        deadline = time.monotonic() + patience
        pause = 0.0005
        while not self.try_acquire():
            if time.monotonic() >= deadline:
                raise WorkspaceError(
                    f"{self.path} has been locked by another process for {patience:g} seconds, not "
                    "milliseconds: look for an overwinter process that is stopped or hangs."
                )
            time.sleep(pause)
            pause = min(pause * 2, 0.02)

    def write(self, content: bytes) -> None:
        """Replace the file's content, for others to read; only while the lock is held."""
        assert self._fd is not None
        os.ftruncate(self._fd, 0)
        os.lseek(self._fd, 0, os.SEEK_SET)
        os.write(self._fd, content)

    def release(self, *, remove: bool = False) -> None:
        """Give the lock back and, if asked, remove its file. Idempotent; nothing in a forked child."""
        fd = self._fd
        if fd is None:
            return
        if remove and sys.platform != "win32":
            # While it is locked: whoever locks the nameless file afterwards sees that and tries again.
            with suppress(OSError):
                self.path.unlink()
        with suppress(OSError):
            # Closing alone would do, were it not for a child between its fork and its closing.
            _unlock(fd)
        self._close()
        if remove and sys.platform == "win32":  # pragma: no cover
            with suppress(OSError):
                self.path.unlink()

    def _open(self, *, create: bool) -> int:
        # A fork between opening and noting the descriptor would leave it open in the child.
        with _guard:
            fd = os.open(self.path, _FLAGS | (os.O_CREAT if create else 0), 0o600)
            self._fd = fd
            _open_locks.add(self)
        return fd

    def _close(self) -> None:
        with _guard:
            if self._fd is None:
                return
            fd, self._fd = self._fd, None
            _open_locks.discard(self)
            os.close(fd)

    def _is_current(self, fd: int) -> bool:
        try:
            there = self.path.stat(follow_symlinks=False)
        except FileNotFoundError:
            return False
        return os.path.samestat(os.fstat(fd), there)

    def leave_in_child(self) -> None:
        """Let go of it in a child just forked: close it, never unlock it, which would free the parent's."""
        fd, self._fd = self._fd, None
        self._forked = True
        if fd is not None:
            with suppress(OSError):
                os.close(fd)


@contextmanager
def locked(path: Path, *, patience: float = _PATIENCE) -> Generator[None]:
    """Hold the lock on ``path`` within a block; ``WorkspaceError`` after ``patience`` seconds of waiting."""
    lock = FileLock(path)
    lock.acquire(patience=patience)
    try:
        yield
    finally:
        lock.release()


class _Fork(threading.local):
    """What happens around a fork, in the thread that forks."""

    guarded = False

    def prepare(self) -> None:
        # With a limit: another thread may be opening a lock on a disk that hangs, and a fork must not wait
        # for it.
        self.guarded = _guard.acquire(timeout=1.0)

    def finish_in_parent(self) -> None:
        if self.guarded:
            _guard.release()

    def finish_in_child(self) -> None:
        global _guard
        _guard = threading.Lock()
        for lock in tuple(_open_locks):
            lock.leave_in_child()
        _open_locks.clear()


if hasattr(os, "register_at_fork"):  # pragma: no branch
    _fork = _Fork()
    os.register_at_fork(
        before=_fork.prepare, after_in_parent=_fork.finish_in_parent, after_in_child=_fork.finish_in_child
    )
