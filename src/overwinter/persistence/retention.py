"""What a journal takes up, and dropping what is no longer wanted of it. Everything here blocks.

What is wanted is not decided here.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from overwinter.errors import WorkspaceError
from overwinter.persistence.files import FILES
from overwinter.persistence.journal import end_of_segment, unreadable
from overwinter.persistence.lines import read_line
from overwinter.persistence.segments import segment_numbers, segment_path

if TYPE_CHECKING:
    from overwinter.persistence.files import FileOperations

__all__ = ["SegmentInfo", "drop_segments", "journal_bytes", "list_segments"]

_WINDOW = 1 << 16


class SegmentInfo(msgspec.Struct, frozen=True):
    """One segment of a journal: its first and last whole records' sequences, or 0 where it has none.

    ``modified`` is when it was last written to, in seconds since 1970.
    """

    path: Path
    number: int
    bytes: int
    first: int
    last: int
    modified: float


def list_segments(journal_dir: Path, *, files: FileOperations = FILES) -> list[SegmentInfo]:
    """The segments of the journal, the oldest first. Of each only the beginning and the end are read.

    :raises SchemaTooNew: a later overwinter wrote in one.
    :raises WorkspaceError: the journal cannot be read.
    """
    try:
        return [
            _look_at(segment_path(journal_dir, number), number, files)
            for number in segment_numbers(journal_dir, files=files)
        ]
    except OSError as error:
        raise unreadable(journal_dir, error) from error


def journal_bytes(journal_dir: Path, *, files: FileOperations = FILES) -> int:
    """The bytes that the journal takes up; 0 where there is none.

    :raises WorkspaceError: the journal cannot be read.
    """
    try:
        return sum(
            files.size(segment_path(journal_dir, number))
            for number in segment_numbers(journal_dir, files=files)
        )
    except OSError as error:
        raise unreadable(journal_dir, error) from error


def drop_segments(journal_dir: Path, *, up_to_sequence: int, files: FileOperations = FILES) -> int:
    """Remove the oldest segments in which no record's sequence is greater than *up_to_sequence*.

    The last segment stays, whatever is in it. Only for the holder of the agent's lease. Interrupted anywhere,
    it leaves a journal that has everything after *up_to_sequence*.

    :returns: the bytes that were freed.
    :raises SchemaTooNew: a later overwinter wrote in one.
    :raises WorkspaceError: the journal cannot be read, or a segment not be removed.
    """
    freed = 0
    try:
        for number in segment_numbers(journal_dir, files=files)[:-1]:
            path = segment_path(journal_dir, number)
            content = files.read_bytes(path)
            if _highest(content, path) > up_to_sequence:
                break
            try:
                files.unlink(path)
                # One by one: were several under way, a power cut could bring back the first and not the second.
                files.sync_folder(journal_dir)
            except OSError as error:
                raise WorkspaceError(f"{path} cannot be removed: {error.strerror or error}.") from error
            freed += len(content)
    except OSError as error:
        raise unreadable(journal_dir, error) from error
    return freed


def _look_at(path: Path, number: int, files: FileOperations) -> SegmentInfo:
    last, whole, rest = end_of_segment(path, files)
    window = _WINDOW
    first = 0
    while last and not first:
        # A record that is longer than the window is found in a larger one.
        for text in files.read_range(path, 0, min(window, whole)).split(b"\n"):
            line = read_line(text, path)
            if line is not None:
                first = line.sequence
                break
        window *= 4
    return SegmentInfo(path, number, whole + rest, first, last, files.modified(path))


def _highest(content: bytes, path: Path) -> int:
    lines = (read_line(text, path) for text in content.split(b"\n"))
    return max((line.sequence for line in lines if line is not None), default=0)
