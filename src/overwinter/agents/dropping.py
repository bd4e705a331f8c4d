"""Dropping what an agent's retention does not keep. Everything here blocks, and is for the holder of the lease."""

from __future__ import annotations

import logging
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from overwinter.agents.base import base_path, history_files, peek
from overwinter.agents.documents import EncodedLists, metadata_of, state_members
from overwinter.agents.past import read_state_at
from overwinter.errors import PersistenceError, StepNotFound
from overwinter.persistence.atomic import replace_file
from overwinter.persistence.document import assemble
from overwinter.persistence.lines import read_line
from overwinter.persistence.retention import drop_segments, list_segments
from overwinter.persistence.workspace import sweep_temporaries

if TYPE_CHECKING:
    from collections.abc import Container, Iterable, Sequence
    from datetime import datetime

    from overwinter.agents.retention import Retention
    from overwinter.agents.run_index import RunIndex
    from overwinter.persistence.files import FileOperations
    from overwinter.persistence.retention import SegmentInfo
    from overwinter.persistence.workspace import AgentFolder

__all__ = ["Dropped", "drop_past"]

logger = logging.getLogger("overwinter.agents")

_BEGAN = b'"record":{"type":"run_began"'
_ROOM = 0.75  # of the bound in bytes is left, so that it is not met again with the next record


class Dropped(msgspec.Struct, frozen=True):
    """What was dropped: bytes, and the names of files of ``history/``."""

    bytes: int = 0
    files: tuple[str, ...] = ()


class _Piece(msgspec.Struct, frozen=True):
    """A segment of the journal, or a file of ``history/``: the past up to ``last``."""

    last: int
    bytes: int
    modified: float
    path: Path
    is_segment: bool


def drop_past(
    folder: AgentFolder,
    retention: Retention,
    *,
    index: RunIndex,
    present: Container[str],
    agent: bytes,
    files: FileOperations,
    now: datetime,
) -> Dropped:
    """Drop what is not kept any more. A state is left in front of what remains of the journal.

    :param index: which files of ``history/`` hold unfinished runs, which stay.
    :param present: the runs of the present conversation.
    :param agent: the configuration, encoded.
    :raises PersistenceError: the disk refused; what was not dropped is there, whole.
    """
    segments = list_segments(folder.journal_dir, files=files)
    pieces = sorted(
        [*_segments(segments), *_kept(folder, index, present, files)], key=lambda piece: piece.last
    )
    upto = _upto(pieces, retention, segments, files, now)
    if not upto:
        return Dropped()
    dropped = _drop_kept([piece for piece in pieces if piece.last <= upto and not piece.is_segment], files)
    limit = min(upto, _previous(folder, files))
    last = max((each.last for each in _leading(segments) if each.last <= limit), default=0)
    if last:
        _leave_base(folder, last, agent, files, now)
        freed = drop_segments(folder.journal_dir, up_to_sequence=last, files=files)
        dropped = Dropped(dropped.bytes + freed, dropped.files)
    return dropped


def _segments(segments: Iterable[SegmentInfo]) -> Iterable[_Piece]:
    for each in segments:
        yield _Piece(each.last, each.bytes, each.modified, each.path, is_segment=True)


def _kept(
    folder: AgentFolder, index: RunIndex, present: Container[str], files: FileOperations
) -> Iterable[_Piece]:
    for path in history_files(folder, files=files):
        metadata = peek(path, files=files)
        if metadata is None or index.unfinished(path.name, present):
            continue
        try:
            yield _Piece(metadata.sequence, files.size(path), files.modified(path), path, is_segment=False)
        except OSError as error:
            raise PersistenceError(f"{path} cannot be read: {error.strerror or error}") from error


def _leading(segments: Sequence[SegmentInfo]) -> Sequence[SegmentInfo]:
    """Those that may go: all but the newest."""
    return segments[:-1]


def _upto(
    pieces: Sequence[_Piece],
    retention: Retention,
    segments: Sequence[SegmentInfo],
    files: FileOperations,
    now: datetime,
) -> int:
    """The sequence up to which nothing is kept."""
    upto = 0
    if retention.days is not None:
        oldest = (now - timedelta(days=retention.days)).timestamp()
        upto = max((piece.last for piece in pieces if piece.modified < oldest), default=0)
    if retention.runs is not None:
        upto = max(upto, _before_the_last_runs(retention.runs, segments, files))
    if retention.bytes is not None:
        upto = max(upto, _beyond(retention.bytes, pieces))
    return upto


def _beyond(bound: int, pieces: Sequence[_Piece]) -> int:
    total = sum(piece.bytes for piece in pieces)
    if total <= bound:
        return 0
    upto = 0
    for piece in pieces:
        if total <= bound * _ROOM:
            break
        total -= piece.bytes
        upto = piece.last
    return upto


def _before_the_last_runs(runs: int, segments: Sequence[SegmentInfo], files: FileOperations) -> int:
    """The sequence before that at which the first of the last runs began; 0 where there are no more than these."""
    left = runs
    for segment in reversed(segments):
        content = files.read_bytes(segment.path)
        began = content.count(_BEGAN)
        if began < left:
            left -= began
            continue
        for text in reversed(content.split(b"\n")):
            if _BEGAN in text:
                left -= 1
                if not left:
                    line = read_line(text, segment.path)
                    return 0 if line is None else line.sequence - 1
    return 0


def _previous(folder: AgentFolder, files: FileOperations) -> int:
    """The sequence of the older generation of the state file: what came after it may be needed."""
    found = [peek(path, files=files) for path in (folder.state_path, folder.previous_path)]
    return min((0 if metadata is None else metadata.sequence) for metadata in found)


def _drop_kept(pieces: Iterable[_Piece], files: FileOperations) -> Dropped:
    freed = 0
    names: list[str] = []
    for piece in pieces:
        try:
            files.unlink(piece.path)
        except OSError as error:
            raise PersistenceError(f"{piece.path} cannot be removed: {error.strerror or error}") from error
        freed += piece.bytes
        names.append(piece.path.name)
    return Dropped(freed, tuple(names))


def _leave_base(
    folder: AgentFolder, sequence: int, agent: bytes, files: FileOperations, now: datetime
) -> None:
    """Keep the state at *sequence*, from which the records behind it can be folded."""
    sweep_temporaries(folder.journal_dir, files=files)
    try:
        state = read_state_at(folder, sequence, files=files)
    except StepNotFound as error:
        # Its past is damaged already, and what follows can be told from a later state only.
        logger.warning("no state is left before what remains of the journal: %s", error)
        return
    metadata = metadata_of(state, folder.agent_id, folder.name, now)
    members = state_members(state, agent, EncodedLists())
    replace_file(base_path(folder), assemble(metadata, members, checksum=True), files=files)
