"""The runtimes that are at work in a workspace, and what each publishes of itself."""

from __future__ import annotations

import os
import socket
import sys
from contextlib import suppress
from typing import TYPE_CHECKING

from overwinter.cli.holders import Holder, Holders
from overwinter.errors import PersistenceError
from overwinter.persistence.files import FILES
from overwinter.persistence.lease import read_lease
from overwinter.persistence.runtime_status import STATUS_NAMES, RuntimeStatus, read_status

if TYPE_CHECKING:
    from overwinter.persistence import AgentFolder, Workspace

__all__ = ["Runtimes"]

# How many looks go by from one test of a lock to the next; what a process id tells is looked at each time.
_SELDOM = 10


class Runtimes:
    """Which runtimes live, and their mailboxes and saves. Blocking.

    That one lives is known by the lock that its process holds, which is tried as ``ls`` does, under the workspace's
    mutex and for some millionths of a second: once for each runtime, and then seldom. A dead one never lives again.
    """

    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace
        self._host = socket.gethostname()
        self._dead: set[str] = set()
        self._living: dict[str, int] = {}  # how many looks ago its lock was tried
        self._status: dict[str, tuple[tuple[int, int], RuntimeStatus | None]] = {}

    def look(self) -> None:
        """Begin a look: whatever is asked after it is found out anew, where that is cheap."""
        self._living = {runtime_id: looks + 1 for runtime_id, looks in self._living.items()}

    def holder_of(self, folder: AgentFolder) -> Holder | None:
        """Who holds the agent or swarm in *folder*."""
        try:
            lease = read_lease(folder.lease_path, FILES)
        except (OSError, PersistenceError):
            return None
        if lease is None or lease.released or not self._lives(lease.runtime_id, lease.pid, lease.host):
            return None
        return Holder(lease.pid, lease.host, lease.runtime_id)

    def lives(self, holder: Holder) -> bool:
        """Whether the runtime of a holder that was found before still lives."""
        return self._lives(holder.runtime_id, holder.pid, holder.host)

    def status_of(self, holder: Holder) -> RuntimeStatus | None:
        """What the runtime last published; None where that is nothing."""
        folder = self._workspace.runtimes_dir / holder.runtime_id
        try:
            found = (folder / STATUS_NAMES[0]).stat()
        except OSError:
            return None
        stamp = (found.st_mtime_ns, found.st_ino)
        known = self._status.get(holder.runtime_id)
        if known is None or known[0] != stamp:
            known = self._status[holder.runtime_id] = (stamp, read_status(folder))
        return known[1]

    def _lives(self, runtime_id: str, pid: int, host: str) -> bool:
        if runtime_id in self._dead:
            return False
        looks = self._living.get(runtime_id)
        if looks is None or looks >= _SELDOM or self._is_gone(pid, host):
            if not Holders(self._workspace).lives(runtime_id):
                self._living.pop(runtime_id, None)
                self._dead.add(runtime_id)
                return False
            self._living[runtime_id] = 0
        return True

    def _is_gone(self, pid: int, host: str) -> bool:
        """Whether its process is not there any more, as far as its number tells."""
        if host != self._host or sys.platform == "win32":
            return False
        with suppress(PermissionError):
            try:
                os.kill(pid, 0)
            except ProcessLookupError:
                return True
        return False
