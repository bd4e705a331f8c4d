"""Journals to read, damaged or not, and what they ought to give."""

from __future__ import annotations

from typing import TYPE_CHECKING

from overwinter.persistence import journal_line
from overwinter.persistence.segments import segment_path

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from overwinter.persistence import JournalReading


def record(sequence: int, text: str = "") -> bytes:
    """A record that can be told from others."""
    return b'{"number":%d,"text":"%b"}' % (sequence, text.encode())


def line(sequence: int, text: str = "", *, base: bool = False) -> bytes:
    """The line of that record."""
    return journal_line(sequence, record(sequence, text), base=base)


def lines(sequences: Iterable[int], text: str = "") -> list[bytes]:
    """Such lines."""
    return [line(sequence, text) for sequence in sequences]


def write_segment(journal_dir: Path, number: int, *pieces: bytes | Iterable[int]) -> Path:
    """A segment of whole lines, given by their sequences, and of other bytes."""
    journal_dir.mkdir(exist_ok=True)
    path = segment_path(journal_dir, number)
    path.write_bytes(
        b"".join(piece if isinstance(piece, bytes) else b"".join(lines(piece)) for piece in pieces)
    )
    return path


def sequences(reading: JournalReading) -> list[int]:
    """The sequences of the records that were read."""
    return [each.sequence for each in reading.lines]
