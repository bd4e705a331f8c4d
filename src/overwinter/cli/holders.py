"""Which live runtime holds an agent, found out without taking anything from anybody."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from msgspec import Struct

from overwinter.errors import ForkedRuntime, WorkspaceError
from overwinter.persistence.files import FILES
from overwinter.persistence.lease import read_lease
from overwinter.persistence.lock import FileLock, locked

if TYPE_CHECKING:
    from overwinter.persistence import AgentFolder, Workspace

__all__ = ["Holder", "Holders"]

_RUNTIME_ID = re.compile(r"[0-9a-f]{8,64}")
_PATIENCE = 1.0


class Holder(Struct, frozen=True):
    """The process in which a runtime lives that holds an agent."""

    pid: int
    host: str
    runtime_id: str


class Holders:
    """Finds the holders of the agents of one workspace; each runtime is looked at once."""

    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace
        self._alive: dict[str, bool] = {}

    def of(self, folder: AgentFolder) -> Holder | None:
        """The holder of the agent in *folder*, or ``None`` when nobody holds it. Blocking."""
        try:
            lease = read_lease(folder.lease_path, FILES)
        except OSError:
            return None
        if lease is None or lease.released or not self._lives(lease.runtime_id):
            return None
        return Holder(lease.pid, lease.host, lease.runtime_id)

    def _lives(self, runtime_id: str) -> bool:
        if runtime_id not in self._alive:
            self._alive[runtime_id] = _RUNTIME_ID.fullmatch(runtime_id) is not None and self._probe(
                runtime_id
            )
        return self._alive[runtime_id]

    def _probe(self, runtime_id: str) -> bool:
        path = self._workspace.runtimes_dir / runtime_id / "lock"
        if not path.exists() or not self._workspace.mutex_path.exists():
            return False
        try:
            # Whoever claims an agent tries this lock too, under the mutex: within it nobody takes us for the owner.
            with locked(self._workspace.mutex_path, patience=_PATIENCE):
                lock = FileLock(path)
                free = lock.try_acquire(create=False)
                lock.release()
        except FileNotFoundError:
            return False
        except (OSError, WorkspaceError, ForkedRuntime):
            # It cannot be found out; a claim would take it for alive as well.
            return True
        return not free
