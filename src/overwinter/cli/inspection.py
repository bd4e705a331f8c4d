"""What stands in a workspace, read without a lease and without changing anything."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec import Struct

from overwinter.agents.records import StateBody
from overwinter.cli.holders import Holder, Holders
from overwinter.cli.refusal import Refusal, os_reason
from overwinter.errors import PersistenceError
from overwinter.persistence import AgentFolder, Identity, Metadata, Workspace, read_document

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Inspected", "inspect_workspace", "open_workspace"]

_STATE_SUFFIX = "_state.json"


class Inspected(Struct, kw_only=True):
    """One agent as its files tell it; ``problems`` says what could not be read, and why."""

    folder: AgentFolder
    held_by: Holder | None = None
    config: tuple[Metadata, dict[str, Any]] | None = None
    state: tuple[Metadata, StateBody] | None = None
    state_path: Path | None = None
    state_bytes: int | None = None
    problems: list[str] = []

    @property
    def metadata(self) -> Metadata | None:
        """What the newer of the two files says of itself."""
        found = [one[0] for one in (self.config, self.state) if one is not None]
        return max(found, key=lambda metadata: metadata.sequence, default=None)

    @property
    def status(self) -> str:
        """The status it has now.

        The files may be a step behind: a task that was accepted has begun by now, and what was under way when its
        process died is interrupted.
        """
        metadata = self.metadata
        if metadata is None:
            return "unreadable" if self.problems else "idle"
        accepted = metadata.status == "idle" and self.state is not None and bool(self.state[1].accepted)
        if metadata.status == "running" or accepted:
            return "interrupted" if self.held_by is None else "running"
        return metadata.status


def open_workspace(chosen: str | None) -> Workspace:
    """The workspace to look into.

    :raises Refusal: there is none.
    """
    workspace = Workspace(chosen)
    if not workspace.root.is_dir():
        raise Refusal(
            f"there is no workspace at {workspace.root}; give another with --workspace (or WORKSPACE_DIR), "
            "or run `overwinter demo` to make one"
        )
    return workspace


def inspect_workspace(workspace: Workspace) -> list[Inspected]:
    """Every agent of the workspace, by the name of its folder. Blocking."""
    holders = Holders(workspace)
    return [_inspect(path, holders) for path in _agent_folders(workspace)]


def _agent_folders(workspace: Workspace) -> Iterator[Path]:
    try:
        entries = sorted(workspace.agents_dir.iterdir())
    except (FileNotFoundError, NotADirectoryError):
        return
    except OSError as error:
        raise Refusal(f"{workspace.agents_dir} cannot be read: {os_reason(error)}") from error
    for path in entries:
        # A folder is made before its identity is; until then there is nothing in it to tell of.
        if path.is_dir() and (not _is_readable(path) or any(path.iterdir())):
            yield path


def _is_readable(path: Path) -> bool:
    try:
        next(path.iterdir(), None)
    except OSError:
        return False
    return True


def _inspect(path: Path, holders: Holders) -> Inspected:
    seen = Inspected(folder=AgentFolder(path, path.name, ""))
    _read_identity(seen)
    _read_config(seen)
    _read_state(seen)
    if not seen.folder.agent_id and seen.metadata is not None:
        seen.folder = AgentFolder(path, seen.metadata.agent_name, seen.metadata.agent_id)
    seen.held_by = holders.of(seen.folder)
    return seen


def _read_identity(seen: Inspected) -> None:
    data = _read(seen, seen.folder.identity_path)
    if data is None:
        if not seen.problems:
            seen.problems.append(f"{seen.folder.identity_path.name} is missing")
        return
    try:
        identity = msgspec.json.decode(data, type=Identity)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        seen.problems.append(f"{seen.folder.identity_path.name} is damaged: {error}")
        return
    seen.folder = AgentFolder(seen.folder.path, identity.agent_name, identity.agent_id, identity.session)


def _read_config(seen: Inspected) -> None:
    path = seen.folder.config_path
    data = _read(seen, path)
    if data is None:
        return
    try:
        seen.config = read_document(data, path.name, checksum_required=False, kind="config")
    except PersistenceError as error:
        seen.problems.append(str(error))


def _read_state(seen: Inspected) -> None:
    """The state, or where that is damaged its previous generation."""
    path = _state_path(seen.folder)
    for candidate in (path, path.with_name(f"{path.name}.previous")):
        data = _read(seen, candidate)
        if data is None:
            continue
        try:
            metadata, body = read_document(data, candidate.name, checksum_required=True)
            seen.state = metadata, msgspec.convert(body, StateBody)
        except (PersistenceError, msgspec.ValidationError, RecursionError) as error:
            seen.problems.append(_told(candidate, error))
            continue
        seen.state_path, seen.state_bytes = candidate, len(data)
        return


def _told(path: Path, error: Exception) -> str:
    return str(error) if isinstance(error, PersistenceError) else f"{path.name} is damaged: {error}"


def _state_path(folder: AgentFolder) -> Path:
    """Where the state stands; without an identity the name of the agent is not known, but the ending is."""
    if not folder.agent_id and _is_readable(folder.path):
        found = sorted(path for path in folder.path.iterdir() if path.name.endswith(_STATE_SUFFIX))
        if found:
            return found[0]
    return folder.state_path


def _read(seen: Inspected, path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        seen.problems.append(f"{path.name} cannot be read: {os_reason(error)}")
        return None
