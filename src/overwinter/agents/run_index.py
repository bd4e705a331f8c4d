"""Which of the conversations that are kept in ``history/`` holds which run. What touches the disk here blocks."""

from __future__ import annotations

import logging
from contextlib import suppress
from typing import TYPE_CHECKING

import msgspec

from overwinter.agents.base import history_files, state_of
from overwinter.persistence.atomic import write_all

if TYPE_CHECKING:
    from collections.abc import Container, Iterable
    from pathlib import Path

    from overwinter.agents.state import AgentState
    from overwinter.persistence.files import FileOperations
    from overwinter.persistence.workspace import AgentFolder

__all__ = ["KeptRuns", "RunIndex", "describe", "note", "read_index"]

logger = logging.getLogger("overwinter.agents")


class KeptRuns(msgspec.Struct, frozen=True):
    """The runs in one file of ``history/``; those in ``open`` had not finished, or not begun, when it was kept."""

    file: str
    runs: list[str]
    open: list[str] = []


class RunIndex:
    """Finds runs in ``history/`` without looking there; of several files that hold a run, the latest counts."""

    def __init__(self, kept: Iterable[KeptRuns] = ()) -> None:
        self._file_of: dict[str, str] = {}
        self._open: dict[str, list[str]] = {}
        for each in kept:
            self.add(each)

    def add(self, kept: KeptRuns) -> None:
        """A conversation was kept, after all those that were added before."""
        self._file_of.update(dict.fromkeys(kept.runs, kept.file))
        self._open[kept.file] = kept.open

    def find(self, run_id: str) -> str | None:
        """The name of the file that holds the run, or None."""
        return self._file_of.get(run_id)

    def drop(self, files: Iterable[str]) -> None:
        """Those files are not there any more."""
        for file in files:
            self._open.pop(file, None)
        self._file_of = {run_id: file for run_id, file in self._file_of.items() if file in self._open}

    def unfinished(self, file: str, present: Container[str]) -> bool:
        """Whether the file is the last word on a run that can be resumed; ``present`` are those known elsewhere."""
        return any(
            self._file_of.get(run_id) == file and run_id not in present for run_id in self._open.get(file, ())
        )


def describe(state: AgentState, file: str) -> KeptRuns:
    """What is said of a state that is kept in that file."""
    unfinished = {task.run_id for task in state.accepted}
    if state.run is not None and state.status not in ("idle", "finished"):
        unfinished.add(state.run.run_id)
    return KeptRuns(file, sorted(state.run_ids - {""}), sorted(unfinished))


def read_index(folder: AgentFolder, *, files: FileOperations) -> RunIndex:
    """The index of the agent's history. A file of which the index on disk says nothing is looked into, once.

    Only for the holder of the agent's lease.

    :raises WorkspaceError: the folder cannot be read.
    """
    paths = history_files(folder, files=files)
    known = _read(folder, files) if paths else {}
    for path in paths:
        if path.name not in known:
            state = state_of(path, files=files)
            if state is not None:
                known[path.name] = describe(state, path.name)
                note(folder, known[path.name], files=files)
    return RunIndex(known[path.name] for path in paths if path.name in known)


def note(folder: AgentFolder, kept: KeptRuns, *, files: FileOperations) -> None:
    """Append to the index on disk. It saves time and holds nothing of its own, so a failure does no harm."""
    path = _path(folder)
    try:
        try:
            fd = files.open_append(path)
        except FileNotFoundError:
            fd = files.open_new(path)
        try:
            # The line break comes first as well: the one before may have been cut off.
            write_all(fd, b"\n" + msgspec.json.encode(kept) + b"\n", files)
        finally:
            files.close(fd)
    except OSError as error:
        logger.debug("%s could not be appended to: %s", path, error)


def _read(folder: AgentFolder, files: FileOperations) -> dict[str, KeptRuns]:
    try:
        content = files.read_bytes(_path(folder))
    except OSError:
        return {}
    known: dict[str, KeptRuns] = {}
    decoder = msgspec.json.Decoder(KeptRuns)
    for line in content.split(b"\n"):
        with suppress(msgspec.MsgspecError, ValueError):
            kept = decoder.decode(line)
            known[kept.file] = kept
    return known


def _path(folder: AgentFolder) -> Path:
    return folder.path / ".runs.jsonl"
