"""The identity that each folder carries: whose it is, written once."""

from __future__ import annotations

import logging
import os
from contextlib import suppress
from typing import TYPE_CHECKING

import msgspec

from overwinter.errors import CorruptState, OverwinterError, SaveError, SchemaTooNew, WorkspaceError
from overwinter.persistence.atomic import write_once
from overwinter.persistence.codec import encode, pretty
from overwinter.persistence.files import FILES
from overwinter.persistence.names import folder_name, storable_name
from overwinter.persistence.together import together
from overwinter.persistence.workspace import AgentFolder, create_folder, names_in

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime
    from pathlib import Path

    from overwinter.persistence.files import FileOperations
    from overwinter.persistence.workspace import Workspace

__all__ = ["Identity", "create_identities", "list_folders", "open_identity", "read_identity"]

_IDENTITY_VERSION = 1
_logger = logging.getLogger("overwinter.persistence")


class Identity(msgspec.Struct, frozen=True, kw_only=True):
    """Whose folder it is; written once, when the folder is first opened.

    ``incarnation`` is random: a folder that was deleted and made anew is another one. ``created`` is ISO 8601
    in UTC. ``agent_name`` and ``session`` are for people, ``agent_id`` is what is compared.
    """

    schema_version: int
    agent_id: str
    agent_name: str
    session: str
    incarnation: str
    created: str


def create_identities(
    folders: Sequence[AgentFolder],
    *,
    now: datetime,
    files: FileOperations = FILES,
    seconds: float = float("inf"),
) -> list[str]:
    """Create, several at once, the folders of new agents with their identities. Blocking.

    What :func:`open_identity` finds then it need not make, nor bring to disk, and where it finds nothing, because this
    failed, it says why. So this raises nothing, and leaves alone whatever carries an identity.

    :param seconds: when they are over, no more identities are begun.
    :returns: for each of the first, as many as were begun, the incarnation that is on disk, or "" where this made none.
    """
    new = _make_new(folders, files)
    if not new:
        return [""] * len(folders)

    def write(number: int) -> str:
        short = new.get(number)
        try:
            identity = None if short is None else _write_identity(short, now, files)
        except (OverwinterError, OSError, ValueError):
            return ""
        return "" if identity is None else identity.incarnation

    return together(write, range(len(folders)), seconds=seconds)


def open_identity(
    folder: AgentFolder, *, now: datetime, files: FileOperations = FILES, on_disk: str = ""
) -> tuple[AgentFolder, Identity]:
    """The folder that is really this agent's, created if need be, and its identity. Blocking.

    It is *folder*, but where that carries another agent's id (the first twelve digits of both are the same)
    it is the one whose name holds all digits. The first to open a folder writes the identity, durably; of
    several at once, one.

    :param on_disk: the incarnation that :func:`create_identities` gave it, if it did.
    :raises WorkspaceError: the folder or the identity cannot be created or read.
    :raises CorruptState: the identity is damaged.
    :raises SchemaTooNew: it was written by a later overwinter.
    """
    short, full = _spellings(folder)
    identity = _find_identity(full, files, on_disk)
    if identity is None:
        identity = _find_identity(short, files, on_disk) or _create_identity(short, now, files)
        if identity.agent_id == storable_name(folder.agent_id):
            return short, identity
        identity = _create_identity(full, now, files)
    if identity.agent_id != storable_name(folder.agent_id):
        raise WorkspaceError(
            f"{full.path} belongs to agent {identity.agent_id}, by {full.identity_path.name} in it."
        )
    return full, identity


def read_identity(folder: Path, *, files: FileOperations = FILES) -> Identity | None:
    """Whose folder it is; None when it is nobody's, or is not there. Blocking.

    :raises WorkspaceError: the identity cannot be read.
    :raises CorruptState: it is damaged.
    :raises SchemaTooNew: it was written by a later overwinter.
    """
    return _read_identity(AgentFolder(folder, "", ""), files)


def list_folders(
    workspace: Workspace, kind: str = "agents", *, files: FileOperations = FILES
) -> list[AgentFolder]:
    """The folders of the workspace that carry an identity, by name. Blocking.

    One whose identity cannot be read is left out, with a warning in the log.
    """
    found: list[AgentFolder] = []
    parent = workspace.root / kind
    for name in names_in(parent, files):
        path = parent / name
        folder = AgentFolder(path, "", "")
        try:
            identity = _read_identity(folder, files)
        except (WorkspaceError, CorruptState, SchemaTooNew) as error:
            _logger.warning("left out of the list: %s", error)
            continue
        if identity is not None:
            found.append(AgentFolder(path, identity.agent_name, identity.agent_id, identity.session))
    return found


def _spellings(folder: AgentFolder) -> tuple[AgentFolder, AgentFolder]:
    name, agent_id = folder.name, folder.agent_id
    parent = folder.path.parent
    return (
        AgentFolder(parent / folder_name(name, agent_id), name, agent_id, folder.session),
        AgentFolder(parent / folder_name(name, agent_id, full=True), name, agent_id, folder.session),
    )


def _make_new(folders: Sequence[AgentFolder], files: FileOperations) -> dict[int, AgentFolder]:
    """Make those that no identity stands in, with one sync for all of a parent; what is returned is on the disk."""
    made: dict[Path, dict[int, AgentFolder]] = {}
    for number, folder in enumerate(folders):
        short, full = _spellings(folder)
        with suppress(WorkspaceError, OSError, ValueError):
            if files.exists(short.identity_path) or files.exists(full.path):
                continue
            parent = short.path.parent
            if parent not in made and not files.is_folder(parent):
                # First, and alone: it is to be on disk before anything in it, or not there at all.
                create_folder(parent, files=files)
            with suppress(FileExistsError):
                files.mkdir(short.path)
            made.setdefault(parent, {})[number] = short
    on_disk: dict[int, AgentFolder] = {}
    for parent, inside in made.items():
        try:
            files.sync_folder(parent)
        except OSError:
            # As in create_folder.
            for short in inside.values():
                with suppress(OSError):
                    files.remove_folder(short.path)
        else:
            on_disk.update(inside)
    return on_disk


def _find_identity(folder: AgentFolder, files: FileOperations, on_disk: str) -> Identity | None:
    """As ``_read_identity``, and what is found is there for good, as that incarnation is."""
    identity = _read_identity(folder, files)
    if identity is None or identity.incarnation == on_disk:
        return identity
    if not files.exists(folder.lease_path):
        # Whoever wrote it may have died before its name was on the disk, and nobody has been here since.
        try:
            files.sync_folder(folder.path)
        except OSError as error:
            raise WorkspaceError(f"{folder.path} cannot be synced: {error.strerror or error}.") from error
    return identity


def _read_identity(folder: AgentFolder, files: FileOperations) -> Identity | None:
    path = folder.identity_path
    try:
        data = files.read_bytes(path)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise WorkspaceError(f"{path} cannot be read: {error.strerror}.") from error
    try:
        version = msgspec.json.decode(data, type=_Versioned).schema_version
        if version > _IDENTITY_VERSION:
            raise SchemaTooNew(path, version, _IDENTITY_VERSION)
        return msgspec.json.decode(data, type=Identity)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise CorruptState(
            f"{path} is damaged: {error}. Delete it to have it written anew; the agent's other files stay."
        ) from error


def _create_identity(folder: AgentFolder, now: datetime, files: FileOperations) -> Identity:
    create_folder(folder.path, files=files)
    try:
        identity = _write_identity(folder, now, files) or _read_identity(folder, files)
    except SaveError as error:
        raise WorkspaceError(f"{folder.path} cannot be opened: {error}") from error
    if identity is None:
        raise WorkspaceError(f"{folder.path} vanished while it was being opened; open it again.")
    return identity


def _write_identity(folder: AgentFolder, now: datetime, files: FileOperations) -> Identity | None:
    """The new identity, on the disk; None where there is one already."""
    identity = Identity(
        schema_version=_IDENTITY_VERSION,
        agent_id=storable_name(folder.agent_id),
        agent_name=storable_name(folder.name),
        session=storable_name(folder.session),
        incarnation=os.urandom(16).hex(),
        created=now.isoformat(),
    )
    made = write_once(folder.identity_path, [pretty(encode(identity)), b"\n"], files=files)
    return identity if made else None


class _Versioned(msgspec.Struct):
    schema_version: int
