"""A disk that does not answer, or says no, and what goes on meanwhile."""

from __future__ import annotations

import asyncio
import errno
import random
import subprocess
import sys
import threading
from typing import TYPE_CHECKING, Any

import pytest
from tests.support.disk import (
    FailingDisk,
    HeldDisk,
    document,
    off_loop,
    open_storage,
    temporaries_in,
    turns,
    until_quiet,
    value_in,
)

from overwinter.errors import AgentInUse, FlushTimeout, RuntimeClosed, SaveFailed, SaveNotDurable
from overwinter.persistence import Autosaver, ReplaceDocument, StorageEvent
from overwinter.runtime import Backoff
from overwinter.runtime.fake_clock import FakeClock

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from overwinter.persistence import Claim, Storage

pytestmark = pytest.mark.anyio

PLAIN = Backoff(initial=1.0, factor=2.0, maximum=8.0, jitter=0.0)


async def claimed(storage: Storage, name: str = "writer") -> Claim:
    return await storage.claim(storage.workspace.folder(name, f"id-of-{name}"))


# A disk that does not answer.


async def test_the_loop_goes_on_while_the_disk_does_not_answer(workspace_dir: Path) -> None:
    """S30: While the disk does not answer, the event loop goes on, and so do saves of everybody once it does."""
    disk = HeldDisk()
    async with open_storage(workspace_dir, files=disk) as storage:
        held = await claimed(storage)
        disk.hold()
        saves = [
            asyncio.create_task(storage.replace(document(held.folder.path / f"{number}.json", number)))
            for number in range(200)
        ]
        await disk.until_stuck()
        ticks = 0
        for _ in range(5000):
            await asyncio.sleep(0)
            ticks += 1
        assert ticks == 5000
        assert not any(save.done() for save in saves)
        assert storage.statistics().pending == 200
        disk.let_go()
        assert len(await asyncio.gather(*saves)) == 200


async def test_flush_and_close_keep_their_deadlines(
    workspace_dir: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """S31: flush and aclose return at their deadlines whatever the disk does, and nobody is left waiting."""
    disk, clock = HeldDisk(), FakeClock()
    async with open_storage(workspace_dir, files=disk, clock=clock, flush_timeout=10.0) as storage:
        held = await claimed(storage)
        path = held.folder.state_path
        await storage.replace(document(path, "old"))
        disk.hold()
        saves = [asyncio.create_task(storage.replace(document(path, n))) for n in range(5)]
        saves += [
            asyncio.create_task(storage.replace(document(held.folder.path / f"{n}.json"))) for n in range(200)
        ]
        loading = asyncio.create_task(storage.call(disk.read_bytes, path))
        await disk.until_stuck()
        flush = asyncio.create_task(storage.flush(3.0))
        await clock.advance(3.0)
        with pytest.raises(FlushTimeout):
            await flush
        closing = asyncio.create_task(storage.aclose())
        await clock.advance(9.9)
        assert not closing.done()
        await clock.advance(0.2)
        assert closing.done()
        await closing
        await asyncio.wait(saves)
        assert {type(save.exception()) for save in saves} == {RuntimeClosed}
        assert "not on disk" in caplog.text
        assert "stay locked" in caplog.text
        loading.cancel()
        disk.let_go()


async def test_a_late_write_can_hit_nobody_elses_file(workspace_dir: Path) -> None:
    """S32: A storage closed over a disk that does not answer keeps its agents until the last write has ended."""
    disk, clock = HeldDisk(), FakeClock()
    async with open_storage(workspace_dir) as other:
        async with open_storage(workspace_dir, files=disk, clock=clock) as storage:
            held = await claimed(storage)
            disk.hold()
            late = asyncio.create_task(storage.replace(document(held.folder.state_path, "late")))
            never = asyncio.create_task(storage.replace(document(held.folder.config_path, "never")))
            await disk.until_stuck()
            closing = asyncio.create_task(storage.aclose())
            await clock.advance(11.0)
            await closing
            await asyncio.wait({late, never})
        with pytest.raises(AgentInUse):
            await claimed(other)
        disk.let_go()
        taken = await other.claim(held.folder, timeout=30.0)
        assert taken.taken_over_from
        assert await off_loop(value_in, held.folder.state_path) == "late"
        assert not await off_loop(held.folder.config_path.exists)
        assert not await off_loop(temporaries_in, workspace_dir)


async def test_a_system_that_stops_keeps_its_deadline_too(workspace_dir: Path) -> None:
    """S31: A runtime that stops its actors before its storage is closed is not held up by the disk."""
    from overwinter.persistence import Storage, Workspace
    from overwinter.runtime import ActorSystem

    disk, clock = HeldDisk(), FakeClock()
    system = ActorSystem(clock=clock, shutdown_timeout=5.0)
    storage = Storage(Workspace(workspace_dir), clock=clock, files=disk, flush_timeout=2.0)
    await system.open()
    await storage.open(system)
    disk.hold()
    save = asyncio.create_task(storage.replace(document(workspace_dir / "a.json")))
    await disk.until_stuck()
    stopping = asyncio.create_task(system.aclose())
    await clock.advance(20.0)
    await stopping
    with pytest.raises(RuntimeClosed):
        await save
    closing = asyncio.create_task(storage.aclose())
    await clock.advance(2.0)
    await closing
    disk.let_go()


HANG = """
import asyncio, sys, threading
from pathlib import Path
from overwinter.errors import RuntimeClosed
from overwinter.persistence import FileOperations, Metadata, ReplaceDocument, Storage, Workspace
from overwinter.runtime import ActorSystem

class Dead(FileOperations):
    dead = False
    def fsync(self, fd):
        if self.dead:
            threading.Event().wait()
        super().fsync(fd)

async def main():
    disk = Dead()
    storage = Storage(Workspace(sys.argv[1]), files=disk, flush_timeout=0.05)
    async with ActorSystem() as system:
        await storage.open(system)
        held = await storage.claim(storage.workspace.folder("writer", "id"))
        disk.dead = True
        metadata = Metadata(timestamp="", loop_count=0, agent_id="", agent_name="", run_id="", status="",
                            sequence=1, schema_version=1, overwinter_version="0")
        save = asyncio.create_task(storage.replace(ReplaceDocument(str(held.folder.state_path), metadata)))
        await asyncio.sleep(0)
        await storage.aclose()
        try:
            await save
        except RuntimeClosed:
            print("told", flush=True)
asyncio.run(main())
print("ended", flush=True)
"""


async def test_a_dead_disk_does_not_keep_the_process(workspace_dir: Path) -> None:
    """S36: A process whose disk never answers again ends nevertheless when its program does."""
    process = await off_loop(
        subprocess.run,
        [sys.executable, "-c", HANG, str(workspace_dir)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (process.returncode, process.stdout.split()) == (0, ["told", "ended"]), process.stderr


# A disk that says no.


class Agent:
    """Something with a state and a config, as an agent has them."""

    def __init__(self, storage: Storage, held: Claim) -> None:
        self.value: Any = "old"
        self.errors: list[Exception] = []
        self.held = held
        self.state = self._saver(storage, held.folder.state_path, keep_previous=True)
        self.config = self._saver(storage, held.folder.config_path)

    def _saver(self, storage: Storage, path: Path, **more: Any) -> Autosaver:
        def produce() -> ReplaceDocument:
            return document(path, self.value, **more)

        return Autosaver(storage, produce, retry=PLAIN, on_error=self.errors.append)

    def change(self, value: Any) -> None:
        self.value = value
        self.state.mark()
        self.config.mark()

    async def settle(self) -> None:
        await self.state.settle()
        await self.config.settle()

    async def on_disk(self) -> tuple[Any, Any]:
        folder = self.held.folder
        return await off_loop(lambda: (value_in(folder.state_path), value_in(folder.config_path)))

    async def aclose(self) -> None:
        await self.state.aclose()
        await self.config.aclose()


@pytest.mark.parametrize("operation", ["open", "write", "fsync", "replace", "sync_folder"])
@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO])
async def test_a_disk_that_fails_for_a_while(workspace_dir: Path, operation: str, code: int) -> None:
    """S41: While the disk fails nothing is lost and nothing is torn; when it does no more, the newest is saved."""
    disk, clock = FailingDisk(), FakeClock()
    events: list[StorageEvent] = []
    async with open_storage(workspace_dir, files=disk, clock=clock) as storage:
        storage.watch(events.append)
        agent = Agent(storage, await claimed(storage))
        agent.change("old")
        await agent.settle()
        disk.broken, disk.code = {operation}, code
        for number in range(20):
            agent.change(f"new {number}")
            await until_quiet(storage)
            await clock.advance(1.0)
            await until_quiet(storage)
        assert storage.failing
        expected = {"old"} if operation != "sync_folder" else {f"new {number}" for number in range(20)}
        assert set(await agent.on_disk()) <= expected
        assert not await off_loop(temporaries_in, workspace_dir)
        assert [event.kind for event in events] == ["failed", "failed"]
        assert [type(error) for error in agent.errors] == [
            SaveNotDurable if operation == "sync_folder" else SaveFailed
        ] * 2
        disk.broken = set()
        await clock.advance(8.0)
        await until_quiet(storage)
        await turns()
        assert await agent.on_disk() == ("new 19", "new 19")
        assert [event.kind for event in events[2:]] == ["recovered", "recovered"]
        assert not storage.failing
        await storage.flush()
        await agent.aclose()
        assert clock.pending == 0


class Unreliable(FailingDisk):
    """A disk on which the Nth operation fails, and then none."""

    def __init__(self) -> None:
        super().__init__()
        self.left = -1

    def _try(self, operation: str, path: Path | None = None) -> None:
        self.left -= 1
        self.broken = {operation} if self.left == 0 else set()
        super()._try(operation, path)


async def test_whichever_operation_fails_the_file_is_whole_and_saved_at_last(workspace_dir: Path) -> None:
    """S41: Whichever single operation fails, the file is the old or the new one, and the new one in the end."""
    disk, clock = Unreliable(), FakeClock()
    async with open_storage(workspace_dir, files=disk, clock=clock) as storage:
        agent = Agent(storage, await claimed(storage))
        agent.change("old")
        await agent.settle()
        for nth in range(1, 40):
            disk.left = nth
            agent.change(f"new {nth}")
            await until_quiet(storage)
            disk_is_fine = disk.left > 0
            state, config = await agent.on_disk()
            before = "old" if nth == 1 else f"new {nth - 1}"
            assert {state, config} <= {before, f"new {nth}"}
            disk.left = -1
            await clock.advance(1.0)
            await until_quiet(storage)
            assert await agent.on_disk() == (f"new {nth}", f"new {nth}")
            assert not await off_loop(temporaries_in, workspace_dir)
            if disk_is_fine:
                break
        else:
            pytest.fail("a save has more operations than that?")
        await agent.aclose()


async def test_many_agents_on_a_disk_that_fails_now_and_then(workspace_dir: Path) -> None:
    """S41: Many agents on a disk that fails at random are all saved at last, each with its newest."""
    dice = random.Random(20261123)

    class Moody(FailingDisk):
        moody = False

        def _try(self, operation: str, path: Path | None = None) -> None:
            self.broken = {operation} if self.moody and dice.random() < 0.1 else set()
            super()._try(operation, path)

    disk, clock = Moody(), FakeClock()
    async with open_storage(workspace_dir, files=disk, clock=clock) as storage:
        agents = [Agent(storage, await claimed(storage, f"agent-{number}")) for number in range(40)]
        disk.moody = True
        for round_ in range(5):
            for number, agent in enumerate(agents):
                agent.change([round_, number])
            await until_quiet(storage)
            await clock.advance(1.0)
        disk.moody = False
        for _ in range(5):
            await until_quiet(storage)
            await clock.advance(8.0)
        await until_quiet(storage)
        for number, agent in enumerate(agents):
            assert await agent.on_disk() == ([4, number], [4, number])
            await agent.aclose()
        assert not await off_loop(temporaries_in, workspace_dir)
        assert not storage.failing
        assert storage.statistics().failures > 20
        assert clock.pending == 0


# Cancellation at every await.


@pytest.mark.parametrize("what", ["save", "flush", "settle", "release", "aclose"])
async def test_a_call_cancelled_anywhere_leaves_nothing_behind(workspace_dir: Path, what: str) -> None:
    """S28: Cancelled at any await, a call leaves whole files, no temporaries, no lock and nobody waiting."""
    for steps in [*range(12), 15, 20, 30, 50]:
        disk, clock = HeldDisk(), FakeClock()
        async with open_storage(workspace_dir, files=disk, clock=clock) as storage:
            agent = Agent(storage, await claimed(storage))
            agent.change("old")
            await agent.settle()
            calls: dict[str, Callable[[], Awaitable[object]]] = {
                "save": lambda s=storage, a=agent: s.replace(document(a.held.folder.state_path, "new")),  # type: ignore[misc]
                "flush": lambda s=storage: s.flush(),  # type: ignore[misc]
                "settle": lambda a=agent: a.settle(),  # type: ignore[misc]
                "release": lambda s=storage, a=agent: s.release(a.held, 1),  # type: ignore[misc]
                "aclose": lambda s=storage: s.aclose(),  # type: ignore[misc]
            }
            if steps % 2:
                disk.hold()
            agent.change("new")
            task = asyncio.ensure_future(calls[what]())
            await turns(steps)
            task.cancel()
            disk.let_go()
            await asyncio.wait({task})
            if what != "aclose":
                await agent.settle()
                assert await agent.on_disk() == ("new", "new")
            await agent.aclose()
            await storage.aclose()
        assert not await off_loop(temporaries_in, workspace_dir)
        assert await off_loop(lambda: list((workspace_dir / ".runtimes").iterdir())) == []
    assert threading.active_count() < 50
