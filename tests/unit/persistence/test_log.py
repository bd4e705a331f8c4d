"""The runtime's log: group commit, fsyncs in time, a disk that fails."""

from __future__ import annotations

import asyncio
import errno
import logging
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from tests.support.disk import off_loop, open_storage, turns
from tests.support.records import (
    StubbornDisk,
    append,
    in_journal,
    in_log,
    lines_of,
    log_folder,
    numbered,
    threads_done,
    writer_of,
)

from overwinter.errors import (
    ActorStopped,
    FlushTimeout,
    ForkedRuntime,
    RuntimeClosed,
    SaveError,
    WorkspaceError,
)
from overwinter.persistence import (
    Appended,
    AppendRecords,
    JournalEnd,
    JournalWriter,
    Storage,
    StorageEvent,
    Workspace,
    journal_line,
    replay_dead_runtimes,
)
from overwinter.persistence.log_file import LogFile
from overwinter.persistence.open_journal import LogEntry, OpenJournal
from overwinter.persistence.segments import segment_numbers
from overwinter.runtime import ActorSystem

if TYPE_CHECKING:
    from collections.abc import Callable

    from overwinter.runtime.fake_clock import FakeClock

pytestmark = pytest.mark.anyio


async def test_what_was_settled_with_sync_is_on_disk(storage: Storage, disk: StubbornDisk) -> None:
    """J1: A record settled with sync was fsynced in the log, the log's name in its folder, and the folder's."""
    folder = log_folder(storage)
    held, writer = await writer_of(storage)
    disk.done.clear()
    append(writer)
    await writer.settle(sync=True)
    segment = str(folder / "000001.jsonl")
    assert disk.done == [
        ("open_new", segment),
        ("write", segment),
        ("fsync", segment),
        ("sync_folder", str(folder)),
        ("sync_folder", str(folder.parent)),
    ]
    assert await off_loop(in_log, folder) == [(held.folder.path.name, 1)]
    disk.done.clear()
    append(writer)
    await writer.settle(sync=True)
    assert disk.done == [("write", segment), ("fsync", segment)]
    await writer.settle(sync=True)
    await writer.settle(sync=False)
    assert len(disk.done) == 2


async def test_one_turn_of_all_agents_is_one_write_and_one_fsync(
    storage: Storage, disk: StubbornDisk
) -> None:
    """J2: What all agents append in one turn of the loop is one write and at most one fsync."""
    writers = [(await writer_of(storage, f"agent-{number}"))[1] for number in range(20)]
    disk.done.clear()

    async def step(writer: JournalWriter, *, sync: bool) -> None:
        append(writer, 3)
        await writer.settle(sync=sync)

    await asyncio.gather(*(step(writer, sync=number == 7) for number, writer in enumerate(writers)))
    assert len(disk.told("write")) == 1
    assert len(disk.told("fsync")) == 1
    assert len(await off_loop(in_log, log_folder(storage))) == 60
    told = storage.statistics()
    assert (told.records, told.pending_records, told.log_batches, told.log_syncs) == (60, 0, 1, 1)
    assert told.log_bytes == await off_loop(lambda: (log_folder(storage) / "000001.jsonl").stat().st_size)


async def test_what_comes_while_a_batch_is_at_the_disk_is_the_next(
    storage: Storage, disk: StubbornDisk
) -> None:
    """J2: What comes while a batch is at the disk goes out together in the next one."""
    (_, first), (_, second) = await writer_of(storage, "first"), await writer_of(storage, "second")
    disk.held = {"write"}
    append(first)
    settled = [asyncio.ensure_future(first.settle(sync=True))]
    await disk.until_stuck()
    for _ in range(5):
        append(first)
        append(second)
        await turns()
    settled += [asyncio.ensure_future(writer.settle(sync=True)) for writer in (first, second)]
    await turns()
    assert not any(task.done() for task in settled)
    assert storage.statistics().pending_records == 11
    disk.let_go()
    await asyncio.gather(*settled)
    assert len(disk.told("write", ".runtimes")) == 2


async def test_the_log_has_records_in_the_order_in_which_they_came(
    storage: Storage, disk: StubbornDisk, clock: FakeClock
) -> None:
    """J2: What one agent appends several times in a row goes out with the rest, none before what came earlier."""
    (held, first), (other, second) = await writer_of(storage, "first"), await writer_of(storage, "second")
    one, two = held.folder.path.name, other.folder.path.name
    disk.refused, disk.only = {"write"}, str(log_folder(storage))
    for writer in (first, first, first, second, first, first):
        append(writer)
    settled = asyncio.ensure_future(first.settle(sync=True))
    await threads_done(storage)
    assert first.waiting
    append(first)
    append(second)
    disk.refused = set()
    await clock.advance(1)
    await settled
    await second.settle(sync=True)
    assert await off_loop(in_log, log_folder(storage)) == [
        *((one, 1), (one, 2), (one, 3), (two, 1), (one, 4), (one, 5)),
        *((one, 6), (two, 2)),
    ]
    assert storage.statistics().pending_records == 0


async def test_unsynced_records_are_fsynced_half_a_second_later(
    storage: Storage, disk: StubbornDisk, clock: FakeClock
) -> None:
    """J3: What nobody asks to be fsynced is so half a second after it was written, once."""
    _, writer = await writer_of(storage)
    append(writer)
    await writer.settle(sync=False)
    folder = str(log_folder(storage))
    assert disk.told("fsync", folder) == []
    await clock.advance(0.4)
    append(writer)
    await writer.settle(sync=False)
    await threads_done(storage)
    assert disk.told("fsync", folder) == []
    await clock.advance(0.1)
    await threads_done(storage)
    assert len(disk.told("fsync", folder)) == 1
    await clock.advance(5)
    await threads_done(storage)
    assert len(disk.told("fsync", folder)) == 1


async def test_somebody_may_ask_for_the_fsync_of_what_is_written(
    storage: Storage, disk: StubbornDisk
) -> None:
    """J1: What was settled without sync can be settled with it afterwards."""
    _, writer = await writer_of(storage)
    append(writer)
    await writer.settle(sync=False)
    await writer.settle(sync=True)
    assert len(disk.told("write", ".runtimes")) == 1
    assert len(disk.told("fsync", ".runtimes")) == 1


@pytest.mark.parametrize("operation", ["open_new", "write", "fsync", "sync_folder"])
async def test_what_failed_is_written_anew_into_a_new_segment(
    storage: Storage, disk: StubbornDisk, clock: FakeClock, operation: str
) -> None:
    """J4: After a failure nothing goes to that file again; all that was not fsynced is written anew elsewhere."""
    events: list[StorageEvent] = []
    storage.watch(events.append)
    _, writer = await writer_of(storage)
    append(writer, 2)
    await writer.settle(sync=False)
    folder = log_folder(storage)
    if operation == "open_new":
        # Another one only begins when this one is given up.
        disk.refused = {"fsync"}
        append(writer)
        settled = asyncio.ensure_future(writer.settle(sync=True))
        await threads_done(storage)
        settled.cancel()
    disk.refused, disk.only = {operation}, str(folder)
    append(writer)
    settled = asyncio.ensure_future(writer.settle(sync=True))
    await threads_done(storage)
    assert writer.waiting
    assert str(folder) in str(writer.error)
    assert not settled.done()
    assert storage.failing
    for _ in range(4):
        await clock.advance(10)
        await threads_done(storage)
    assert not settled.done()
    failed_on = set(disk.told("write", str(folder)))
    disk.refused = set()
    await clock.advance(10)
    await threads_done(storage)
    await settled
    assert not writer.waiting
    assert writer.error is None
    assert not storage.failing
    assert [event.kind for event in events] == ["failed", "recovered"]
    assert {event.path for event in events} == {str(folder)}
    newest = disk.told("write", str(folder))[-1]
    assert newest not in failed_on
    numbers = await off_loop(segment_numbers, folder)
    found = await off_loop(in_log, folder)
    assert sorted({sequence for _, sequence in found}) == list(range(1, writer.sequence + 1))
    # J5: and what was begun in vain is gone.
    assert len(numbers) == 1


async def test_what_was_fsynced_before_a_failure_stays(
    storage: Storage, disk: StubbornDisk, clock: FakeClock
) -> None:
    """J5: Segments begun in vain do not pile up, and the one with fsynced records stays until these moved."""
    held, writer = await writer_of(storage)
    append(writer)
    await writer.settle(sync=True)
    folder = log_folder(storage)
    disk.refused, disk.only = {"fsync"}, str(folder)
    append(writer)
    settled = asyncio.ensure_future(writer.settle(sync=True))
    for _ in range(6):
        await threads_done(storage)
        assert len(await off_loop(segment_numbers, folder)) <= 2
        assert (await off_loop(in_log, folder))[0][1] == 1
        await clock.advance(10)
    disk.refused = set()
    await clock.advance(10)
    await settled
    await threads_done(storage)
    await clock.advance(1)
    await threads_done(storage)
    # The first one is of no more use: its records are in the journal, for good.
    assert len(await off_loop(segment_numbers, folder)) == 1
    assert await in_journal(held) == [1, 2]


@pytest.mark.alone
async def test_a_disk_that_does_not_answer_holds_up_nobody_but_who_waits_for_it(
    storage: Storage, disk: StubbornDisk, clock: FakeClock
) -> None:
    """J14: While the log's disk does not answer the loop goes on, and flush returns at its deadline."""
    _, writer = await writer_of(storage)
    disk.held, disk.only = {"fsync"}, ".runtimes"
    append(writer)
    settled = asyncio.ensure_future(writer.settle(sync=True))
    await disk.until_stuck()
    begun = time.perf_counter()
    await turns(1000)
    assert time.perf_counter() - begun < 5
    flush = asyncio.create_task(storage.flush(1.0))
    await clock.advance(1.0)
    with pytest.raises(FlushTimeout, match="1 records"):
        await flush
    assert not settled.done()
    disk.let_go()
    await settled


async def test_flush_waits_for_the_records_before_it(storage: Storage, disk: StubbornDisk) -> None:
    """J14: flush returns when the records before it are fsynced in the log, and raises when that fails."""
    _, writer = await writer_of(storage)
    append(writer)
    await storage.flush()
    assert len(disk.told("fsync", ".runtimes")) == 1
    disk.refused, disk.only = {"write"}, ".runtimes"
    append(writer)
    with pytest.raises(SaveError, match="could not be written: Input/output error"):
        await storage.flush()
    with pytest.raises(SaveError):
        await storage.flush()
    disk.refused = set()
    # Nobody waits for the time of the next attempt: one who asks has it made.
    await storage.flush()
    await writer.settle(sync=True)


async def test_records_can_be_sent_as_a_message(storage: Storage) -> None:
    """J25: AppendRecords is answered with Appended once its lines are in the log, by anybody who holds the folder."""
    held, _ = await writer_of(storage)
    ref = storage._current().ref
    folder = held.folder.path.relative_to(storage.workspace.root).as_posix()
    incarnation = held.lease.incarnation
    answer = await ref.ask(AppendRecords(folder, incarnation, lines_of(range(1, 4)), 3, sync=True))
    assert answer == Appended(3)
    answer = await ref.ask(AppendRecords(folder, incarnation, lines_of(range(4, 5)), 4))
    assert answer == Appended(4)
    for unknown in ((folder, "other"), ("agents/nobody", incarnation)):
        with pytest.raises(WorkspaceError, match="does not hold"):
            await ref.ask(AppendRecords(*unknown, lines_of(range(5, 6)), 5))
    await storage.gather(held.folder)
    assert await in_journal(held) == [1, 2, 3, 4]


async def test_a_message_that_waits_when_the_log_is_closed_gets_what_a_writer_gets(
    storage: Storage, disk: StubbornDisk
) -> None:
    """J11: Whoever waits for records when there is no log any more gets ``RuntimeClosed``, by message or not."""
    held, _ = await writer_of(storage)
    folder = held.folder.path.relative_to(storage.workspace.root).as_posix()
    disk.held, disk.only = {"write"}, ".runtimes"
    message = AppendRecords(folder, held.lease.incarnation, lines_of(range(1, 2)), 1, sync=True)
    asked = asyncio.create_task(storage._current().ref.ask(message))
    await disk.until_stuck()
    storage.records.close()
    with pytest.raises(RuntimeClosed):
        await asked


async def test_a_message_that_waits_for_room_when_the_log_is_closed_gets_the_same(storage: Storage) -> None:
    """J11: Whoever waits for room in the log when there is none any more gets ``RuntimeClosed`` as well."""
    held, _ = await writer_of(storage)
    folder = held.folder.path.relative_to(storage.workspace.root).as_posix()
    storage.records.room.limit = -1
    message = AppendRecords(folder, held.lease.incarnation, lines_of(range(1, 2)), 1)
    asked = asyncio.create_task(storage._current().ref.ask(message))
    await turns()
    assert storage.records.room.wanted
    storage.records.close()
    with pytest.raises(RuntimeClosed):
        await asked


async def test_a_message_that_waits_at_the_end_is_answered(workspace_dir: Path, clock: FakeClock) -> None:
    """J11: Whoever waits for records when the storage is closed over a disk that does not answer gets an error."""
    disk = StubbornDisk()
    async with open_storage(workspace_dir, files=disk, clock=clock) as storage:
        held, writer = await writer_of(storage)
        folder = held.folder.path.relative_to(storage.workspace.root).as_posix()
        runtime = log_folder(storage)
        disk.held, disk.only = {"write"}, ".runtimes"
        message = AppendRecords(folder, held.lease.incarnation, lines_of(range(1, 2)), 1)
        asked = asyncio.create_task(storage._current().ref.ask(message))
        await disk.until_stuck()
        writer.sequence = 1
        append(writer, 2)
        settled = asyncio.ensure_future(writer.settle(sync=True))
        gathered = asyncio.create_task(storage.gather(held.folder))
        released = asyncio.create_task(storage.release(held, 3))
        await turns()
        closing = asyncio.create_task(storage.aclose())
        await turns()
        await clock.advance(20)
        await closing
        for task in (settled, gathered):
            with pytest.raises(RuntimeClosed):
                await task
        with pytest.raises(ActorStopped):
            await asked
        await released
        with pytest.raises(RuntimeClosed):
            append(writer)
        with pytest.raises(RuntimeClosed):
            await writer.settle(sync=True)
        disk.let_go()
    # When the disk answered at last, what was nowhere else went to the log.
    await off_loop(until, lambda: not (runtime / "lock").exists())
    assert [sequence for _, sequence in await off_loop(in_log, runtime)][-3:] == [1, 2, 3]
    await off_loop(replay_dead_runtimes, Workspace(workspace_dir))
    assert await in_journal(held) == [1, 2, 3]
    assert await off_loop(lambda: list(runtime.parent.iterdir())) == []


def until(condition: Callable[[], bool]) -> None:
    for _ in range(60_000):
        if condition():
            return
        threading.Event().wait(0.001)
    raise AssertionError("it never came about")


async def test_the_last_words_may_find_no_disk(
    workspace_dir: Path, clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    """J11: Records that no disk takes until the end are spoken of; the log that is there stays."""
    disk = StubbornDisk()
    async with open_storage(workspace_dir, files=disk, clock=clock) as storage:
        held, writer = await writer_of(storage)
        append(writer)
        await writer.settle(sync=True)
        runtime = log_folder(storage)
        disk.refused, disk.only = {"write", "open_new"}, ".runtimes"
        append(writer)
        with caplog.at_level(logging.ERROR):
            await storage.aclose()
    await off_loop(until, lambda: not (runtime / "lock").exists())
    assert "lacks the last records" in caplog.text
    assert [sequence for _, sequence in await off_loop(in_log, runtime)] == [1]
    assert (
        await off_loop(lambda: (held.folder.path / ".lease.json").read_text().count('"released":false')) == 1
    )


async def test_a_log_that_cannot_be_removed_does_no_harm(
    workspace_dir: Path, clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    """J11: A log that is not needed any more and cannot be removed stays, and does nothing when it is replayed."""
    disk = StubbornDisk()
    async with open_storage(workspace_dir, files=disk, clock=clock) as storage:
        held, writer = await writer_of(storage)
        append(writer)
        disk.refused, disk.only = {"unlink"}, ".runtimes"
        await storage.aclose()
    assert "could not be removed" in caplog.text
    await off_loop(replay_dead_runtimes, Workspace(workspace_dir))
    assert await in_journal(held) == [1]
    assert await off_loop(lambda: list((workspace_dir / ".runtimes").iterdir())) == []


async def test_nothing_is_appended_in_a_forked_child(
    storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """J23: In a forked child nothing is appended, and after the release of its claim neither."""
    held, writer = await writer_of(storage)
    with monkeypatch.context() as patch:
        patch.setattr(storage._current().lock._lock, "_forked", True)
        with pytest.raises(ForkedRuntime):
            append(writer)
        with pytest.raises(ForkedRuntime):
            await writer.settle(sync=True)
    append(writer)
    await storage.release(held, 1)
    with pytest.raises(RuntimeClosed, match="was released"):
        append(writer)
    assert writer.sequence == 1
    with pytest.raises(WorkspaceError, match="does not hold"):
        JournalWriter(storage, held, 1)


async def test_a_writer_numbers_its_records(storage: Storage) -> None:
    """J24: A writer numbers its records from the sequence it was given."""
    held = await storage.claim(storage.workspace.folder("writer", "id-of-writer"))
    writer = JournalWriter(storage, held, 41)
    assert writer.append(numbered(42), base=True) == 42
    assert writer.append(numbered(43)) == 43
    with pytest.raises(ValueError, match="line break"):
        writer.append(b"{\n}")
    assert writer.sequence == 43
    await storage.gather(held.folder)
    reading = await in_journal(held)
    assert reading == [42, 43]


async def test_the_loop_lets_the_thread_have_its_turn(storage: Storage, disk: StubbornDisk) -> None:
    """J14: While a batch is at the disk the loop yields to its thread each millisecond, and not afterwards."""
    _, writer = await writer_of(storage)
    log = storage.records.log
    disk.held = {"write"}
    append(writer)
    settled = asyncio.ensure_future(writer.settle(sync=False))
    await disk.until_stuck()
    first = log._yielding
    while log._yielding is first:
        await asyncio.sleep(0)
    assert log._yielding is not None
    log._yielding.cancel()
    log._yielding = last = None
    log._yield(0)
    assert log._yielding is last
    disk.let_go()
    await settled
    assert log._yielding is None


async def test_a_loop_that_is_gone_is_no_error(storage: Storage, disk: StubbornDisk) -> None:
    """What a thread brings when its loop has ended is dropped."""
    log, mover = storage.records.log, storage.records.mover

    def gone(*_: object) -> None:
        raise RuntimeError("Event loop is closed")

    real = log._loop
    for part in (log, mover):
        part._loop = type("Gone", (), {"call_soon_threadsafe": gone})()
    log._from_thread(None, 1)  # type: ignore[arg-type]
    mover._from_thread(None, [])  # type: ignore[arg-type]
    log._loop = mover._loop = real


# The files themselves.


def entry(sequences: range, size: int = 0) -> LogEntry:
    journal = OpenJournal("agents/a", "one", Path("nowhere"), JournalEnd(), clean=True)
    lines = [journal_line(each, numbered(each, size)) for each in sequences]
    return LogEntry(journal, lines, sequences[-1])


def test_a_segment_ends_when_it_is_full(tmp_path: Path, disk: StubbornDisk) -> None:
    """J7: A segment that is full is fsynced and ends, and the next batch begins another."""
    file = LogFile(tmp_path, disk, segment_bytes=1000)
    first = file.write([entry(range(1, 3))], sync=False)
    assert (first.segment, first.synced, first.ended) == (1, False, False)
    second = file.write([entry(range(3, 20))], sync=False)
    assert (second.segment, second.synced, second.ended) == (1, True, True)
    assert file.write([entry(range(20, 21))], sync=False).segment == 2
    file.remove([1, 1])
    assert segment_numbers(tmp_path) == [2]
    file.remove_all()
    assert segment_numbers(tmp_path) == []


def test_a_large_batch_is_written_in_pieces(tmp_path: Path, disk: StubbornDisk) -> None:
    """J2: A batch of many megabytes is joined and written in pieces of some hundred kilobytes."""
    file = LogFile(tmp_path, disk)
    written = file.write([entry(range(each, each + 1), 300_000) for each in range(1, 11)], sync=True)
    file.close()
    assert written.size > 3_000_000
    assert len(disk.told("write")) == 10
    assert [sequence for _, sequence in in_log(tmp_path)] == list(range(1, 11))


def test_a_segment_that_broke_in_the_first_write_leaves_the_spare_one(
    tmp_path: Path, disk: StubbornDisk
) -> None:
    """J5: Of the segments that hold the same records one stands until they are fsynced elsewhere."""
    file = LogFile(tmp_path, disk)
    file.write([entry(range(1, 3))], sync=False)
    disk.refused = {"fsync"}
    with pytest.raises(OSError, match="Input/output"):
        file.write([entry(range(3, 4))], sync=True)
    assert segment_numbers(tmp_path) == [1]
    disk.refused, disk.code = {"write"}, errno.ENOSPC
    with pytest.raises(OSError, match="No space"):
        file.write([entry(range(1, 4))], sync=True)
    assert segment_numbers(tmp_path) == [1]
    disk.refused = {"fsync"}
    with pytest.raises(OSError, match="No space"):
        file.write([entry(range(1, 4))], sync=True)
    assert segment_numbers(tmp_path) == [3]
    disk.refused = {"unlink"}
    file.write([entry(range(1, 4))], sync=True)
    assert segment_numbers(tmp_path) == [3, 4]
    disk.refused = {"close"}
    file.close()
    file.close()


async def test_a_system_that_ends_first_leaves_the_log(workspace_dir: Path) -> None:
    """J11: Closing after its system still brings the records to their journals."""
    storage = Storage(Workspace(workspace_dir), files=StubbornDisk())
    async with ActorSystem() as system:
        await storage.open(system)
        held, writer = await writer_of(storage)
        append(writer, 2)
    await storage.aclose()
    assert await in_journal(held) == [1, 2]
