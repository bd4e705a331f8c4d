"""What a check finds, and what it has looked at."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from msgspec import Struct

__all__ = ["Finding", "Level", "Report"]

Level = Literal["damaged", "left over", "note"]


class Finding(Struct, kw_only=True):
    """Something about one file that is not as it should be.

    ``damaged`` is what is lost or will not load. ``left over`` is what a death leaves behind, and what goes away when
    the agent is next opened. A ``note`` asks for nothing. ``mended`` says what a repair did about it.
    """

    path: Path
    what: str
    level: Level = "damaged"
    mended: str = ""


class Report(Struct, kw_only=True):
    """What was looked at, and what was found."""

    agents: int = 0
    swarms: int = 0
    actors: int = 0
    files: int = 0
    records: int = 0
    in_use: int = 0
    findings: list[Finding] = []

    @classmethod
    def of(cls, path: Path) -> Report:
        """One about the folder of an agent, a swarm, or what an actor keeps."""
        match path.parent.name:
            case "swarms":
                return cls(swarms=1)
            case "actors":
                return cls(actors=1)
            case _:
                return cls(agents=1)

    def add(self, path: Path, what: str, level: Level = "damaged") -> Finding:
        """Note a finding."""
        finding = Finding(path=path, what=what, level=level)
        self.findings.append(finding)
        return finding

    @property
    def damaged(self) -> list[Finding]:
        """Damage that is still there."""
        return [one for one in self.findings if one.level == "damaged" and not one.mended]

    @property
    def mended(self) -> list[Finding]:
        """What a repair has changed."""
        return [one for one in self.findings if one.mended]

    def merge(self, other: Report) -> None:
        """Add what another check has seen."""
        self.agents += other.agents
        self.swarms += other.swarms
        self.actors += other.actors
        self.files += other.files
        self.records += other.records
        self.in_use += other.in_use
        self.findings += other.findings
