"""The operations of the system, and what is said about one that lacks some."""

from __future__ import annotations

import errno
import os
import stat
import sys
from typing import TYPE_CHECKING

import pytest

from overwinter.errors import PlatformLimitation
from overwinter.persistence import FILES, FileOperations, probe_files

if TYPE_CHECKING:
    from pathlib import Path

posix_only = pytest.mark.skipif(sys.platform == "win32", reason="modes and links are those of POSIX")


def test_a_new_file_is_its_owners_only_and_never_an_old_one(tmp_path: Path) -> None:
    """P8: 0600, and nobody's link is followed."""
    path = tmp_path / "new"
    fd = FILES.open_new(path)
    try:
        assert not os.get_inheritable(fd)
        assert FILES.write(fd, memoryview(b"abc")) == 3
        FILES.fsync(fd)
    finally:
        FILES.close(fd)
    assert FILES.read_bytes(path) == b"abc"
    if sys.platform != "win32":
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    with pytest.raises(FileExistsError):
        FILES.open_new(path)


@pytest.mark.parametrize("size", [0, 1, (1 << 16) - 1, 1 << 16, (1 << 16) + 1, 200_000])
def test_a_file_of_any_size_is_read_whole(tmp_path: Path, size: int) -> None:
    """P23: what was written is read back, and of a range what there is."""
    path = tmp_path / "file"
    content = bytes(number % 251 for number in range(size))
    path.write_bytes(content)
    assert FILES.read_bytes(path) == content
    assert FILES.read_range(path, 10, 70_000) == content[10:70_010]
    assert FILES.read_range(path, 0, 5) == content[:5]


def test_a_file_that_is_given_out_a_little_at_a_time_is_read_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """P23: as a disk of the network may do."""
    path = tmp_path / "file"
    path.write_bytes(b"0123456789" * 100)
    read = os.read
    monkeypatch.setattr(os, "read", lambda fd, length: read(fd, min(length, 7)))
    assert FILES.read_bytes(path) == b"0123456789" * 100


def test_what_is_no_file_cannot_be_read(tmp_path: Path) -> None:
    """P38: missing and unreadable are told apart, and nothing stays open."""
    with pytest.raises(FileNotFoundError):
        FILES.read_bytes(tmp_path / "missing")
    with pytest.raises(OSError, match=r"directory|Permission"):
        FILES.read_bytes(tmp_path)


@posix_only
def test_a_link_in_the_place_of_a_new_file_is_not_followed(tmp_path: Path) -> None:
    """P8: a tool cannot have the agent write elsewhere."""
    (tmp_path / "trap").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OSError, match=r"File exists|symbolic link"):
        FILES.open_new(tmp_path / "trap")
    assert not (tmp_path / "elsewhere").exists()


@posix_only
def test_a_new_folder_is_its_owners_only(tmp_path: Path) -> None:
    """P8: 0700."""
    FILES.mkdir(tmp_path / "folder")
    assert stat.S_IMODE((tmp_path / "folder").stat().st_mode) == 0o700


def test_link_replace_rename_and_unlink_do_what_they_say(tmp_path: Path) -> None:
    """P14: they are the system's own."""
    one, two, three = tmp_path / "one", tmp_path / "two", tmp_path / "three"
    one.write_text("1")
    FILES.link(one, two)
    with pytest.raises(FileExistsError):
        FILES.link(one, two)
    three.write_text("3")
    FILES.replace(three, two)
    assert (one.read_text(), two.read_text(), three.exists()) == ("1", "3", False)
    FILES.rename_aside(one, three)
    FILES.unlink(three)
    assert sorted(tmp_path.iterdir()) == [two]


def test_a_file_is_appended_to_read_in_parts_and_cut_off(tmp_path: Path) -> None:
    """K8: it is never created by that, and nobody's link is followed."""
    path = tmp_path / "journal"
    with pytest.raises(FileNotFoundError):
        FILES.open_append(path)
    path.write_bytes(b"one ")
    for words in (b"two ", b"three "):
        fd = FILES.open_append(path)
        assert not os.get_inheritable(fd)
        FILES.write(fd, words)
        FILES.close(fd)
    assert path.read_bytes() == b"one two three "
    assert FILES.size(path) == 14
    assert FILES.read_range(path, 4, 3) == b"two"
    assert FILES.read_range(path, 8, 100) == b"three "
    FILES.truncate(path, 4)
    assert path.read_bytes() == b"one "
    os.utime(path, (1_000_000, 2_000_000))
    assert FILES.modified(path) == 2_000_000
    if sys.platform != "win32":
        (tmp_path / "trap").symlink_to(path)
        with pytest.raises(OSError, match="symbolic link"):
            FILES.open_append(tmp_path / "trap")


def test_what_is_there_is_told_and_an_empty_folder_removed(tmp_path: Path) -> None:
    """P14: they are the system's own."""
    folder = tmp_path / "folder"
    FILES.mkdir(folder)
    (folder / "file").touch()
    assert [*FILES.list(folder)] == ["file"]
    assert [FILES.is_folder(each) for each in (folder, folder / "file", folder / "none")] == [
        True,
        False,
        False,
    ]
    assert [FILES.exists(each) for each in (folder, folder / "file", folder / "none")] == [True, True, False]
    with pytest.raises(OSError, match="not empty"):
        FILES.remove_folder(folder)
    FILES.unlink(folder / "file")
    FILES.remove_folder(folder)
    assert not folder.exists()


def test_a_folder_is_synced_and_its_descriptor_closed_whatever_happens(tmp_path: Path) -> None:
    """P16: no descriptor is left open."""
    FILES.sync_folder(tmp_path)
    with pytest.raises(FileNotFoundError):
        FileOperations(sync_folders=True).sync_folder(tmp_path / "missing")
    FileOperations(sync_folders=False).sync_folder(tmp_path / "missing")


class _NoFolderSync(FileOperations):
    code = errno.EINVAL

    def sync_folder(self, path: Path) -> None:
        raise OSError(self.code, os.strerror(self.code))


@posix_only
def test_a_filesystem_that_can_sync_a_folder_is_taken_as_it_is(tmp_path: Path) -> None:
    """P22: and nothing is said."""
    assert probe_files(tmp_path).sync_folders


@posix_only
def test_a_filesystem_that_cannot_sync_a_folder_is_said_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """P22: and used without."""
    monkeypatch.setattr("overwinter.persistence.files.FileOperations.sync_folder", _NoFolderSync.sync_folder)
    monkeypatch.setattr(FileOperations, "code", errno.EINVAL, raising=False)
    with pytest.warns(PlatformLimitation, match="a power cut may undo the last ones"):
        assert not probe_files(tmp_path).sync_folders
    monkeypatch.setattr(FileOperations, "code", errno.EIO, raising=False)
    with pytest.raises(OSError, match=os.strerror(errno.EIO)):
        probe_files(tmp_path)


def test_a_system_without_folder_sync_is_said_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """P22: on Windows for one."""
    monkeypatch.setattr(FileOperations.__init__, "__kwdefaults__", {"sync_folders": False})
    with pytest.warns(PlatformLimitation):
        assert not probe_files(tmp_path).sync_folders
