"""What stands in an agent's folder before a fresh agent begins there, and how it is kept."""

from __future__ import annotations

import itertools
import warnings
from contextlib import suppress
from typing import TYPE_CHECKING

from overwinter.agents.documents import metadata_of, state_members
from overwinter.agents.restore import read_agent, read_file
from overwinter.agents.run_index import describe, note
from overwinter.errors import (
    CorruptState,
    SaveError,
    StaleState,
    StateNotFound,
    UnfinishedRun,
    WorkspaceError,
)
from overwinter.persistence.atomic import write_once
from overwinter.persistence.codec import encode
from overwinter.persistence.document import assemble, load_document
from overwinter.persistence.workspace import create_folder

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime
    from pathlib import Path

    from overwinter.agents.restore import Restored
    from overwinter.agents.state import AgentState
    from overwinter.persistence.files import FileOperations
    from overwinter.persistence.workspace import AgentFolder

__all__ = ["Earlier", "config_sequence", "find_earlier", "keep_earlier", "read_to_load"]

_UNFINISHED = ("running", "paused", "interrupted", "failed")


class Earlier:
    """What stands in an agent's folder, and whether the user was told."""

    def __init__(self, restored: Restored) -> None:
        self.restored = restored
        self.announced = False

    @property
    def state(self) -> AgentState:
        """What the agent knew."""
        return self.restored.state

    @property
    def task(self) -> str:
        """The task of the last run, or the first that was accepted."""
        state = self.state
        return state.task or (state.accepted[0].task if state.accepted else "")

    def announce(self, name: str, folder: AgentFolder) -> None:
        """Warn, once, that a run which was cut off stands in the *folder* where a new one begins."""
        if self.announced or not self.unfinished:
            return
        self.announced = True
        warnings.warn(
            f"agent {name!r} has an unfinished run ({self.state.status}, task {self.task[:60]!r}) in {folder.path}; "
            f"this new run leaves it behind, in {folder.history_dir.name}/. To finish it, call resume() before run(), "
            "or load() to go on in its conversation.",
            UnfinishedRun,
            stacklevel=5,
        )

    def newer_than(self, state: AgentState, name: str) -> StaleState | None:
        """The error for a *state* that was loaded from there before somebody else wrote; None if nobody did."""
        found = self.state.sequence
        if found <= state.sequence:
            return None
        return StaleState(
            f"agent {name!r} was written by somebody else since it was loaded here: its files have sequence {found}, "
            f"and what is in memory comes from sequence {state.sequence}. Call load() and go on from there."
        )

    @property
    def unfinished(self) -> bool:
        """Whether something is left to do there."""
        return bool(self.state.accepted) or self.state.status in _UNFINISHED


def find_earlier(
    folder: AgentFolder, *, files: FileOperations, now: datetime, to_be_loaded: bool = False
) -> tuple[Earlier | None, int, tuple[str, ...]]:
    """What stands in *folder*, the highest sequence any of its documents carries, and what was damaged. Blocking.

    :param to_be_loaded: it is about to be loaded, and encoded for that.
    :raises SchemaTooNew: a later overwinter wrote it; a fresh start would put an older file in its place.
    """
    # What is resumed has a state, which no config.json is ahead of; many are resumed at once.
    sequence, damaged = (0, ()) if to_be_loaded else config_sequence(folder, files=files, now=now)
    try:
        restored = read_agent(folder, files=files, now=now)
    except StateNotFound:
        return None, sequence, damaged
    except CorruptState as error:
        whole = _whole_document(folder, files)
        sequence = max(sequence, 0 if whole is None else whole.state.sequence)
        return whole, sequence, (*damaged, str(error))
    if to_be_loaded:
        restored.encode()
    return Earlier(restored), max(sequence, restored.state.sequence), (*damaged, *restored.problems)


def read_to_load(
    folder: AgentFolder, path: Path | None, *, files: FileOperations, now: datetime
) -> tuple[Restored, int, tuple[str, ...]]:
    """What the agent's own files say, or that at *path*; the sequence of its config.json; what was damaged. Blocking.

    :raises StateNotFound: there is nothing.
    :raises CorruptState: what there is, is damaged, and cannot be made up for.
    :raises SchemaTooNew: a later overwinter wrote it.
    """
    floor, damaged = config_sequence(folder, files=files, now=now)
    restored = read_agent(folder, files=files, now=now) if path is None else read_file(path, files=files)
    # Encoded here and not at the next save, which would keep the event loop from everything else.
    restored.encode()
    return restored, floor, (*damaged, *restored.problems)


def _whole_document(folder: AgentFolder, files: FileOperations) -> Earlier | None:
    """The newest state file that is whole, where what came after it is damaged: it is kept for what it is."""
    for path in (folder.state_path, folder.previous_path):
        with suppress(StateNotFound, CorruptState):
            return Earlier(read_file(path, files=files))
    return None


def keep_earlier(folder: AgentFolder, earlier: Earlier, *, files: FileOperations, now: datetime) -> Path:
    """Keep what a fresh agent is about to leave behind as ``history/{sequence}.json``, durably. Blocking.

    :raises WorkspaceError: it cannot be kept; nothing was replaced.
    """
    create_folder(folder.history_dir, files=files)
    state, document = earlier.state, earlier.restored.document
    try:
        if document is not None and not earlier.restored.tail:
            data = files.read_bytes(document.path)
        else:
            data = b"".join(_document(folder, earlier.restored, now))
        for name in _names(f"{state.sequence:06d}"):
            kept = folder.history_dir / f"{name}.json"
            if write_once(kept, [data], files=files) or files.read_bytes(kept) == data:
                note(folder, describe(state, kept.name), files=files)
                return kept
    except (OSError, SaveError) as error:
        raise WorkspaceError(
            f"what {folder.path} holds cannot be kept in {folder.history_dir}: {error}. It would be lost to a new "
            "conversation, so none was begun; make room, or call load() to go on in the old one."
        ) from error
    raise AssertionError("the names do not end")


def _document(folder: AgentFolder, restored: Restored, now: datetime) -> list[bytes]:
    """The document of a state whose newest records stand in the journal only."""
    metadata = metadata_of(restored.state, folder.agent_id, folder.name, now)
    pieces = state_members(restored.state, encode(restored.settings), restored.lists)
    return assemble(metadata, pieces, checksum=True)


def _names(stem: str) -> Iterator[str]:
    yield stem
    for number in itertools.count(2):
        yield f"{stem}-{number}"


def config_sequence(
    folder: AgentFolder, *, files: FileOperations, now: datetime
) -> tuple[int, tuple[str, ...]]:
    """The sequence of the agent's config.json, 0 without one, and what was wrong with a damaged one. Blocking."""
    try:
        config = load_document(
            folder.config_path, None, files=files, now=now, checksum_required=False, kind="config"
        )
    except StateNotFound:
        return 0, ()
    except CorruptState as error:
        return 0, (str(error),)
    return config.metadata.sequence, ()
