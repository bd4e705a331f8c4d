"""Where everything stands on disk: the workspace and its folders."""

from __future__ import annotations

import logging
import os
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from overwinter.errors import WorkspaceError
from overwinter.persistence.atomic import is_temporary
from overwinter.persistence.files import FILES
from overwinter.persistence.names import folder_name, slug

if TYPE_CHECKING:
    from overwinter.persistence.files import FileOperations

__all__ = [
    "AgentFolder",
    "Workspace",
    "create_folder",
    "names_in",
    "sweep_temporaries",
]

_logger = logging.getLogger("overwinter.persistence")

_ATTEMPTS = 8  # at a folder whose parent others remove and make meanwhile


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


def sweep_temporaries(folder: Path, *, files: FileOperations = FILES) -> int:
    """Remove the temporary files that a writer which died left in the folder; returns how many. Blocking.

    Only for the holder of the folder's lease: nobody else writes there. One that cannot be removed stays.
    """
    swept = 0
    for name in filter(is_temporary, names_in(folder, files)):
        entry = folder / name
        try:
            files.unlink(entry)
        except OSError as error:
            _logger.warning("%s, left by a writer that died, cannot be removed: %s", entry, error)
        else:
            swept += 1
    return swept


def names_in(folder: Path, files: FileOperations) -> list[str]:
    """The names in the folder, sorted; none where there is no folder. Blocking.

    :raises WorkspaceError: it cannot be read.
    """
    try:
        return sorted(files.list(folder))
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise WorkspaceError(f"the folder {folder} cannot be read: {error.strerror}.") from error


def _make(path: Path, made: list[Path], files: FileOperations) -> None:
    """Create *path* and its missing parents, and append each to *made*, the topmost first."""
    wanted = [path]
    refused: Counter[Path] = Counter()
    while wanted:
        at = wanted[-1]
        try:
            files.mkdir(at)
        except FileNotFoundError:
            refused[at] += 1
            # Where nothing can be made, as in /proc, it is said although the parent is there.
            if at.parent == at or refused[at] == _ATTEMPTS:
                raise
            wanted.append(at.parent)
            continue
        except FileExistsError:
            if not files.is_folder(at):
                raise
        else:
            made.append(at)
        wanted.pop()
