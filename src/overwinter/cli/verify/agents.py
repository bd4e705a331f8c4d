"""Checking one agent's folder, file by file."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from msgspec import field

from overwinter.agents.base import base_path
from overwinter.cli.refusal import os_reason
from overwinter.cli.verify.checked import CheckedFolder
from overwinter.cli.verify.documents import (
    StateFile,
    check_config,
    check_history,
    check_identity,
    check_lease,
    check_state,
)
from overwinter.cli.verify.findings import Report
from overwinter.cli.verify.journals import Journal, check_against, check_journal
from overwinter.persistence import AgentFolder, Identity, folder_name, is_temporary

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from overwinter.cli.holders import Holder, Holders

__all__ = ["CheckedAgent", "check_agent", "check_name", "check_temporaries", "folder_at"]

_STATE_SUFFIX = "_state.json"


class CheckedAgent(CheckedFolder, kw_only=True):
    """One agent's folder, as its files were found."""

    config: dict[str, Any] | None = None
    state: StateFile
    previous: StateFile
    journal: Journal = field(default_factory=Journal)
    history_damaged: Sequence[Path] = ()

    @property
    def best(self) -> StateFile | None:
        """The newest generation that is sound."""
        return next((one for one in (self.state, self.previous) if one.sound), None)


def check_agent(path: Path, holders: Holders) -> CheckedAgent:
    """Look at every file in the folder of one agent. Nothing is changed. Blocking."""
    report = Report.of(path)
    identity = check_identity(path / ".identity.json", report)
    folder = folder_at(path, identity)
    lease = check_lease(folder.lease_path, report)
    holder = holders.of(folder)
    report.in_use = holder is not None
    config = check_config(folder.config_path, report)
    state, previous = check_state(folder.state_path, report), check_state(folder.previous_path, report)
    found = CheckedAgent(
        folder=folder,
        report=report,
        holder=holder,
        identity=identity,
        lease=lease,
        config=config,
        state=state,
        previous=previous,
    )
    best = found.best
    known = best.metadata.sequence if best is not None and best.metadata is not None else 0
    found.journal = check_journal(folder.journal_dir, known, report, in_use=holder is not None)
    if holder is None:
        # Beside a writer one would be read before the other.
        check_against(state, previous, found.journal, report)
        _check_state_is_there(found)
    if identity is not None:
        check_name(path, identity, report)
    if identity is not None and lease is not None and lease.incarnation not in ("", identity.incarnation):
        report.add(folder.identity_path, "the lease is of another incarnation of this folder", "note")
    found.history_damaged = [*check_history(folder.history_dir, report), *_check_base(folder, report)]
    found.temporaries = check_temporaries(folder, holder, report)
    return found


def folder_at(path: Path, identity: Identity | None) -> AgentFolder:
    """The folder with the names of its files, as its identity tells them, or else its state file."""
    if identity is not None:
        return AgentFolder(path, identity.agent_name, identity.agent_id, identity.session)
    # Without it the agent's name is that of its state file, as far as that goes.
    names = [each.name for each in _entries(path) if each.name.endswith(_STATE_SUFFIX)]
    return AgentFolder(path, names[0].removesuffix(_STATE_SUFFIX) if names else path.name, "")


def check_name(path: Path, identity: Identity, report: Report) -> None:
    """Note a folder that does not have the name that it is looked for by."""
    if path.name not in _names(identity):
        report.add(
            path,
            f"its name is not that of {path.parent.name[:-1]} {identity.agent_name!r}, so that nobody opens it",
            "note",
        )


def _names(identity: Identity) -> tuple[str, str]:
    return (
        folder_name(identity.agent_name, identity.agent_id),
        folder_name(identity.agent_name, identity.agent_id, full=True),
    )


def _check_base(folder: AgentFolder, report: Report) -> list[Path]:
    """The state before the oldest record that is kept; without it only history is the poorer."""
    path = base_path(folder)
    before = len(report.findings)
    check_state(path, report)
    return [path] if any(one.level == "damaged" for one in report.findings[before:]) else []


def _check_state_is_there(found: CheckedAgent) -> None:
    """A state may be missing while the journal has everything, and not otherwise."""
    if found.state.exists:
        return
    if found.previous.exists:
        found.report.add(found.state.path, "it is missing, though a generation before it is there")
    elif found.journal.lines and found.journal.after(0) is None:
        found.report.add(found.state.path, "it is missing, and the journal does not begin at the beginning")


def check_temporaries(folder: AgentFolder, holder: Holder | None, report: Report) -> list[Path]:
    """Find what a writer that died left behind, and what was set aside; returns the first."""
    left: list[Path] = []
    for path in _entries(folder.path):
        if is_temporary(path.name) and holder is None:
            left.append(path)
            report.add(path, "a writer that died left it behind", "left over")
        elif ".corrupt-" in path.name:
            report.add(path, "it was damaged and set aside; delete it when you have seen it", "note")
    return left


def _entries(folder: Path) -> list[Path]:
    try:
        return sorted(folder.iterdir())
    except OSError as error:
        raise OSError(error.errno, f"{folder} cannot be read: {os_reason(error)}") from error
