"""The persistence actor: batches, coalescing, a bound in bytes, flush."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any

import pytest
from tests.support.disk import FailingDisk, HeldDisk, document, off_loop, temporaries_in, turns, value_in

from overwinter.errors import ActorStopped, AskTimeout, SaveFailed, SaveNotDurable, SaveRejected
from overwinter.persistence import (
    Flush,
    Flushed,
    PersistenceActor,
    RuntimeLock,
    Saved,
    StorageEvent,
    Workspace,
)
from overwinter.persistence.batch import BatchWriter
from overwinter.persistence.document import read_document
from overwinter.persistence.health import DiskHealth
from overwinter.persistence.record_keeping import RecordKeeping
from overwinter.persistence.threads import DiskThread, DiskThreads
from overwinter.runtime import ActorSystem, Resume
from overwinter.runtime.fake_clock import FakeClock

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from pathlib import Path

    from overwinter.persistence import FileOperations, PersistenceMessage
    from overwinter.runtime import ActorRef

pytestmark = pytest.mark.anyio


class House:
    """A system with one persistence actor."""

    def __init__(self, files: FileOperations, max_pending_bytes: int = 1 << 20) -> None:
        self.clock = FakeClock()
        self.system = ActorSystem(clock=self.clock)
        self.health = DiskHealth()
        self.thread = DiskThread("writer of a test")
        self.threads = DiskThreads()
        self.records = RecordKeeping(
            RuntimeLock(Workspace("nowhere"), "0" * 16),
            self.threads,
            files,
            self.clock,
            self.health,
            max_bytes=max_pending_bytes,
        )
        self.actor = PersistenceActor(
            BatchWriter(files, self.thread), self.health, self.records, max_pending_bytes=max_pending_bytes
        )
        self.ref: ActorRef[PersistenceMessage]

    async def open(self) -> None:
        await self.system.open()
        self.ref = await self.system.spawn(self.actor, supervision=Resume())

    def ask(self, message: PersistenceMessage, timeout: float | None = None) -> asyncio.Task[Any]:
        return asyncio.create_task(self.ref.ask(message, timeout=timeout))

    async def aclose(self) -> None:
        await self.system.aclose()
        self.thread.shutdown()


@pytest.fixture
def disk() -> HeldDisk:
    return HeldDisk()


@pytest.fixture
def failing() -> FailingDisk:
    return FailingDisk()


@pytest.fixture
async def house(disk: HeldDisk) -> AsyncGenerator[House]:
    house = House(disk)
    await house.open()
    yield house
    disk.let_go()
    await house.aclose()


@pytest.fixture
async def failing_house(failing: FailingDisk) -> AsyncGenerator[House]:
    house = House(failing)
    await house.open()
    yield house
    await house.aclose()


async def held(house: House, disk: HeldDisk, path: Path) -> asyncio.Task[Any]:
    """Have the writer stand at the held disk with a first document, whose reply is returned."""
    disk.hold()
    first = house.ask(document(path, "first"))
    await disk.until_stuck()
    return first


async def test_a_saved_document_is_whole(house: House, tmp_path: Path) -> None:
    """S20: Saved means that the whole document is in place."""
    path = tmp_path / "a.json"
    saved = await house.ref.ask(document(path, [1, 2.5, "é"], sequence=3, checksum=True))
    data = await off_loop(path.read_bytes)
    assert saved == Saved(str(path), 3, len(data), superseded=False)
    metadata, body = read_document(data, path, checksum_required=True)
    assert (metadata.sequence, body) == (3, {"value": [1, 2.5, "é"]})
    assert not await off_loop(temporaries_in, tmp_path)


async def test_a_saved_document_is_synced_and_so_is_its_name(
    failing_house: House, failing: FailingDisk, tmp_path: Path
) -> None:
    """S20: Saved means that the file was synced before it was renamed, and its folder afterwards."""
    await failing_house.ref.ask(document(tmp_path / "a.json"))
    done = [operation for operation in failing.done if operation != "write"]
    assert done == ["open", "fsync", "replace", "sync_folder"]


async def test_the_previous_generation_is_kept_where_asked(house: House, tmp_path: Path) -> None:
    path = tmp_path / "a_state.json"
    for value in (1, 2):
        await house.ref.ask(document(path, value, keep_previous=True))
    assert await off_loop(value_in, path) == 2
    assert await off_loop(value_in, tmp_path / "a_state.json.previous") == 1


async def test_of_several_unwritten_documents_only_the_newest_is_written(
    house: House, disk: HeldDisk, tmp_path: Path
) -> None:
    """S21: Of several unwritten documents of one file the newest is written, and it answers for all."""
    path = tmp_path / "a.json"
    first = await held(house, disk, path)
    later = [house.ask(document(path, number, sequence=number)) for number in (2, 3, 4)]
    await turns()
    assert house.actor.pending == 2
    disk.let_go()
    assert (await first).sequence == 1
    answers = await asyncio.gather(*later)
    assert [(answer.sequence, answer.superseded) for answer in answers] == [(4, True), (4, True), (4, False)]
    assert await off_loop(value_in, path) == 4
    assert (house.actor.saves, house.actor.superseded, house.actor.pending_bytes) == (2, 2, 0)


async def test_a_superseded_document_is_not_saved_before_its_successor(
    house: House, disk: HeldDisk, tmp_path: Path
) -> None:
    """S21: The acknowledgement of a superseded document comes with its successor's, failure included."""
    path = tmp_path / "gone" / "a.json"
    first = await held(house, disk, tmp_path / "other.json")
    older, newer = house.ask(document(path, 1)), house.ask(document(path, 2))
    await turns()
    assert not older.done()
    disk.let_go()
    await first
    for each in (older, newer):
        with pytest.raises(SaveFailed, match="removed the folder"):
            await each


async def test_a_document_that_cannot_be_stored_displaces_none(
    house: House, disk: HeldDisk, tmp_path: Path
) -> None:
    """S22: A document that cannot be stored is refused at once, and the good one before it is written."""
    path = tmp_path / "a.json"
    first = await held(house, disk, tmp_path / "other.json")
    good = house.ask(document(path, "good"))
    bad = house.ask(document(path, "bad", agent_name="\ud800"))
    with pytest.raises(SaveRejected) as caught:
        await bad
    assert (caught.value.path, caught.value.field) == (str(path), "metadata")
    disk.let_go()
    await first
    assert not (await good).superseded
    assert await off_loop(value_in, path) == "good"


async def test_a_thousand_documents_at_once_all_decode(house: House, tmp_path: Path) -> None:
    """S23: 1,000 documents sent at once are all there and all decode, after few hops to the disk."""
    paths = [tmp_path / f"{number}.json" for number in range(1000)]
    answers = await asyncio.gather(*(house.ref.ask(document(path, n)) for n, path in enumerate(paths)))
    assert [answer.path for answer in answers] == [str(path) for path in paths]
    assert await off_loop(lambda: [value_in(path) for path in paths]) == list(range(1000))
    assert not await off_loop(temporaries_in, tmp_path)
    assert house.actor.batches < 30


async def test_each_document_of_a_batch_has_its_own_outcome(
    house: House, disk: HeldDisk, tmp_path: Path
) -> None:
    """S26: In one batch each document has its own outcome."""
    first = await held(house, disk, tmp_path / "first.json")
    good, bad = house.ask(document(tmp_path / "good.json")), house.ask(document(tmp_path / "no" / "bad.json"))
    also = house.ask(document(tmp_path / "also.json"))
    await turns()
    disk.let_go()
    await first
    assert (await good).path.endswith("good.json")
    assert (await also).path.endswith("also.json")
    with pytest.raises(SaveFailed):
        await bad
    assert house.actor.batches == 2


async def test_what_is_no_failure_of_the_disk_is_an_outcome_too(house: House, tmp_path: Path) -> None:
    """S26: Whatever goes wrong with one document is the outcome of that one, and the actor goes on."""
    with pytest.raises(ValueError, match="null"):
        await house.ref.ask(document(tmp_path / "a\0b.json"))
    assert (await house.ref.ask(document(tmp_path / "a.json"))).sequence == 1
    assert house.system.statistics().failures == 0


# The bound.


async def test_senders_wait_beyond_the_bound(disk: HeldDisk, tmp_path: Path) -> None:
    """S24: What waits for the disk is bounded in bytes; beyond that senders wait, and all are served."""
    house = House(disk, max_pending_bytes=40_000)
    await house.open()
    disk.hold()
    sent = [house.ask(document(tmp_path / f"{number}.json", "x" * 3000)) for number in range(30)]
    await disk.until_stuck()
    await turns()
    weight = house.actor.weigh(document(tmp_path / "0.json", "x" * 3000))
    assert house.actor.pending_bytes <= 20_000
    assert house.actor.pending == 20_000 // weight
    in_actor_and_mailbox = house.actor.pending + 1 + 20_000 // weight
    assert house.system.statistics().pending + 1 + house.actor.pending == 30
    assert in_actor_and_mailbox < 15
    disk.let_go()
    await asyncio.gather(*sent)
    assert house.actor.pending_bytes == 0
    await house.aclose()


async def test_a_document_beyond_the_bound_passes_alone(disk: HeldDisk, tmp_path: Path) -> None:
    """S24: A document larger than the whole bound passes, when nothing else is pending."""
    house = House(disk, max_pending_bytes=4000)
    await house.open()
    first = await held(house, disk, tmp_path / "first.json")
    large = house.ask(document(tmp_path / "large.json", "x" * 100_000))
    await turns()
    assert house.actor.pending == 1
    disk.let_go()
    await first
    assert (await large).bytes > 100_000
    await house.aclose()


async def test_a_newer_document_needs_no_room_of_its_own(disk: HeldDisk, tmp_path: Path) -> None:
    """S24: What a document takes the place of does not count against it."""
    house = House(disk, max_pending_bytes=20_000)
    await house.open()
    path = tmp_path / "a.json"
    first = await held(house, disk, tmp_path / "first.json")
    sent = [house.ask(document(path, "x" * 6000, sequence=number)) for number in range(5)]
    await turns()
    assert (house.actor.pending, house.actor.superseded) == (2, 4)
    disk.let_go()
    await first
    assert {answer.sequence for answer in await asyncio.gather(*sent)} == {4}
    await house.aclose()


async def test_a_batch_is_bounded_in_bytes(
    house: House, disk: HeldDisk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("overwinter.persistence.actor._BATCH_BYTES", 3000)
    first = await held(house, disk, tmp_path / "first.json")
    sent = [house.ask(document(tmp_path / f"{number}.json", "x" * 1000)) for number in range(4)]
    await turns()
    disk.let_go()
    await first
    await asyncio.gather(*sent)
    assert house.actor.batches == 3


# Flush.


async def test_a_flush_of_nothing_is_answered_at_once(house: House) -> None:
    assert await house.ref.ask(Flush()) == Flushed()


async def test_a_flush_is_answered_when_all_before_it_was_tried(
    house: House, disk: HeldDisk, tmp_path: Path
) -> None:
    """S25: A flush waits for everything sent before it, and for nothing sent after it."""
    path = tmp_path / "a.json"
    first = await held(house, disk, path)
    second = house.ask(document(path, "second"))
    flush = house.ask(Flush())
    flush.add_done_callback(lambda _: disk.hold())
    await turns()
    assert not flush.done()
    disk.let_go()
    assert await flush == Flushed()
    assert first.done()
    assert second.done()
    assert await off_loop(value_in, path) == "second"


async def test_a_flush_names_what_could_not_be_saved(house: House, tmp_path: Path) -> None:
    """S25: A flush tells which files are not on disk as they should be."""
    path = tmp_path / "no" / "a.json"
    with pytest.raises(SaveFailed):
        await house.ref.ask(document(path))
    flushed = await house.ref.ask(Flush())
    assert list(flushed.failing) == [str(path)]
    await off_loop(path.parent.mkdir)
    await house.ref.ask(document(path))
    assert await house.ref.ask(Flush()) == Flushed()


# A disk that fails.


async def test_a_failing_disk_is_reported_once_and_so_is_its_recovery(
    failing_house: House, failing: FailingDisk, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """S27: A file that cannot be saved is told of once, and once when it can be again."""
    caplog.set_level(logging.INFO, "overwinter.persistence")
    house = failing_house
    events: list[StorageEvent] = []
    house.health.watch(events.append)
    a, b = tmp_path / "a.json", tmp_path / "b.json"
    await house.ref.ask(document(a, "old"))
    failing.broken = {"write"}
    for path in (a, a, b):
        with pytest.raises(SaveFailed, match="Free some space"):
            await house.ref.ask(document(path, "new"))
    assert await off_loop(value_in, a) == "old"
    assert not await off_loop(temporaries_in, tmp_path)
    assert [(event.kind, event.path) for event in events] == [("failed", str(a)), ("failed", str(b))]
    assert "No space left" in events[0].error
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    failing.broken = set()
    await house.ref.ask(document(a, "new"))
    assert [record.levelname for record in caplog.records] == ["WARNING"], "b is behind still"
    await house.ref.ask(document(b, "new"))
    assert [record.levelname for record in caplog.records] == ["WARNING", "INFO"]
    assert [event.kind for event in events[2:]] == ["recovered", "recovered"]
    assert (house.health.failures, house.health.failing) == (3, {})
    assert house.system.statistics().failures == 0


async def test_a_save_that_is_not_durable_says_so(
    failing_house: House, failing: FailingDisk, tmp_path: Path
) -> None:
    failing.broken = {"sync_folder"}
    with pytest.raises(SaveNotDurable):
        await failing_house.ref.ask(document(tmp_path / "a.json", "new"))
    assert await off_loop(value_in, tmp_path / "a.json") == "new"
    assert list(failing_house.health.failing) == [str(tmp_path / "a.json")]


async def test_a_listener_that_fails_stops_nobody(
    house: House, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    events: list[StorageEvent] = []

    def broken(event: StorageEvent) -> None:
        raise ValueError(event.path)

    unwatch = house.health.watch(broken)
    also = house.health.watch(events.append)
    with pytest.raises(SaveFailed):
        await house.ref.ask(document(tmp_path / "no" / "a.json"))
    assert len(events) == 1
    assert "listener" in caplog.text
    for end in (unwatch, also, also):
        end()
    with pytest.raises(SaveFailed):
        await house.ref.ask(document(tmp_path / "no" / "b.json"))
    assert len(events) == 1


async def test_a_batch_that_cannot_be_begun_fails_all_in_it(house: House, tmp_path: Path) -> None:
    house.thread.shutdown()
    sent = [house.ask(document(tmp_path / f"{number}.json")) for number in range(3)]
    done, _ = await asyncio.wait(sent)
    assert {type(task.exception()).__name__ for task in done} == {"RuntimeClosed"}
    assert house.actor.pending == 0


# Stopping.


async def test_stopping_writes_what_is_pending_first(house: House, disk: HeldDisk, tmp_path: Path) -> None:
    """S33: An actor that is stopped writes what it holds first."""
    first = await held(house, disk, tmp_path / "first.json")
    second = house.ask(document(tmp_path / "second.json", 2))
    await turns()
    stop = asyncio.create_task(house.ref.stop())
    await turns()
    disk.let_go()
    await stop
    assert (await first).sequence == 1
    assert (await second).sequence == 1
    assert await off_loop(value_in, tmp_path / "second.json") == 2


async def test_a_stop_that_is_out_of_time_leaves_nobody_waiting(
    house: House, disk: HeldDisk, tmp_path: Path
) -> None:
    """S33: When the time of a stop is over, whoever waits is told, and the writer begins no other document."""
    first = await held(house, disk, tmp_path / "first.json")
    second, flush = house.ask(document(tmp_path / "second.json")), house.ask(Flush())
    await turns()
    stop = asyncio.create_task(house.ref.stop(timeout=5.0))
    await house.clock.advance(60.0)
    await stop
    for each in (first, second, flush):
        with pytest.raises(ActorStopped):
            await each
    disk.let_go()
    house.thread.submit(lambda: None)
    await asyncio.wrap_future(house.thread.submit(lambda: None))
    assert await off_loop(value_in, tmp_path / "first.json") == "first", "what was begun is whole"
    assert not await off_loop((tmp_path / "second.json").exists)


async def test_giving_up_lets_the_batch_end_early(house: House, disk: HeldDisk, tmp_path: Path) -> None:
    """S33: Of a batch under way the document at hand is finished, and no other begun."""
    disk.gates = {"open"}
    first = await held(house, disk, tmp_path / "first.json")
    sent = [house.ask(document(tmp_path / f"{number}.json")) for number in range(3)]
    await turns()
    # It passes one file, and holds the next.
    disk.let_go()
    disk.hold()
    await first
    await disk.until_stuck()
    house.actor.give_up()
    disk.let_go()
    done, _ = await asyncio.wait(sent)
    assert {type(task.exception()) for task in done} == {ActorStopped}
    with pytest.raises(SaveFailed, match="closed before its turn"):
        await house.ref.ask(document(tmp_path / "late.json"))
    written = await off_loop(lambda: sorted(path.name for path in tmp_path.iterdir()))
    assert written == ["0.json", "first.json"]


async def test_a_sender_that_waits_for_room_is_told_of_the_end(disk: HeldDisk, tmp_path: Path) -> None:
    """S33: A sender that waits for room is answered as well."""
    house = House(disk, max_pending_bytes=4000)
    await house.open()
    first = await held(house, disk, tmp_path / "first.json")
    large = house.ask(document(tmp_path / "large.json", "x" * 10_000))
    await turns()
    house.actor.give_up()
    disk.let_go()
    with pytest.raises(ActorStopped):
        await first
    with pytest.raises(SaveFailed, match="closed before its turn"):
        await large
    await house.aclose()


# Cancellation.


async def test_a_cancelled_sender_takes_nobody_along(house: House, disk: HeldDisk, tmp_path: Path) -> None:
    """S28: Cancelling one sender leaves the others' documents and answers alone."""
    path = tmp_path / "a.json"
    first = await held(house, disk, path)
    older, newer = house.ask(document(path, "older")), house.ask(document(path, "newer"))
    await turns()
    for each in (first, newer):
        each.cancel()
    await turns()
    disk.let_go()
    assert (await older).superseded
    assert await off_loop(value_in, path) == "newer", "it had been taken"
    assert first.cancelled()
    assert newer.cancelled()


async def test_those_who_gave_up_are_not_kept(house: House, disk: HeldDisk, tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    first = await held(house, disk, tmp_path / "first.json")
    for number in range(50):
        given_up = house.ask(document(path, number))
        await turns(5)
        given_up.cancel()
        await turns(5)
    assert len(house.actor._pending[str(path)].replies) <= 2
    disk.let_go()
    await first
    await house.ref.ask(Flush())
    assert await off_loop(value_in, path) == 49


async def test_a_sender_out_of_time_is_told_and_its_document_written(
    house: House, disk: HeldDisk, tmp_path: Path
) -> None:
    path = tmp_path / "a.json"
    first = await held(house, disk, tmp_path / "first.json")
    late = house.ask(document(path, 1), timeout=1.0)
    await house.clock.advance(2.0)
    with pytest.raises(AskTimeout):
        await late
    disk.let_go()
    await first
    assert await house.ref.ask(Flush()) == Flushed()
    assert await off_loop(value_in, path) == 1
