"""Where everything stands on disk: the workspace, its folders, and the identity that each folder carries."""

from __future__ import annotations

import logging
import os
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from overwinter.errors import CorruptState, SaveError, SchemaTooNew, WorkspaceError
from overwinter.persistence.atomic import is_temporary, write_once
from overwinter.persistence.codec import encode, pretty
from overwinter.persistence.files import FILES
from overwinter.persistence.names import folder_name, slug, storable_name

if TYPE_CHECKING:
    from datetime import datetime

    from overwinter.persistence.files import FileOperations

__all__ = [
    "AgentFolder",
    "Identity",
    "Workspace",
    "create_folder",
    "list_folders",
    "open_identity",
    "read_identity",
    "sweep_temporaries",
]

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


class AgentFolder(msgspec.Struct, frozen=True):
    """The folder of one agent (or actor) and the names of the files in it. It does no IO."""

    path: Path
    name: str
    agent_id: str
    session: str = ""

    @property
    def config_path(self) -> Path:
        """The configuration."""
        return self.path / "config.json"

    @property
    def state_path(self) -> Path:
        """The state."""
        return self.path / f"{slug(self.name)}_state.json"

    @property
    def previous_path(self) -> Path:
        """The previous generation of the state, under a name that ``*_state.json`` does not match."""
        return self.state_path.with_name(f"{self.state_path.name}.previous")

    @property
    def identity_path(self) -> Path:
        """Whose folder it is."""
        return self.path / ".identity.json"

    @property
    def lease_path(self) -> Path:
        """Who may write here."""
        return self.path / ".lease.json"

    @property
    def history_dir(self) -> Path:
        """Earlier conversations."""
        return self.path / "history"

    @property
    def journal_dir(self) -> Path:
        """What happened, one record a line."""
        return self.path / "journal"


class Workspace:
    """The folder under which everything is kept. Constructing one does no IO.

    :param root: the folder; without it the environment variable ``WORKSPACE_DIR``, and without that
        ``agent_workspace`` in the current directory. It is made absolute at once, and a leading ``~`` is the
        home.
    """

    __slots__ = ("root",)

    def __init__(self, root: str | os.PathLike[str] | None = None) -> None:
        chosen = os.fspath(root) if root else os.environ.get("WORKSPACE_DIR") or "agent_workspace"
        # Path.expanduser raises where there is no home.
        self.root = Path(os.path.expanduser(chosen)).absolute()  # noqa: PTH111

    @property
    def agents_dir(self) -> Path:
        """The folders of the agents."""
        return self.root / "agents"

    @property
    def runtimes_dir(self) -> Path:
        """The locks of the live runtimes."""
        return self.root / ".runtimes"

    @property
    def mutex_path(self) -> Path:
        """The file whose lock guards claims and takeovers."""
        return self.root / ".mutex"

    def folder(
        self, name: str, agent_id: str, kind: str = "agents", *, session: str = "", full: bool = False
    ) -> AgentFolder:
        """The folder of the agent *name*, which need not exist.

        :param full: its name holds the whole id (see :func:`open_identity`).
        :param kind: ``agents`` or ``actors``: the folder of the workspace in which it stands.
        """
        return AgentFolder(self.root / kind / folder_name(name, agent_id, full=full), name, agent_id, session)

    def __repr__(self) -> str:
        return f"Workspace({str(self.root)!r})"


def create_folder(path: Path, *, files: FileOperations = FILES) -> None:
    """Create the folder and all that are missing above it, open to their owner only, durably. Blocking.

    One that exists is left as it is.

    :raises WorkspaceError: it cannot be created; the message says which folder and why.
    """
    made: list[Path] = []
    at = path
    try:
        _make(path, made, files)
        for at in made or [path]:
            files.sync_folder(at.parent)
    except (OSError, ValueError) as error:
        # A folder that is there is not synced again, so one of which it is not known must not stay.
        for each in reversed(made):
            with suppress(OSError):
                files.remove_folder(each)
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise WorkspaceError(
            f"the folder {at} cannot be created: {reason}. "
            "Make its parent writable, or choose another workspace_dir (or WORKSPACE_DIR)."
        ) from error


def open_identity(
    folder: AgentFolder, *, now: datetime, files: FileOperations = FILES
) -> tuple[AgentFolder, Identity]:
    """The folder that is really this agent's, created if need be, and its identity. Blocking.

    It is *folder*, but where that carries another agent's id (the first twelve digits of both are the same)
    it is the one whose name holds all digits. The first to open a folder writes the identity, durably; of
    several at once, one.

    :raises WorkspaceError: the folder or the identity cannot be created or read.
    :raises CorruptState: the identity is damaged.
    :raises SchemaTooNew: it was written by a later overwinter.
    """
    short, full = _spellings(folder)
    identity = _find_identity(full, files)
    if identity is None:
        identity = _find_identity(short, files) or _create_identity(short, now, files)
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


def sweep_temporaries(folder: Path, *, files: FileOperations = FILES) -> int:
    """Remove the temporary files that a writer which died left in the folder; returns how many. Blocking.

    Only for the holder of the folder's lease: nobody else writes there. One that cannot be removed stays.
    """
    swept = 0
    for name in filter(is_temporary, _names(folder, files)):
        entry = folder / name
        try:
            files.unlink(entry)
        except OSError as error:
            _logger.warning("%s, left by a writer that died, cannot be removed: %s", entry, error)
        else:
            swept += 1
    return swept


def list_folders(
    workspace: Workspace, kind: str = "agents", *, files: FileOperations = FILES
) -> list[AgentFolder]:
    """The folders of the workspace that carry an identity, by name. Blocking.

    One whose identity cannot be read is left out, with a warning in the log.
    """
    found: list[AgentFolder] = []
    parent = workspace.root / kind
    for name in _names(parent, files):
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


def _make(path: Path, made: list[Path], files: FileOperations) -> None:
    """Create *path* and its missing parents, and append each to *made*, the topmost first."""
    wanted = [path]
    while wanted:
        at = wanted[-1]
        try:
            files.mkdir(at)
        except FileNotFoundError:
            if at.parent == at:
                raise
            wanted.append(at.parent)
            continue
        except FileExistsError:
            if not files.is_folder(at):
                raise
        else:
            made.append(at)
        wanted.pop()


def _names(folder: Path, files: FileOperations) -> list[str]:
    try:
        return sorted(files.list(folder))
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise WorkspaceError(f"the folder {folder} cannot be read: {error.strerror}.") from error


def _spellings(folder: AgentFolder) -> tuple[AgentFolder, AgentFolder]:
    name, agent_id = folder.name, folder.agent_id
    parent = folder.path.parent
    return (
        AgentFolder(parent / folder_name(name, agent_id), name, agent_id, folder.session),
        AgentFolder(parent / folder_name(name, agent_id, full=True), name, agent_id, folder.session),
    )


def _find_identity(folder: AgentFolder, files: FileOperations) -> Identity | None:
    """As ``_read_identity``, and what is found is there for good."""
    identity = _read_identity(folder, files)
    if identity is not None and not files.exists(folder.lease_path):
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
    identity = Identity(
        schema_version=_IDENTITY_VERSION,
        agent_id=storable_name(folder.agent_id),
        agent_name=storable_name(folder.name),
        session=storable_name(folder.session),
        incarnation=os.urandom(16).hex(),
        created=now.isoformat(),
    )
    try:
        if write_once(folder.identity_path, [pretty(encode(identity)), b"\n"], files=files):
            return identity
    except SaveError as error:
        raise WorkspaceError(f"{folder.path} cannot be opened: {error}") from error
    written = _read_identity(folder, files)
    if written is None:
        raise WorkspaceError(f"{folder.path} vanished while it was being opened; open it again.")
    return written


class _Versioned(msgspec.Struct):
    schema_version: int
