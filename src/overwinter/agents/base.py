"""The documents that hold an agent's whole state as it was at some step. Everything here blocks."""

from __future__ import annotations

import re
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from overwinter.agents.records import StateBody
from overwinter.agents.state import AgentState
from overwinter.errors import CorruptState, WorkspaceError
from overwinter.persistence.document import METADATA_KEY, Metadata, read_document

if TYPE_CHECKING:
    from overwinter.persistence.files import FileOperations
    from overwinter.persistence.workspace import AgentFolder

__all__ = ["Base", "base_path", "bases", "history_files", "peek", "state_of"]

_HISTORY_NAME = re.compile(r"([0-9]{6,18})(?:-([0-9]+))?\.json")
_HEAD = re.compile(rb'\A\{\n  "' + METADATA_KEY.encode() + rb'": (\{.*?\n  \})', re.DOTALL)
_HEAD_BYTES = 1 << 14


class Base(msgspec.Struct, frozen=True):
    """A document that holds the agent's whole state, as it was at the step ``sequence``."""

    sequence: int
    path: Path
    metadata: Metadata


def base_path(folder: AgentFolder) -> Path:
    """The state that stands before the first record of a journal whose older ones were dropped."""
    return folder.journal_dir / "base.json"


def history_files(folder: AgentFolder, *, files: FileOperations) -> list[Path]:
    """The states of earlier conversations, the oldest first.

    :raises WorkspaceError: the folder cannot be read.
    """
    try:
        names = files.list(folder.history_dir)
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise WorkspaceError(f"{folder.history_dir} cannot be read: {error.strerror or error}.") from error
    found = [match for match in map(_HISTORY_NAME.fullmatch, names) if match is not None]
    found.sort(key=lambda match: (int(match[1]), int(match[2] or 1)))
    return [folder.history_dir / match[0] for match in found]


def bases(folder: AgentFolder, *, files: FileOperations) -> list[Base]:
    """All documents that hold a state of the agent, the earliest first. Of each only the beginning is read.

    :raises WorkspaceError: a folder cannot be read.
    """
    own = (base_path(folder), folder.previous_path, folder.state_path)
    found: list[Base] = []
    for path in chain(history_files(folder, files=files), own):
        metadata = peek(path, files=files)
        if metadata is not None:
            found.append(Base(metadata.sequence, path, metadata))
    return sorted(found, key=lambda base: base.sequence)


def peek(path: Path, *, files: FileOperations) -> Metadata | None:
    """What the document says of itself, from its beginning alone; None where it is missing or damaged there."""
    try:
        head = _HEAD.match(files.read_range(path, 0, _HEAD_BYTES))
    except OSError:
        return None
    if head is None:
        return None
    try:
        return msgspec.json.decode(head[1], type=Metadata)
    except (msgspec.MsgspecError, ValueError):
        return None


def state_of(path: Path, *, files: FileOperations) -> AgentState | None:
    """The state in the document at *path*; None where it is missing or damaged. It is only read.

    :raises SchemaTooNew: a later overwinter wrote it.
    """
    try:
        metadata, body = read_document(files.read_bytes(path), path, checksum_required=True)
        typed = msgspec.convert(body, StateBody)
    except (OSError, CorruptState, msgspec.ValidationError):
        return None
    state = AgentState()
    state.restore(typed)
    state.sequence = metadata.sequence
    return state
