"""Checking and mending what a plain actor keeps: boards, the deadlines of sleepers, any other snapshot."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec import Struct

from overwinter.cli.verify.agents import check_name, check_temporaries, folder_at
from overwinter.cli.verify.checked import CheckedFolder
from overwinter.cli.verify.documents import check_identity, check_lease, read, told
from overwinter.cli.verify.findings import Report
from overwinter.cli.verify.mending import Mending
from overwinter.cli.writing import assembled
from overwinter.errors import PersistenceError, SchemaTooNew
from overwinter.persistence import (
    AgentFolder,
    Metadata,
    agent_id_for,
    encode,
    read_document,
    replace_file,
)
from overwinter.persistence import board as boards
from overwinter.persistence.document import METADATA_KEY
from overwinter.persistence.files import FILES

if TYPE_CHECKING:
    from overwinter.cli.holders import Holders
    from overwinter.cli.keeping import Keeper

__all__ = ["CheckedActor", "ValueFile", "check_actor", "repair_actor"]

_MEMBER = "value"
_SESSIONS = ("", boards.SESSION, "sleeps")


class ValueFile(Struct, kw_only=True):
    """One generation of what is kept.

    ``content`` is there where it is sound, and, with ``edited``, where nothing but the checksum is wrong.
    """

    path: Path
    metadata: Metadata | None = None
    content: dict[str, Any] | None = None
    edited: bool = False
    exists: bool = True

    @property
    def sound(self) -> bool:
        """Whether it is what was written."""
        return self.content is not None and not self.edited


class CheckedActor(CheckedFolder, kw_only=True):
    """The folder of one board or snapshot, as its files were found."""

    state: ValueFile
    previous: ValueFile


def check_actor(path: Path, holders: Holders) -> CheckedActor:
    """Look at every file in the folder of one board or snapshot. Nothing is changed. Blocking."""
    report = Report.of(path)
    identity = check_identity(path / ".identity.json", report)
    folder = folder_at(path, identity)
    lease = check_lease(folder.lease_path, report)
    holder = holders.of(folder)
    report.in_use = holder is not None
    state = _check_value(folder.state_path, folder, report)
    previous = _check_value(folder.previous_path, folder, report)
    if holder is None and previous.exists and not state.exists:
        report.add(state.path, "it is missing, though a generation before it is there")
    if identity is not None:
        check_name(path, identity, report)
    return CheckedActor(
        folder=folder,
        report=report,
        holder=holder,
        identity=identity,
        lease=lease,
        state=state,
        previous=previous,
        temporaries=check_temporaries(folder, holder, report),
    )


def repair_actor(found: CheckedActor, keep: Keeper) -> None:
    """Mend what can be mended of one board or snapshot, and note with each finding what was done. Blocking.

    :raises AgentInUse: somebody holds it.
    :raises WorkspaceError: its folder cannot be written.
    :raises SaveError: a file cannot be replaced; what was there before is intact.
    """
    with keep.holding(found.folder, found.incarnation) as held:
        held.sequence = None
        mending = Mending(found)
        _mend_values(found, mending)
        if found.identity is None and mending.is_damaged(found.folder.identity_path):
            _mend_identity(found, mending)
        mending.settle_leftovers()


def _check_value(path: Path, folder: AgentFolder, report: Report) -> ValueFile:
    data = read(path, report)
    found = ValueFile(path=path, exists=path.exists())
    if data is None:
        return found
    try:
        found.metadata, content = read_document(data, path.name, checksum_required=True)
        found.content = _checked(content, folder)
    except SchemaTooNew as error:
        report.add(path, told(error), "note")
    except (PersistenceError, msgspec.MsgspecError, ValueError, RecursionError) as error:
        _check_unsealed(found, data, folder)
        edited = "; all else in it is sound, as after an edit by hand" if found.edited else ""
        report.add(path, f"{told(error).rstrip('.')}{edited}")
    return found


def _checked(content: dict[str, Any], folder: AgentFolder) -> dict[str, Any]:
    if _MEMBER not in content:
        raise ValueError(f"it has no {_MEMBER}")
    if folder.session == boards.SESSION:
        msgspec.json.decode(encode(content[_MEMBER]), type=boards.BoardBody)
    return content


def _check_unsealed(found: ValueFile, data: bytes, folder: AgentFolder) -> None:
    """See whether nothing but the checksum is wrong."""
    found.metadata = found.content = None
    try:
        document = msgspec.json.decode(data, type=dict[str, Any])
        metadata = msgspec.convert(document.pop(METADATA_KEY), Metadata)
        found.content = _checked(document, folder)
    except (msgspec.MsgspecError, ValueError, KeyError, RecursionError):
        return
    found.metadata, found.edited = metadata, True


def _mend_values(found: CheckedActor, mending: Mending) -> None:
    state, previous = found.state, found.previous
    if state.edited and state.metadata is not None and state.content is not None:
        replace_file(state.path, assembled(state.metadata, state.content))
        mending.mended(state.path, "accepted as it is, with a new checksum")
    elif mending.is_damaged(state.path):
        if previous.sound and previous.metadata is not None:
            before = FILES.read_bytes(previous.path)
            aside = mending.set_aside(state.path)
            replace_file(state.path, [before])
            moved = f"set aside as {aside} and " if aside else ""
            mending.said(
                state.path, f"{moved}made anew of the generation before it, of {previous.metadata.timestamp}"
            )
        elif state.exists:
            aside = mending.set_aside(state.path)
            found.report.add(state.path, f"nothing is left to make it of; it was set aside as {aside}")
    if mending.is_damaged(previous.path):
        mending.set_aside(previous.path)


def _mend_identity(found: CheckedActor, mending: Mending) -> None:
    best = next((one.metadata for one in (found.state, found.previous) if one.sound), None)
    lease = found.lease
    agent_id = best.agent_id if best else lease.agent_id if lease else ""
    name = best.agent_name if best else lease.agent_name if lease else ""
    session = next((one for one in _SESSIONS if agent_id_for(name, one) == agent_id), "")
    mending.rebuild_identity(agent_id, name, session)
