"""A folder or a filesystem that is read-only, from the start or from the middle of a run."""

from __future__ import annotations

import asyncio
import shutil
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio
import pytest
from tests.faults.test_agents_disk import STEP, Watched, call, in_a_mount, worker
from tests.support.processes import (
    Child,
    as_nobody,
    assert_nothing_lost,
    hear,
    read_everything,
    say,
    temporaries,
)

from overwinter import Agent, Runtime
from overwinter.errors import WorkspaceError
from overwinter.testing import ScriptedModel

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


def run_once(workspace: str) -> None:
    """A program: run an agent, and say what came of it and what was paid."""

    async def main() -> None:
        model = ScriptedModel(["paid for"])
        agent = Agent("worker", model=model, autosave=True, workspace_dir=workspace)
        try:
            await agent.run("x")
        except WorkspaceError as error:
            say("refused", [str(error), len(model.requests), str(agent.workspace_dir)])
        else:
            say("ran")

    asyncio.run(main())


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that a user without privileges can reach and write to."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o777)
        yield Path(folder)


needs_users = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such permission bits")


@needs_users
@pytest.mark.parametrize("depth", ["workspace", "agents"])
def test_a_read_only_folder_is_told_of_before_a_model_is_paid(open_folder: Path, depth: str) -> None:
    """F20: in a folder that may not be written run raises a WorkspaceError that names it, before any model is asked."""
    workspace = open_folder / "agent_workspace"
    with Child(run_once, str(workspace), prefix=as_nobody()) as child:
        child.expect("ran")
        assert child.ended().code == 0
    (folder,) = (workspace / "agents").iterdir()
    refusing = {"workspace": open_folder, "agents": folder}[depth]
    if depth == "workspace":
        shutil.rmtree(workspace)
    refusing.chmod(0o555)
    try:
        with Child(run_once, str(workspace), prefix=as_nobody()) as child:
            message, requests, _ = child.expect("refused")
            assert child.ended().code == 0
    finally:
        refusing.chmod(0o777)
    assert "Permission denied" in message
    assert str(workspace) in message
    assert requests == 0


def test_a_read_only_filesystem_is_told_of_before_a_model_is_paid(tmp_path: Path) -> None:
    """F20: ... the same on a filesystem that is mounted read-only."""
    prefix = in_a_mount('mount -t tmpfs t "$0" && mount -o remount,ro "$0"', tmp_path)
    with Child(run_once, str(tmp_path / "agent_workspace"), prefix=prefix) as child:
        message, requests, _ = child.expect("refused")
    assert "Read-only file system" in message
    assert str(tmp_path) in message
    assert requests == 0


def work_under_the_test(workspace: str, remount: bool) -> None:
    """A program: a run in whose middle the agent's folder becomes read-only, and writable again."""

    async def main() -> None:
        async with Runtime(workspace) as runtime:
            watched = Watched(runtime)
            agent = worker(["one", call("wait_for_the_test", {"what": "middle"}), STEP, "three"])
            await runtime.spawn(agent)
            await agent.run("first")
            await agent.save()
            say("folder", str(agent.workspace_dir))
            if remount:
                folder = str(agent.workspace_dir)
                await anyio.run_process(["mount", "--bind", folder, folder])
                await anyio.run_process(["mount", "-o", "remount,bind,ro", folder])
            text = (await agent.run("second")).text
            await watched.until(agent.state_path, failing=True)
            say("failing", [text, runtime.statistics().persistence.last_error])
            if remount:
                await anyio.run_process(["umount", folder])
            await asyncio.get_running_loop().run_in_executor(None, hear)
            await watched.until(agent.state_path, failing=False)
            say("saved")

    asyncio.run(main())


def read_only_in_the_middle(child: Child, workspace: Path, close: Callable[[Path], None]) -> None:
    folder = Path(child.expect("folder"))
    child.expect("at")
    close(folder)
    child.tell("go on")
    text, last_error = child.expect("failing")
    assert text == "three"
    assert "Permission denied" in last_error or "Read-only file system" in last_error
    folder.chmod(0o700)
    child.tell("writable again")
    child.expect("saved")
    ended = child.ended()
    assert ended.code == 0
    assert "Saving fails" in ended.stderr


@needs_users
def test_a_folder_that_becomes_read_only_in_the_middle_of_a_run_kills_no_run(open_folder: Path) -> None:
    """F21: where the folder becomes read-only in the middle of a run, the run finishes and it is reported."""
    workspace = open_folder / "agent_workspace"
    before: list[Any] = []

    def close(folder: Path) -> None:
        before.append(read_everything(workspace)["worker"])
        folder.chmod(0o500)

    with Child(work_under_the_test, str(workspace), False, prefix=as_nobody()) as child:
        read_only_in_the_middle(child, workspace, close)
    after = read_everything(workspace)["worker"]
    assert_nothing_lost(before[0].state, after.state)
    assert after.state.conversation[-1].content == "three"
    assert not temporaries(workspace)


def test_a_filesystem_that_becomes_read_only_in_the_middle_of_a_run_kills_no_run(tmp_path: Path) -> None:
    """F21: ... the same where the filesystem under it is remounted read-only."""
    workspace = tmp_path / "agent_workspace"
    with Child(work_under_the_test, str(workspace), True, prefix=in_a_mount("true", tmp_path)) as child:
        read_only_in_the_middle(child, workspace, lambda folder: None)
    assert read_everything(workspace)["worker"].state.conversation[-1].content == "three"
