"""The lock of a runtime: what tells the claims of the living from those of the dead."""

from __future__ import annotations

import os
import re
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

import msgspec

from overwinter.errors import WorkspaceError
from overwinter.persistence.lock import FileLock, locked
from overwinter.persistence.runtime_status import STATUS_NAMES, remove_status

if TYPE_CHECKING:
    from collections.abc import Generator
    from datetime import datetime
    from pathlib import Path

    from overwinter.persistence.lease import Claim
    from overwinter.persistence.workspace import Workspace

__all__ = ["RuntimeLock", "is_alive", "is_runtime_id", "remove_runtime", "workspace_errors"]

_LOCK_NAME = "lock"
_RUNTIME_ID = re.compile(r"[0-9a-f]{8,64}")


class _Owner(msgspec.Struct, frozen=True):
    runtime_id: str
    pid: int
    host: str
    started: str


class RuntimeLock:
    """The lock of one runtime, in ``.runtimes/{runtime_id}/lock``, and the claims it holds.

    Two runtimes of one process are two owners. In a forked child the lock is closed, and ``check_process``
    raises.
    """

    def __init__(self, workspace: Workspace, runtime_id: str) -> None:
        self.workspace = workspace
        self.runtime_id = runtime_id
        self.folder = workspace.runtimes_dir / runtime_id
        self.pid = os.getpid()
        self.host = _host()
        self.claims: dict[str, Claim] = {}
        self.unwritten: dict[str, int | None] = {}  # token -> sequence of a release that the disk refused
        self.gone: set[str] = set()  # ids of runtimes that died, and left no folder
        self._lock = FileLock(self.folder / _LOCK_NAME)

    @property
    def held(self) -> bool:
        """Whether the lock is held by this process."""
        return self._lock.held

    @property
    def forked(self) -> bool:
        """Whether this is a child of the process that held it."""
        return self._lock.forked

    def check_process(self) -> None:
        """Raise ``ForkedRuntime`` in a forked child."""
        self._lock.check_process()

    def acquire(self, now: datetime) -> None:
        """Create the runtime's folder and hold its lock; ``WorkspaceError`` when that cannot be."""
        with workspace_errors(self.folder), locked(self.workspace.mutex_path):
            self.folder.mkdir(mode=0o700, exist_ok=True)
            if not self._lock.try_acquire():
                raise WorkspaceError(f"{self.folder} belongs to another live runtime")
            owner = _Owner(self.runtime_id, self.pid, self.host, now.isoformat())
            try:
                self._lock.write(msgspec.json.encode(owner) + b"\n")
            except OSError:
                self.release()
                raise

    def release(self) -> None:
        """Give the lock back and remove its folder unless something else is in it."""
        if self._lock.held:
            with suppress(OSError):
                remove_status(self.folder)
            self._lock.release(remove=True)
            with suppress(OSError):
                self.folder.rmdir()


def is_runtime_id(name: str) -> bool:
    """Whether a runtime can have that id: what a lease or a folder says may be anything."""
    return _RUNTIME_ID.fullmatch(name) is not None


def is_alive(runtime_id: str, workspace: Workspace) -> bool:
    """Whether a live process holds the lock of that runtime; only under the workspace's mutex."""
    if not is_runtime_id(runtime_id):
        return False
    lock = FileLock(workspace.runtimes_dir / runtime_id / _LOCK_NAME)
    try:
        free = lock.try_acquire(create=False)
    except FileNotFoundError:
        return False
    except PermissionError:
        # Another user's: whether it lives cannot be found out, and one writer too few is the better mistake.
        return True
    lock.release()
    return not free


def remove_runtime(runtime_id: str, workspace: Workspace) -> None:
    """Remove the folder of a dead runtime; one with more in it than a lock and a status stays. Only under the mutex."""
    folder = workspace.runtimes_dir / runtime_id
    with suppress(OSError):
        if all(entry.name in (_LOCK_NAME, *STATUS_NAMES) for entry in folder.iterdir()):
            lock = FileLock(folder / _LOCK_NAME)
            if lock.try_acquire():
                remove_status(folder)
                lock.release(remove=True)
                folder.rmdir()


@contextmanager
def workspace_errors(folder: Path) -> Generator[None]:
    """Raise what the system refuses within the block as ``WorkspaceError``, naming the folder."""
    try:
        yield
    except OSError as error:
        raise WorkspaceError(
            f"{folder} cannot be used: {error.strerror or error}. overwinter needs a folder on a disk with "
            "room, where it may create, lock and rename files."
        ) from error


def _host() -> str:
    import socket

    return socket.gethostname()
