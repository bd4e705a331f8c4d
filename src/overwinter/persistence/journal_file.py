"""Writing an agent's journal: appended in pieces, and brought to disk when asked."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from overwinter.persistence.atomic import write_all
from overwinter.persistence.files import FILES
from overwinter.persistence.segments import SEGMENT_BYTES, segment_path

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from overwinter.persistence.files import FileOperations
    from overwinter.persistence.journal import JournalEnd

__all__ = ["JournalFile"]


class JournalFile:
    """Appends lines to a journal. It keeps no file open; one writer at a time. Everything in it blocks.

    :param journal_dir: the folder of the segments; made when the first line comes. The folder it stands in
        must exist.
    :param end: where the journal ends, as :func:`overwinter.persistence.mend` found it.
    :param names_synced: whether the names of the segments there are known to be on disk, because the last
        owner let go of the agent in order. If not, the first sync sees to that as well.

    What has failed is never relied upon: after a failed write the segment is cut back to where it was, and
    after a failed sync all lines since the last good one are written anew, into a new segment.
    """

    __slots__ = (
        "_begun",
        "_dirty",
        "_files",
        "_folder",
        "_folder_named",
        "_kept",
        "_named",
        "_number",
        "_size",
        "_spoiled",
        "_untrusted",
        "sequence",
        "unsynced",
    )

    def __init__(
        self,
        journal_dir: Path,
        end: JournalEnd,
        *,
        files: FileOperations = FILES,
        names_synced: bool = False,
    ) -> None:
        self.sequence = end.sequence
        self.unsynced = 0
        self._folder = journal_dir
        self._files = files
        self._number = end.segment
        self._size = end.size
        self._named = names_synced  # the segments' names are on disk
        self._folder_named = names_synced  # the folder's own name is
        self._kept: list[bytes] = []  # the lines since the last good sync
        self._dirty: set[int] = set()  # the segments they are in
        self._begun: list[int] = []  # the segments that hold nothing but such lines
        self._spoiled = end.segment == 0  # the last segment cannot be appended to
        self._untrusted = False  # a sync has failed: what it was to bring to disk may be lost already

    @property
    def synced(self) -> bool:
        """Whether everything that was appended here is on disk, as far as is known."""
        return not self._dirty and not self._untrusted

    def append(self, lines: Sequence[bytes], last: int) -> None:
        """Append whole lines, newlines included; ``last`` is the sequence of the last of them.

        They are in the file when this returns, and on disk after the next :meth:`sync`.

        :raises OSError: none of them counts; call it again with the same lines.
        """
        if self._untrusted:
            self._write_anew()
        data = b"".join(lines)
        if data:
            self._write(data, new=False)
            self._kept.extend(lines)
            self.unsynced += len(data)
        self.sequence = last

    def sync(self) -> None:
        """Return when everything that was appended is on disk, and findable there.

        :raises OSError: it is not known to be; call it again, and the lines are written anew.
        """
        if self._untrusted:
            self._write_anew()
        if not self._dirty:
            return
        try:
            for number in sorted(self._dirty):
                self._sync_segment(number)
            if not self._named:
                self._files.sync_folder(self._folder)
            if not self._folder_named:
                self._files.sync_folder(self._folder.parent)
        except BaseException:
            self._untrusted = True
            raise
        self._named = self._folder_named = True
        self._dirty.clear()
        self._begun.clear()
        self._kept.clear()
        self.unsynced = 0

    def _sync_segment(self, number: int) -> None:
        fd = self._files.open_append(segment_path(self._folder, number))
        try:
            self._files.fsync(fd)
        finally:
            self._files.close(fd)

    def _write_anew(self) -> None:
        stale = tuple(self._begun)
        self._write(b"".join(self._kept), new=True)
        self._dirty = {self._number}
        self._begun = [self._number]
        self._untrusted = False
        for number in stale:
            # It has nothing that the new one has not, and would be one more with every failure.
            with suppress(OSError):
                self._files.unlink(segment_path(self._folder, number))

    def _write(self, data: bytes, *, new: bool) -> None:
        before = (self._number, self._size, self._spoiled)
        fd = None
        if not (new or self._spoiled or self._size >= SEGMENT_BYTES):
            # Somebody may have removed it.
            with suppress(FileNotFoundError):
                fd = self._files.open_append(segment_path(self._folder, self._number))
        begins = fd is None
        if fd is None:
            fd = self._begin()
        try:
            try:
                write_all(fd, data, self._files)
            except BaseException:
                with suppress(OSError):
                    self._files.close(fd)
                raise
            self._files.close(fd)
        except BaseException:
            if begins:
                self._forget(before)
            else:
                self._cut_back()
            raise
        self._size += len(data)
        self._dirty.add(self._number)
        if begins:
            self._begun.append(self._number)

    def _begin(self) -> int:
        number = self._number + 1
        while True:
            try:
                fd = self._files.open_new(segment_path(self._folder, number))
                break
            except FileExistsError:
                # Left by a write that failed, on a disk that would not remove it either.
                number += 1
            except FileNotFoundError:
                # Where the agent's own folder is gone, this fails as well.
                self._files.mkdir(self._folder)
                self._folder_named = False
        self._number, self._size, self._spoiled = number, 0, False
        self._named = False
        return fd

    def _forget(self, before: tuple[int, int, bool]) -> None:
        """Remove the segment that was begun in vain."""
        try:
            self._files.unlink(segment_path(self._folder, self._number))
        except OSError:
            self._spoiled = True
        else:
            self._number, self._size, self._spoiled = before

    def _cut_back(self) -> None:
        try:
            self._files.truncate(segment_path(self._folder, self._number), self._size)
        except OSError:
            self._spoiled = True
