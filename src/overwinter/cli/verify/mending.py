"""What the repairs of agents and of actors have in common: setting aside, and saying what was done."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from overwinter.persistence import Identity, encode, pretty, set_aside, write_once

if TYPE_CHECKING:
    from pathlib import Path

    from overwinter.cli.verify.checked import CheckedFolder

__all__ = ["Mending"]


class Mending:
    """Mends the files of one folder, and notes with each finding what was done."""

    def __init__(self, found: CheckedFolder) -> None:
        self.folder = found.folder
        self.report = found.report
        self.now = datetime.now(UTC)
        self._temporaries = found.temporaries
        self._incarnation = found.incarnation

    def is_damaged(self, path: Path) -> bool:
        """Whether it was found to be, and nothing was done about that yet."""
        return any(
            one.path == path and one.level == "damaged" and not one.mended for one in self.report.findings
        )

    def mended(self, path: Path, how: str) -> None:
        """Say what was done about the damage of a file."""
        for finding in self.report.findings:
            if finding.path == path and finding.level == "damaged" and not finding.mended:
                finding.mended = how

    def said(self, path: Path, how: str) -> None:
        """Say it of all damage of a file, instead of what was said before."""
        for finding in self.report.findings:
            if finding.path == path and finding.level == "damaged":
                finding.mended = how

    def set_aside(self, path: Path) -> str:
        """Move a damaged file away; its new name, or nothing where there is none."""
        if not path.exists():
            return ""
        aside = set_aside(path, self.now)
        self.mended(path, f"set aside as {aside.name}")
        return aside.name

    def rebuild_identity(self, agent_id: str, name: str, session: str) -> None:
        """Write anew whose folder it is; without an id it stays as it is."""
        path = self.folder.identity_path
        if not agent_id:
            return
        aside = self.set_aside(path)
        identity = Identity(
            schema_version=1,
            agent_id=agent_id,
            agent_name=name,
            session=session,
            incarnation=self._incarnation or os.urandom(16).hex(),
            created=self.now.isoformat(),
        )
        write_once(path, [pretty(encode(identity)), b"\n"])
        self.said(path, f"set aside as {aside} and made anew" if aside else "made anew")

    def settle_leftovers(self) -> None:
        """Say what the claim has done about what a writer that died left behind."""
        for finding in self.report.findings:
            if finding.level != "left over" or finding.mended:
                continue
            if finding.path in self._temporaries:
                finding.mended = "removed"
            elif finding.path == self.folder.lease_path:
                finding.mended = "written anew"
            elif finding.path == self.folder.journal_dir:
                finding.mended = "cut off"
