"""From the log into the journals: in time, in pieces, for good; and how much may wait for it."""

from __future__ import annotations

import asyncio
import logging
from concurrent.futures import Future
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from tests.support.disk import document, off_loop, open_storage, turns, until_quiet
from tests.support.records import (
    StubbornDisk,
    append,
    in_journal,
    in_log,
    lines_of,
    log_folder,
    threads_done,
    writer_of,
)

from overwinter.errors import RuntimeClosed, SaveFailed
from overwinter.persistence import (
    AppendRecords,
    JournalWriter,
    Storage,
    StorageEvent,
    Workspace,
    replay_dead_runtimes,
)
from overwinter.persistence import lease as leases
from overwinter.persistence.log_file import LogFile
from overwinter.persistence.room import Room
from overwinter.persistence.segments import segment_numbers

if TYPE_CHECKING:
    from overwinter.runtime.fake_clock import FakeClock

pytestmark = pytest.mark.anyio


@pytest.fixture
def small_segments(monkeypatch: pytest.MonkeyPatch) -> None:
    """Segments of the log end at some kilobytes."""
    real = LogFile.__init__
    monkeypatch.setattr(
        LogFile, "__init__", lambda self, folder, files: real(self, folder, files, segment_bytes=4000)
    )


async def test_records_move_within_half_a_second(
    storage: Storage, disk: StubbornDisk, clock: FakeClock
) -> None:
    """J6: Half a second after the first was logged, the records of all agents move to their journals."""
    (one, first), (two, second) = await writer_of(storage, "one"), await writer_of(storage, "two")
    append(first, 3)
    await first.settle(sync=True)
    append(second, 2)
    await second.settle(sync=False)
    assert await in_journal(one) == []
    await clock.advance(0.5)
    await threads_done(storage)
    assert await in_journal(one) == [1, 2, 3]
    assert await in_journal(two) == [1, 2]
    assert disk.told("fsync", "/journal") == []
    append(first, 1)
    await first.settle(sync=False)
    await clock.advance(0.5)
    await threads_done(storage)
    assert await in_journal(one) == [1, 2, 3, 4]


async def test_gather_brings_the_records_of_one_folder_to_its_journal(
    storage: Storage, disk: StubbornDisk
) -> None:
    """J9: gather returns, without waiting for time, when what was appended to a folder is in its journal."""
    (one, first), (two, second) = await writer_of(storage, "one"), await writer_of(storage, "two")
    append(first, 3)
    append(second, 1)
    await storage.gather(one.folder)
    assert await in_journal(one) == [1, 2, 3]
    assert await in_journal(two) == []
    await storage.gather(one.folder)
    await storage.gather(storage.workspace.folder("nobody", "id"))
    disk.held, disk.only = {"open_append"}, one.folder.path.name
    append(first)
    early = asyncio.create_task(storage.gather(one.folder))
    await disk.until_stuck()
    append(first)
    late = asyncio.create_task(storage.gather(one.folder))
    cancelled = asyncio.create_task(storage.gather(one.folder))
    await turns()
    cancelled.cancel()
    disk.let_go()
    await early
    await late
    assert await in_journal(one) == [1, 2, 3, 4, 5]


@pytest.mark.usefixtures("small_segments")
async def test_a_segment_goes_when_its_journals_are_synced(
    storage: Storage, disk: StubbornDisk, clock: FakeClock
) -> None:
    """J7: A segment of the log is removed once the journals of all its records are fsynced, and not before."""
    (one, first), (two, second) = await writer_of(storage, "one"), await writer_of(storage, "two")
    folder = log_folder(storage)
    append(second)
    await storage.gather(two.folder)
    disk.held, disk.only = {"fsync"}, two.folder.path.name
    append(first, 2, size=3000)
    await first.settle(sync=False)
    append(first)
    await first.settle(sync=True)
    await disk.until_stuck()
    assert await off_loop(segment_numbers, folder) == [1, 2]
    disk.let_go()
    await threads_done(storage)
    assert await off_loop(segment_numbers, folder) == [2]
    assert await in_journal(two) == [1]
    assert disk.told("fsync", f"{one.folder.path.name}/journal")
    await clock.advance(1)
    await threads_done(storage)
    assert await in_journal(one) == [1, 2, 3]


@pytest.mark.usefixtures("small_segments")
async def test_many_journals_are_moved_and_synced_in_pieces(
    storage: Storage, disk: StubbornDisk, clock: FakeClock
) -> None:
    """J6: However many journals there are, a piece has some dozens, and documents come between."""
    opened = [await writer_of(storage, f"agent-{number}") for number in range(100)]
    for _, writer in opened:
        append(writer)
    await opened[0][1].settle(sync=False)
    await clock.advance(0.5)
    await threads_done(storage)
    await until_quiet(storage)
    assert [await in_journal(held) for held, _ in opened] == [[1]] * 100
    assert storage.records.mover.clean
    assert await off_loop(in_log, log_folder(storage)) == []
    hops = []
    real = storage._current().threads.writer.submit

    def submit(function: object, *args: object) -> object:
        hops.append(len(args[0]) if args else 0)  # type: ignore[arg-type]
        return real(function, *args)  # type: ignore[arg-type]

    storage.records.mover._thread.submit = submit  # type: ignore[method-assign,assignment]
    for held, writer in opened:
        append(writer)
        asyncio.ensure_future(storage.gather(held.folder))  # noqa: RUF006
    await opened[0][1].settle(sync=True)
    await threads_done(storage)
    del storage.records.mover._thread.submit
    assert max(hops) <= 32
    assert sum(hops) >= 100
    assert await in_journal(opened[99][0]) == [1, 2]


async def test_large_records_are_moved_in_pieces(
    storage: Storage, disk: StubbornDisk, clock: FakeClock
) -> None:
    """J6: A piece of what moves has about a megabyte, whatever waits."""
    opened = [await writer_of(storage, f"agent-{number}") for number in range(4)]
    for _ in range(2):
        for _, writer in opened:
            append(writer, 1, size=700_000)
        gathered = [asyncio.create_task(storage.gather(held.folder)) for held, _ in opened]
        await asyncio.gather(*gathered)
        for _, writer in opened:
            append(writer, 1, size=700_000)
        await opened[0][1].settle(sync=False)
        await clock.advance(0.5)
        await threads_done(storage)
    assert [await in_journal(held) for held, _ in opened] == [[1, 2, 3, 4]] * 4


@pytest.mark.parametrize("operation", ["open_new", "write", "fsync", "mkdir"])
async def test_a_journal_that_fails_is_tried_again_and_holds_up_no_other(
    storage: Storage, disk: StubbornDisk, clock: FakeClock, operation: str
) -> None:
    """J8: Records whose journal cannot be written stay in the log and are tried again; others move meanwhile."""
    events: list[StorageEvent] = []
    storage.watch(events.append)
    (bad, first), (good, second) = await writer_of(storage, "bad"), await writer_of(storage, "good")
    disk.refused, disk.only = {operation}, f"{bad.folder.path.name}/journal"
    append(first, 2)
    append(second)
    released = asyncio.create_task(storage.release(bad, 2))
    await threads_done(storage)
    for _ in range(5):
        await clock.advance(1)
        await threads_done(storage)
    assert await in_journal(good) == [1]
    assert not released.done()
    assert [event.kind for event in events] == ["failed"]
    assert events[0].path == str(bad.folder.journal_dir)
    assert storage.failing
    assert 1 in [sequence for _, sequence in await off_loop(in_log, log_folder(storage))]
    disk.refused = set()
    await clock.advance(5)
    await threads_done(storage)
    await released
    assert await in_journal(bad) == [1, 2]
    assert [event.kind for event in events] == ["failed", "recovered"]
    again = await storage.claim(bad.folder)
    assert (again.journal.sequence, again.remarks) == (2, ())


async def test_a_failing_journal_takes_more_when_it_can(
    storage: Storage, disk: StubbornDisk, clock: FakeClock
) -> None:
    """J8: What comes while a journal fails follows in its order."""
    held, writer = await writer_of(storage)
    disk.refused, disk.only = {"open_new"}, "/journal"
    for _ in range(3):
        append(writer, 2)
        await writer.settle(sync=False)
        await clock.advance(0.5)
        await threads_done(storage)
    assert await in_journal(held) == []
    disk.refused = set()
    await clock.advance(5)
    await threads_done(storage)
    assert await in_journal(held) == list(range(1, 7))


async def test_whatever_goes_wrong_with_a_journal_is_its_own(
    storage: Storage, disk: StubbornDisk, clock: FakeClock
) -> None:
    """J8: An error that is none of the disk's is reported and tried again like any other."""
    held, writer = await writer_of(storage)

    def broken(operation: str, path: str) -> None:
        if "/journal" in path:
            raise ValueError("out of the blue")

    disk.before = broken
    append(writer)
    await writer.settle(sync=False)
    await clock.advance(0.5)
    await threads_done(storage)
    assert "out of the blue" in storage.statistics().last_error
    disk.before = None
    await clock.advance(1)
    await threads_done(storage)
    assert await in_journal(held) == [1]


async def test_journals_are_synced_when_nothing_happens_any_more(
    storage: Storage, disk: StubbornDisk, clock: FakeClock
) -> None:
    """J26: Where nothing was moved for some seconds, the journals are fsynced, and none of what is in them is held."""
    writers = [(await writer_of(storage, f"agent-{number}"))[1] for number in range(3)]
    for writer in writers:
        append(writer, size=1000)
        await writer.settle(sync=False)
    await clock.advance(0.5)
    await threads_done(storage)
    assert storage.records.room.held > 3000
    await clock.advance(3.5)
    append(writers[0])
    await writers[0].settle(sync=False)
    await clock.advance(0.5)
    await writers[0].settle(sync=True)
    await threads_done(storage)
    await clock.advance(5.0)
    await threads_done(storage)
    assert disk.told("fsync", "/journal") == []
    await clock.advance(5.0)
    await threads_done(storage)
    assert len(disk.told("fsync", "/journal")) == 3
    assert storage.records.room.held == 0
    await clock.advance(10.0)
    await threads_done(storage)
    assert len(disk.told("fsync", "/journal")) == 3
    assert clock.pending == 0


async def test_an_agent_is_released_when_its_records_are_in_its_journal_for_good(
    storage: Storage, disk: StubbornDisk
) -> None:
    """J10: Before a lease says released, the agent's records are in its journal and fsynced there."""
    held, writer = await writer_of(storage)
    append(writer, 3)
    disk.done.clear()
    await storage.release(held, 3)
    what = [(operation, Path(path).name) for operation, path in disk.done]
    last_fsync = max(index for index, each in enumerate(what) if each == ("fsync", "000001.jsonl"))
    assert what.index(("write", "000001.jsonl")) < last_fsync
    assert "/journal/" in disk.done[last_fsync][1]
    assert ("overwrite", ".lease.json") in what[last_fsync:]
    again, more = await writer_of(storage)
    assert again.journal.sequence == 3
    append(more)
    await storage.gather(again.folder)
    assert await in_journal(again) == [1, 2, 3, 4]


async def test_an_agent_whose_records_found_no_disk_is_not_released(
    workspace_dir: Path, disk: StubbornDisk, clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    """J10, J11: Where the disk refuses until the storage closes, the lease is not released, and the log stays."""
    async with open_storage(workspace_dir, files=disk, clock=clock) as storage:
        held, writer = await writer_of(storage)
        append(writer, 3)
        await writer.settle(sync=True)
        disk.refused, disk.only = {"open_new", "open_append"}, "/journal"
        released = asyncio.create_task(storage.release(held, 3))
        await threads_done(storage)
        runtime = log_folder(storage)
        with caplog.at_level(logging.ERROR):
            await storage.aclose()
        await released
    assert "not all records are in their journals" in caplog.text
    lease = await off_loop(leases.read_lease, held.folder.lease_path, disk)
    assert lease is not None
    assert not lease.released
    assert len(await off_loop(in_log, runtime)) == 3
    # The next owner finds them.
    disk.refused = set()
    async with open_storage(workspace_dir, files=disk, clock=clock) as storage:
        again, _ = await writer_of(storage)
        assert (again.taken_over_from, again.journal.sequence) == (runtime.name, 3)
        assert await in_journal(again) == [1, 2, 3]
        assert not await off_loop(runtime.exists)


async def test_closing_brings_everything_home(
    workspace_dir: Path, disk: StubbornDisk, clock: FakeClock
) -> None:
    """J11: Closing moves all records, fsyncs their journals, and removes the log."""
    async with open_storage(workspace_dir, files=disk, clock=clock) as storage:
        opened = [await writer_of(storage, f"agent-{number}") for number in range(50)]
        for _, writer in opened:
            append(writer, 2)
        await storage.aclose()
        assert [await in_journal(held) for held, _ in opened] == [[1, 2]] * 50
        for held, _ in opened:
            assert disk.told("fsync", str(held.folder.journal_dir))
    assert await off_loop(lambda: list((workspace_dir / ".runtimes").iterdir())) == []


async def test_the_log_is_on_disk_before_documents_are(storage: Storage, disk: StubbornDisk) -> None:
    """J12: Before a document is written, the records handed over before it are fsynced in the log."""
    held, writer = await writer_of(storage)
    disk.done.clear()
    append(writer)
    await storage.replace(document(held.folder.state_path))
    what = [operation for operation, path in disk.done if ".runtimes" in path or "state.json" in path]
    assert what.index("fsync") < what.index("replace")
    disk.done.clear()
    await storage.replace(document(held.folder.state_path))
    assert disk.told("fsync", ".runtimes") == []


async def test_documents_are_tried_when_the_log_fails(storage: Storage, disk: StubbornDisk) -> None:
    """J12: Where the log cannot be written the documents are tried nevertheless."""
    held, writer = await writer_of(storage)
    disk.refused, disk.only = {"write"}, ".runtimes"
    append(writer)
    assert (await storage.replace(document(held.folder.state_path))).sequence == 1
    assert writer.waiting
    disk.refused = set()
    await storage.replace(document(held.folder.state_path))
    await writer.settle(sync=True)


async def test_what_waits_for_the_disk_is_bounded(
    workspace_dir: Path, disk: StubbornDisk, clock: FakeClock
) -> None:
    """J13: Records that have no place on disk are bounded in bytes: beyond it room() waits; all are served."""
    async with open_storage(workspace_dir, files=disk, clock=clock, max_pending_bytes=20_000) as storage:
        opened = [await writer_of(storage, f"agent-{number}") for number in range(5)]
        disk.held, disk.only = {"write"}, ".runtimes"

        async def work(writer: JournalWriter) -> None:
            for _ in range(40):
                append(writer, 1, size=1000)
                await writer.room()

        working = [asyncio.create_task(work(writer)) for _, writer in opened]
        await disk.until_stuck()
        await turns(200)
        room = storage.records.room
        assert room.limit < room.held < room.limit + 5 * 1100
        assert not any(task.done() for task in working)
        working[0].cancel()
        await turns()
        disk.let_go()
        await asyncio.gather(*working, return_exceptions=True)
        for held, _ in opened[1:]:
            await storage.gather(held.folder)
            assert await in_journal(held) == list(range(1, 41))
        await threads_done(storage)
        # By message too.
        held, writer = opened[1]
        folder = held.folder.path.relative_to(workspace_dir).as_posix()
        disk.held, disk.only = {"write"}, ""
        disk._free.clear()
        append(writer, 1, size=60_000)
        message = AppendRecords(folder, held.lease.incarnation, lines_of(range(42, 43)), 42)
        asked = asyncio.create_task(storage._current().ref.ask(message))
        await threads_done_but_log(storage)
        assert not asked.done()
        disk.let_go()
        await asked


async def threads_done_but_log(storage: Storage) -> None:
    for _ in range(3):
        await turns()
        await off_loop(storage._current().threads.opener.submit(int).result)


async def test_who_waits_for_room_at_the_end_is_told(
    workspace_dir: Path, disk: StubbornDisk, clock: FakeClock
) -> None:
    """J13: Who waits for room when the storage closes gets RuntimeClosed."""
    async with open_storage(workspace_dir, files=disk, clock=clock, max_pending_bytes=1000) as storage:
        held, writer = await writer_of(storage)
        disk.refused, disk.only = {"write"}, ".runtimes"
        append(writer, 1, size=2000)
        assert writer.full
        waiting = [asyncio.create_task(writer.room()) for _ in range(2)]
        folder = held.folder.path.relative_to(workspace_dir).as_posix()
        message = AppendRecords(folder, held.lease.incarnation, lines_of(range(2, 3)), 2)
        asked = asyncio.create_task(storage._current().ref.ask(message))
        await threads_done(storage)
        waiting[0].cancel()
        closing = asyncio.create_task(storage.aclose())
        await turns()
        await clock.advance(20)
        await closing
        with pytest.raises(RuntimeClosed):
            await waiting[1]
        with pytest.raises(Exception, match=r"closed|stopped"):
            await asked
        with pytest.raises(RuntimeClosed):
            await writer.room()


async def test_room_has_one_bound() -> None:
    """J13: Whoever waits goes on as soon as there is less than the bound, and cancelled leaves no trace."""
    room = Room(10)
    room.held = 11
    waiting = [asyncio.create_task(room.wait()) for _ in range(3)]
    await turns()
    waiting[0].cancel()
    room.give(0)
    assert room.wanted
    room.give(1)
    await turns()
    assert [task.done() for task in waiting] == [True] * 3
    assert not room.wanted
    await room.wait()
    room.held = 11
    closed = asyncio.create_task(room.wait())
    await turns()
    closed.cancel()
    room.close(SaveFailed("over"))
    with pytest.raises(asyncio.CancelledError):
        await closed


async def test_second_life_of_a_workspace(workspace_dir: Path, clock: FakeClock) -> None:
    """J11: What is replayed twice is there once."""
    disk = StubbornDisk()
    async with open_storage(workspace_dir, files=disk, clock=clock) as storage:
        held, writer = await writer_of(storage)
        append(writer, 2)
        await storage.release(held, 2)
    assert await off_loop(replay_dead_runtimes, Workspace(workspace_dir)) == ()
    assert await in_journal(held) == [1, 2]


@pytest.mark.usefixtures("small_segments")
async def test_a_segment_waits_for_a_journal_that_fails(
    storage: Storage, disk: StubbornDisk, clock: FakeClock
) -> None:
    """J7: A segment of the log stays as long as one journal of its records cannot be written."""
    (bad, first), (good, second) = await writer_of(storage, "bad"), await writer_of(storage, "good")
    folder = log_folder(storage)
    disk.refused, disk.only = {"fsync"}, f"{bad.folder.path.name}/journal"
    append(first)
    append(second)
    gathered = [asyncio.create_task(storage.gather(held.folder)) for held in (bad, good)]
    await asyncio.gather(*gathered)
    append(first)
    tried = asyncio.create_task(storage.release(bad, 2))
    await threads_done(storage)
    append(second, 2, size=3000)
    await second.settle(sync=True)
    await threads_done(storage)
    assert await off_loop(segment_numbers, folder) == [1]
    await clock.advance(1)
    await threads_done(storage)
    assert await off_loop(segment_numbers, folder) == [1]
    disk.refused = set()
    await clock.advance(10)
    await threads_done(storage)
    await tried
    assert await off_loop(segment_numbers, folder) == []
    assert await in_journal(bad) == [1, 2]
    assert await in_journal(good) == [1, 2, 3]


async def test_gathered_and_synced_in_one_go(storage: Storage, disk: StubbornDisk, clock: FakeClock) -> None:
    """J8: A journal that fails while its segment of the log has ended has nothing counted that is not there."""
    held, writer = await writer_of(storage)
    mover = storage.records.mover
    disk.refused, disk.only = {"open_new"}, "/journal"
    append(writer)
    await writer.settle(sync=True)
    mover._to_sync[writer._journal] = None
    gathered = asyncio.create_task(storage.gather(held.folder))
    await threads_done(storage)
    assert (writer._journal.moved, writer._journal.synced) == (0, 0)
    mover._to_sync[writer._journal] = None
    mover._schedule()
    await threads_done(storage)
    assert mover._to_sync == {}
    disk.refused = set()
    await clock.advance(1)
    await gathered
    assert (writer._journal.moved, writer._journal.synced) == (1, 1)


async def test_what_is_closed_takes_nothing(workspace_dir: Path, clock: FakeClock) -> None:
    """J23: Of a storage that is closed nothing is waited for, and nothing taken."""
    async with open_storage(workspace_dir, clock=clock) as storage:
        held, writer = await writer_of(storage)
        two, other = await writer_of(storage, "two")
        await storage.release(two, 0)
        await storage.release(two, 0)
        records = storage.records
        append(writer)
        await writer.settle(sync=True)
        mover = records.mover
        assert not mover.clean
        mover._schedule()
        last = records.close()
        await turns()
        with pytest.raises(RuntimeClosed):
            append(writer)
        for closed in (records.settle(99, sync=True), mover.settled(writer._journal, sync=True)):
            with pytest.raises(RuntimeClosed):
                await closed
        await records.log.tried(99)
        before = clock.pending
        mover.take([], None, 0.0)  # type: ignore[arg-type]
        finished: Future[list[tuple[bool, Exception | None]]] = Future()
        finished.set_result([])
        mover._done(finished, [])
        assert clock.pending == before
        del last, other, held
    await off_loop(replay_dead_runtimes, Workspace(workspace_dir))


async def test_nothing_moves_before_it_is_on_the_disk_in_the_log(
    storage: Storage, disk: StubbornDisk, clock: FakeClock
) -> None:
    """K13, K14: Of what is nowhere for good a power cut could leave the later part and not the earlier one."""
    held, writer = await writer_of(storage)
    disk.refused, disk.only = {"fsync"}, ".runtimes"
    append(writer)
    await writer.settle(sync=False)
    await clock.advance(0.5)
    await threads_done(storage)
    gathered = asyncio.create_task(storage.gather(held.folder))
    await threads_done(storage)
    assert await in_journal(held) == []
    disk.refused = set()
    await clock.advance(1)
    await gathered
    assert await in_journal(held) == [1]


async def test_nothing_to_move_is_tried_at_once(storage: Storage) -> None:
    """J11: Where nothing is on its way nothing is waited for, and who has gone meanwhile is passed over."""
    mover = storage.records.mover
    assert mover.tried().done()
    _, writer = await writer_of(storage)
    append(writer)
    await writer.settle(sync=True)
    gone, stays = mover.tried(), mover.tried()
    gone.cancel()
    await stays


async def test_what_is_due_moves_in_pieces(storage: Storage, clock: FakeClock) -> None:
    """J6: What moves when its time has come moves in pieces as well."""
    opened = [await writer_of(storage, f"agent-{number}") for number in range(40)]
    for _, writer in opened:
        append(writer)
    await opened[0][1].settle(sync=False)
    await clock.advance(0.5)
    await threads_done(storage)
    assert [await in_journal(held) for held, _ in opened] == [[1]] * 40


async def test_closing_minds_neither_who_has_gone_nor_what_fails_late(
    storage: Storage, disk: StubbornDisk, clock: FakeClock
) -> None:
    """J11: Who waited and was cancelled is passed over when all is closed; a batch that fails then is no news."""
    held, writer = await writer_of(storage)
    disk.held, disk.only = {"write"}, ".runtimes"

    async def step() -> None:
        append(writer)
        await writer.settle(sync=True)

    stays = asyncio.create_task(step())
    gone = [asyncio.ensure_future(writer.settle(sync=True)), asyncio.create_task(storage.gather(held.folder))]
    await disk.until_stuck()
    for task in gone:
        task.cancel()
    await turns()
    storage.records.close()
    with pytest.raises(RuntimeClosed):
        await stays
    before = clock.pending
    disk.before = fail
    disk.let_go()
    await threads_done(storage)
    disk.before = None
    assert clock.pending == before


def fail(operation: str, path: str) -> None:
    raise OSError(5, "Input/output error")


async def test_many_journals_are_synced_in_pieces(storage: Storage, disk: StubbornDisk) -> None:
    """J7: The many journals of a segment that has ended are fsynced in pieces."""
    opened = [await writer_of(storage, f"agent-{number}") for number in range(40)]
    for held, writer in opened:
        append(writer)
        await storage.gather(held.folder)
    assert disk.told("fsync", "/journal") == []
    mover = storage.records.mover
    mover._to_sync.update(dict.fromkeys(writer._journal for _, writer in opened))
    mover._schedule()
    await threads_done(storage)
    assert len(disk.told("fsync", "/journal")) == 40
    assert mover.clean
