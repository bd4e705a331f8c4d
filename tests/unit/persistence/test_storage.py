"""The storage: the only way from a runtime's event loop to the disk."""

from __future__ import annotations

import asyncio
import errno
import os
import shutil
import threading
import time
from concurrent.futures import Future
from typing import TYPE_CHECKING

import pytest
from tests.support.disk import (
    FailingDisk,
    HeldDisk,
    document,
    off_loop,
    open_storage,
    temporaries_in,
    turns,
    value_in,
)

from overwinter.errors import (
    AgentInUse,
    CorruptState,
    FlushTimeout,
    ForkedRuntime,
    NameTaken,
    RuntimeClosed,
    SaveError,
    SaveFailed,
    StaleState,
    WorkspaceError,
)
from overwinter.persistence import PersistenceStatistics, Storage, StorageEvent, Workspace
from overwinter.persistence.lock import FileLock, locked
from overwinter.persistence.waiting import done_in_thread, within
from overwinter.runtime import ActorSystem
from overwinter.runtime.fake_clock import FakeClock

if TYPE_CHECKING:
    from pathlib import Path

    from overwinter.persistence import AgentFolder

pytestmark = pytest.mark.anyio


def folder_of(storage: Storage, name: str = "writer") -> AgentFolder:
    return storage.workspace.folder(name, f"id-of-{name}")


async def reached(storage: Storage) -> None:
    """Return when the storage's threads have done everything before."""
    await storage.call(lambda: None)


# Opening and closing.


async def test_opening_makes_a_private_workspace(workspace_dir: Path) -> None:
    async with open_storage(workspace_dir) as storage:
        runtime = storage.workspace.runtimes_dir / storage.runtime_id
        modes = await off_loop(lambda: [oct(p.stat().st_mode & 0o777) for p in (workspace_dir, runtime)])
        assert modes == ["0o700", "0o700"] or os.name == "nt"
        assert await off_loop((runtime / "lock").exists)
    assert await off_loop(lambda: list(storage.workspace.runtimes_dir.iterdir())) == []


async def test_a_storage_that_is_not_open_says_so(workspace_dir: Path) -> None:
    storage = Storage(Workspace(workspace_dir))
    with pytest.raises(RuntimeClosed, match="async with Runtime"):
        await storage.replace(document(workspace_dir / "a.json"))
    with pytest.raises(RuntimeClosed):
        storage.runtime_id  # noqa: B018
    await storage.aclose()
    assert storage.statistics() == PersistenceStatistics()
    assert not await off_loop(workspace_dir.exists)


async def test_a_closed_storage_takes_nothing_and_can_be_opened_again(workspace_dir: Path) -> None:
    storage = Storage(Workspace(workspace_dir))
    ids: set[str] = set()
    for _ in range(2):
        async with ActorSystem() as system:
            await storage.open(system)
            with pytest.raises(RuntimeError, match="open already"):
                await storage.open(system)
            ids.add(storage.runtime_id)
            held = await storage.claim(folder_of(storage))
            await storage.replace(document(held.folder.state_path))
            await storage.aclose()
            await storage.aclose()
            for call in (storage.flush(), storage.replace(document(held.folder.state_path))):
                with pytest.raises(RuntimeClosed):
                    await call
            await storage.release(held, 1)
            assert storage.statistics().saves == 1
    assert len(ids) == 2


async def test_a_workspace_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    """S34: A storage that cannot be opened says which folder and why, and leaves nothing behind."""
    await off_loop((tmp_path / "file").write_bytes, b"")
    async with ActorSystem() as system:
        storage = Storage(Workspace(tmp_path / "file" / "workspace"))
        with pytest.raises(WorkspaceError, match="file"):
            await storage.open(system)
        assert system.find("persistence") is None


async def test_a_disk_that_fails_while_it_is_probed_is_named(
    workspace_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """S34: A disk that fails at the opening is an error of the workspace; the lock is given back."""

    def broken(folder: Path) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr("overwinter.persistence.storage.probe_files", broken)
    storage = Storage(Workspace(workspace_dir))
    async with ActorSystem() as system:
        with pytest.raises(WorkspaceError, match="Input/output error"):
            await storage.open(system)
    await wait_until_empty(storage.workspace.runtimes_dir)


async def test_a_second_storage_of_one_system_is_refused(workspace_dir: Path) -> None:
    """S34: Where a system has a storage already, another one leaves nothing behind."""
    async with ActorSystem() as system:
        first = Storage(Workspace(workspace_dir))
        await first.open(system)
        with pytest.raises(NameTaken):
            await Storage(Workspace(workspace_dir)).open(system)
        await first.aclose()
    await wait_until_empty(first.workspace.runtimes_dir)


async def test_an_opening_that_is_cancelled_leaves_nothing(workspace_dir: Path) -> None:
    """S34: A storage whose opening was cancelled holds no lock."""
    disk = HeldDisk()
    await off_loop(workspace_dir.mkdir)
    storage = Storage(Workspace(workspace_dir), files=disk)
    async with ActorSystem() as system:
        guard = threading.Event()
        inside = threading.Event()

        def hold_the_mutex() -> None:
            with locked(storage.workspace.mutex_path):
                inside.set()
                guard.wait(60)

        thread = threading.Thread(target=hold_the_mutex)
        thread.start()
        await off_loop(inside.wait, 60)
        opening = asyncio.create_task(storage.open(system))
        await turns()
        opening.cancel()
        with pytest.raises(asyncio.CancelledError):
            await opening
        guard.set()
        await off_loop(thread.join)
    await wait_until_empty(storage.workspace.runtimes_dir)


async def wait_until_empty(folder: Path) -> None:
    def wait() -> None:
        while folder.exists() and list(folder.iterdir()):
            threading.Event().wait(0.001)

    await asyncio.wait_for(off_loop(wait), 30)


async def test_closing_writes_what_is_pending(workspace_dir: Path) -> None:
    """S33: Closing writes everything that was sent before it."""
    disk = HeldDisk()
    async with open_storage(workspace_dir, files=disk) as storage:
        held = await storage.claim(folder_of(storage))
        disk.hold()
        paths = [held.folder.path / f"{number}.json" for number in range(10)]
        saves = [asyncio.create_task(storage.replace(document(path, 1))) for path in paths]
        await disk.until_stuck()
        closing = asyncio.create_task(storage.aclose())
        await turns()
        with pytest.raises(RuntimeClosed):
            await storage.flush()
        disk.let_go()
        await closing
        await asyncio.gather(*saves)
        assert await off_loop(lambda: [value_in(path) for path in paths]) == [1] * 10


async def test_closing_while_cancelled_closes_nevertheless(workspace_dir: Path) -> None:
    """S33: A closing that is cancelled goes on to its end, and is cancelled then."""
    disk = HeldDisk()
    async with open_storage(workspace_dir, files=disk) as storage:
        held = await storage.claim(folder_of(storage))
        disk.hold()
        save = asyncio.create_task(storage.replace(document(held.folder.state_path, 1)))
        await disk.until_stuck()
        closing = asyncio.create_task(storage.aclose())
        await turns()
        closing.cancel()
        await turns()
        assert not closing.done()
        also = asyncio.create_task(storage.aclose())
        await turns()
        disk.let_go()
        with pytest.raises(asyncio.CancelledError):
            await closing
        await also
        assert (await save).sequence == 1
    assert await off_loop(lambda: list(storage.workspace.runtimes_dir.iterdir())) == []


async def test_closing_says_what_is_not_on_disk(
    workspace_dir: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with open_storage(workspace_dir) as storage:
        with pytest.raises(SaveFailed):
            await storage.replace(document(workspace_dir / "no" / "a.json"))
    assert "not everything is on disk" in caplog.text
    assert "a.json" in caplog.text


async def test_closing_after_its_system_is_no_error(workspace_dir: Path) -> None:
    storage = Storage(Workspace(workspace_dir))
    async with ActorSystem() as system:
        await storage.open(system)
    for call in (storage.replace(document(workspace_dir / "a.json")), storage.flush()):
        with pytest.raises(RuntimeClosed, match="closed before"):
            await call
    await storage.aclose()


# Saving.


async def test_statistics_tell_what_was_done(workspace_dir: Path) -> None:
    async with open_storage(workspace_dir) as storage:
        held = await storage.claim(folder_of(storage))
        saved = await storage.replace(document(held.folder.state_path))
        with pytest.raises(SaveFailed) as caught:
            await storage.replace(document(held.folder.path / "no" / "a.json"))
        assert storage.failing
        assert storage.statistics() == PersistenceStatistics(
            saves=1,
            batches=2,
            bytes_written=saved.bytes,
            failures=1,
            failing=True,
            last_error=str(caught.value),
            claims=1,
        )


async def test_flush_waits_for_everything_before_it(workspace_dir: Path) -> None:
    """S25: flush returns when everything sent before is on disk."""
    disk = HeldDisk()
    async with open_storage(workspace_dir, files=disk) as storage:
        disk.hold()
        saves = [
            asyncio.create_task(storage.replace(document(workspace_dir / f"{n}.json", n))) for n in range(100)
        ]
        flush = asyncio.create_task(storage.flush())
        await disk.until_stuck()
        await turns()
        assert not flush.done()
        disk.let_go()
        await flush
        assert all(save.done() for save in saves)
        assert storage.statistics().pending == 0


async def test_flush_raises_for_what_is_not_on_disk(workspace_dir: Path) -> None:
    """S25: flush raises when a file is not on disk, and names it."""
    async with open_storage(workspace_dir) as storage:
        for name in ("a", "b"):
            with pytest.raises(SaveFailed):
                await storage.replace(document(workspace_dir / name / "x.json"))
        with pytest.raises(SaveError, match=r"x\.json.* And 1 other files") as caught:
            await storage.flush()
        assert caught.value.path == str(workspace_dir / "a" / "x.json")


async def test_flush_gives_up_in_time(workspace_dir: Path) -> None:
    """S31: flush returns at its deadline with FlushTimeout; what it waited for is still written."""
    disk, clock = HeldDisk(), FakeClock()
    async with open_storage(workspace_dir, files=disk, clock=clock, flush_timeout=10.0) as storage:
        disk.hold()
        save = asyncio.create_task(storage.replace(document(workspace_dir / "a.json", 1)))
        await disk.until_stuck()
        short, default = asyncio.create_task(storage.flush(1.0)), asyncio.create_task(storage.flush())
        await clock.advance(1.0)
        with pytest.raises(FlushTimeout, match="after 1 seconds 1 files"):
            await short
        assert not default.done()
        await clock.advance(9.0)
        with pytest.raises(FlushTimeout):
            await default
        disk.let_go()
        await save
        await storage.flush()


async def test_calls_run_in_a_thread_of_the_storages_own(workspace_dir: Path) -> None:
    """S36: Blocking work never runs in the default executor, and writing never waits for it."""
    async with open_storage(workspace_dir) as storage:
        assert await storage.call(lambda: threading.current_thread().name) == "overwinter-opener"
        with pytest.raises(ZeroDivisionError):
            await storage.call(lambda: 1 / 0)
        stuck, free = threading.Event(), threading.Event()

        def wait_there() -> bool:
            stuck.set()
            return free.wait(60)

        waiting = asyncio.create_task(storage.call(wait_there))
        await off_loop(stuck.wait, 60)
        withdrawn = asyncio.create_task(storage.call(stuck.clear))
        await turns()
        withdrawn.cancel()
        assert (await storage.replace(document(workspace_dir / "a.json"))).sequence == 1
        free.set()
        await waiting
        assert stuck.is_set()


async def test_watchers_hear_of_failure_and_recovery(workspace_dir: Path) -> None:
    """S27: Whoever watches the storage is told of each file that fails, and that recovers."""
    events: list[StorageEvent] = []
    async with open_storage(workspace_dir) as storage:
        unwatch = storage.watch(events.append)
        path = workspace_dir / "sub" / "a.json"
        with pytest.raises(SaveFailed):
            await storage.replace(document(path))
        await off_loop(path.parent.mkdir)
        await storage.replace(document(path))
        unwatch()
        assert [(event.kind, event.path) for event in events] == [
            ("failed", str(path)),
            ("recovered", str(path)),
        ]


# Claims.


async def test_a_claim_opens_the_folder(workspace_dir: Path) -> None:
    """S13: A claim creates the folder and its identity, and sweeps what a dead writer left there."""
    async with open_storage(workspace_dir) as storage:
        held = await storage.claim(folder_of(storage))
        left = held.folder.path / ".overwinter-0123456789abcdef.tmp"
        await off_loop(left.write_bytes, b"half a sta")
        with pytest.raises(AgentInUse):
            await storage.claim(folder_of(storage))
        assert await off_loop(left.exists), "only the holder sweeps"
        await storage.release(held, 3)
        again = await storage.claim(folder_of(storage), known_sequence=3, last=held)
        assert not await off_loop(left.exists)
        assert again.lease.incarnation == held.lease.incarnation
        assert (again.sequence, storage.statistics().claims) == (3, 1)


async def test_two_storages_of_one_process_are_two_owners(workspace_dir: Path) -> None:
    """S5: A second storage of the same process gets AgentInUse."""
    async with open_storage(workspace_dir) as first, open_storage(workspace_dir) as second:
        held = await first.claim(folder_of(first))
        with pytest.raises(AgentInUse) as caught:
            await second.claim(folder_of(second))
        assert (caught.value.pid, caught.value.runtime_id) == (os.getpid(), first.runtime_id)
        await first.release(held, 1)
        other = await second.claim(folder_of(second))
        await second.release(other, 2)
        with pytest.raises(StaleState):
            await first.claim(folder_of(first), known_sequence=1, last=held)


async def test_agents_whose_ids_begin_alike_have_two_folders(workspace_dir: Path) -> None:
    """S13: Where twelve digits of two ids collide, the claim's folder is the one with all of them."""
    one, two = f"{'1' * 8}-{'1' * 4}-5111-8111-111111111111", f"{'1' * 8}-{'1' * 4}-5222-8222-222222222222"
    async with open_storage(workspace_dir) as storage:
        first = await storage.claim(storage.workspace.folder("twin", one))
        second = await storage.claim(storage.workspace.folder("twin", two))
        assert first.folder.path != second.folder.path
        assert two.replace("-", "") in second.folder.path.name


async def test_many_claims_at_once_of_which_none_can_be_taken_are_each_told_why(workspace_dir: Path) -> None:
    """S34: What stands in the way of making many folders at once is told to each that wanted one."""
    async with open_storage(workspace_dir) as storage:
        first, *others = (folder_of(storage, f"writer-{number}") for number in range(6))
        await storage.claim(first)
        await off_loop(storage.workspace.mutex_path.unlink)
        await off_loop(storage.workspace.mutex_path.mkdir)
        told = await asyncio.gather(*map(storage.claim, others), return_exceptions=True)
        assert [type(error) for error in told] == [WorkspaceError] * len(others)
        assert not await off_loop(others[0].path.exists)
        await off_loop(storage.workspace.mutex_path.rmdir)
        await asyncio.gather(*map(storage.claim, others))


async def test_two_first_openings_do_not_disturb_each_other(
    workspace_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """S5: Of two that open a new folder at once one has it and the other is told, whoever is faster."""
    disk, waits = HeldDisk(), threading.Event()
    disk.gates = {"fsync"}
    sleep = time.sleep

    def pause(seconds: float) -> None:
        waits.set()
        sleep(seconds)

    monkeypatch.setattr("overwinter.persistence.lock.time.sleep", pause)
    async with open_storage(workspace_dir) as first, open_storage(workspace_dir, files=disk) as second:
        disk.hold()
        slow = asyncio.create_task(second.claim(folder_of(second)))
        await disk.until_stuck()
        quick = asyncio.create_task(first.claim(folder_of(first)))
        quick.add_done_callback(lambda _: waits.set())
        assert await off_loop(waits.wait, 60)
        disk.let_go()
        outcomes = await asyncio.gather(slow, quick, return_exceptions=True)
        assert sorted(type(outcome).__name__ for outcome in outcomes) == ["AgentInUse", "Claim"]


async def test_many_new_agents_are_claimed_at_once_and_each_has_its_own_outcome(workspace_dir: Path) -> None:
    """S5: Their folders are made together; one whose disk fails harms no other, and one that is gone nobody."""
    disk = FailingDisk()
    disk.broken, disk.only = {"open"}, "/bad-"  # and not a temporary file whose random name has it
    names = [f"bee{number}" for number in range(8)]
    async with open_storage(workspace_dir, files=disk) as storage:
        gate = threading.Event()
        waits = asyncio.create_task(storage.call(gate.wait, 60))
        claims = {
            name: asyncio.create_task(storage.claim(folder_of(storage, name))) for name in [*names, "bad"]
        }
        again = asyncio.create_task(storage.claim(folder_of(storage, "bee3")))
        await turns(5)
        claims.pop("bee5").cancel()
        gate.set()
        await waits
        with pytest.raises(WorkspaceError, match="No space left"):
            await claims.pop("bad")
        with pytest.raises(AgentInUse):
            await again
        held = [await claim for claim in claims.values()]
        assert {claim.folder.name for claim in held} == set(claims)
        assert len({claim.lease.incarnation for claim in held}) == len(held)
        assert storage.statistics().claims == len(held)


async def test_many_first_openings_beside_another_process_wait_for_it(workspace_dir: Path) -> None:
    """S4: Folders are made only while nobody else claims."""
    async with open_storage(workspace_dir) as storage:
        mutex = FileLock(storage.workspace.mutex_path)
        await off_loop(mutex.acquire)
        claims = [asyncio.create_task(storage.claim(folder_of(storage, f"bee{n}"))) for n in range(8)]
        await turns(5)
        assert not await off_loop(storage.workspace.agents_dir.exists)
        await off_loop(mutex.release)
        assert len({claim.lease.incarnation for claim in await asyncio.gather(*claims)}) == 8


async def test_a_workspace_removed_meanwhile_is_named(workspace_dir: Path) -> None:
    async with open_storage(workspace_dir) as storage:
        await off_loop(shutil.rmtree, workspace_dir)
        with pytest.raises(WorkspaceError, match="cannot be used"):
            await storage.claim(folder_of(storage))


async def test_what_is_read_with_a_claim_comes_with_it_or_nothing_is_held(workspace_dir: Path) -> None:
    """S13: A claim by somebody who could not read what is there is free again."""
    async with open_storage(workspace_dir) as storage:
        folder = storage.workspace.folder("queen", "id-of-queen")

        def refuse(held: object) -> None:
            raise LookupError("nothing to be read here")

        with pytest.raises(LookupError):
            await storage.claim_and_read(folder, refuse)
        held, name = await storage.claim_and_read(folder, lambda claim: claim.folder.name)
        assert (held.folder, name) == (folder, "queen")


async def test_a_damaged_identity_stops_a_claim(workspace_dir: Path) -> None:
    async with open_storage(workspace_dir) as storage:
        held = await storage.claim(folder_of(storage))
        await storage.release(held, 1)
        await off_loop(held.folder.identity_path.write_bytes, b"{")
        with pytest.raises(CorruptState):
            await storage.claim(folder_of(storage))
        assert storage.statistics().claims == 0


async def test_a_claim_can_wait_for_the_holder(workspace_dir: Path) -> None:
    """S10: With a timeout a claim waits for the holder to let go."""
    clock = FakeClock()
    async with (
        open_storage(workspace_dir, clock=clock) as first,
        open_storage(workspace_dir, clock=clock) as second,
    ):
        held = await first.claim(folder_of(first))
        waiting = asyncio.create_task(second.claim(folder_of(second), timeout=5.0))
        await reached(second)
        await clock.advance(1.0)
        assert not waiting.done()
        await first.release(held, 1)
        while not waiting.done():
            await clock.advance(0.1)
            await reached(second)
        assert (await waiting).sequence == 1
        assert clock.monotonic() < 5.0


async def test_a_claim_waits_no_longer_than_it_was_told(workspace_dir: Path) -> None:
    """S10: When the time is over the holder is named."""
    clock = FakeClock()
    async with (
        open_storage(workspace_dir, clock=clock) as first,
        open_storage(workspace_dir, clock=clock) as second,
    ):
        await first.claim(folder_of(first))
        waiting = asyncio.create_task(second.claim(folder_of(second), timeout=0.2))
        while not waiting.done():
            await reached(second)
            await clock.advance(0.05)
        with pytest.raises(AgentInUse):
            await waiting
        assert clock.monotonic() < 1.0


async def test_a_cancelled_claim_holds_nothing(workspace_dir: Path) -> None:
    """S11: A claim that was cancelled holds nothing, wherever it was cancelled."""
    disk = HeldDisk()
    async with open_storage(workspace_dir, files=disk) as storage:
        held = await storage.claim(folder_of(storage))
        await storage.release(held, 4)
        disk.hold()
        begun = asyncio.create_task(storage.claim(folder_of(storage)))
        await disk.until_stuck()
        queued = asyncio.create_task(storage.claim(folder_of(storage, "other")))
        await turns()
        for each in (begun, queued):
            each.cancel()
        await turns()
        disk.let_go()
        await reached(storage)
        assert storage.statistics().claims == 0
        assert (await storage.claim(folder_of(storage))).sequence == 4
        await storage.claim(folder_of(storage, "other"))


@pytest.mark.allow_blocking  # it keeps the loop from running, on purpose
async def test_a_claim_cancelled_at_the_very_end_holds_nothing(workspace_dir: Path) -> None:
    """S11: Also when the thread has claimed it already, and only the loop does not know yet."""
    async with open_storage(workspace_dir) as storage:
        claiming = asyncio.create_task(storage.claim(folder_of(storage)))
        await turns(3)
        reached_there = threading.Event()
        storage._current().threads.opener.submit(reached_there.set)
        # The loop is kept from running, so that the result is there and has not been handed over.
        assert reached_there.wait(60)
        claiming.cancel()
        with pytest.raises(asyncio.CancelledError):
            await claiming
        await reached(storage)
        assert storage.statistics().claims == 0
        await storage.claim(folder_of(storage))


async def test_a_cancelled_claim_that_failed_is_nothing(workspace_dir: Path) -> None:
    disk = HeldDisk()
    async with open_storage(workspace_dir, files=disk) as storage:
        await storage.claim(folder_of(storage))
        disk.hold()
        second = asyncio.create_task(storage.claim(folder_of(storage)))
        await disk.until_stuck()
        second.cancel()
        await turns()
        disk.let_go()
        await reached(storage)
        assert storage.statistics().claims == 1


async def test_a_claim_cancelled_by_the_end_holds_nothing(workspace_dir: Path) -> None:
    disk, clock = HeldDisk(), FakeClock()
    async with open_storage(workspace_dir, files=disk, clock=clock) as storage:
        disk.hold()
        claiming = asyncio.create_task(storage.claim(folder_of(storage)))
        await disk.until_stuck()
        closing = asyncio.create_task(storage.aclose())
        await clock.advance(60.0)
        await closing
        claiming.cancel()
        with pytest.raises(asyncio.CancelledError):
            await claiming
        disk.let_go()
    await wait_until_empty(storage.workspace.runtimes_dir)


async def test_an_agent_is_released_after_its_last_write(workspace_dir: Path) -> None:
    """S35: An agent is free for others only when nothing of it is pending any more."""
    disk = HeldDisk()
    async with open_storage(workspace_dir, files=disk) as first, open_storage(workspace_dir) as second:
        held = await first.claim(folder_of(first))
        disk.hold()
        save = asyncio.create_task(first.replace(document(held.folder.state_path, "last")))
        await disk.until_stuck()
        also = asyncio.create_task(first.replace(document(held.folder.config_path, "last")))
        await turns()
        releasing = asyncio.create_task(first.release(held, 2))
        await turns()
        with pytest.raises(AgentInUse):
            await second.claim(folder_of(second))
        disk.let_go()
        await releasing
        assert save.done()
        assert also.done()
        await second.claim(folder_of(second))
        assert await off_loop(value_in, held.folder.state_path) == "last"


async def test_a_release_does_not_wait_for_ever(
    workspace_dir: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """S35: A release is waited for until the deadline, and goes on behind."""
    disk, clock = HeldDisk(), FakeClock()
    async with open_storage(workspace_dir, files=disk, clock=clock) as storage:
        held = await storage.claim(folder_of(storage))
        disk.hold()
        save = asyncio.create_task(storage.replace(document(held.folder.state_path)))
        await disk.until_stuck()
        releasing = asyncio.create_task(storage.release(held, 1))
        await clock.advance(10.0)
        await releasing
        assert "as soon as the disk answers" in caplog.text
        disk.let_go()
        await save
        await storage.flush()
        await turns()
        await reached(storage)
        assert (await storage.claim(folder_of(storage))).sequence == 1


async def test_a_claim_waits_for_a_release_of_the_same_storage_that_is_under_way(workspace_dir: Path) -> None:
    """S55: A claim that meets a release of its own storage waits for it, and is not told that it is in use here."""
    disk, clock = HeldDisk(), FakeClock()
    async with open_storage(workspace_dir, files=disk, clock=clock) as storage:
        held = await storage.claim(folder_of(storage))
        disk.gates = {"fsync"}
        disk.hold()
        save = asyncio.create_task(storage.replace(document(held.folder.state_path)))
        await disk.until_stuck()
        releasing = asyncio.create_task(storage.release(held, 1))
        await clock.advance(10.0)
        await releasing
        early = asyncio.create_task(storage.claim(folder_of(storage)))
        await turns()
        await clock.advance(10.0)
        with pytest.raises(AgentInUse):
            await early
        late = asyncio.create_task(storage.claim(folder_of(storage)))
        await turns()
        assert not late.done()
        disk.let_go()
        await save
        assert (await late).sequence == 1


async def test_a_cancelled_release_goes_on(workspace_dir: Path) -> None:
    disk = HeldDisk()
    async with open_storage(workspace_dir, files=disk) as storage:
        held = await storage.claim(folder_of(storage))
        disk.hold()
        save = asyncio.create_task(storage.replace(document(held.folder.state_path)))
        await disk.until_stuck()
        releasing = asyncio.create_task(storage.release(held, 1))
        await turns()
        releasing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await releasing
        disk.let_go()
        await save
        await storage.flush()
        await turns()
        await reached(storage)
        assert storage.statistics().claims == 0


async def test_a_release_that_the_end_overtakes_is_the_ends_business(workspace_dir: Path) -> None:
    disk, clock = HeldDisk(), FakeClock()
    async with open_storage(workspace_dir, files=disk, clock=clock) as storage:
        held = await storage.claim(folder_of(storage))
        disk.hold()
        save = asyncio.create_task(storage.replace(document(held.folder.state_path, 1)))
        await disk.until_stuck()
        releasing = asyncio.create_task(storage.release(held, 1))
        await turns()
        closing = asyncio.create_task(storage.aclose())
        await clock.advance(60.0)
        await closing
        await releasing
        with pytest.raises(RuntimeClosed):
            await save
        disk.let_go()
    await wait_until_empty(storage.workspace.runtimes_dir)
    async with open_storage(workspace_dir) as after:
        assert (await after.claim(folder_of(after))).taken_over_from


async def test_a_release_queued_before_the_end_is_carried_out(workspace_dir: Path) -> None:
    """S35: A release that closing overtakes is carried out before the lock is given back."""
    disk = HeldDisk()
    async with open_storage(workspace_dir, files=disk) as storage:
        held = await storage.claim(folder_of(storage))
        disk.hold()
        loading = asyncio.create_task(storage.call(disk.read_bytes, held.folder.identity_path))
        await disk.until_stuck()
        releasing = asyncio.create_task(storage.release(held, 8))
        await turns()
        closing = asyncio.create_task(storage.aclose())
        await turns()
        disk.let_go()
        await asyncio.gather(loading, releasing, closing)
    async with open_storage(workspace_dir) as after:
        assert (await after.claim(folder_of(after))).sequence == 8


async def test_a_release_after_the_threads_have_ended_is_no_error(workspace_dir: Path) -> None:
    async with open_storage(workspace_dir) as storage:
        held = await storage.claim(folder_of(storage))
        claims = storage._current().claims
        await storage.aclose()
        await claims.release(held, 1, 10.0)


async def test_a_closing_that_the_loop_cuts_short_lets_go(workspace_dir: Path) -> None:
    """S33: When the event loop itself ends the closing, everybody is told and the lock goes when the disk answers."""
    disk = HeldDisk()
    async with open_storage(workspace_dir, files=disk) as storage:
        disk.hold()
        save = asyncio.create_task(storage.replace(document(workspace_dir / "a.json")))
        await disk.until_stuck()
        closing = asyncio.create_task(storage.aclose())
        await turns()
        assert storage._closing is not None
        storage._closing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await closing
        with pytest.raises(RuntimeClosed):
            await save
        disk.let_go()
        await wait_until_empty(storage.workspace.runtimes_dir)


async def test_closing_in_a_forked_child_touches_nothing(workspace_dir: Path) -> None:
    """S7: In a forked child closing does nothing; what the child has of the lock was let go at the fork."""
    async with open_storage(workspace_dir) as storage:
        session = storage._current()
        session.lock._lock.leave_in_child()
        for call in (storage.flush(), storage.call(lambda: None)):
            with pytest.raises(ForkedRuntime):
                await call
        await storage.aclose()
        assert storage.statistics() == PersistenceStatistics()
        assert await off_loop((session.lock.folder / "lock").exists)
        session.threads.end(lambda: None)


async def test_waiting_ends_with_what_comes_first() -> None:
    clock = FakeClock()
    loop = asyncio.get_running_loop()
    done: asyncio.Future[None] = loop.create_future()
    waiting = asyncio.create_task(within(clock, 1.0, done))
    await turns()
    # Both in the same turn of the loop.
    done.set_result(None)
    clock._timers[0][2].callback()
    assert await waiting
    assert clock.pending == 0
    assert await within(clock, 1.0, done)
    never: asyncio.Future[None] = loop.create_future()
    waiting = asyncio.create_task(within(clock, 1.0, never))
    await clock.advance(1.0)
    assert not await waiting
    assert not never.cancelled()
    assert clock.pending == 0


def test_a_thread_does_not_mind_that_the_loop_is_gone() -> None:
    future: Future[None] = Future()
    over: Future[None] = Future()

    async def wait(until: Future[None]) -> asyncio.Future[None]:
        return done_in_thread(until)

    waiting = asyncio.run(wait(future))
    future.set_result(None)
    assert not waiting.done()

    async def cancelled() -> None:
        waiting = done_in_thread(over)
        waiting.cancel()
        over.set_result(None)
        await turns()
        assert not over.cancelled()

    asyncio.run(cancelled())


async def test_a_release_the_disk_refuses_is_logged(
    workspace_dir: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """S9: A release never raises; a disk that refuses it is logged, and the agent is free in this runtime."""
    disk = FailingDisk()
    async with open_storage(workspace_dir, files=disk) as storage:
        held = await storage.claim(folder_of(storage))
        disk.broken, disk.only = {"overwrite", "replace"}, ".lease.json"
        await storage.release(held, 5)
        assert "could not be released" in caplog.text
        disk.broken = set()
        assert (await storage.claim(folder_of(storage), known_sequence=5)).sequence == 5


async def test_what_a_released_agent_could_not_save_is_given_up(
    workspace_dir: Path, caplog: pytest.LogCaptureFixture
) -> None:
    disk = FailingDisk()
    async with open_storage(workspace_dir, files=disk) as storage:
        held, other = (
            await storage.claim(folder_of(storage)),
            await storage.claim(folder_of(storage, "other")),
        )
        disk.broken, disk.only = {"replace"}, "_state.json"
        for each in (held, other):
            with pytest.raises(SaveFailed):
                await storage.replace(document(each.folder.state_path))
        await storage.release(held, 1)
        assert "was given up" in caplog.text
        assert list(storage.health.failing) == [str(other.folder.state_path)]


# Cancellation, everywhere.


async def test_cancelling_a_save_anywhere_leaves_nothing_behind(workspace_dir: Path) -> None:
    """S28: A save cancelled at any of its awaits leaves a whole file, no temporary, and nobody waiting."""
    async with open_storage(workspace_dir) as storage:
        path = workspace_dir / "a.json"
        await storage.replace(document(path, "old"))
        for steps in range(40):
            save = asyncio.create_task(storage.replace(document(path, f"new {steps}")))
            beside = asyncio.create_task(storage.replace(document(workspace_dir / "b.json", steps)))
            flush = asyncio.create_task(storage.flush())
            await turns(steps)
            save.cancel()
            if steps % 2:
                flush.cancel()
            await asyncio.wait({save, flush})
            assert (await beside).path.endswith("b.json")
            assert str(await off_loop(value_in, path)).startswith(("old", "new"))
        await storage.flush()
        assert not await off_loop(temporaries_in, workspace_dir)
        assert storage.statistics().pending == 0
