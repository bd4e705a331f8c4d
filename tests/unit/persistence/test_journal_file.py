"""Writing a journal: appended in pieces, brought to disk when asked, and what becomes of what failed."""

from __future__ import annotations

import errno
import os
import stat
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from tests.support.disk import UnsyncedDisk
from tests.support.journals import line, lines, sequences, write_segment

from overwinter.persistence import JournalEnd, JournalFile, mend, read_journal
from overwinter.persistence import journal_file as journal_file_module
from overwinter.persistence.segments import SEGMENT_BYTES, segment_numbers, segment_path

if TYPE_CHECKING:
    from collections.abc import Callable


class Disk(UnsyncedDisk):
    """Notes what it does by its name and the path's, and fails what is told to fail, so many times."""

    def __init__(self) -> None:
        super().__init__()
        self.done: list[str] = []
        self.failing: dict[str, int] = {}
        self.most = 1 << 30
        self.paths: dict[int, str] = {}

    def _try(self, operation: str, name: str) -> None:
        self.done.append(f"{operation} {name}")
        left = self.failing.get(operation, 0)
        if left:
            self.failing[operation] = left - 1
            raise OSError(errno.EIO, os.strerror(errno.EIO))

    def open_new(self, path: Path) -> int:
        self._try("create", path.name)
        fd = super().open_new(path)
        self.paths[fd] = path.name
        return fd

    def open_append(self, path: Path) -> int:
        self._try("open", path.name)
        fd = super().open_append(path)
        self.paths[fd] = path.name
        return fd

    def write(self, fd: int, data: bytes | memoryview) -> int:
        if self.failing.get("write") and len(data) > 10:
            super().write(fd, data[:10])
        self._try("write", self.paths[fd])
        return super().write(fd, data[: self.most])

    def fsync(self, fd: int) -> None:
        self._try("fsync", self.paths[fd])

    def close(self, fd: int) -> None:
        super().close(fd)
        name = self.paths.pop(fd)
        if self.failing.get("close"):
            self._try("close", name)

    def truncate(self, path: Path, size: int) -> None:
        self._try("truncate", path.name)
        super().truncate(path, size)

    def unlink(self, path: Path) -> None:
        self._try("unlink", path.name)
        super().unlink(path)

    def mkdir(self, path: Path) -> None:
        self._try("mkdir", path.name)
        super().mkdir(path)

    def sync_folder(self, path: Path) -> None:
        self._try("sync_folder", path.name)

    def what(self) -> list[str]:
        """What was done since the last time."""
        done, self.done = self.done, []
        return done


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "agent"
    path.mkdir()
    return path


@pytest.fixture
def disk() -> Disk:
    return Disk()


@pytest.fixture
def journal(folder: Path, disk: Disk) -> JournalFile:
    return JournalFile(folder / "journal", JournalEnd(), files=disk)


def content(folder: Path, number: int) -> bytes:
    return segment_path(folder / "journal", number).read_bytes()


def numbers(folder: Path) -> list[int]:
    return segment_numbers(folder / "journal")


def test_what_is_appended_is_there_and_what_is_synced_is_on_disk(
    folder: Path, disk: Disk, journal: JournalFile
) -> None:
    """K2, K8: the segment, its name, and the name of the folder it is in."""
    journal.append(lines([1, 2]), 2)
    assert disk.what() == [
        "create 000001.jsonl",
        "mkdir journal",
        "create 000001.jsonl",
        "write 000001.jsonl",
    ]
    assert content(folder, 1) == b"".join(lines([1, 2]))
    assert (journal.sequence, journal.unsynced, journal.synced) == (2, len(content(folder, 1)), False)
    journal.sync()
    assert disk.what() == [
        "open 000001.jsonl",
        "fsync 000001.jsonl",
        "sync_folder journal",
        "sync_folder agent",
    ]
    assert (journal.unsynced, journal.synced) == (0, True)
    journal.append([line(3)], 3)
    journal.sync()
    assert disk.what() == [
        "open 000001.jsonl",
        "write 000001.jsonl",
        "open 000001.jsonl",
        "fsync 000001.jsonl",
    ]
    journal.sync()
    assert disk.what() == []
    assert sequences(read_journal(folder / "journal")) == [1, 2, 3]


def test_nothing_appended_touches_nothing(disk: Disk, journal: JournalFile) -> None:
    """K8: neither file nor folder."""
    journal.append([], 7)
    journal.sync()
    assert (journal.sequence, journal.synced, disk.what()) == (7, True, [])


@pytest.mark.parametrize("names_synced", [True, False])
def test_a_journal_is_gone_on_with_where_it_ends(folder: Path, disk: Disk, names_synced: bool) -> None:
    """K8: after an owner that died the names are brought to disk with the first sync."""
    write_segment(folder / "journal", 3, [1, 2], b"torn")
    journal = JournalFile(
        folder / "journal",
        mend(folder / "journal", files=disk),
        files=disk,
        names_synced=names_synced,
    )
    disk.what()
    assert journal.sequence == 2
    journal.append([line(3)], 3)
    journal.sync()
    synced = [] if names_synced else ["sync_folder journal", "sync_folder agent"]
    assert disk.what()[3:] == ["fsync 000003.jsonl", *synced]
    assert sequences(read_journal(folder / "journal")) == [1, 2, 3]


def test_files_are_their_owners_only_and_none_is_kept_open(folder: Path, journal: JournalFile) -> None:
    """K8: 10,000 agents need no 10,000 descriptors."""
    descriptors = Path("/proc/self/fd")
    before = len([*descriptors.iterdir()]) if sys.platform == "linux" else 0
    journal.append([line(1)], 1)
    journal.sync()
    assert not before or len([*descriptors.iterdir()]) == before
    if sys.platform != "win32":
        assert stat.S_IMODE(segment_path(folder / "journal", 1).stat().st_mode) == 0o600
        assert stat.S_IMODE((folder / "journal").stat().st_mode) == 0o700


def test_a_segment_that_is_full_is_closed_and_the_next_begun(
    folder: Path, disk: Disk, journal: JournalFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    """K9: and one sync brings both to disk."""
    monkeypatch.setattr(journal_file_module, "SEGMENT_BYTES", 300)
    for sequence in range(1, 8):
        journal.append([line(sequence)], sequence)
    assert numbers(folder) == [1, 2]
    assert 300 <= len(content(folder, 1)) < 400
    disk.what()
    journal.sync()
    assert [each for each in disk.what() if "sync" in each] == [
        "fsync 000001.jsonl",
        "fsync 000002.jsonl",
        "sync_folder journal",
        "sync_folder agent",
    ]
    assert sequences(read_journal(folder / "journal")) == [1, 2, 3, 4, 5, 6, 7]


def test_a_segment_has_about_a_megabyte() -> None:
    """K9: small enough to be read at once."""
    assert SEGMENT_BYTES == 1 << 20


def test_short_writes_are_gone_on_with(folder: Path, disk: Disk, journal: JournalFile) -> None:
    """K8: however little the system takes at once."""
    disk.most = 7
    journal.append(lines([1, 2]), 2)
    assert content(folder, 1) == b"".join(lines([1, 2]))


@pytest.mark.parametrize("operation", ["write", "close"])
def test_a_failed_append_leaves_the_segment_as_it_was(
    folder: Path, disk: Disk, journal: JournalFile, operation: str
) -> None:
    """K8: and the same lines can be appended once more."""
    journal.append([line(1)], 1)
    disk.failing[operation] = 1
    with pytest.raises(OSError, match=os.strerror(errno.EIO)):
        journal.append(lines([2, 3]), 3)
    assert content(folder, 1) == line(1)
    assert (journal.sequence, journal.unsynced) == (1, len(line(1)))
    journal.append(lines([2, 3]), 3)
    assert content(folder, 1) == b"".join(lines([1, 2, 3]))
    assert numbers(folder) == [1]


@pytest.mark.parametrize("operation", ["write", "close"])
def test_a_segment_that_cannot_be_cut_back_is_left_for_the_next(
    folder: Path, disk: Disk, journal: JournalFile, operation: str
) -> None:
    """K8: what stands torn in it harms nobody."""
    journal.append([line(1)], 1)
    disk.failing = {operation: 1, "truncate": 1}
    with pytest.raises(OSError, match=os.strerror(errno.EIO)):
        journal.append(lines([2, 3]), 3)
    journal.append(lines([2, 3]), 3)
    assert numbers(folder) == [1, 2]
    assert content(folder, 2) == b"".join(lines([2, 3]))
    assert sequences(read_journal(folder / "journal")) == [1, 2, 3]
    journal.sync()
    assert journal.synced


@pytest.mark.parametrize("operation", ["create", "write", "close", "mkdir"])
def test_a_segment_begun_in_vain_is_removed(
    folder: Path, disk: Disk, journal: JournalFile, operation: str
) -> None:
    """K8: a disk that fails for hours leaves no heap of files."""
    for _ in range(5):
        disk.failing[operation] = 1
        with pytest.raises(OSError, match=os.strerror(errno.EIO)):
            journal.append([line(1)], 1)
        assert numbers(folder) == []
    journal.append([line(1)], 1)
    assert numbers(folder) == [1]


def test_a_segment_begun_in_vain_that_cannot_be_removed_is_passed_over(
    folder: Path, disk: Disk, journal: JournalFile
) -> None:
    """K8: the next number is taken."""
    disk.failing = {"write": 1, "unlink": 1}
    with pytest.raises(OSError, match=os.strerror(errno.EIO)):
        journal.append([line(1)], 1)
    journal.append([line(1)], 1)
    assert numbers(folder) == [1, 2]
    assert content(folder, 2) == line(1)
    assert sequences(read_journal(folder / "journal")) == [1]


def test_a_segment_nobody_knows_of_is_not_written_to(folder: Path, disk: Disk) -> None:
    """K8: the next number is taken."""
    write_segment(folder / "journal", 1, [1])
    end = mend(folder / "journal", files=disk)
    write_segment(folder / "journal", 2)
    segment_path(folder / "journal", 1).unlink()
    journal = JournalFile(folder / "journal", end, files=disk)
    journal.append([line(2)], 2)
    assert numbers(folder) == [2, 3]


@pytest.mark.parametrize("operation", ["fsync", "open", "close", "sync_folder"])
def test_what_a_failed_sync_was_to_bring_to_disk_is_written_anew(
    folder: Path, disk: Disk, journal: JournalFile, operation: str
) -> None:
    """K8: into a new segment. A second sync of the same file would say that all is well, and mean nothing."""
    journal.append([line(1)], 1)
    journal.sync()
    journal.append([line(2)], 2)
    journal.append([line(3)], 3)
    disk.failing[operation] = 1
    if operation == "sync_folder":
        journal._named = False
    with pytest.raises(OSError, match=os.strerror(errno.EIO)):
        journal.sync()
    assert not journal.synced
    disk.what()
    journal.sync()
    assert [each for each in disk.what() if "sync" in each] == ["fsync 000002.jsonl", "sync_folder journal"]
    assert content(folder, 2) == b"".join(lines([2, 3]))
    assert sequences(read_journal(folder / "journal")) == [1, 2, 3]
    assert (journal.synced, journal.unsynced) == (True, 0)
    journal.append([line(4)], 4)
    assert content(folder, 2) == b"".join(lines([2, 3, 4]))


def test_what_a_failed_sync_left_is_written_anew_before_what_comes_next(
    folder: Path, disk: Disk, journal: JournalFile
) -> None:
    """K8: in the order of the records."""
    journal.append([line(1)], 1)
    disk.failing["fsync"] = 1
    with pytest.raises(OSError, match=os.strerror(errno.EIO)):
        journal.sync()
    journal.append([line(2)], 2)
    assert numbers(folder) == [2]
    assert content(folder, 2) == b"".join(lines([1, 2]))
    assert journal.unsynced == len(content(folder, 2))
    journal.sync()
    assert sequences(read_journal(folder / "journal")) == [1, 2]


def test_a_disk_that_fails_to_sync_for_hours_leaves_one_new_segment(
    folder: Path, disk: Disk, journal: JournalFile
) -> None:
    """K8: each attempt removes the one before, once it has all of it."""
    journal.append([line(1)], 1)
    journal.sync()
    journal.append([line(2)], 2)
    disk.failing["fsync"] = 20
    for _ in range(20):
        with pytest.raises(OSError, match=os.strerror(errno.EIO)):
            journal.sync()
        assert sequences(read_journal(folder / "journal")) == [1, 2]
    journal.sync()
    assert len(numbers(folder)) == 2
    disk.failing["fsync"] = 1
    journal.append([line(3)], 3)
    with pytest.raises(OSError, match=os.strerror(errno.EIO)):
        journal.sync()
    # Of the one before some was synced: it stays.
    journal.sync()
    assert len(numbers(folder)) == 3
    assert sequences(read_journal(folder / "journal")) == [1, 2, 3]


def test_writing_anew_can_fail_as_well(folder: Path, disk: Disk, journal: JournalFile) -> None:
    """K8: then it is tried again with the next append or sync; a segment that cannot be removed stays."""
    journal.append([line(1)], 1)
    disk.failing = {"fsync": 1}
    with pytest.raises(OSError, match=os.strerror(errno.EIO)):
        journal.sync()
    again: list[Callable[[], None]] = [journal.sync, lambda: journal.append([line(2)], 2)]
    for attempt in again:
        disk.failing = {"write": 1}
        with pytest.raises(OSError, match=os.strerror(errno.EIO)):
            attempt()
        assert sequences(read_journal(folder / "journal")) == [1]
    disk.failing = {"unlink": 1}
    journal.append([line(2)], 2)
    journal.sync()
    assert numbers(folder) == [1, 2]
    assert sequences(read_journal(folder / "journal")) == [1, 2]


def test_a_segment_that_was_removed_is_not_missed_by_its_writer(
    folder: Path, disk: Disk, journal: JournalFile
) -> None:
    """K8: before a sync what was in it is written anew, else the next one is begun."""
    journal.append([line(1)], 1)
    segment_path(folder / "journal", 1).unlink()
    with pytest.raises(FileNotFoundError):
        journal.sync()
    journal.sync()
    assert content(folder, numbers(folder)[-1]) == line(1)
    segment_path(folder / "journal", numbers(folder)[-1]).unlink()
    journal.append([line(2)], 2)
    assert content(folder, numbers(folder)[-1]) == line(2)


def test_the_folder_of_an_agent_that_was_removed_does_not_come_back(
    folder: Path, journal: JournalFile
) -> None:
    """K8: the error says that it is gone."""
    journal.append([line(1)], 1)
    segment_path(folder / "journal", 1).unlink()
    (folder / "journal").rmdir()
    folder.rmdir()
    with pytest.raises(FileNotFoundError):
        journal.append([line(2)], 2)
    assert not folder.exists()
