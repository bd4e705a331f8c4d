"""The Nth file operation fails, for N = 1, 2, 3 ... until a run completes; and a writer that must not pass this."""

from __future__ import annotations

import errno
import gc
import os
from contextlib import suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest
from tests.support.nth_disk import ERRORS, MOST, NAMES, Died, Nth, descriptors

from overwinter.errors import SaveError, SaveFailed, SaveNotDurable, WorkspaceError
from overwinter.persistence import (
    Workspace,
    agent_id_for,
    is_temporary,
    open_identity,
    replace_file,
    sweep_temporaries,
    write_once,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

OLD, OLDER, NEW = b"old " * 500, b"older " * 500, [b"new " * 100, b"", b"newer " * 300]
WHOLE = b"".join(NEW)
NOW = datetime(2030, 1, 1, tzinfo=UTC)


class Scene:
    """A folder with an old file, its previous generation, or neither, and what may become of it."""

    def __init__(self, folder: Path, *, old: bool, previous: bool) -> None:
        folder.mkdir()
        self.path = folder / "queen_state.json"
        self.previous = folder / "queen_state.json.previous"
        if old:
            self.path.write_bytes(OLD)
        if previous:
            self.previous.write_bytes(OLDER)
        self.before = (self.content, self.previous_content)

    @property
    def content(self) -> bytes | None:
        return self.path.read_bytes() if self.path.exists() else None

    @property
    def previous_content(self) -> bytes | None:
        return self.previous.read_bytes() if self.previous.exists() else None

    @property
    def temporaries(self) -> list[str]:
        return [entry.name for entry in self.path.parent.iterdir() if is_temporary(entry.name)]

    def check(self, outcome: SaveError | None, files: Nth, *, keeps: bool) -> None:
        """Old or new, never neither; nothing left over."""
        old, older = self.before
        assert outcome is None or type(outcome) in (SaveFailed, SaveNotDurable)
        assert self.content == (old if type(outcome) is SaveFailed else WHOLE)
        if keeps and old is not None and type(outcome) is not SaveFailed:
            assert self.previous_content == old
        else:
            assert self.previous_content in ({older, old} if keeps else {older})
        assert files.failed == "unlink" or not self.temporaries
        assert not files.open
        assert files.failed != "fsync" or type(outcome) is SaveFailed
        assert files.failed != "sync_folder" or type(outcome) is SaveNotDurable


def plain(scene: Scene, files: Nth) -> None:
    replace_file(scene.path, NEW, files=files)


def keeping(scene: Scene, files: Nth) -> None:
    replace_file(scene.path, NEW, files=files, keep_previous=scene.previous)


def naive(scene: Scene, files: Nth) -> None:
    """What is written everywhere: open, write, close."""
    try:
        fd = os.open(scene.path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        files.open.add(fd)
        for piece in NEW:
            files.write(fd, piece)
        files.close(fd)
    except OSError as error:
        raise SaveFailed("could not save", scene.path) from error


def fail_each_in_turn(
    folder: Path,
    write: Callable[[Scene, Nth], None],
    code: int,
    *,
    old: bool = True,
    previous: bool = True,
    short: int = 1 << 30,
    links: bool = True,
) -> int:
    """Run *write* once for each operation it does; returns how many those are."""
    for nth in range(1, MOST):
        scene = Scene(folder / f"{code}-{nth}", old=old, previous=previous)
        files = Nth(nth, code, short=short, links=links)
        held = descriptors()
        outcome: SaveError | None = None
        try:
            write(scene, files)
        except SaveError as error:
            outcome = error
        assert outcome is None or isinstance(outcome.__cause__, OSError)
        scene.check(outcome, files, keeps=write is keeping)
        assert descriptors() == held
        if not files.failed:
            assert outcome is None
            return files.count
    raise AssertionError("it never completed")


@pytest.fixture(autouse=True)
def nothing_left_to_collect() -> None:
    """What other tests left open is closed before anything is counted."""
    gc.collect()


@pytest.mark.parametrize("code", ERRORS, ids=NAMES)
@pytest.mark.parametrize("old", [True, False], ids=["over an old file", "the first time"])
def test_whichever_operation_fails_the_file_is_old_or_new(tmp_path: Path, code: int, old: bool) -> None:
    """P15: and nothing is left behind: no temporary, no descriptor."""
    assert fail_each_in_turn(tmp_path, plain, code, old=old) == 6


@pytest.mark.parametrize("code", ERRORS, ids=NAMES)
@pytest.mark.parametrize("previous", [True, False], ids=["with a previous", "with none"])
@pytest.mark.parametrize("old", [True, False], ids=["over an old file", "the first time"])
@pytest.mark.parametrize("links", [True, False], ids=["links", "no links"])
def test_whichever_operation_fails_the_previous_generation_is_whole(
    tmp_path: Path, code: int, previous: bool, old: bool, links: bool
) -> None:
    """P19: it is the one before or the one before that, and after a success the one before."""
    count = fail_each_in_turn(tmp_path, keeping, code, old=old, previous=previous, links=links)
    assert count == {(True, True): 9, (True, False): 14, (False, True): 8, (False, False): 9}[old, links]


@pytest.mark.parametrize("code", ERRORS, ids=NAMES)
def test_whichever_of_many_short_writes_fails_the_file_is_old_or_new(tmp_path: Path, code: int) -> None:
    """P18: a disk that fills up in the middle."""
    assert fail_each_in_turn(tmp_path, plain, code, short=97) == 5 + -(-len(WHOLE) // 97)


@pytest.mark.parametrize("code", ERRORS, ids=NAMES)
def test_a_naive_writer_fails_this_test(tmp_path: Path, code: int) -> None:
    """P15: the negative control. What would pass anything proves nothing."""
    with pytest.raises(AssertionError):
        fail_each_in_turn(tmp_path, naive, code)


def test_a_naive_writer_falls_short_without_any_error(tmp_path: Path) -> None:
    """P18: the negative control of short writes."""
    scene = Scene(tmp_path / "short", old=True, previous=False)
    files = Nth(MOST, errno.EIO, short=97)
    naive(scene, files)
    with pytest.raises(AssertionError):
        scene.check(None, files, keeps=False)


@pytest.mark.parametrize("write", [plain, keeping])
@pytest.mark.parametrize("links", [True, False], ids=["links", "no links"])
def test_whenever_the_process_dies_the_file_is_old_or_new(
    tmp_path: Path, write: Callable[[Scene, Nth], None], links: bool
) -> None:
    """P14: nothing after the Nth operation happens, no clean-up either; the next owner sweeps."""
    for nth in range(1, MOST):
        scene = Scene(tmp_path / str(nth), old=True, previous=True)
        files = Nth(nth, None, links=links)
        try:
            write(scene, files)
        except Died:
            died = True
        else:
            died = False
        for fd in files.open:
            os.close(fd)
        assert scene.content in (OLD, WHOLE)
        assert scene.previous_content in (OLD, OLDER)
        if scene.content == WHOLE and write is keeping:
            assert scene.previous_content == OLD
        assert sweep_temporaries(scene.path.parent) <= 2
        assert not scene.temporaries
        if not died:
            assert scene.content == WHOLE
            return
    raise AssertionError("it never completed")


@pytest.mark.parametrize("code", ERRORS, ids=NAMES)
@pytest.mark.parametrize("links", [True, False], ids=["links", "no links"])
def test_whichever_operation_fails_a_file_written_once_is_whole_or_not_there(
    tmp_path: Path, code: int, links: bool
) -> None:
    """P9: and nothing is left behind."""
    for nth in range(1, MOST):
        scene = Scene(tmp_path / str(nth), old=False, previous=False)
        files = Nth(nth, code, links=links)
        outcome: SaveError | None = None
        try:
            assert write_once(scene.path, NEW, files=files)
        except SaveError as error:
            outcome = error
        scene.check(outcome, files, keeps=False)
        if not files.failed:
            return
    raise AssertionError("it never completed")


@pytest.mark.parametrize("code", ERRORS, ids=NAMES)
def test_whichever_operation_fails_an_agents_folder_can_be_opened_afterwards(
    tmp_path: Path, code: int
) -> None:
    """P11: a failed opening is an error that says so, and no obstacle to the next."""
    for nth in range(1, MOST):
        folder = Workspace(tmp_path / str(nth)).folder("queen", agent_id_for("queen"))
        files = Nth(nth, code)
        with suppress(WorkspaceError):
            open_identity(folder, now=NOW, files=files)
        assert not files.open
        opened, identity = open_identity(folder, now=NOW)
        assert (opened, identity.agent_id) == (folder, folder.agent_id)
        left = [entry.name for entry in folder.path.iterdir()]
        assert left == [".identity.json"] or files.failed == "unlink"
        if not files.failed:
            return
    raise AssertionError("it never completed")
