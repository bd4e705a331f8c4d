"""Replacing a file: what is there before, during and after."""

from __future__ import annotations

import errno
import os
import stat
import sys
import threading
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest

from overwinter.errors import SaveFailed, SaveNotDurable, WorkspaceError
from overwinter.persistence import FileOperations, is_temporary, replace_file, set_aside, write_once

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

NOW = datetime(2030, 1, 2, 3, 4, 5, tzinfo=UTC)


class Recorder(FileOperations):
    """Notes the operations, and has some fail or fall short."""

    def __init__(self) -> None:
        super().__init__(sync_folders=True)
        self.done: list[str] = []
        self.failing: dict[str, int] = {}
        self.at_most = 1 << 30

    def _note(self, name: str) -> None:
        self.done.append(name)
        if name in self.failing:
            raise OSError(self.failing[name], os.strerror(self.failing[name]))

    def open_new(self, path: Path) -> int:
        self._note("open_new")
        return super().open_new(path)

    def write(self, fd: int, data: bytes | memoryview) -> int:
        self._note("write")
        return super().write(fd, data[: self.at_most]) if self.at_most else 0

    def fsync(self, fd: int) -> None:
        self._note("fsync")
        super().fsync(fd)

    def close(self, fd: int) -> None:
        super().close(fd)
        self._note("close")

    def replace(self, source: Path, target: Path) -> None:
        self._note("replace")
        super().replace(source, target)

    def link(self, existing: Path, new: Path) -> None:
        self._note("link")
        super().link(existing, new)

    def unlink(self, path: Path) -> None:
        self._note("unlink")
        super().unlink(path)

    def sync_folder(self, path: Path) -> None:
        self._note("sync_folder")

    def rename_aside(self, source: Path, target: Path) -> None:
        self._note("rename_aside")
        super().rename_aside(source, target)


@pytest.fixture
def files() -> Recorder:
    return Recorder()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "queen_state.json"


@pytest.fixture
def previous(path: Path) -> Path:
    return path.with_name(f"{path.name}.previous")


def test_the_data_is_synced_before_the_rename_and_the_folder_after(path: Path, files: Recorder) -> None:
    """P21: the order is what a power cut respects."""
    replace_file(path, [b"new"], files=files)
    assert files.done == ["open_new", "write", "fsync", "close", "replace", "sync_folder"]
    assert path.read_bytes() == b"new"


def test_the_previous_generation_is_in_place_before_the_new_one(
    path: Path, previous: Path, files: Recorder
) -> None:
    """P19: it is linked, renamed into place, and only then replaced."""
    path.write_bytes(b"old")
    replace_file(path, [b"new"], files=files, keep_previous=previous)
    assert files.done == [
        "open_new", "write", "fsync", "close", "link", "replace", "unlink", "replace", "sync_folder",
    ]  # fmt: skip
    assert (path.read_bytes(), previous.read_bytes()) == (b"new", b"old")


def test_what_is_written_is_the_owners_only(path: Path, previous: Path) -> None:
    """P8: whatever the mode of the old file was."""
    path.write_bytes(b"old")
    replace_file(path, [b"1"], keep_previous=previous)
    replace_file(path, [b"2"], keep_previous=previous)
    if sys.platform != "win32":
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert stat.S_IMODE(previous.stat().st_mode) == 0o600


def test_many_pieces_take_few_writes_and_arrive_whole(path: Path, files: Recorder) -> None:
    """P14: pieces are joined up to a megabyte a call."""
    pieces = [b"%d," % number for number in range(100_000)] + [b"x" * (3 << 20), b"", b"end"]
    replace_file(path, pieces, files=files)
    assert path.read_bytes() == b"".join(pieces)
    assert files.done.count("write") <= 3
    replace_file(path, [], files=files)
    assert path.read_bytes() == b""


def test_a_reader_never_sees_anything_between(path: Path) -> None:
    """P14: the whole old one or the whole new one, however fast they follow each other."""
    size = 300_000
    replace_file(path, [b"0" * size])
    torn: list[bytes] = []
    begun, over = threading.Event(), threading.Event()

    def read() -> None:
        while not over.is_set():
            data = path.read_bytes()
            begun.set()
            if len(data) != size or data.count(data[:1]) != size:
                torn.append(data[:10])

    reader = threading.Thread(target=read)
    reader.start()
    assert begun.wait(30)
    for number in range(60):
        replace_file(path, [b"%d" % (number % 10)] * size)
    over.set()
    reader.join()
    assert not torn


def test_a_link_at_the_place_of_the_file_is_replaced_and_not_followed(path: Path, tmp_path: Path) -> None:
    """P14: nothing outside the folder is written."""
    if sys.platform == "win32":
        pytest.skip("links need a privilege there")
    outside = tmp_path / "outside"
    outside.write_text("mine")
    path.symlink_to(outside)
    replace_file(path, [b"new"])
    assert outside.read_text() == "mine"
    assert path.read_bytes() == b"new"
    assert not path.is_symlink()


def test_short_writes_are_completed(path: Path, files: Recorder) -> None:
    """P18: a byte at a time."""
    files.at_most = 1
    replace_file(path, [b"new", b" one"], files=files)
    assert path.read_bytes() == b"new one"
    assert files.done.count("write") == 7


def test_a_write_that_writes_nothing_is_a_failure_and_no_endless_loop(path: Path, files: Recorder) -> None:
    """P18: some systems answer 0 instead of an error."""
    files.at_most = 0
    with pytest.raises(SaveFailed, match="wrote nothing"):
        replace_file(path, [b"new"], files=files)
    assert list(path.parent.iterdir()) == []


def test_a_failed_fsync_is_not_repeated_on_the_file(path: Path, files: Recorder) -> None:
    """P17: the kernel may answer the second one with success and the data lost."""
    path.write_bytes(b"old")
    files.failing = {"fsync": errno.EIO}
    for _ in range(2):
        with pytest.raises(SaveFailed) as caught:
            replace_file(path, [b"new"], files=files)
        assert isinstance(caught.value.__cause__, OSError)
        assert files.done == ["open_new", "write", "fsync", "close", "unlink"]
        files.done.clear()
    assert path.read_bytes() == b"old"


def test_an_error_while_closing_after_an_error_does_not_hide_it(path: Path, files: Recorder) -> None:
    """P15: the first one is the cause."""
    files.failing = {"write": errno.ENOSPC, "close": errno.EIO, "unlink": errno.EIO}
    with pytest.raises(SaveFailed, match=os.strerror(errno.ENOSPC)):
        replace_file(path, [b"new"], files=files)
    (left,) = path.parent.iterdir()
    assert is_temporary(left.name)


def test_the_file_is_there_but_not_durable_when_its_folder_cannot_be_synced(
    path: Path, files: Recorder
) -> None:
    """P16: the outcome is told apart."""
    path.write_bytes(b"old")
    files.failing = {"sync_folder": errno.EIO}
    with pytest.raises(SaveNotDurable, match="A power cut may undo this save") as caught:
        replace_file(path, [b"new"], files=files)
    assert caught.value.path == str(path)
    assert path.read_bytes() == b"new"


@pytest.mark.parametrize(
    ("code", "advice"),
    [
        (errno.ENOSPC, "Free some space"),
        (errno.EACCES, "Make the folder writable"),
        (errno.EMFILE, "ulimit -n"),
        (errno.EFBIG, "ulimit -f"),
        (errno.EROFS, "Remount the filesystem"),
        (errno.EIO, "Check the disk"),
    ],
)
def test_a_failed_save_says_why_and_what_to_do(path: Path, files: Recorder, code: int, advice: str) -> None:
    """P15: for a person."""
    files.failing = {"open_new": code}
    with pytest.raises(SaveFailed) as caught:
        replace_file(path, [b"new"], files=files)
    assert os.strerror(code) in str(caught.value)
    assert "What was there before is unchanged." in str(caught.value)
    assert advice in str(caught.value)
    assert caught.value.path == str(path)


def test_a_vanished_folder_is_a_failed_save(tmp_path: Path) -> None:
    """P15: somebody removed it."""
    with pytest.raises(SaveFailed, match="removed the folder"):
        replace_file(tmp_path / "gone" / "file", [b"new"])


def test_an_error_without_a_number_is_told_as_well(path: Path, files: Recorder) -> None:
    """P15: some wrappers raise a bare OSError."""

    class Bare(Recorder):
        def open_new(self, path: Path) -> int:
            raise OSError("the network is down")

    with pytest.raises(SaveFailed, match="the network is down"):
        replace_file(path, [b"new"], files=Bare())


@pytest.mark.parametrize("code", [errno.EPERM, errno.ENOTSUP, errno.EMLINK])
def test_the_previous_generation_is_copied_where_there_are_no_links(
    path: Path, previous: Path, files: Recorder, code: int
) -> None:
    """P19: FAT and some network shares have none."""
    files.failing = {"link": code}
    replace_file(path, [b"1"], files=files, keep_previous=previous)
    assert not previous.exists()
    replace_file(path, [b"2"], files=files, keep_previous=previous)
    replace_file(path, [b"3"], files=files, keep_previous=previous)
    assert (path.read_bytes(), previous.read_bytes()) == (b"3", b"2")
    assert len(list(path.parent.iterdir())) == 2


def test_nothing_is_kept_of_a_file_that_was_not_there(path: Path, previous: Path) -> None:
    """P19: the first save has no previous generation."""
    replace_file(path, [b"1"], keep_previous=previous)
    assert list(path.parent.iterdir()) == [path]


def test_a_failure_to_keep_the_previous_generation_fails_the_save(
    path: Path, previous: Path, files: Recorder
) -> None:
    """P19: a save without its predecessor is not what was asked for."""
    path.write_bytes(b"old")
    files.failing = {"link": errno.EIO}
    with pytest.raises(SaveFailed):
        replace_file(path, [b"new"], files=files, keep_previous=previous)
    assert list(path.parent.iterdir()) == [path]
    with pytest.raises(SaveFailed):
        replace_file(path, [b"new"], keep_previous=path.parent / "gone" / "previous")
    assert list(path.parent.iterdir()) == [path]
    assert path.read_bytes() == b"old"


def test_a_save_that_failed_after_keeping_leaves_no_second_name_behind(path: Path, previous: Path) -> None:
    """P19: renaming one name of a file to another does nothing, and would leave the temporary."""

    class LastStepFails(FileOperations):
        def replace(self, source: Path, target: Path) -> None:
            if target == path:
                raise OSError(errno.EIO, "not this time")
            super().replace(source, target)

    replace_file(path, [b"1"])
    for _ in range(2):
        with pytest.raises(SaveFailed):
            replace_file(path, [b"2"], files=LastStepFails(), keep_previous=previous)
        assert sorted(path.parent.iterdir()) == [path, previous]
        assert (path.read_bytes(), previous.read_bytes()) == (b"1", b"1")
    replace_file(path, [b"2"], keep_previous=previous)
    assert sorted(path.parent.iterdir()) == [path, previous]
    assert (path.read_bytes(), previous.read_bytes()) == (b"2", b"1")


def test_an_interruption_leaves_nothing_behind(path: Path, files: Recorder) -> None:
    """P15: Ctrl-C in a program that saves in its main thread."""

    class Interrupted(Recorder):
        def fsync(self, fd: int) -> None:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        replace_file(path, [b"new"], files=Interrupted())
    assert list(path.parent.iterdir()) == []


def _write_in_threads(write: Callable[[bytes], bool], count: int) -> list[bool]:
    barrier = threading.Barrier(count)
    made: list[bool] = []

    def run(number: int) -> None:
        barrier.wait()
        made.append(write(b"%d" % number))

    threads = [threading.Thread(target=run, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return made


def test_of_several_who_write_once_exactly_one_does(path: Path) -> None:
    """P9: and nobody sees a half of it."""
    made = _write_in_threads(lambda data: write_once(path, [data * 1000]), 8)
    assert sorted(made) == [False] * 7 + [True]
    assert list(path.parent.iterdir()) == [path]
    assert len(set(path.read_bytes())) == 1


def test_write_once_also_works_without_links(path: Path, files: Recorder) -> None:
    """P9: by a rename, if there is no file."""
    files.failing = {"link": errno.EPERM}
    assert write_once(path, [b"1"], files=files)
    assert not write_once(path, [b"2"], files=files)
    assert path.read_bytes() == b"1"
    files.failing = {"link": errno.EIO}
    with pytest.raises(SaveFailed):
        write_once(path, [b"3"], files=files)
    files.failing = {"sync_folder": errno.EIO}
    path.unlink()
    with pytest.raises(SaveNotDurable):
        write_once(path, [b"4"], files=files)
    assert list(path.parent.iterdir()) == [path]


def test_a_damaged_file_is_set_aside_and_never_over_another(path: Path) -> None:
    """P20: two in the same second."""
    moved: list[Path] = []
    for number in range(3):
        path.write_text(str(number))
        moved.append(set_aside(path, NOW))
    assert [each.name for each in moved] == [
        "queen_state.json.corrupt-20300102T030405Z",
        "queen_state.json.corrupt-20300102T030405Z-2",
        "queen_state.json.corrupt-20300102T030405Z-3",
    ]
    assert [each.read_text() for each in moved] == ["0", "1", "2"]
    assert not path.exists()


def test_a_damaged_file_that_cannot_be_set_aside_stays_and_is_named(path: Path, files: Recorder) -> None:
    """P20: on a read-only disk."""
    path.write_text("x")
    files.failing = {"rename_aside": errno.EROFS}
    with pytest.raises(WorkspaceError, match="could not be renamed"):
        set_aside(path, NOW, files=files)
    assert path.read_text() == "x"
