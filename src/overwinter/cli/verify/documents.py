"""Checking the documents of an agent: identity, lease, config, state, its previous generation, and history."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec import Struct

from overwinter.agents.records import StateBody
from overwinter.cli.refusal import os_reason
from overwinter.errors import CorruptState, PersistenceError, SchemaTooNew
from overwinter.persistence import Identity, Metadata, read_document
from overwinter.persistence.document import METADATA_KEY
from overwinter.persistence.files import FILES
from overwinter.persistence.lease import Lease

if TYPE_CHECKING:
    from overwinter.cli.verify.findings import Report

__all__ = [
    "StateFile",
    "check_config",
    "check_history",
    "check_identity",
    "check_lease",
    "check_state",
    "read",
    "told",
]


class StateFile(Struct, kw_only=True):
    """One generation of a state.

    ``edited`` holds its bytes where all is sound but the checksum, as after an edit by hand; then, and where it is
    sound, ``body`` is there.
    """

    path: Path
    metadata: Metadata | None = None
    body: StateBody | None = None
    edited: bytes = b""
    exists: bool = True

    @property
    def sound(self) -> bool:
        """Whether it is what was written."""
        return self.body is not None and not self.edited


def read(path: Path, report: Report) -> bytes | None:
    """The content of a file, counted; None where there is none, or none that can be read."""
    try:
        data = FILES.read_bytes(path)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        report.files += 1
        report.add(path, f"it cannot be read: {os_reason(error)}")
        return None
    report.files += 1
    return data


def check_identity(path: Path, report: Report) -> Identity | None:
    """Whose folder it is."""
    data = read(path, report)
    if data is None:
        if not path.exists():
            report.add(path, "it is missing")
        return None
    try:
        return msgspec.json.decode(data, type=Identity)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        report.add(path, f"it is damaged: {error}")
        return None


def check_lease(path: Path, report: Report) -> Lease | None:
    """Who held the folder last; a damaged one counts for nothing, and is replaced at the next opening."""
    data = read(path, report)
    if data is None:
        return None
    try:
        return msgspec.json.decode(data, type=Lease)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        report.add(path, f"it is no lease: {error}", "left over")
        return None


def check_config(path: Path, report: Report) -> dict[str, Any] | None:
    """The configuration; without its metadata."""
    data = read(path, report)
    if data is None:
        return None
    try:
        _, body = read_document(data, path.name, checksum_required=False, kind="config")
    except SchemaTooNew as error:
        report.add(path, told(error), "note")
    except PersistenceError as error:
        report.add(path, told(error))
    else:
        return body
    return None


def check_state(path: Path, report: Report) -> StateFile:
    """One generation of the state."""
    data = read(path, report)
    found = StateFile(path=path, exists=path.exists())
    if data is None:
        return found
    try:
        found.metadata, body = read_document(data, path.name, checksum_required=True)
        found.body = msgspec.convert(body, StateBody)
    except SchemaTooNew as error:
        report.add(path, told(error), "note")
    except (PersistenceError, msgspec.ValidationError, RecursionError) as error:
        _check_unsealed(found, data)
        edited = "; all else in it is sound, as after an edit by hand" if found.edited else ""
        report.add(path, f"{told(error).rstrip('.')}{edited}")
    return found


def check_history(folder: Path, report: Report) -> list[Path]:
    """The earlier conversations; returns those that are damaged."""
    damaged: list[Path] = []
    try:
        names = FILES.list(folder)
    except (FileNotFoundError, NotADirectoryError):
        return damaged
    except OSError as error:
        report.add(folder, f"it cannot be read: {os_reason(error)}")
        return damaged
    for path in sorted(folder / name for name in names if name.endswith(".json")):
        before = len(report.findings)
        check_state(path, report)
        if len(report.findings) > before and report.findings[-1].level == "damaged":
            damaged.append(path)
    return damaged


def _check_unsealed(found: StateFile, data: bytes) -> None:
    """See whether nothing but the checksum is wrong."""
    try:
        document = msgspec.json.decode(data, type=dict[str, Any])
        metadata = msgspec.convert(document.pop(METADATA_KEY), Metadata)
        found.body = msgspec.convert(document, StateBody)
    except (msgspec.MsgspecError, ValueError, KeyError, RecursionError):
        found.metadata = found.body = None
        return
    found.metadata, found.edited = metadata, data


def told(error: Exception) -> str:
    """What a finding says of an error."""
    text = str(error)
    return text if isinstance(error, CorruptState | SchemaTooNew) else f"it is damaged: {text}"
