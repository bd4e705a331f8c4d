"""What a runtime publishes for those who watch."""

from __future__ import annotations

import asyncio
import os
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest
from tests.support.commands import agent_of

from overwinter import Runtime
from overwinter.agents.events import RunStarted, Saved
from overwinter.agents.publishing import StatusPublisher
from overwinter.persistence import Workspace
from overwinter.persistence.replay import replay_dead_runtimes
from overwinter.persistence.runtime_lock import RuntimeLock
from overwinter.persistence.runtime_status import (
    STATUS_NAMES,
    RuntimeStatus,
    read_status,
    write_status,
)

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.anyio


class Loop:
    """Counts the timers that are set, and rings them when the test says so."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.timers: list[tuple[float, Any]] = []
        self._real = asyncio.get_running_loop()
        monkeypatch.setattr(self._real, "call_later", self._call_later)

    def _call_later(self, delay: float, callback: Any, *arguments: Any) -> asyncio.Handle:
        if getattr(callback, "__func__", None) is StatusPublisher._write:
            self.timers.append((delay, callback))
            return asyncio.Handle(callback, (), self._real)
        return asyncio.BaseEventLoop.call_later(self._real, delay, callback, *arguments)  # type: ignore[arg-type]

    async def ring(self, runtime: Runtime) -> None:
        """A second is over."""
        _, callback = self.timers.pop()
        callback()
        writing = runtime._status._writing
        assert writing is not None
        await writing


async def published(runtime: Runtime) -> RuntimeStatus | None:
    storage = await runtime.storage()
    folder = storage.workspace.runtimes_dir / storage.runtime_id
    return await asyncio.to_thread(read_status, folder)


async def test_nothing_is_written_before_a_second_and_then_once(
    workspace_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Y42: what a runtime publishes is written once a second at most, in a thread, and only while things happen."""
    loop = Loop(monkeypatch)
    async with Runtime(workspace_dir) as runtime:
        agent = agent_of("ann", "x", "y", "z")
        await runtime.spawn(agent)
        await agent.run("Do it.")
        await agent.save()
        assert [delay for delay, _ in loop.timers] == [1.0]
        assert await published(runtime) is None
        await loop.ring(runtime)
        status = await published(runtime)
        assert status is not None
        (folder,) = status.saves
        assert folder == f"agents/{agent.workspace_dir.name}"
        assert status.saves[folder] >= 2
        assert (status.pid, status.failing) == (os.getpid(), False)
        assert loop.timers == []
        await agent.run("Go on.")
        assert len(loop.timers) == 1


async def test_what_happens_while_it_is_written_is_published_later(
    workspace_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loop = Loop(monkeypatch)
    async with Runtime(workspace_dir) as runtime:
        await runtime.storage()
        runtime.publish(RunStarted(agent_name="ann", task="t"))
        _, callback = loop.timers.pop()
        callback()
        runtime.publish(
            Saved(agent_name="ann", path=str(workspace_dir / "agents" / "ann" / "x"), bytes=1, sequence=1)
        )
        assert loop.timers == []
        writing = runtime._status._writing
        assert writing is not None
        await writing
        assert len(loop.timers) == 1
        await loop.ring(runtime)
        status = await published(runtime)
        assert status is not None
        assert status.saves == {"agents/ann": 1}


async def test_waiting_messages_are_told_by_agent(
    workspace_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Y43: of each agent and swarm at work it is told how many messages wait for it, and how often it was saved."""
    loop = Loop(monkeypatch)
    async with Runtime(workspace_dir) as runtime:
        agent = agent_of("ann")
        ref = await runtime.spawn(agent)
        cell = runtime._exchange.cells[ref.address.path]
        runtime.publish(RunStarted(agent_name="ann", task="t"))
        monkeypatch.setattr(type(cell), "waiting", property(lambda _: 3))
        await loop.ring(runtime)
        status = await published(runtime)
        assert status is not None
        assert status.mailboxes == {agent.agent_id: 3}


async def test_it_goes_with_the_runtime(workspace_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Y44: what a runtime published is gone when it has closed, and what a dead one left when the next one opens."""
    loop = Loop(monkeypatch)
    async with Runtime(workspace_dir) as runtime:
        await runtime.storage()
        runtime.publish(RunStarted(agent_name="ann", task="t"))
        await loop.ring(runtime)
        assert await published(runtime) is not None
        runtime.publish(RunStarted(agent_name="ann", task="t"))
    assert await asyncio.to_thread(os.listdir, workspace_dir / ".runtimes") == []


@pytest.mark.allow_blocking
async def test_what_a_dead_runtime_published_goes_with_it(workspace_dir: Path) -> None:
    workspace = Workspace(workspace_dir)
    workspace.runtimes_dir.mkdir(parents=True)
    lock = RuntimeLock(workspace, "0123456789abcdef")
    lock.acquire(datetime.now(UTC))
    write_status(lock.folder, RuntimeStatus(pid=1))
    for name in STATUS_NAMES:
        (lock.folder / name).touch()
    lock._lock.release()
    replay_dead_runtimes(workspace)
    assert list(workspace.runtimes_dir.iterdir()) == []


@pytest.mark.allow_blocking
async def test_a_disk_that_refuses_harms_nothing(tmp_path: Path) -> None:
    """Y45: a status that cannot be written or read is done without."""
    write_status(tmp_path / "gone", RuntimeStatus())
    assert read_status(tmp_path / "gone") is None
    (tmp_path / "status.json").write_text("{")
    assert read_status(tmp_path) is None
    write_status(tmp_path, RuntimeStatus(pid=7))
    assert read_status(tmp_path) == RuntimeStatus(pid=7)


async def test_a_runtime_that_saves_nothing_publishes_nothing(
    workspace_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loop = Loop(monkeypatch)
    async with Runtime(workspace_dir) as runtime:
        runtime.publish(RunStarted(agent_name="ann", task="t"))
        assert loop.timers == []
    assert not await asyncio.to_thread(workspace_dir.exists)
