"""What is found in any folder that is claimed: of agents, of boards, of snapshots."""

from __future__ import annotations

from pathlib import Path

from msgspec import Struct

from overwinter.cli.holders import Holder
from overwinter.cli.verify.findings import Report
from overwinter.persistence import AgentFolder, Identity
from overwinter.persistence.lease import Lease

__all__ = ["CheckedFolder"]


class CheckedFolder(Struct, kw_only=True):
    """A folder, who holds it, and as whose it is known; ``temporaries`` were left by writers that died."""

    folder: AgentFolder
    report: Report
    holder: Holder | None = None
    identity: Identity | None = None
    lease: Lease | None = None
    temporaries: list[Path] = []

    @property
    def incarnation(self) -> str:
        """Its incarnation, as far as its identity, or else its lease, can still tell; else an empty string."""
        told = self.identity.incarnation if self.identity is not None else ""
        return told or (self.lease.incarnation if self.lease is not None else "")
