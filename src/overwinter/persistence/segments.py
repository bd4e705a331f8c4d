"""The files of which a journal (or a log) consists: ``000001.jsonl``, ``000002.jsonl`` and so on."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from overwinter.persistence.files import FILES

if TYPE_CHECKING:
    from pathlib import Path

    from overwinter.persistence.files import FileOperations

__all__ = ["SEGMENT_BYTES", "segment_numbers", "segment_path"]

SEGMENT_BYTES = 1 << 20
"""A segment that has grown to this many bytes is closed, and the next begun."""

_NAME = re.compile(r"([0-9]{6,12})\.jsonl")


def segment_path(folder: Path, number: int) -> Path:
    """Where the segment of that number stands."""
    return folder / f"{number:06}.jsonl"


def segment_numbers(folder: Path, *, files: FileOperations = FILES) -> list[int]:
    """The numbers of the segments in the folder, ascending; none where there is no such folder. Blocking.

    :raises OSError: the folder cannot be read.
    """
    try:
        names = files.list(folder)
    except (FileNotFoundError, NotADirectoryError):
        return []
    found = (_NAME.fullmatch(name) for name in names)
    return sorted(number for each in found if each is not None and (number := int(each[1])) > 0)
