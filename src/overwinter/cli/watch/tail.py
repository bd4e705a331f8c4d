"""A journal, read from where one stopped."""

from __future__ import annotations

from typing import TYPE_CHECKING

from overwinter.errors import PersistenceError
from overwinter.persistence.files import FILES
from overwinter.persistence.journal import find_end, read_journal
from overwinter.persistence.lines import read_line
from overwinter.persistence.segments import segment_path

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["JournalTail"]


class JournalTail:
    """What comes to stand in a journal after the record ``after``. It locks nothing and changes nothing; blocking.

    While nothing is written a look costs two calls of the system. Half a line is left for the next look.
    """

    def __init__(self, journal_dir: Path, after: int) -> None:
        self.sequence = after
        self._dir = journal_dir
        self._segment = 0
        self._offset = 0
        self._found_end = False

    def new_records(self) -> list[bytes] | None:
        """The records that came since the last look, in their order; None where one has to begin anew.

        That is so when a segment went away, or became shorter, under the hands of whoever cleans or repairs.
        """
        if not self._found_end:
            return self._from_the_beginning()
        found: list[bytes] = []
        while True:
            grown = self._read_on()
            if grown is None:
                return None
            found += grown
            if not segment_path(self._dir, self._segment + 1).exists():
                return found
            # It was closed before the next was begun; what was appended to it meanwhile comes first.
            grown = self._read_on()
            if grown is None:
                return None
            found += grown
            self._segment, self._offset = self._segment + 1, 0

    def _from_the_beginning(self) -> list[bytes]:
        """What stands there already. The end is looked for first: what comes meanwhile is found the next time."""
        try:
            end = find_end(self._dir)
            if not end.segment:
                return []
            lines = read_journal(self._dir, after=self.sequence, allow_gaps=True).lines
        except (PersistenceError, OSError):
            return []
        self._segment, self._offset, self._found_end = end.segment, end.size, True
        records = [line.record for line in lines if line.sequence <= end.sequence]
        self.sequence = max(self.sequence, end.sequence)
        return records

    def _read_on(self) -> list[bytes] | None:
        path = segment_path(self._dir, self._segment)
        try:
            size = path.stat().st_size
            if size < self._offset:
                return None
            if size == self._offset:
                return []
            data = FILES.read_range(path, self._offset, size - self._offset)
        except OSError:
            return None
        whole = data[: data.rfind(b"\n") + 1]
        self._offset += len(whole)
        found: list[bytes] = []
        for text in whole.splitlines():
            try:
                line = read_line(text, path)
            except PersistenceError:
                continue  # of a later version, of which nothing is known here
            if line is not None and line.sequence > self.sequence:
                self.sequence = line.sequence
                found.append(line.record)
        return found
