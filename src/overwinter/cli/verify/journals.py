"""Checking journals and the logs of dead runtimes, line by line."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
from msgspec import Struct

from overwinter.agents.journal_records import decode_record
from overwinter.agents.restore import fold
from overwinter.agents.state import AgentState
from overwinter.errors import PersistenceError
from overwinter.persistence.files import FILES
from overwinter.persistence.journal import JournalGap, JournalReading, read_journal
from overwinter.persistence.lines import JournalLine, read_line, read_log_line
from overwinter.persistence.retention import list_segments
from overwinter.persistence.segments import segment_numbers, segment_path

if TYPE_CHECKING:
    from pathlib import Path

    from overwinter.agents.records import StateBody
    from overwinter.cli.verify.documents import StateFile
    from overwinter.cli.verify.findings import Report

__all__ = ["Journal", "check_against", "check_journal", "check_log", "folded"]


class Journal(Struct, kw_only=True):
    """What an agent's journal has: its sound lines, where they break off, and whether its end is torn."""

    lines: list[JournalLine] = []
    gaps: tuple[JournalGap, ...] = ()
    torn: str = ""
    bad_record: int = 0
    readable: bool = True

    def after(self, sequence: int) -> list[JournalLine] | None:
        """The records that follow on *sequence* without a gap; None where the first of them is missing."""
        lines = [line for line in self.lines if line.sequence > sequence]
        if lines and lines[0].sequence > sequence + 1 and not lines[0].base:
            return None
        reached = sequence
        for at, line in enumerate(lines):
            if line.sequence != reached + 1 and not line.base:
                return lines[:at]
            reached = line.sequence
        return lines


def check_journal(folder: Path, known: int, report: Report, *, in_use: bool) -> Journal:
    """Read every line of every segment.

    :param known: the sequence up to which a state file has everything.
    """
    journal = Journal()
    try:
        segments = list_segments(folder)
        if not segments:
            return journal
        report.files += len(segments)
        first = next((segment.first for segment in segments if segment.first), 0)
        reading = read_journal(folder, after=max(0, first - 1), allow_gaps=True)
    except PersistenceError as error:
        report.add(folder, str(error))
        journal.readable = False
        return journal
    journal.lines = reading.lines
    journal.gaps = (*reading.gaps, *_bridged(folder, reading))
    report.records += len(reading.lines)
    for gap in journal.gaps:
        lost = "records that the state needs are" if gap.before > known + 1 else "some of its history is"
        report.add(
            gap.path,
            f"line {gap.line} is damaged: after record {gap.after} comes {gap.before}; {lost} lost",
        )
    if reading.torn and not in_use:
        journal.torn = reading.torn
        report.add(
            folder, f"its end is torn ({reading.torn}); it is cut off at the next opening", "left over"
        )
    if first > known + 1 and not reading.lines[0].base:
        report.add(folder, f"it begins with record {first}, and the state has only those up to {known}")
    for line in reading.lines:
        try:
            decode_record(line.record)
        except msgspec.MsgspecError as error:
            journal.bad_record = line.sequence
            report.add(folder, f"record {line.sequence} is none that an overwinter wrote: {error}")
            break
    return journal


def _bridged(folder: Path, reading: JournalReading) -> list[JournalGap]:
    """Damaged lines over which a record helps that carries a whole state: nothing but history is lost with them."""
    told = {(gap.path, gap.line) for gap in reading.gaps}
    found: dict[int, JournalGap] = {}
    last = 0
    for number in segment_numbers(folder):
        path = segment_path(folder, number)
        for at, text in enumerate(FILES.read_bytes(path).splitlines(), 1):
            line = read_line(text, path)
            if line is not None:
                last = max(last, line.sequence)
            elif (path, at) not in told:
                following = next((each for each in reading.lines if each.sequence > last), None)
                if following is not None and following.base and following.sequence > last + 1:
                    found.setdefault(last, JournalGap(last, following.sequence, path, at))
    return list(found.values())


def check_against(state: StateFile, previous: StateFile, journal: Journal, report: Report) -> None:
    """See that the state is what the journal makes of its previous generation."""
    if not (state.sound and previous.sound) or journal.bad_record:
        return
    assert state.metadata is not None
    assert previous.metadata is not None
    assert state.body is not None
    target = state.metadata.sequence
    lines = [line for line in journal.after(previous.metadata.sequence) or () if line.sequence <= target]
    if not lines or lines[-1].sequence != target:
        return
    body = folded(previous.body, previous.metadata.sequence, lines, previous.path)
    wrong = [name for name, ours in _members(state.body).items() if ours != _members(body)[name]]
    if wrong:
        report.add(state.path, f"it differs from what the journal says, in {', '.join(wrong)}")


def folded(body: StateBody | None, sequence: int, lines: list[JournalLine], where: Path) -> StateBody:
    """What *lines* make of the state *body*, or of nothing."""
    state = AgentState()
    if body is not None:
        state.restore(body)
    state.sequence = sequence
    fold(state, lines, where)
    made = state.body()
    made.agent = body.agent if body is not None else {}
    return made


def check_log(folder: Path, report: Report) -> None:
    """Read every line of a dead runtime's log."""
    records = damaged = 0
    numbers = segment_numbers(folder)
    for number in numbers:
        path = segment_path(folder, number)
        try:
            *whole, rest = FILES.read_bytes(path).split(b"\n")
            report.files += 1
            for at, text in enumerate(whole, 1):
                if read_log_line(text, path) is not None:
                    records += 1
                elif at == len(whole) and not rest and number == numbers[-1]:
                    rest = text
                else:
                    damaged += 1
                    report.add(path, f"line {at} is damaged")
        except (OSError, PersistenceError) as error:
            report.add(path, f"it cannot be read: {error}")
            continue
        if rest:
            report.add(
                path, f"its last {len(rest)} bytes are no whole record, and are passed over", "left over"
            )
    report.records += records
    if numbers and not damaged:
        report.add(
            folder,
            f"a dead runtime left {records:,} records in its log; the next to open it moves them",
            "left over",
        )


def _members(body: StateBody) -> dict[str, object]:
    plain: dict[str, object] = msgspec.json.decode(msgspec.json.encode(body))
    plain.pop("agent", None)
    return plain
