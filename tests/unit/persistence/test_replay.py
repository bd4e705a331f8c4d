"""Bringing in what dead runtimes left: once, all of it, nowhere else; cut off anywhere, and over damaged logs."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING
from zlib import crc32

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.disk import off_loop, open_storage
from tests.support.journals import line, lines, sequences, write_segment
from tests.support.records import StubbornDisk

from overwinter.errors import SchemaTooNew, WorkspaceError
from overwinter.persistence import (
    FILES,
    AgentFolder,
    RuntimeLock,
    Workspace,
    create_folder,
    drop_segments,
    log_line,
    open_identity,
    read_journal,
    replay,
    replay_dead_runtimes,
)
from overwinter.persistence import lease as leases
from overwinter.persistence.replay import replay_runtime
from overwinter.persistence.runtime_lock import remove_runtime
from overwinter.persistence.segments import segment_numbers, segment_path

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from overwinter.persistence import Claim, Identity

NOW = datetime(2030, 1, 1, tzinfo=UTC)
DEAD, LIVE = "d" * 16, "a" * 16


class House:
    """A workspace with a runtime that died, and the agents it held."""

    def __init__(self, root: Path) -> None:
        self.workspace = Workspace(root)
        self.log = self.workspace.runtimes_dir / DEAD
        create_folder(self.log)
        (self.log / "lock").write_bytes(b"{}\n")
        self.identities: dict[str, Identity] = {}

    def agent(self, name: str) -> AgentFolder:
        folder, identity = open_identity(self.workspace.folder(name, f"id-of-{name}"), now=NOW)
        self.identities[name] = identity
        return folder

    def logged(self, folder: AgentFolder, numbers: Iterable[int], *, base: int = 0) -> bytes:
        """The lines of the log for those records."""
        name = folder.path.relative_to(self.workspace.root).as_posix()
        incarnation = self.identities[folder.name].incarnation
        return b"".join(log_line(name, incarnation, line(each, base=each == base)) for each in numbers)

    def segment(self, number: int, *pieces: bytes) -> Path:
        path = segment_path(self.log, number)
        path.write_bytes(b"".join(pieces))
        return path

    def replay(self, files: StubbornDisk | None = None) -> tuple[str, ...]:
        return replay_dead_runtimes(self.workspace, files=files or FILES)

    def claim(self, folder: AgentFolder, runtime: RuntimeLock) -> Claim:
        def bring_in(died: str) -> tuple[str, ...]:
            return replay_runtime(self.workspace, died, wanted=folder.path)

        return leases.claim(
            folder,
            runtime,
            files=FILES,
            now=NOW,
            incarnation=self.identities[folder.name].incarnation,
            replay=bring_in,
        )

    def left(self) -> list[str]:
        return sorted(path.name for path in self.workspace.runtimes_dir.iterdir())


@pytest.fixture
def house(tmp_path: Path) -> House:
    return House(tmp_path / "workspace")


def read(folder: AgentFolder) -> list[int]:
    reading = read_journal(folder.journal_dir)
    assert not reading.torn
    return sequences(reading)


def test_the_whole_log_is_replayed_for_all_agents(house: House) -> None:
    """J15: A takeover brings in the dead runtime's whole log, for all agents in it, and removes it."""
    one, two, three = (house.agent(name) for name in ("one", "two", "three"))
    write_segment(one.journal_dir, 1, range(1, 4))
    house.segment(1, house.logged(one, range(2, 6)), house.logged(two, range(1, 3)))
    house.segment(2, house.logged(two, range(2, 5)), house.logged(three, [9, 10], base=9))
    runtime = RuntimeLock(house.workspace, LIVE)
    runtime.acquire(NOW)
    (one.lease_path).write_bytes(one_lease(house, one))
    held = house.claim(one, runtime)
    assert (held.taken_over_from, held.journal.sequence, held.remarks) == (DEAD, 5, ())
    assert [read(folder) for folder in (one, two)] == [[1, 2, 3, 4, 5], [1, 2, 3, 4]]
    assert sequences(read_journal(three.journal_dir)) == [9, 10]
    assert segment_numbers(house.log) == []
    runtime.release()


def test_many_agents_are_brought_in_at_once(house: House) -> None:
    """J15: and what goes wrong with one of them is its own."""
    folders = [house.agent(f"agent-{number}") for number in range(40)]
    house.segment(1, *(house.logged(folder, range(1, 4)) for folder in folders))
    folders[7].journal_dir.write_bytes(b"in the way")
    house.replay()
    assert segment_numbers(house.log) == [1]
    folders[7].journal_dir.unlink()
    house.replay()
    assert house.left() == []
    assert [read(folder) for folder in folders] == [[1, 2, 3]] * 40


def one_lease(house: House, folder: AgentFolder, runtime_id: str = DEAD, *, released: bool = False) -> bytes:
    return msgspec.json.encode(
        leases.Lease(
            1,
            folder.agent_id,
            folder.name,
            house.identities[folder.name].incarnation,
            runtime_id,
            "t" * 16,
            1,
            "host",
            NOW.isoformat(),
            0,
            released,
        )
    )


@pytest.mark.anyio
async def test_opening_a_storage_replays_what_the_dead_left(house: House) -> None:
    """J16: A storage that opens brings in what every dead runtime left, and removes their folders."""

    def prepare() -> AgentFolder:
        folder = house.agent("one")
        house.segment(1, house.logged(folder, range(1, 4)))
        return folder

    folder = await off_loop(prepare)
    async with open_storage(house.workspace.root) as storage:
        assert await off_loop(house.left) == [storage.runtime_id]
        assert await off_loop(read, folder) == [1, 2, 3]


def test_a_second_replay_does_nothing(house: House) -> None:
    """J17: What is replayed again, log and all, is there once."""
    folder = house.agent("one")
    for _ in range(2):
        create_folder(house.log)
        house.segment(1, house.logged(folder, range(1, 4)), house.logged(folder, range(2, 4)))
        assert house.replay() == ()
        assert read(folder) == [1, 2, 3]
        assert (folder.journal_dir / "000001.jsonl").read_bytes() == b"".join(lines(range(1, 4)))
    assert house.left() == []
    assert replay_dead_runtimes(Workspace(house.workspace.root / "nowhere")) == ()
    assert replay_runtime(house.workspace, "../../etc") == ()
    assert replay_runtime(house.workspace, DEAD) == ()


class CutOffError(BaseException):
    """The process dies here."""


@pytest.mark.parametrize("error", [None, OSError(5, "Input/output error")])
def test_a_replay_may_be_cut_off_anywhere(tmp_path: Path, error: OSError | None) -> None:
    """J17: A replay that is killed, or that the disk fails, at any of its operations is completed by the next."""
    for cut in range(1, 1000):
        house = House(tmp_path / str(cut))
        one, two = house.agent("one"), house.agent("two")
        write_segment(one.journal_dir, 1, range(1, 3), b'{"sequence":3,"chec')
        house.segment(1, house.logged(one, range(1, 6)), house.logged(two, range(1, 3)), b'{"che')
        house.segment(2, house.logged(two, range(1, 5)))
        disk = StubbornDisk()
        disk.before = partial(stop_at, disk, cut, error or CutOffError())
        try:
            house.replay(disk)
        except (CutOffError, WorkspaceError):
            pass
        house.replay()
        assert [read(one), read(two)] == [[1, 2, 3, 4, 5], [1, 2, 3, 4]], cut
        assert house.left() == [], cut
        if len(disk.done) < cut:
            break
    assert cut > 20


def stop_at(disk: StubbornDisk, cut: int, error: BaseException, operation: str, path: str) -> None:
    del operation, path
    if len(disk.done) == cut:
        raise error


def test_every_journal_is_synced_before_the_log_goes(house: House) -> None:
    """J17: The log is removed after all its journals, and their names, are on disk; also what was there before."""
    one, two = house.agent("one"), house.agent("two")
    write_segment(one.journal_dir, 1, range(1, 3))
    write_segment(one.journal_dir, 2, b"damaged\n")
    write_segment(one.journal_dir, 3, range(3, 6))
    house.segment(1, house.logged(one, range(2, 6)), house.logged(two, range(1, 3)))
    disk = StubbornDisk()
    house.replay(disk)
    unlinked = disk.done.index(("unlink", str(segment_path(house.log, 1))))
    before = disk.done[:unlinked]
    # Nor does a record move before the log is on disk: only that tells what stands between two that survived.
    logged = before.index(("fsync", str(segment_path(house.log, 1))))
    moved = [at for at, (what, path) in enumerate(before) if what == "write" and "/journal/" in path]
    assert moved
    assert logged < min(moved)
    for number in (1, 2, 3):
        assert ("fsync", str(segment_path(one.journal_dir, number))) in before
    assert ("fsync", str(segment_path(two.journal_dir, 1))) in before
    for folder in (one, two):
        assert ("sync_folder", str(folder.journal_dir)) in before
        assert ("sync_folder", str(folder.path)) in before


@pytest.mark.parametrize(
    "segments",
    [[range(1, 6)], [range(1, 3), range(3, 6)], [range(1, 3), range(2, 6)]],
)
def test_a_journal_that_has_everything_is_synced_and_not_written(house: House, segments: list[range]) -> None:
    """J17: What the dead had moved and never synced is read once and synced, names too, before the log goes."""
    one = house.agent("one")
    for number, numbers in enumerate(segments, 1):
        segment = write_segment(one.journal_dir, number, numbers)
    before = segment.read_bytes()
    house.segment(1, house.logged(one, range(3, 6)))
    disk = StubbornDisk()
    assert house.replay(disk) == ()
    assert segment.read_bytes() == before
    done = disk.done[: disk.done.index(("unlink", str(segment_path(house.log, 1))))]
    assert not [path for what, path in done if what == "write"]
    for wanted in (("fsync", segment), ("sync_folder", one.journal_dir), ("sync_folder", one.path)):
        assert (wanted[0], str(wanted[1])) in done


def test_what_a_damaged_beginning_hides_is_synced_with_the_segment_before(house: House) -> None:
    """J17: Where a segment does not say with what it begins, what came before it is on disk as well."""
    one = house.agent("one")
    write_segment(one.journal_dir, 1, [1])
    write_segment(one.journal_dir, 2, b"damaged\n", range(2, 6))
    house.segment(1, house.logged(one, range(3, 6)))
    disk = StubbornDisk()
    house.replay(disk)
    for number in (1, 2):
        assert ("fsync", str(segment_path(one.journal_dir, number))) in disk.done


_PIECES = st.lists(
    st.one_of(
        st.lists(st.integers(1, 7), max_size=3),
        st.integers(1, 4).flatmap(
            lambda first: st.integers(first, 7).map(lambda last: range(first, last + 1))
        ),
        st.sampled_from([b"damaged\n", b"\n", line(3, "another"), line(4)[:-1], line(6, base=True)]),
    ),
    max_size=4,
)


@settings(max_examples=150, deadline=None)
@given(
    segments=st.lists(_PIECES, max_size=2),
    first=st.integers(1, 5),
    last=st.integers(5, 7),
    left_out=st.sampled_from([0, 0, 0, 4]),
    complete=st.booleans(),
)
def test_the_short_way_leaves_what_the_long_way_leaves(
    tmp_path_factory: pytest.TempPathFactory,
    segments: list[list[list[int] | range | bytes]],
    first: int,
    last: int,
    left_out: int,
    complete: bool,
) -> None:
    """J17, J22: A journal that is found complete at one look is one to which a close look would add nothing."""

    def left(*, short: bool) -> tuple[list[bytes], tuple[str, ...], int]:
        house = House(tmp_path_factory.mktemp("short" if short else "long") / "workspace")
        one = house.agent("one")
        for number, pieces in enumerate(segments, 1):
            moved = [range(first, last + 1)] if complete and number == len(segments) else []
            write_segment(one.journal_dir, number, *pieces, *moved)
        house.segment(1, house.logged(one, (n for n in range(first, last + 1) if n != left_out)))
        with pytest.MonkeyPatch.context() as patch:
            if not short:
                patch.setattr(replay, "_ends_with", lambda *_: False)
            remarks = replay_runtime(house.workspace, DEAD)
        numbers = segment_numbers(one.journal_dir)
        contents = [segment_path(one.journal_dir, number).read_bytes() for number in numbers]
        return contents, tuple(each.partition(":")[2] for each in remarks), len(house.left())

    assert left(short=True) == left(short=False)


def test_a_deleted_agent_stays_dead(house: House) -> None:
    """J18: Records of a folder that was deleted, or made anew since, go nowhere."""
    one, two = house.agent("one"), house.agent("two")
    log = house.logged(one, range(1, 4)) + house.logged(two, range(1, 4))
    house.segment(1, log)
    one.identity_path.unlink()
    house.agent("one")
    two.identity_path.unlink()
    two.path.rmdir()
    assert house.replay() == ()
    assert read(one) == []
    assert not two.path.exists()
    assert house.left() == []


@pytest.mark.parametrize(
    "name",
    [
        "../outside/x",
        "agents/..",
        "../x",
        "/etc/x",
        "agents/a/b",
        "agents//x",
        "agents",
        "",
        ".runtimes/x",
        "agents\\x/y",
        "C:/x",
        "agents/x\x00y",
    ],
)
def test_a_log_names_no_folder_outside(house: House, name: str, caplog: pytest.LogCaptureFixture) -> None:
    """J18: A log that names a folder outside of the workspace's own moves nothing there."""
    outside = house.workspace.root.parent / "outside" / "x"
    create_folder(outside)
    folder, identity = open_identity(AgentFolder(outside, "x", "id"), now=NOW)
    house.segment(1, log_line(name, identity.incarnation, line(1)))
    house.replay()
    assert not folder.journal_dir.exists()
    assert "none of this workspace" in caplog.text
    assert house.left() == []


def test_a_torn_end_is_left_out_and_said(house: House) -> None:
    """J19: The torn end of a log, and of a journal, is cut off, and the claim's remarks say so."""
    one, two = house.agent("one"), house.agent("two")
    write_segment(one.journal_dir, 1, range(1, 3), b'{"sequence":3')
    write_segment(two.journal_dir, 1, range(1, 3), b'{"sequence":3')
    house.segment(1, house.logged(one, range(1, 4)), house.logged(one, [4])[:-9])
    runtime = RuntimeLock(house.workspace, LIVE)
    runtime.acquire(NOW)
    one.lease_path.write_bytes(one_lease(house, one))
    held = house.claim(one, runtime)
    assert held.journal.sequence == 3
    assert len(held.remarks) == 2
    assert "torn end" in held.remarks[0]
    assert "000001.jsonl" in held.remarks[1]
    assert read(one) == [1, 2, 3]
    other = house.claim(two, runtime)
    assert other.journal.torn == other.remarks[0]
    assert read(two) == [1, 2]
    runtime.release()


def test_nothing_is_passed_over_in_a_damaged_log(house: House) -> None:
    """J20: Where records are missing in a log, those behind them are not moved; it is said, and the log kept aside."""
    one, two = house.agent("one"), house.agent("two")
    whole = house.logged(one, range(1, 6))
    damaged = whole.replace(b'"number":3', b'"number":8')
    house.segment(1, damaged, house.logged(two, range(1, 3)))
    remarks = house.replay()
    assert read(one) == [1, 2]
    assert read(two) == [1, 2]
    assert any("after record 2, only record 4 and later" in remark for remark in remarks)
    assert any("line 3: this is not what was written" in remark for remark in remarks)
    assert house.left() == [DEAD]
    aside = [path.name for path in house.log.iterdir() if ".corrupt-" in path.name]
    assert len(aside) == 1
    assert house.replay() == ()
    assert read(one) == [1, 2]


def test_a_record_that_stands_alone_bridges_a_gap(house: House) -> None:
    """J20: A record that carries a whole state follows upon any other."""
    one = house.agent("one")
    write_segment(one.journal_dir, 1, range(1, 3))
    house.segment(1, house.logged(one, [1, 2, 6, 7], base=6))
    assert house.replay() == ()
    assert sequences(read_journal(one.journal_dir)) == [1, 2, 6, 7]


def test_a_log_set_aside_in_vain_is_no_error(house: House, caplog: pytest.LogCaptureFixture) -> None:
    """J20: What cannot be removed or renamed stays, and does no harm."""
    one = house.agent("one")
    house.segment(1, house.logged(one, [1, 3]))
    disk = StubbornDisk()
    disk.refused = {"rename_aside", "unlink"}
    assert len(house.replay(disk)) == 1
    assert "could not be removed" in caplog.text
    assert len(house.replay(disk)) == 1
    assert read(one) == [1]


@pytest.mark.parametrize("released", [False, True])
def test_what_a_live_runtime_holds_is_left_alone(house: House, *, released: bool) -> None:
    """J21: The journal of an agent that a live runtime holds by now is not touched; it was complete before."""
    one = house.agent("one")
    runtime = RuntimeLock(house.workspace, LIVE)
    runtime.acquire(NOW)
    house.claim(one, runtime)
    if released:
        one.lease_path.write_bytes(one_lease(house, one, LIVE, released=True))
    write_segment(one.journal_dir, 1, range(1, 3), b'{"sequence":3,"half written')
    before = segment_path(one.journal_dir, 1).read_bytes()
    house.segment(1, house.logged(one, range(1, 4)))
    house.replay()
    assert (segment_path(one.journal_dir, 1).read_bytes() == before) is not released
    assert house.left() == [LIVE]
    runtime.release()


def test_a_journal_that_lost_something_in_its_midst_has_it_again(house: House) -> None:
    """J22: What a power cut took out of the midst of a journal, which was not fsynced yet, comes back from the log."""
    one = house.agent("one")
    good = lines(range(1, 8))
    write_segment(one.journal_dir, 1, *good[:3], b"\0" * len(good[3].rstrip()) + b"\n", *good[4:])
    house.segment(1, house.logged(one, range(3, 8)))
    assert house.replay() == ()
    assert read(one) == list(range(1, 8))
    assert segment_numbers(one.journal_dir) == [1, 2]


def test_a_replay_that_a_power_cut_ended_is_completed(house: House) -> None:
    """J17, J22: What it had brought in may stand before what it had not; the next one writes it again, behind that."""
    one = house.agent("one")
    good = lines(range(1, 6))
    write_segment(one.journal_dir, 1, *good[:3], b"\0" * len(good[3].rstrip()) + b"\n", good[4])
    write_segment(one.journal_dir, 2, [4])
    house.segment(1, house.logged(one, range(3, 6)))
    assert house.replay() == ()
    assert read(one) == [1, 2, 3, 4, 5]


def test_what_retention_dropped_stays_dropped(house: House) -> None:
    """J22: Old records that were dropped from a journal on purpose do not come back from a log."""
    one = house.agent("one")
    write_segment(one.journal_dir, 1, range(1, 5))
    write_segment(one.journal_dir, 2, range(5, 8))
    drop_segments(one.journal_dir, up_to_sequence=4)
    assert segment_numbers(one.journal_dir) == [2]
    house.segment(1, house.logged(one, range(2, 9)))
    assert house.replay() == ()
    assert sequences(read_journal(one.journal_dir, after=4)) == [5, 6, 7, 8]


def test_one_folder_that_cannot_be_written_keeps_the_log_for_itself_only(
    house: House, caplog: pytest.LogCaptureFixture
) -> None:
    """J15: A folder that cannot be written keeps the log, and only a claim of that folder fails by it."""
    good, bad = house.agent("good"), house.agent("bad")
    house.segment(1, house.logged(bad, range(1, 3)), house.logged(good, range(1, 3)))
    bad.journal_dir.write_bytes(b"a file, where a folder ought to be")
    for folder in (good, bad):
        folder.lease_path.write_bytes(one_lease(house, folder))
    runtime = RuntimeLock(house.workspace, LIVE)
    runtime.acquire(NOW)
    assert house.claim(good, runtime).journal.sequence == 2
    assert "stay in" in caplog.text
    with pytest.raises(WorkspaceError):
        house.claim(bad, runtime)
    bad.journal_dir.unlink()
    assert house.claim(bad, runtime).journal.sequence == 2
    runtime.release()
    house.replay()
    assert house.left() == []


def test_a_log_of_a_later_version_is_left_alone(house: House, caplog: pytest.LogCaptureFixture) -> None:
    """J20: A log written by a later overwinter is refused at a claim, and left where it is at an opening."""
    one = house.agent("one")
    rest = house.logged(one, [1])[len('{"checksum":"12345678",') :].replace(
        b'"schema_version":1', b'"schema_version":9', 1
    )
    house.segment(1, b'{"checksum":"%08x",' % crc32(rest.rstrip(b"\n")) + rest)
    house.replay()
    assert "stays there for now" in caplog.text
    assert house.left() == [DEAD]
    runtime = RuntimeLock(house.workspace, LIVE)
    runtime.acquire(NOW)
    one.lease_path.write_bytes(one_lease(house, one))
    with pytest.raises(SchemaTooNew):
        house.claim(one, runtime)
    runtime.release()


@settings(max_examples=100)
@given(st.data())
def test_no_log_however_hostile_breaks_a_replay(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    """J20: Whatever stands in a log, what is moved is a part of what was written, from its beginning on."""
    house = House(tmp_path_factory.mktemp("house"))
    one = house.agent("one")
    text = bytearray(house.logged(one, range(1, 6)))
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(text) - 1))
        kind = data.draw(st.sampled_from(["flip", "cut", "insert", "swap"]))
        if kind == "flip":
            text[at] ^= 1 << data.draw(st.integers(0, 7))
        elif kind == "cut":
            del text[at : at + data.draw(st.integers(1, 300))]
        elif kind == "insert":
            text[at:at] = data.draw(st.binary(max_size=30))
        else:
            text = text[at:] + text[:at]
        text = text or bytearray(b"x")
    house.segment(1, bytes(text))
    house.replay(StubbornDisk())
    found = read_journal(one.journal_dir).lines
    assert [each.sequence for each in found] == list(range(1, len(found) + 1))
    assert all(each.record == line(each.sequence)[-len(each.record) - 2 : -2] for each in found)


def test_a_lock_in_other_hands_is_left_alone(house: House) -> None:
    """S12: What is no folder of a runtime is left alone, and so is one whose lock is taken meanwhile."""
    (house.workspace.runtimes_dir / ("4" * 16)).write_bytes(b"")
    lock = RuntimeLock(house.workspace, DEAD)._lock
    assert lock.try_acquire()
    remove_runtime(DEAD, house.workspace)
    lock.release()
    assert house.left() == ["4" * 16, DEAD]
    house.replay()
    assert house.left() == ["4" * 16]
