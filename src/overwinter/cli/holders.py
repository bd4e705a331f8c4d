"""Which live runtime holds an agent, found out without taking anything from anybody."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct

from overwinter.errors import ForkedRuntime, WorkspaceError
from overwinter.persistence.files import FILES
from overwinter.persistence.lease import read_lease
from overwinter.persistence.lock import locked
from overwinter.persistence.runtime_lock import is_alive

if TYPE_CHECKING:
    from overwinter.persistence import AgentFolder, Workspace

__all__ = ["Holder", "Holders"]

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
        if lease is None or lease.released or not self.lives(lease.runtime_id):
            return None
        return Holder(lease.pid, lease.host, lease.runtime_id)

    def lives(self, runtime_id: str) -> bool:
        """Whether the runtime is alive, as far as can be found out. Blocking."""
        if runtime_id not in self._alive:
            self._alive[runtime_id] = self._probe(runtime_id)
        return self._alive[runtime_id]

    def _probe(self, runtime_id: str) -> bool:
        if not self._workspace.mutex_path.exists():
            return False
        try:
            # Whoever claims an agent tries this lock too, under the mutex: within it nobody takes us for the owner.
            with locked(self._workspace.mutex_path, patience=_PATIENCE):
                return is_alive(runtime_id, self._workspace)
        except (OSError, WorkspaceError, ForkedRuntime):
            # It cannot be found out; a claim would take it for alive as well.
            return True
