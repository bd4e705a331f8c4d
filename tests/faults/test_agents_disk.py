"""A disk that is full, read-only or failing: no run is killed, the old files stay, and all goes on when it does."""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio
import pytest
from tests.support.disk import FailingDisk, off_loop
from tests.support.processes import (
    Child,
    assert_nothing_lost,
    hear,
    memory_folder,
    read_everything,
    say,
    temporaries,
)

from overwinter import Agent, ModelError, ModelUnavailable, Runtime, SaveError, tool
from overwinter.errors import WorkspaceError
from overwinter.events import Event, Saved, SaveFailing
from overwinter.persistence import FileOperations
from overwinter.testing import FakeClock, ScriptedModel

if TYPE_CHECKING:
    from collections.abc import Iterator

    from overwinter.agents.profile import Durability

pytestmark = pytest.mark.anyio

call = ScriptedModel.call
LONG = "word " * 600  # 3 kB


@tool
async def wait_for_the_test(what: str) -> str:
    """Tell the test where we are and wait for it."""
    say("at", what)
    return await asyncio.get_running_loop().run_in_executor(None, hear)


@tool(idempotent=True)
async def think(about: str) -> str:
    """Think about something."""
    return about


STEP = call("think", {"about": "it"})


def worker(script: list[Any], **settings: Any) -> Agent[str]:
    model = ScriptedModel(script, loop=True)
    return Agent("worker", model=model, tools=[wait_for_the_test, think], autosave=True, **settings)


class Watched:
    """The saves and failures of a runtime, in order."""

    def __init__(self, runtime: Runtime, clock: FakeClock | None = None) -> None:
        self.events: list[Saved | SaveFailing] = []
        self._clock = clock
        self._news = anyio.Event()
        runtime.watch(self._see)

    def _see(self, event: Event) -> None:
        if isinstance(event, (Saved, SaveFailing)):
            self.events.append(event)
            self._news.set()
            self._news = anyio.Event()

    def kinds(self, path: Path) -> list[str]:
        return [event.kind for event in self.events if event.path == str(path)]

    async def until(self, path: Path, *, failing: bool) -> None:
        """Wait until the newest news of the file is this."""
        wanted = "save_failing" if failing else "saved"
        with anyio.fail_after(60):
            while self.kinds(path)[-1:] != [wanted]:
                news = self._news
                # On a slow machine a pause before the next attempt may begin when the clock has gone on already.
                with anyio.move_on_after(0.1):
                    await news.wait()
                    continue
                if self._clock is not None:
                    await self._clock.advance(1.0)


@pytest.mark.parametrize("operation", ["open", "write", "fsync", "replace", "sync_folder"])
@pytest.mark.parametrize("durability", ["async", "exit"])
async def test_a_full_disk_kills_no_run_and_all_is_saved_when_there_is_room(
    workspace_dir: Path, operation: str, durability: Durability, caplog: pytest.LogCaptureFixture
) -> None:
    """F17: on a failing disk a run finishes; it is reported as an event, a log line and in statistics(); the old file
    stays whole; and when the disk works again the newest state reaches it without a further step."""
    disk, clock = FailingDisk(), FakeClock()
    caplog.set_level(logging.INFO, "overwinter.persistence")
    async with Runtime(workspace_dir, files=disk, clock=clock) as runtime:
        watched = Watched(runtime, clock)
        agent = worker(["one", ["two", STEP], ["three", STEP], "four"], durability=durability)
        await runtime.spawn(agent)
        await agent.run("first")
        await agent.save()
        before = (await off_loop(read_everything, workspace_dir))["worker"]
        disk.broken.add(operation)
        with anyio.fail_after(60):
            assert (await agent.run("second")).text == "four"
        await clock.advance(1.0)
        await watched.until(agent.state_path, failing=True)
        during = (await off_loop(read_everything, workspace_dir))["worker"]
        assert_nothing_lost(before.state, during.state)
        if operation != "sync_folder":
            assert during.metadata == before.metadata, "the file is the old one; the journal may know more"
        statistics = runtime.statistics().persistence
        assert statistics.failing
        assert os.strerror(errno.ENOSPC) in statistics.last_error
        assert [record.levelname for record in caplog.records if "Saving fails" in record.message] == [
            "WARNING"
        ]
        with pytest.raises(SaveError, match="No space left"):
            await agent.save()
        disk.broken.clear()
        requests = len(agent.state.conversation)
        await clock.advance(60.0)
        await watched.until(agent.state_path, failing=False)
        await watched.until(agent.config_path, failing=False)
        after = (await off_loop(read_everything, workspace_dir))["worker"]
        assert_nothing_lost(before.state, after.state)
        assert after.state.conversation == [*agent.state.conversation]
        assert len(after.state.conversation) == requests
        assert after.state.status == "finished"
        assert not runtime.statistics().persistence.failing
        assert any("Saving works again" in record.message for record in caplog.records)
    assert not await off_loop(temporaries, workspace_dir)


@pytest.mark.alone
async def test_a_disk_that_stays_full_lets_the_runtime_end_and_says_so(
    workspace_dir: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """F18: a disk that stays full keeps no Runtime from ending; what was saved before stays, and the log says so."""
    disk = FailingDisk()
    with anyio.fail_after(20):
        async with Runtime(workspace_dir, files=disk) as runtime:
            agent = worker(["one"])
            await runtime.spawn(agent)
            await agent.run("first")
            await agent.save()
            before = (await off_loop(read_everything, workspace_dir))["worker"]
            disk.broken |= {"open", "write"}
            (await runtime.storage()).flush_timeout = 0.5
            await agent.run("second")
    after = (await off_loop(read_everything, workspace_dir))["worker"]
    assert after.state == before.state
    assert any(record.levelno >= logging.WARNING and "older" in record.message for record in caplog.records)
    assert not await off_loop(temporaries, workspace_dir)


async def test_an_error_on_a_full_disk_says_that_it_could_not_be_saved(workspace_dir: Path) -> None:
    """F18: the note of an error says so where the state could not be saved; the object still goes on from memory."""
    disk = FailingDisk()
    async with Runtime(workspace_dir, files=disk) as runtime:
        agent = worker(["one", ModelError("gone"), "two"])
        await runtime.spawn(agent)
        await agent.run("first")
        await agent.save()
        disk.broken.add("write")
        with pytest.raises(ModelUnavailable) as caught:
            await agent.run("second")
        (note,) = caught.value.__notes__
        assert "could not be saved" in note
        assert str(agent.state_path) in note
        assert "resume()" in note
        assert (await agent.resume()).text == "two"
        disk.broken.clear()
        await agent.save()
    after = (await off_loop(read_everything, workspace_dir))["worker"]
    assert after.state.conversation == [*agent.state.conversation]


class DiskWithoutFolders(FailingDisk):
    """A failing disk on which no folder may be made either."""

    def mkdir(self, path: Path) -> None:
        self._try("mkdir", path)
        super().mkdir(path)


async def test_a_workspace_that_cannot_be_used_fails_before_a_model_is_paid_and_later_works(
    workspace_dir: Path,
) -> None:
    """F19: on a disk that is full from the start, spawn and run raise WorkspaceError before any model is asked, and
    the same Runtime and agent work once there is room."""
    disk = DiskWithoutFolders()
    model = ScriptedModel(["one"])
    agent = Agent("worker", model=model, autosave=True)
    async with Runtime(workspace_dir, files=disk) as runtime:
        for broken in ("mkdir", "open", "replace"):
            disk.broken = {broken}
            with pytest.raises(WorkspaceError, match="No space left"):
                await runtime.spawn(agent)
        disk.broken.clear()
        assert not model.requests
        await runtime.spawn(agent)
        assert (await agent.run("now")).text == "one"


def spend(folder: Path, kind: str) -> Path:
    """Use up all the room there is, in bytes or in files."""
    ballast = folder / "ballast"
    ballast.mkdir()
    try:
        if kind == "bytes":
            with (ballast / "0").open("wb", buffering=0) as file:
                while True:
                    file.write(bytes(4096))
        for number in range(10_000):
            (ballast / str(number)).touch()
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
    return ballast


def fill_a_small_disk(root: str, kind: str) -> None:
    """A program: run on a disk that fills up, and make room later."""

    async def main() -> None:
        workspace = Path(root) / "agent_workspace"
        async with Runtime(workspace) as runtime:
            watched = Watched(runtime)
            agent = worker([[LONG, STEP], "two", [LONG, STEP], [LONG, STEP], "five"])
            await runtime.spawn(agent)
            await agent.run("first")
            await agent.save()
            before = read_everything(workspace)["worker"]
            ballast = spend(Path(root), kind)
            text = (await agent.run("second")).text
            await watched.until(agent.state_path, failing=True)
            during = read_everything(workspace)["worker"]
            statistics = runtime.statistics().persistence
            shutil.rmtree(ballast)
            await watched.until(agent.state_path, failing=False)
            await watched.until(agent.config_path, failing=False)
            after = read_everything(workspace)["worker"]
            assert_nothing_lost(before.state, after.state)
            say("text", text)
            say("kept", during.state == before.state)
            say("failing", [statistics.failing, statistics.last_error])
            say("recovered", after.state.conversation == [*agent.state.conversation])
            say("temporaries", [str(path) for path in temporaries(workspace)])

    asyncio.run(main())


def in_a_mount(script: str, folder: Path) -> list[str]:
    """The prefix of a program that runs where only it sees what *script* mounted on ``$0``; else a loud skip."""
    probe = ["unshare", "-m", "sh", "-c", 'mount -t tmpfs t "$0"', str(folder)]
    try:
        subprocess.run(probe, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"NOT TESTED on a real filesystem: this process may not mount anything ({error})")
    return ["unshare", "-m", "sh", "-c", f'{script} && exec "$@"', str(folder)]


@pytest.mark.parametrize("kind", ["bytes", "files"])
def test_a_really_full_disk(tmp_path: Path, kind: str) -> None:
    """F17: ... on a real filesystem of 160 kB that has run out of bytes, or of files."""
    prefix = in_a_mount('mount -t tmpfs -o size=160k,nr_inodes=48 t "$0"', tmp_path)
    with Child(fill_a_small_disk, str(tmp_path), kind, prefix=prefix) as child:
        assert child.expect("text") == "five"
        assert child.expect("kept") is True
        failing, last_error = child.expect("failing")
        assert failing
        assert "No space left" in last_error
        assert child.expect("recovered") is True
        assert child.expect("temporaries") == []
        ended = child.ended()
    assert ended.code == 0
    assert "Saving fails" in ended.stderr


class FailingOnce(FileOperations):
    """A disk whose Nth operation fails, once; ``failed`` is its name."""

    def __init__(self, number: int, code: int) -> None:
        super().__init__()
        self.left = number
        self.code = code
        self.failed = ""

    def _try(self, operation: str) -> None:
        self.left -= 1
        if self.left == 0:
            self.failed = operation
            raise OSError(self.code, os.strerror(self.code))

    def open_new(self, path: Path) -> int:
        self._try("open")
        return super().open_new(path)

    def write(self, fd: int, data: bytes | memoryview) -> int:
        self._try("write")
        return super().write(fd, data)

    def fsync(self, fd: int) -> None:
        self._try("fsync")
        super().fsync(fd)

    def close(self, fd: int) -> None:
        super().close(fd)
        self._try("close")

    def replace(self, source: Path, target: Path) -> None:
        self._try("replace")
        super().replace(source, target)

    def link(self, existing: Path, new: Path) -> None:
        self._try("link")
        super().link(existing, new)

    def unlink(self, path: Path) -> None:
        self._try("unlink")
        super().unlink(path)

    def sync_folder(self, path: Path) -> None:
        self._try("sync_folder")
        super().sync_folder(path)

    def mkdir(self, path: Path) -> None:
        self._try("mkdir")
        super().mkdir(path)

    def read_bytes(self, path: Path) -> bytes:
        self._try("read")
        return super().read_bytes(path)


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    with memory_folder(tmp_path) as chosen:
        yield chosen


@pytest.mark.parametrize("durability", ["async", "sync", "exit"])
async def test_any_one_operation_that_fails_once_loses_nothing(folder: Path, durability: Durability) -> None:
    """F40: whichever operation on files fails, once, in the life of an agent: spawn says so before any model is asked
    and works the next time, or the run finishes, and when the Runtime was left the newest state is on disk."""
    lost: list[str] = []
    number, failed = 0, "?"
    while failed:
        number += 1
        disk = FailingOnce(number, errno.EIO)
        agent = worker([["one", STEP], "two"], durability=durability)
        async with Runtime(folder / f"{number}", files=disk, run_grace=0.0) as runtime:
            try:
                await runtime.spawn(agent)
            except WorkspaceError:
                await runtime.spawn(agent)
            assert (await agent.run("work")).text == "two"
        failed = disk.failed
        saved = (await off_loop(read_everything, folder / f"{number}"))["worker"]
        assert failed == "unlink" or not await off_loop(temporaries, folder / f"{number}")
        if saved.state.conversation != [*agent.state.conversation]:
            lost.append(f"{failed} (the {number}th operation) left {len(saved.state.conversation)} messages")
    assert number > 30
    assert not lost
