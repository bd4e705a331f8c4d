"""Reading an agent's journal, and finding its end.

A journal is a folder of segments. Each record has a sequence, one more than that of the record before it.
Lines count in the order in which they stand in the files: one whose sequence was had already is skipped, so
that what is doubtful can be written again behind it, and damage is harmless when all that it may have hit
follows whole. Everything here blocks.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from overwinter.errors import CorruptState, WorkspaceError
from overwinter.persistence.codec import encode
from overwinter.persistence.files import FILES
from overwinter.persistence.lines import JOURNAL_VERSION, JournalLine, read_line
from overwinter.persistence.migrations import migrate
from overwinter.persistence.segments import segment_numbers, segment_path

if TYPE_CHECKING:
    from collections.abc import Sequence

    from overwinter.persistence.files import FileOperations

__all__ = [
    "JournalEnd",
    "JournalGap",
    "JournalReading",
    "end_of_segment",
    "find_end",
    "mend",
    "read_all",
    "read_journal",
    "unreadable",
]

_WINDOW = 1 << 16


class JournalEnd(msgspec.Struct, frozen=True):
    """Where a journal ends.

    ``sequence`` is that of its last record, 0 when it has none; ``segment`` the number of its last segment, 0
    when it has none; ``size`` that segment's bytes up to the end of its last whole line; ``torn`` says what
    stands behind that, "" when nothing does.
    """

    sequence: int = 0
    segment: int = 0
    size: int = 0
    torn: str = ""


class JournalGap(msgspec.Struct, frozen=True):
    """Records that a journal does not have: those between the sequences ``after`` and ``before``, exclusive.

    ``path`` and ``line`` (from 1) tell where the damage is, or where the next record stands.
    """

    after: int
    before: int
    path: Path
    line: int


class JournalReading(msgspec.Struct, frozen=True):
    """The records of a journal in their order; ``torn`` and ``gaps`` say what it does not have."""

    lines: list[JournalLine]
    torn: str = ""
    gaps: tuple[JournalGap, ...] = ()


def find_end(journal_dir: Path, *, files: FileOperations = FILES) -> JournalEnd:
    """Where the journal ends. Cheap: of each of the last two segments only the end is read.

    :raises SchemaTooNew: a later overwinter wrote its last line.
    :raises WorkspaceError: it cannot be read.
    """
    try:
        numbers = segment_numbers(journal_dir, files=files)
        if not numbers:
            return JournalEnd()
        path = segment_path(journal_dir, numbers[-1])
        sequence, size, rest = end_of_segment(path, files)
        # The newest may have been begun to write anew what the one before holds as well.
        for number in reversed(numbers[:-1]):
            before, _, _ = end_of_segment(segment_path(journal_dir, number), files)
            if before:
                sequence = max(sequence, before)
                break
    except OSError as error:
        raise unreadable(journal_dir, error) from error
    torn = f"{path}: the last {rest} bytes, after record {sequence}, are no whole record" if rest else ""
    return JournalEnd(sequence, numbers[-1], size, torn)


def mend(journal_dir: Path, *, files: FileOperations = FILES) -> JournalEnd:
    """Cut off what stands behind the last whole record, durably; ``torn`` of the result says what that was.

    Only for the holder of the agent's lease.

    :raises SchemaTooNew: a later overwinter wrote its last line.
    :raises WorkspaceError: it cannot be read or cut.
    """
    end = find_end(journal_dir, files=files)
    if end.torn:
        path = segment_path(journal_dir, end.segment)
        try:
            files.truncate(path, end.size)
            fd = files.open_append(path)
            try:
                files.fsync(fd)
            finally:
                files.close(fd)
        except OSError as error:
            raise WorkspaceError(
                f"{path} has a torn end that cannot be cut off: {error.strerror or error}."
            ) from error
    return end


def read_journal(
    journal_dir: Path, *, files: FileOperations = FILES, after: int = 0, allow_gaps: bool = False
) -> JournalReading:
    """The records whose sequence is greater than *after*, brought to ``JOURNAL_VERSION`` by migrations.

    Of the segments only those are read that hold them. What is damaged at the very end is left out, and
    ``torn`` says so. Damage before that is passed over where nothing is lost by it.

    :param allow_gaps: go on behind a gap, and list it in ``gaps``; of two different records of one sequence
        take the first.
    :raises CorruptState: records are missing or damaged and others follow, or two differ that have the same
        sequence; the message names the file, the line and the sequences.
    :raises SchemaTooNew: a later overwinter wrote in it.
    :raises PersistenceError: an earlier one did, and no migration of ``record`` from its version is registered.
    :raises WorkspaceError: it cannot be read.
    """
    segments: list[_Segment] = []
    try:
        numbers = segment_numbers(journal_dir, files=files)
        while numbers:
            segments.insert(0, _Segment(segment_path(journal_dir, numbers.pop()), files))
            # One that ends before that sequence repeats old ones: what follows upon it stands before.
            if segments[0].reaches(after):
                break
        reading = _fold(segments, after)
        if reading.gaps and numbers:
            # What the segment lacks may stand in one before it, which it was begun to repeat.
            segments[:0] = [_Segment(segment_path(journal_dir, number), files) for number in numbers]
            reading = _fold(segments, after)
    except OSError as error:
        raise unreadable(journal_dir, error) from error
    if reading.gaps and not allow_gaps:
        raise CorruptState(_describe(reading.gaps[0]))
    lines = reading.lines
    for index, line in enumerate(lines):
        if line.schema_version != JOURNAL_VERSION:
            lines[index] = _migrated(line, journal_dir)
    return reading


def read_all(journal_dir: Path, *, files: FileOperations = FILES) -> list[JournalLine]:
    """Every sound record there is, by sequence, brought to ``JOURNAL_VERSION``; what is missing is passed over.

    For looking back: :func:`read_journal` tells whether a state can be made of them.

    :raises SchemaTooNew: a later overwinter wrote in it.
    :raises PersistenceError: an earlier one did, and no migration of ``record`` from its version is registered.
    :raises WorkspaceError: it cannot be read.
    """
    found: dict[int, JournalLine] = {}
    try:
        for number in segment_numbers(journal_dir, files=files):
            for _, line in _Segment(segment_path(journal_dir, number), files).lines:
                if line is not None:
                    found.setdefault(line.sequence, line)
    except OSError as error:
        raise unreadable(journal_dir, error) from error
    return [
        line if line.schema_version == JOURNAL_VERSION else _migrated(line, journal_dir)
        for _, line in sorted(found.items())
    ]


class _Segment:
    """One segment, taken apart: its sound lines and the damaged ones, each with its number."""

    def __init__(self, path: Path, files: FileOperations) -> None:
        self.path = path
        self.lines: list[tuple[int, JournalLine | None]] = []
        self.first: int | None = None
        self.highest = 0
        *whole, rest = files.read_bytes(path).split(b"\n")
        for number, text in enumerate(whole, 1):
            line = read_line(text, path)
            self.lines.append((number, line))
            if line is not None:
                self.first = line.sequence if self.first is None else self.first
                self.highest = max(self.highest, line.sequence)
        if rest:
            # Without its newline the next one would be appended to it: it does not count, whatever it says.
            self.lines.append((len(whole) + 1, None))

    def reaches(self, sequence: int) -> bool:
        """Whether it holds that record, or begins with the next."""
        return self.first is not None and self.first <= sequence + 1 and self.highest >= sequence


def _fold(segments: Sequence[_Segment], after: int) -> JournalReading:
    """The records in their order. One that is ahead of its turn waits for those before it to follow; when
    they do, so does it.
    """
    everything = [(segment.path, number, line) for segment in segments for number, line in segment.lines]
    accepted: list[JournalLine] = []
    gaps: list[JournalGap] = []
    have: dict[int, JournalLine] = {}
    last, start, clear = after, 0, 0
    while True:
        ahead: int | None = None
        highest = last
        for index in range(start, len(everything)):
            path, number, line = everything[index]
            if line is None:
                continue
            if line.sequence == last + 1 or (line.base and line.sequence > last):
                accepted.append(line)
                last = line.sequence
                have[last] = line
                if last >= highest:
                    highest, ahead, clear = last, None, index + 1
            elif line.sequence > last:
                highest = max(highest, line.sequence)
                ahead = index if ahead is None else ahead
            elif have.get(line.sequence, line) != line:
                gaps.append(JournalGap(line.sequence, line.sequence, path, number))
            elif ahead is None:
                clear = index + 1
        if ahead is None:
            break
        start = next(i for i in range(ahead, len(everything)) if _sequence(everything[i][2]) > last)
        path, number, line = everything[start]
        before = _sequence(line)
        bad = next(((p, n) for p, n, each in everything[clear:start] if each is None), (path, number))
        gaps.append(JournalGap(last, before, *bad))
        last, clear = before - 1, start
    damaged = [(path, number) for path, number, line in everything[clear:] if line is None]
    torn = ""
    if damaged:
        torn = f"{damaged[0][0]}, line {damaged[0][1]}: what follows record {last} is no whole record"
    return JournalReading(accepted, torn, tuple(gaps))


def _sequence(line: JournalLine | None) -> int:
    return 0 if line is None else line.sequence


def _describe(gap: JournalGap) -> str:
    if gap.after == gap.before:
        return (
            f"{gap.path}, line {gap.line}: this is another record {gap.before} than the one that stands before "
            "it. Two wrote this journal, or somebody edited it."
        )
    return (
        f"{gap.path}, line {gap.line}: the journal is damaged. After record {gap.after} comes record "
        f"{gap.before}; what was between them is missing or not what was written."
    )


def _migrated(line: JournalLine, journal_dir: Path) -> JournalLine:
    record: dict[str, Any] = msgspec.json.decode(line.record)
    record = migrate("record", record, line.schema_version, JOURNAL_VERSION, journal_dir)
    return JournalLine(line.sequence, JOURNAL_VERSION, line.base, encode(record))


def end_of_segment(path: Path, files: FileOperations) -> tuple[int, int, int]:
    """Of one segment: the last sound line's sequence, the bytes up to its end, and the bytes behind it."""
    size = files.size(path)
    window = _WINDOW
    while True:
        start = max(0, size - window)
        data = files.read_range(path, start, size - start)
        newline = data.rfind(b"\n")
        while newline >= 0:
            begin = data.rfind(b"\n", 0, newline) + 1
            if not begin and start:
                break
            line = read_line(data[begin : newline + 1], path)
            if line is not None:
                return line.sequence, start + newline + 1, size - start - newline - 1
            newline = begin - 1
        if not start:
            return 0, 0, size
        window *= 4


def unreadable(journal_dir: Path, error: OSError) -> WorkspaceError:
    """The error that says that the journal cannot be read, and why."""
    return WorkspaceError(f"the journal {journal_dir} cannot be read: {error.strerror or error}.")
