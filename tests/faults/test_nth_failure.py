"""The Nth file operation of a storage fails, for N = 1, 2, 3 ... until a run completes.

``test_replace_nth_failure`` does so with single files; here it is a document on its way through a storage, a
journal, the log with all that follows from it, and a takeover.
"""

from __future__ import annotations

import asyncio
import errno
import gc
import logging
import random
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, TypeVar

import pytest
from tests.faults.crash_model import go_on_behind
from tests.faults.crash_story import live_in_sync, read_all
from tests.faults.test_crash_states import check, recover, tell
from tests.support.disk import document, off_loop, open_storage, temporaries_in, turns, until_quiet, value_in
from tests.support.journals import line, sequences
from tests.support.nth_disk import ERRORS, NAMES, Nth, descriptors
from tests.support.processes import memory_folder

from overwinter.errors import PersistenceError, SaveError
from overwinter.persistence import (
    FILES,
    JournalEnd,
    JournalFile,
    JournalWriter,
    Workspace,
    agent_id_for,
    is_temporary,
    read_journal,
)
from overwinter.persistence import journal_file as journal_file_module
from overwinter.persistence.log_file import LogFile
from overwinter.persistence.segments import segment_numbers
from overwinter.runtime.fake_clock import FakeClock

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator
    from pathlib import Path

    from overwinter.persistence import ReplaceDocument, Storage

T = TypeVar("T")

NOW = datetime(2030, 1, 1, tzinfo=UTC)
MOST = 250

# A failure of these costs nothing but what is removed later, or is written in another way.
HARMLESS = {"unlink", "remove_folder", "close what is synced", "overwrite"}


HANGS = 60.0  # seconds after which a scene is taken to hang


@pytest.fixture(autouse=True)
def nothing_left_to_collect() -> None:
    """What other tests left open is closed before anything is counted."""
    gc.collect()


@pytest.fixture(autouse=True)
def small_segments(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that they rotate."""
    monkeypatch.setattr(journal_file_module, "SEGMENT_BYTES", 300)
    assert LogFile.__init__.__kwdefaults__ is not None
    monkeypatch.setitem(LogFile.__init__.__kwdefaults__, "segment_bytes", 400)


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    with memory_folder(tmp_path) as chosen:
        yield chosen


class Heard(logging.Handler):
    """Everything that anybody was told: events, exceptions, the log."""

    def __init__(self) -> None:
        super().__init__()
        self.words: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.words.append(record.getMessage())

    def __call__(self, event: object) -> None:
        self.words.append(str(event))


@pytest.fixture
def heard() -> Heard:
    return Heard()


@pytest.fixture(autouse=True)
def listening(heard: Heard, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logging.getLogger("overwinter.persistence"), "handlers", [heard])


# A document


class Saving:
    """Saves over an old state, and once more after that."""

    def __init__(self, root: Path) -> None:
        self.path = root / "queen_state.json"

    async def run(self, storage: Storage, disk: Nth, clock: FakeClock, heard: Heard) -> None:
        await storage.replace(self.document(1))
        disk.count = 0
        outcome: SaveError | None = None
        try:
            await storage.replace(self.document(2))
        except SaveError as error:
            outcome = error
            heard(error)
        assert await off_loop(value_in, self.path) in ({1, 2} if outcome else {2})
        disk.nth = 0
        # The run goes on, with the same file and others.
        await storage.replace(self.document(3))
        await storage.flush()
        assert not storage.failing

    def document(self, value: int) -> ReplaceDocument:
        return document(self.path, value, sequence=value, keep_previous=True, checksum=True)

    def check(self) -> None:
        assert value_in(self.path) == 3
        assert value_in(self.path.with_name("queen_state.json.previous")) in {1, 2}


# The log, and what follows from it


class Working:
    """An agent claims, writes, saves, lets go, and the storage is closed. Whatever fails is tried again."""

    def __init__(self, root: Path) -> None:
        self.folder = Workspace(root).folder("queen", agent_id_for("queen"))
        self.promised = 0

    async def run(self, storage: Storage, disk: Nth, clock: FakeClock, heard: Heard) -> None:
        disk.count = 0
        for life in range(2):
            claim = await again(partial(storage.claim, self.folder), heard)
            writer = JournalWriter(storage, claim, claim.journal.sequence)
            for _ in range(3):
                writer.append(record(writer.sequence + 1))
                writer.append(record(writer.sequence + 1))
                await writer.settle(sync=True)
                self.promised = writer.sequence
                if life:
                    await storage.records.gather(self.folder.path)
            state = document(self.folder.state_path, writer.sequence, sequence=writer.sequence, checksum=True)
            await again(partial(storage.replace, state), heard)
            await until_quiet(storage)
            await storage.release(claim, writer.sequence)

    def check(self) -> None:
        found = read_all(self.folder, FILES, NOW)
        assert found.last == self.promised == 12
        lines = read_journal(self.folder.journal_dir).lines
        assert [each.record for each in lines] == [record(number) for number in range(1, 13)]


def record(number: int) -> bytes:
    return b'{"number":%d,"text":"%b"}' % (number, b"z" * (number * 7 % 40))


async def again(action: Callable[[], Awaitable[T]], heard: Heard) -> T:
    """Do it, and if it fails, once more: only one operation fails."""
    try:
        return await action()
    except PersistenceError as error:
        heard(error)
        return await action()


async def in_time(root: Path, scene: Saving | Working, disk: Nth, heard: Heard) -> None:
    """Run it in a storage, while time goes by."""
    clock = FakeClock()

    async def run() -> None:
        async with open_storage(root, files=disk, clock=clock, flush_timeout=1e6) as storage:
            storage.watch(heard)
            await scene.run(storage, disk, clock, heard)

    running = asyncio.ensure_future(run())
    loop = asyncio.get_running_loop()
    # A watchdog and no measure: how many turns its threads need depends on what else the machine does.
    until = loop.time() + HANGS
    while loop.time() < until:
        if running.done():
            break
        await turns(3)
        await off_loop(int)
        await clock.advance(0.3)
    else:
        running.cancel()
        raise AssertionError(f"{disk.failed} failed, and the run did not go on")
    await running


@pytest.mark.parametrize("code", ERRORS, ids=NAMES)
@pytest.mark.parametrize("kind", [Saving, Working])
def test_whichever_operation_of_a_storage_fails_the_run_goes_on(
    folder: Path, heard: Heard, kind: type[Saving | Working], code: int
) -> None:
    """K12: what was acknowledged is there, the error was told, and nothing is left behind."""
    for nth in range(1, MOST):
        root = folder / f"{nth}"
        root.mkdir()
        scene = kind(root)
        disk = Nth(nth, code)
        # The scene says when counting begins.
        disk.count = -MOST * 100
        heard.words.clear()
        held = descriptors()
        asyncio.run(in_time(root, scene, disk, heard))
        assert not disk.open
        assert descriptors() == held
        scene.check()
        if not disk.failed:
            assert not heard.words
            assert nth > 8
            return
        # EINVAL says that there are no links here, and is lived with.
        quiet = disk.failed in HARMLESS or (disk.failed, code) == ("link", errno.EINVAL)
        assert heard.words or quiet, f"nobody was told that {disk.failed} {nth} failed"
        assert disk.failed in HARMLESS or not temporaries_in(root)
        # The next storage sweeps what is left, and finds everything.
        asyncio.run(open_and_close(root))
        scene.check()
        assert [*Workspace(root).runtimes_dir.iterdir()] == []
    raise AssertionError("it never completed")


async def open_and_close(root: Path) -> None:
    async with open_storage(root):
        pass


# A journal


@pytest.mark.parametrize("code", ERRORS, ids=NAMES)
@pytest.mark.parametrize("short", [1 << 30, 17])
def test_whichever_operation_of_a_journal_fails_it_goes_on_in_its_order(
    folder: Path, code: int, short: int
) -> None:
    """K12: over rotations; what was synced is there at each moment, and what was appended once it has gone through."""
    for nth in range(1, MOST):
        place = folder / f"{nth}"
        place.mkdir()
        disk = Nth(nth, code, short=short)
        held = descriptors()
        journal = JournalFile(place / "journal", JournalEnd(), files=disk)
        errors = 0
        for number in range(1, 9):
            attempts: list[Callable[[], None]] = [
                partial(journal.append, [line(number)], number),
                journal.sync,
            ]
            while attempts:
                try:
                    attempts[0]()
                except OSError:
                    errors += 1
                else:
                    attempts.pop(0)
                there = sequences(read_journal(place / "journal"))
                assert there in ([*range(1, number)], [*range(1, number + 1)])
                assert descriptors() == held
        journal.sync()
        assert journal.synced
        reading = read_journal(place / "journal")
        assert (sequences(reading), reading.torn, reading.gaps) == ([*range(1, 9)], "", ())
        assert len(segment_numbers(place / "journal")) <= 5
        assert not disk.open
        assert descriptors() == held
        if not disk.failed:
            assert errors == 0
            return
        assert errors == 1
    raise AssertionError("it never completed")


# A takeover


@pytest.mark.parametrize("code", ERRORS, ids=NAMES)
def test_whichever_operation_of_a_takeover_fails_the_next_one_finds_everything(
    folder: Path, heard: Heard, code: int
) -> None:
    """K12: the log stays until all of it has been brought in."""
    disk, truth = tell(folder, live_in_sync, 9)
    promises = [(at, each.mark) for at, each in enumerate(disk.operations) if each.kind == "mark"]
    chance = random.Random(code)
    killed = chance.choice([at for at, mark in promises if mark.kind == "synced" and mark.sequence > 5]) + 1
    promised = [mark for at, mark in promises if at < killed]
    for nth in range(1, MOST):
        root = folder / f"{nth}"
        go_on_behind(disk.operations[:killed], root)
        failing = Nth(nth, code)
        heard.words.clear()
        held = descriptors()
        try:
            found = recover(root, sweep=nth % 2 == 0, files=failing)
        except PersistenceError as error:
            heard(error)
        else:
            # A folder that could not be looked at is left out of the list; of all others everything is there.
            here = [each for each in promised if each.name in found or not failing.failed]
            check(found, truth, here, power=False)
        assert not failing.open
        assert descriptors() == held
        assert not failing.failed or heard.words or failing.failed in HARMLESS, failing.failed
        check(recover(root, sweep=True), truth, promised, power=False)
        left = [path for path in root.rglob("*") if is_temporary(path.name)]
        assert not left
        if not failing.failed:
            return
    raise AssertionError("it never completed")
