"""What is written in one go."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import pytest
from tests.support.disk import FailingDisk, UnsyncedDisk, document, off_loop, value_in

from overwinter.errors import SaveFailed, SaveNotDurable
from overwinter.persistence import Saved
from overwinter.persistence.batch import BatchWriter
from overwinter.persistence.threads import DiskThread

if TYPE_CHECKING:
    from collections.abc import Generator
    from pathlib import Path

pytestmark = pytest.mark.anyio


@pytest.fixture
def thread() -> Generator[DiskThread]:
    thread = DiskThread("writer of a test")
    yield thread
    thread.shutdown()


def never() -> bool:
    return False


def folders_in(tmp_path: Path, count: int) -> list[Path]:
    folders = [tmp_path / f"bee{number}" for number in range(count)]
    for folder in folders:
        folder.mkdir()
    return folders


async def test_the_documents_of_one_folder_are_synced_there_with_one_sync(
    thread: DiskThread, tmp_path: Path
) -> None:
    """S20: It comes behind the last of them, and before any of them counts as saved."""
    disk = FailingDisk()
    writer = BatchWriter(disk, thread, busy=never)
    outcomes = await writer.write([document(tmp_path / name) for name in ("a.json", "b.json")])
    assert [outcome.path for outcome in outcomes if isinstance(outcome, Saved)] == [
        str(tmp_path / "a.json"),
        str(tmp_path / "b.json"),
    ]
    done = [operation for operation in disk.done if operation != "write"]
    assert done == ["open", "fsync", "replace", "open", "fsync", "replace", "sync_folder"]


async def test_a_folder_that_cannot_be_synced_is_the_outcome_of_each_that_was_written(
    thread: DiskThread, tmp_path: Path
) -> None:
    """S26: One that could not be written at all says that instead."""
    disk = FailingDisk()
    disk.broken, disk.only = {"sync_folder", "replace"}, "bad.json"
    good, bad, also = (tmp_path / name for name in ("good.json", "bad.json", "also.json"))
    writer = BatchWriter(disk, thread, busy=never)
    assert [
        type(outcome) for outcome in await writer.write([document(good), document(bad), document(also)])
    ] == [
        Saved,
        SaveFailed,
        Saved,
    ]
    disk.only = str(tmp_path)
    disk.broken = {"sync_folder"}
    outcomes = await writer.write([document(good), document(tmp_path / "no" / "bad.json"), document(also)])
    assert [type(outcome) for outcome in outcomes] == [SaveNotDurable, SaveFailed, SaveNotDurable]
    told = [outcome.path for outcome in outcomes if isinstance(outcome, SaveNotDurable)]
    assert told == [str(good), str(also)]


async def test_many_folders_are_written_several_at_once_and_each_in_its_order(
    thread: DiskThread, tmp_path: Path
) -> None:
    """S26: Each document has its own outcome, in the order in which they were given."""
    met = threading.Barrier(4)

    class Meeting(UnsyncedDisk):
        def fsync(self, fd: int) -> None:
            met.wait(30)

    folders = await off_loop(folders_in, tmp_path, 8)
    documents = [
        document(folder / "state.json", value, sequence=sequence, keep_previous=True)
        for sequence, value in ((1, "old"), (2, "new"))
        for folder in folders
    ]
    outcomes = await BatchWriter(Meeting(), thread, busy=never).write(documents)
    assert [(outcome.path, outcome.sequence) for outcome in outcomes if isinstance(outcome, Saved)] == [
        (each.path, each.metadata.sequence) for each in documents
    ]
    for folder in folders:
        assert await off_loop(value_in, folder / "state.json") == "new"
        assert await off_loop(value_in, folder / "state.json.previous") == "old"


async def test_a_writer_that_was_given_up_begins_none_in_any_thread(
    thread: DiskThread, tmp_path: Path
) -> None:
    """S26: What was written before stays, and is synced."""
    folders = await off_loop(folders_in, tmp_path, 8)

    class Ending(UnsyncedDisk):
        def fsync(self, fd: int) -> None:
            writer.give_up()

    writer = BatchWriter(Ending(), thread, busy=never)
    outcomes = await writer.write([document(folder / f"{n}.json") for folder in folders for n in range(3)])
    saved = [outcome for outcome in outcomes if isinstance(outcome, Saved)]
    assert 1 <= len(saved) <= 4
    assert all(isinstance(outcome, SaveFailed) for outcome in outcomes if outcome not in saved)


async def test_beside_a_busy_loop_all_folders_are_written_by_one_thread(
    thread: DiskThread, tmp_path: Path
) -> None:
    """S26: It is quicker so; each document has its outcome all the same."""
    folders = await off_loop(folders_in, tmp_path, 8)
    threads = set[int]()

    class Noting(UnsyncedDisk):
        def fsync(self, fd: int) -> None:
            threads.add(threading.get_ident())

    writer = BatchWriter(Noting(), thread, busy=lambda: True)
    outcomes = await writer.write([document(folder / "state.json") for folder in folders])
    assert len(threads) == 1
    assert all(isinstance(outcome, Saved) for outcome in outcomes)
