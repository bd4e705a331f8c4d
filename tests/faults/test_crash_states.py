"""The states a disk may be in after a power cut, some thousands of them, each opened by the real code.

What a storage tells its disk is recorded; from that the states are made in which a crash may leave it (see
``crash_model``). Nothing that was promised may be missing in any of them.
"""

from __future__ import annotations

import asyncio
import os
import random
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from shutil import rmtree
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, NamedTuple

import pytest
from tests.faults.crash_model import Crash, crashes, go_on_behind, materialize
from tests.faults.crash_story import Found, Promise, live_in_async, live_in_sync, read_all, story
from tests.support.disk import UnsyncedDisk
from tests.support.recording_disk import RecordingDisk

from overwinter.persistence import Workspace, create_folder, lease, list_folders, open_identity, replace_file
from overwinter.persistence import journal_file as journal_file_module
from overwinter.persistence.atomic import write_all
from overwinter.persistence.log_file import LogFile
from overwinter.persistence.replay import replay_dead_runtimes, replay_runtime
from overwinter.persistence.runtime_lock import RuntimeLock

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from tests.faults.crash_story import Live, Truth

    from overwinter.persistence import AgentFolder, FileOperations

NOW = datetime(2030, 1, 1, tzinfo=UTC)
SLOW = 0.002


@pytest.fixture(autouse=True)
def small_segments(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that a short story has many of them."""
    monkeypatch.setattr(journal_file_module, "SEGMENT_BYTES", 700)
    assert LogFile.__init__.__kwdefaults__ is not None
    monkeypatch.setitem(LogFile.__init__.__kwdefaults__, "segment_bytes", 1200)


def recover(
    root: Path, *, sweep: bool, files: FileOperations | None = None, one: str = ""
) -> dict[str, Found]:
    """Open the workspace after a crash, as a storage does: with its sweep, or, of ``one``, by a claim alone."""
    disk = files or UnsyncedDisk()
    workspace = Workspace(root)
    found: dict[str, Found] = {}
    create_folder(workspace.runtimes_dir, files=disk)
    lock = RuntimeLock(workspace, os.urandom(8).hex())
    lock.acquire(NOW)
    try:
        if sweep:
            replay_dead_runtimes(workspace, files=disk, keep=lock.runtime_id)
        for folder in list_folders(workspace, files=disk):
            found[folder.name] = take_over(folder, lock, disk)
            if isinstance(disk, RecordingDisk):
                # Whoever goes on does so from here, and may act on it.
                disk.mark(Promise("synced", folder.name, found[folder.name].last))
    finally:
        lock.release()
    return found


def take_over(folder: AgentFolder, lock: RuntimeLock, disk: FileOperations) -> Found:
    folder, identity = open_identity(folder, now=NOW, files=disk)
    held = lease.claim(
        folder,
        lock,
        files=disk,
        now=NOW,
        incarnation=identity.incarnation,
        replay=lambda died: replay_runtime(lock.workspace, died, files=disk, wanted=folder.path),
    )
    found = read_all(folder, disk, NOW)
    # Nobody's file is ahead of its journal: what comes next is gone on with where both end.
    assert held.journal.sequence == found.last
    lease.release(held, found.last, lock, files=disk)
    return found


def check(found: dict[str, Found], truth: Truth, promises: Iterable[Promise], *, power: bool) -> None:
    """Everything promised is there, whole and in its order, and nothing is there that was not written."""
    for promise in promises:
        if promise.kind == "logged" and power:
            continue
        assert promise.name in found, promise
        here = found[promise.name]
        assert promise.kind != "saved" or here.folded >= promise.sequence, promise
        assert here.last >= promise.sequence, promise
    for name, here in found.items():
        if here.state is not None:
            assert here.state.set_aside == ()
            assert here.state.body == {"value": [name, here.folded]}
        for sequence, line in enumerate(here.lines, here.folded + 1):
            assert (line.sequence, line.record) == (sequence, truth[name][sequence])


class Verdict(NamedTuple):
    states: int
    bad: list[str]


def judge(
    found: Iterable[Crash], folder: Path, check_one: Callable[[Path, Crash], object], *, most: int = 1 << 30
) -> Verdict:
    """How many states there are, and what is wrong with which; of ``most`` bad ones no further is looked for."""
    count = 0
    bad: list[str] = []
    for count, crash in enumerate(found, 1):
        root = folder / f"{count}"
        materialize(crash.tree, root)
        try:
            check_one(root, crash)
        except Exception as error:
            what = "a power cut" if crash.power else "a kill"
            bad.append(f"{root}: {what} after operation {crash.after}: {type(error).__name__} {error}")
            if len(bad) == most:
                break
        else:
            rmtree(root)
    return Verdict(count, bad)


def check_crash(truth: Truth, root: Path, crash: Crash) -> None:
    # No lease is synced: after a power cut it is the sweep that finds what was left.
    found = recover(root, sweep=crash.power or crash.after % 2 == 0)
    check(found, truth, crash.marks, power=crash.power)


@pytest.fixture
def states(tmp_path: Path) -> Iterator[Path]:
    """A folder for thousands of small ones: in memory, where the system has a place for that."""
    memory = Path("/dev/shm")
    with TemporaryDirectory(dir=memory if memory.is_dir() else tmp_path) as folder:
        yield Path(folder)


def tell(folder: Path, live: Live, seed: int) -> tuple[RecordingDisk, Truth]:
    """A story, told to a disk in a new folder, and what was written in it."""
    root = folder / f"story {seed}"
    root.mkdir()
    disk = RecordingDisk(root, slow=SLOW)
    truth: Truth = {}
    asyncio.run(story(disk, live, seed, truth))
    return disk, truth


@pytest.mark.parametrize("seed", [1, 2])
def test_after_any_power_cut_everything_acknowledged_is_there(
    tmp_path: Path, states: Path, seed: int
) -> None:
    """K13: records and states of several agents, over segments that rotate, are dropped and removed, and claims
    that are released and taken again."""
    disk, truth = tell(tmp_path, live_in_sync, seed)
    found = crashes(disk.operations, random.Random(seed), each=1)
    verdict = judge(found, states, partial(check_crash, truth))
    assert not verdict.bad, verdict.bad[0]
    assert verdict.states >= 500


def test_after_any_power_cut_everything_older_than_half_a_second_is_there(
    tmp_path: Path, states: Path
) -> None:
    """K14: where nobody waits for the disk."""
    disk, truth = tell(tmp_path, live_in_async, 3)
    found = crashes(disk.operations, random.Random(3), each=1)
    verdict = judge(found, states, partial(check_crash, truth))
    assert not verdict.bad, verdict.bad[0]
    assert verdict.states >= 500


def test_a_crash_while_another_is_recovered_from_loses_nothing_either(tmp_path: Path, states: Path) -> None:
    """K13: neither of what the dead had on the disk, nor of what its successor has seen."""
    chance = random.Random(4)
    disk, truth = tell(tmp_path, live_in_sync, 4)
    count = 0
    for attempt in range(12):
        killed = chance.randrange(30, len(disk.operations))
        second = go_on_behind(disk.operations[:killed], tmp_path / f"killed {attempt}")
        recover(second.root, sweep=attempt % 2 == 0, files=second)
        folder = states / f"{attempt}"
        folder.mkdir()
        found = crashes(second.operations, chance, each=2, since=killed)
        verdict = judge(
            found, folder, lambda root, crash: check_crash(truth, root, crash._replace(power=True))
        )
        assert not verdict.bad, verdict.bad[0]
        count += verdict.states
    assert count >= 100


@pytest.mark.parametrize("live", [live_in_sync, live_in_async])
def test_life_goes_on_after_a_crash_and_may_crash_again(tmp_path: Path, states: Path, live: Live) -> None:
    """K13: what a crash has left lying about does no harm later."""
    chance = random.Random(5)
    disk, truth = tell(tmp_path, live, 5)
    first = [crash for crash in crashes(disk.operations, chance, each=1) if crash.power]
    count = 0
    for attempt, crash in enumerate(chance.sample(first, 2)):
        root = tmp_path / f"crashed {attempt}"
        materialize(crash.tree, root)
        second = RecordingDisk(root, slow=SLOW)
        tree = second.adopt()
        again = {name: dict(written) for name, written in truth.items()}
        asyncio.run(story(second, live, f"again {attempt}", again, lives=1))
        folder = states / f"{attempt}"
        folder.mkdir()
        found = crashes(second.operations, chance, each=1, tree=tree)
        verdict = judge(found, folder, partial(check_either, truth, again))
        assert not verdict.bad, verdict.bad[0]
        count += verdict.states
    assert count >= 500


def check_either(before: Truth, after: Truth, root: Path, crash: Crash) -> None:
    """As ``check_crash``, where a record may be that of the first life until the second has written its own."""
    found = recover(root, sweep=True)
    mixed: Truth = {}
    for name, here in found.items():
        records = {line.sequence: line.record for line in here.lines}
        old, new = before.get(name, {}), after.get(name, {})
        agrees = [records[each] == old.get(each) for each in sorted(records)]
        # The first life's, then the second's, and never back.
        assert agrees == sorted(agrees, reverse=True)
        mixed[name] = {
            each: old[each] if same else new[each] for each, same in zip(sorted(records), agrees, strict=True)
        }
    check(found, mixed, crash.marks, power=crash.power)


# What must not pass


def save_well(disk: RecordingDisk, path: Path, content: bytes) -> None:
    replace_file(path, [content], files=disk)


def rewrite_in_place(disk: RecordingDisk, path: Path, content: bytes) -> None:
    """Open, truncate, write, close: and even an fsync."""
    fd = disk.open_append(path) if disk.exists(path) else disk.open_new(path)
    disk.truncate(path, 0)
    write_all(fd, content, disk)
    disk.fsync(fd)
    disk.close(fd)
    disk.sync_folder(path.parent)


def rename_without_fsync(disk: RecordingDisk, path: Path, content: bytes) -> None:
    """What most do who have heard that renaming is atomic."""
    temporary = path.with_name("temporary")
    fd = disk.open_new(temporary)
    write_all(fd, content, disk)
    disk.close(fd)
    disk.replace(temporary, path)
    disk.sync_folder(path.parent)


def rename_without_folder_fsync(disk: RecordingDisk, path: Path, content: bytes) -> None:
    """What most do who have heard of fsync."""
    temporary = path.with_name("temporary")
    fd = disk.open_new(temporary)
    write_all(fd, content, disk)
    disk.fsync(fd)
    disk.close(fd)
    disk.replace(temporary, path)


@pytest.mark.parametrize(
    ("save", "passes"),
    [
        (save_well, True),
        (rewrite_in_place, False),
        (rename_without_fsync, False),
        (rename_without_folder_fsync, False),
    ],
)
def test_naive_writers_do_not_pass_such_a_test(
    tmp_path: Path, states: Path, save: Callable[[RecordingDisk, Path, bytes], None], passes: bool
) -> None:
    """K13: the negative control. What would pass anything proves nothing."""
    root = tmp_path / "root"
    root.mkdir()
    disk = RecordingDisk(root)
    for number in range(1, 6):
        save(disk, root / "state", b"%d " % number * 500)
        disk.mark(number)

    def check_one(root: Path, crash: Crash) -> None:
        promised = crash.marks[-1] if crash.marks else 0
        if promised or (root / "state").exists():
            content = (root / "state").read_bytes()
            assert content in (b"%d " % promised * 500, b"%d " % (promised + 1) * 500)

    verdict = judge(crashes(disk.operations, random.Random(6), each=6), states, check_one)
    assert verdict.states > 20
    assert (verdict.bad == []) == passes


class Forgetful(RecordingDisk):
    """A disk that is asked for what ``forgets`` names, and does not do it."""

    forgets = ""

    def fsync(self, fd: int) -> None:
        if self.forgets != "fsync":
            super().fsync(fd)

    def sync_folder(self, path: Path) -> None:
        if not path.match(self.forgets):
            super().sync_folder(path)


@pytest.mark.parametrize("forgets", ["fsync", "journal", ".runtimes", ".runtimes/*", "agents/*", "agents"])
def test_each_sync_is_needed(
    tmp_path: Path, states: Path, forgets: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """K13: the negative control of a storage. Without any one of its syncs something promised is lost."""
    root = tmp_path / "root"
    root.mkdir()
    disk = Forgetful(root)
    disk.forgets = forgets
    truth: Truth = {}
    asyncio.run(story(disk, live_in_sync, 7, truth, lives=1))
    found = crashes(disk.operations, random.Random(7), each=2)
    assert judge(found, states, partial(check_crash, truth), most=1).bad
