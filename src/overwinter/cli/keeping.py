"""Holding agents for as long as a command changes their files."""

from __future__ import annotations

import os
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from overwinter.persistence.files import FILES
from overwinter.persistence.lease import claim, release
from overwinter.persistence.replay import replay_runtime
from overwinter.persistence.runtime_lock import RuntimeLock

if TYPE_CHECKING:
    from collections.abc import Generator

    from overwinter.persistence import AgentFolder, Workspace
    from overwinter.persistence.lease import Claim

__all__ = ["Holding", "Keeper", "keeper"]


class Holding:
    """An agent that is held: its claim, and the sequence that its files have, or None where only they know."""

    def __init__(self, claim: Claim, sequence: int | None) -> None:
        self.claim = claim
        self.sequence = sequence


class Keeper:
    """Claims agents, one at a time, as a runtime would."""

    def __init__(self, lock: RuntimeLock) -> None:
        self._lock = lock

    @contextmanager
    def holding(self, folder: AgentFolder, incarnation: str = "") -> Generator[Holding]:
        """Hold the agent in *folder* within the block. What a writer that died left half written is swept.

        Whoever writes a record or a state there says so by the ``sequence`` of what this yields.

        :raises AgentInUse: somebody else holds it.
        :raises WorkspaceError: the folder cannot be written.
        """
        workspace = self._lock.workspace
        held = claim(
            folder,
            self._lock,
            files=FILES,
            now=datetime.now(UTC),
            incarnation=incarnation,
            replay=lambda died: replay_runtime(workspace, died, files=FILES),
        )
        holding = Holding(held, held.sequence)
        try:
            yield holding
        finally:
            release(held, holding.sequence, self._lock, files=FILES)


@contextmanager
def keeper(workspace: Workspace) -> Generator[Keeper]:
    """Be a runtime of the workspace within the block."""
    lock = RuntimeLock(workspace, os.urandom(8).hex())
    lock.acquire(datetime.now(UTC))
    try:
        yield Keeper(lock)
    finally:
        lock.release()
