"""After kill -9 the next process brings in the dead one's whole log: for every agent, once, and under a lock."""

from __future__ import annotations

import asyncio
import os
import shutil
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import pytest
from tests.support.evidence import Facts, read_facts
from tests.support.hive import lives
from tests.support.killing import Campaign
from tests.support.processes import Child, hear, memory_folder, say

from overwinter import Agent, AgentInUse, Runtime
from overwinter.persistence import FileOperations
from overwinter.testing import ScriptedModel

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.allow_blocking,  # nothing else is on this loop
    pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork and no kill -9"),
]

AGENTS = 5


@pytest.fixture
def workspace(tmp_path: Path) -> Iterator[Path]:
    """What agents left that were killed at work, their newest records still in the runtime's log."""
    with memory_folder(tmp_path) as folder, Child(lives) as child:
        # Records move into the journals within a second: on a machine that stalls they may all be there already.
        for event in (60, 61, 62, 63, 64):
            home = folder / str(event)
            assert Campaign(home, "sync", 1, agents=AGENTS).dies(child, die_at_event=event)
            workspace = home / "agent_workspace"
            facts = read_facts(workspace)
            if facts.logs and journals_alone(workspace).nonces < facts.nonces:
                break
        yield workspace


def bee(number: int, workspace: Path | None = None, **settings: Any) -> Agent[str]:
    return Agent(
        f"bee-{number}", model=ScriptedModel(["Anew."]), autosave=True, workspace_dir=workspace, **settings
    )


def folder_of(number: int, workspace: Path) -> Path:
    (folder,) = (workspace / "agents").glob(f"bee-{number}-*")
    return folder


def journals_alone(workspace: Path) -> Facts:
    """What there is but for the logs."""
    without = workspace.with_name("without")
    shutil.copytree(workspace, without)
    shutil.rmtree(without / ".runtimes")
    facts = read_facts(without)
    shutil.rmtree(without)
    return facts


async def test_opening_one_agent_brings_in_the_records_of_all(workspace: Path) -> None:
    """F54: after kill -9 the opening of any one agent moves the dead runtime's whole log into the journals, also of
    agents that nobody opens."""
    before = read_facts(workspace)
    assert before.logs
    assert journals_alone(workspace).nonces < before.nonces, "there was nothing to bring in"
    await bee(0, workspace).load()
    after = journals_alone(workspace)
    assert not read_facts(workspace).logs
    assert not after.lost_since(before)
    assert after.started == before.started
    assert not after.damaged


async def test_a_deleted_agent_does_not_come_back_to_life(workspace: Path) -> None:
    """F55: an agent whose folder was deleted is not brought back by a log; one of its name begins with nothing."""
    shutil.rmtree(folder_of(1, workspace))
    shutil.rmtree(folder_of(2, workspace))
    async with Runtime(workspace) as runtime:
        anew = bee(2)
        await runtime.spawn(anew)
        assert [*(workspace / "agents").glob("bee-1-*")] == []
        await anew.run("something else")
    assert [entry.content for entry in anew.state.conversation] == ["something else", "Anew."]
    again = bee(2, workspace)
    await again.load()
    assert [entry.content for entry in again.state.conversation] == ["something else", "Anew."]
    assert not read_facts(workspace).damaged


class HeldAtTheJournals(FileOperations):
    """A disk that waits for the test at the first write to a journal."""

    def __init__(self) -> None:
        super().__init__()
        self._held = False

    def open_append(self, path: Path) -> int:
        self._wait(path)
        return super().open_append(path)

    def open_new(self, path: Path) -> int:
        self._wait(path)
        return super().open_new(path)

    def _wait(self, path: Path) -> None:
        if path.parent.name == "journal" and not self._held:
            self._held = True
            say("in the middle")
            hear()


def take_over(workspace: str, held: bool) -> None:
    """A program: open an agent, and say what came of it."""

    async def main() -> None:
        async with Runtime(workspace, files=HeldAtTheJournals() if held else None) as runtime:
            agent = bee(0)
            say("begins", os.getpid())
            try:
                await runtime.spawn(agent)
            except AgentInUse as error:
                say("in use", error.pid)
                return
            await agent.load()
            say("has it", len(agent.state.conversation))
            await asyncio.get_running_loop().run_in_executor(None, hear)

    asyncio.run(main())


@pytest.mark.parametrize("killed", [False, True], ids=["and is told", "and takes over itself"])
def test_a_second_process_waits_for_the_end_of_a_takeover(workspace: Path, killed: bool) -> None:
    """F56: while one process takes over, a second waits until that is done, or until the first one is killed."""
    before = read_facts(workspace)
    with ExitStack() as children:
        first = children.enter_context(Child(take_over, str(workspace), True))
        pid = first.expect("begins")
        first.expect("in the middle")
        second = children.enter_context(Child(take_over, str(workspace), False))
        second.expect("begins")
        assert [*second.words_for(0.5)] == [], "it did not wait"
        if killed:
            first.kill()
            assert second.expect("has it") > 0
            assert not read_facts(workspace).lost_since(before)
        else:
            first.tell("go on")
            assert first.expect("has it") > 0
            assert second.expect("in use") == pid
            first.tell("end")
            assert first.ended().code == 0
            assert second.ended().code == 0
        second.tell("end")
        assert second.ended().code == 0
    after = read_facts(workspace)
    assert not after.lost_since(before)
    assert not after.damaged
