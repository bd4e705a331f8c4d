"""What stands in a workspace, read without a lease and without changing anything."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import msgspec
from msgspec import Struct

from overwinter._version import __version__
from overwinter.agents.records import StateBody
from overwinter.agents.restore import fold
from overwinter.agents.state import AgentState
from overwinter.cli.holders import Holder, Holders
from overwinter.cli.notices import notices
from overwinter.cli.refusal import Refusal, os_reason
from overwinter.errors import PersistenceError
from overwinter.persistence import AgentFolder, Identity, Metadata, Workspace, read_document
from overwinter.persistence.document import SCHEMA_VERSION
from overwinter.persistence.files import FILES
from overwinter.persistence.journal import read_journal
from overwinter.persistence.replay import replay_dead_runtimes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from overwinter.persistence.lines import JournalLine

__all__ = [
    "Inspected",
    "agent_folders",
    "bring_in_logs",
    "inspect_agent",
    "inspect_workspace",
    "open_workspace",
]

_STATE_SUFFIX = "_state.json"
_KINDS = ("agents", "swarms")


class _Timed(Struct):
    at: str = ""


class Inspected(Struct, kw_only=True):
    """One agent or swarm as its files tell it; ``problems`` says what could not be read, and why."""

    folder: AgentFolder
    held_by: Holder | None = None
    config: tuple[Metadata, dict[str, Any]] | None = None
    state: tuple[Metadata, StateBody] | None = None
    state_path: Path | None = None
    state_bytes: int | None = None
    last_record: str = ""
    incarnation: str = ""
    problems: list[str] = []

    @property
    def is_swarm(self) -> bool:
        """Whether it is a swarm."""
        return self.folder.path.parent.name == "swarms"

    @property
    def what(self) -> str:
        """``agent`` or ``swarm``."""
        return "swarm" if self.is_swarm else "agent"

    @property
    def swarm(self) -> dict[str, Any]:
        """What its configuration says of it as a swarm: pattern, members, graph; nothing of an agent."""
        told = self.configuration.get("swarm") if self.is_swarm else None
        return cast("dict[str, Any]", told) if isinstance(told, dict) else {}

    @property
    def configuration(self) -> dict[str, Any]:
        """Its settings, as config.json or else the state file has them."""
        if self.config is not None:
            return {name: value for name, value in self.config[1].items() if name != "loop_count"}
        return self.state[1].agent if self.state is not None else {}

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


def inspect_workspace(
    workspace: Workspace, note: Callable[[str], object] = lambda _: None, *, bring_in: bool = True
) -> list[Inspected]:
    """Every agent of the workspace, and then every swarm, by the name of its folder. Blocking.

    What dead runtimes left in their logs is brought into the journals first, as anybody's opening would; *note* is told
    what could not be, or was damaged.

    :param bring_in: whether it is; if not, what they logged in their last second is not told of.
    """
    if bring_in:
        bring_in_logs(workspace, note)
    holders = Holders(workspace)
    return [_inspect(path, holders) for path in agent_folders(workspace)]


def bring_in_logs(workspace: Workspace, note: Callable[[str], object]) -> bool:
    """Move what dead runtimes left in their logs to the journals it belongs to; false where that was not possible.

    *note* is told what was damaged, or stays where it is. Blocking.
    """
    with notices(note):
        try:
            # Where there is none the mutex is not needed, which a folder that may only be read would not give.
            if any(workspace.runtimes_dir.iterdir()):
                replay_dead_runtimes(workspace)
        except (FileNotFoundError, NotADirectoryError):
            return True
        except (PersistenceError, OSError) as error:
            note(f"what a dead process left in its log could not be brought in: {error}")
            return False
    return True


def agent_folders(workspace: Workspace, kinds: Sequence[str] = _KINDS) -> Iterator[Path]:
    """The folders in which something of an agent stands, by name, and then those of swarms; or of other *kinds*."""
    for kind in kinds:
        folder = workspace.root / kind
        try:
            entries = sorted(folder.iterdir())
        except (FileNotFoundError, NotADirectoryError):
            continue
        except OSError as error:
            raise Refusal(f"{folder} cannot be read: {os_reason(error)}") from error
        for path in entries:
            if _tells(path):
                yield path


def _tells(path: Path) -> bool:
    """Whether something of an agent stands there, or may.

    A folder is made before its identity is; until then there is nothing in it to tell of.
    """
    # One system call for most.
    if os.path.lexists(f"{path}/.identity.json"):
        return True
    return path.is_dir() and (not _is_readable(path) or any(path.iterdir()))


def _is_readable(path: Path) -> bool:
    try:
        next(path.iterdir(), None)
    except OSError:
        return False
    return True


def inspect_agent(path: Path, workspace: Workspace) -> Inspected:
    """One agent or swarm, by its folder. Blocking."""
    return _inspect(path, Holders(workspace))


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
    seen.incarnation = identity.incarnation


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
    """The state, or where that is damaged its previous generation; and what the journal has beyond it."""
    metadata: Metadata | None = None
    body: StateBody | None = None
    path = _state_path(seen.folder)
    for candidate in (path, path.with_name(f"{path.name}.previous")):
        data = _read(seen, candidate)
        if data is None:
            continue
        try:
            metadata, members = read_document(data, candidate.name, checksum_required=True)
            body = msgspec.convert(members, StateBody)
        except (PersistenceError, msgspec.ValidationError, RecursionError) as error:
            seen.problems.append(_told(candidate, error))
            metadata = body = None
            continue
        seen.state_path, seen.state_bytes = candidate, len(data)
        break
    lines = _read_journal(seen, metadata)
    if not lines:
        # As most are, of the ten thousand that may be listed: nothing is folded.
        if metadata is not None and body is not None:
            seen.state = metadata, body
        return
    state = AgentState()
    if metadata is not None and body is not None:
        state.restore(body)
        state.sequence = metadata.sequence
    if _fold_in(seen, state, lines) or metadata is not None:
        agent = {} if body is None else body.agent
        # Encoded and read back: the memory's values are encoded already.
        body = msgspec.json.decode(msgspec.json.encode(state.body()), type=StateBody)
        body.agent = agent
        seen.state = _metadata_of(seen, state, metadata), body


def _read_journal(seen: Inspected, metadata: Metadata | None) -> list[JournalLine]:
    """What the journal has beyond the state file, up to where it is damaged, as far as something can be made of it."""
    journal = seen.folder.journal_dir
    after = 0 if metadata is None else metadata.sequence
    try:
        reading = read_journal(journal, after=after, allow_gaps=True)
        lines = reading.lines
        if reading.gaps:
            first = reading.gaps[0]
            seen.problems.append(
                f"the journal is damaged: {first.path.name}, line {first.line}, after record {first.after}"
            )
            lines = [line for line in lines if line.sequence <= first.after]
    except (PersistenceError, OSError) as error:
        seen.problems.append(str(error))
        return []
    if metadata is None and lines and lines[0].sequence > 1 and not lines[0].base:
        return []
    return lines


def _fold_in(seen: Inspected, state: AgentState, lines: Sequence[JournalLine]) -> bool:
    """Fold *lines* into the state, up to one that is none of ours; whether there was none of these."""
    try:
        fold(state, lines, seen.folder.journal_dir)
    except (PersistenceError, OSError) as error:
        seen.problems.append(str(error))
        return False
    seen.last_record = _time_of(lines[-1].record)
    return True


def _time_of(record: bytes) -> str:
    try:
        return msgspec.json.decode(record, type=_Timed).at
    except msgspec.MsgspecError:
        return ""


def _metadata_of(seen: Inspected, state: AgentState, metadata: Metadata | None) -> Metadata:
    """What the document says of itself, brought up to the last record."""
    if metadata is None:
        metadata = Metadata(
            timestamp="",
            loop_count=0,
            agent_id=seen.folder.agent_id,
            agent_name=seen.folder.name,
            run_id="",
            status="idle",
            sequence=0,
            schema_version=SCHEMA_VERSION,
            overwinter_version=__version__,
        )
    return msgspec.structs.replace(
        metadata,
        timestamp=max(metadata.timestamp, seen.last_record),
        loop_count=state.loop_count,
        run_id=state.run_id,
        status=state.status,
        sequence=state.sequence,
    )


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
        return FILES.read_bytes(path)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        seen.problems.append(f"{path.name} cannot be read: {os_reason(error)}")
        return None
