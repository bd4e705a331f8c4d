"""One agent, one writer, across real processes: killed, forked, racing."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest
from tests.support.disk import document, off_loop, open_storage, temporaries_in, value_in

from overwinter.errors import AgentInUse, StaleState

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from pathlib import Path

    from overwinter.persistence import AgentFolder, Claim, Storage

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.skipif(not hasattr(os, "fork"), reason="kills and forks as POSIX systems do"),
]

COMMON = """
import asyncio, json, os, sys, threading
from pathlib import Path
from overwinter.errors import AgentInUse, ForkedRuntime
from overwinter.persistence import FileOperations, Metadata, ReplaceDocument, Storage, Workspace, encode, members
from overwinter.runtime import ActorSystem

root = Path(sys.argv[1])

def say(**news):
    print(json.dumps(news), flush=True)

def document(path, value, sequence=1):
    metadata = Metadata(timestamp="", loop_count=0, agent_id="", agent_name="", run_id="", status="",
                        sequence=sequence, schema_version=1, overwinter_version="0")
    return ReplaceDocument(str(path), metadata, tuple(members({"value": encode(value)})))

async def line():
    return await asyncio.get_running_loop().run_in_executor(None, sys.stdin.readline)

async def holding(then, files=None):
    storage = Storage(Workspace(root), files=files)
    async with ActorSystem() as system:
        await storage.open(system)
        held = await storage.claim(storage.workspace.folder("writer", "id-of-writer"))
        await then(storage, held)
        await storage.aclose()
"""

HOLD = """
async def then(storage, held):
    say(pid=os.getpid(), runtime=storage.runtime_id)
    await line()
    await storage.release(held, 6)
    say(released=True)
asyncio.run(holding(then))
"""

FORK = """
async def then(storage, held):
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.write(write, b"!")
        os.read(0, 1)
        os._exit(0)
    os.read(read, 1)
    say(pid=os.getpid(), child=pid, runtime=storage.runtime_id)
    await asyncio.Event().wait()
asyncio.run(holding(then))
"""

MULTIPROCESSING = """
import multiprocessing
# Python closes the standard input of a child that it forks.
stay = os.dup(0)

def child(started):
    started.send("!")
    os.read(stay, 1)

async def then(storage, held):
    fork = multiprocessing.get_context("fork")
    here, there = fork.Pipe()
    process = fork.Process(target=child, args=(there,))
    process.start()
    here.recv()
    say(pid=os.getpid(), child=process.pid, runtime=storage.runtime_id)
    await asyncio.Event().wait()
asyncio.run(holding(then))
"""

# What flock does by itself: the control that shows what the test can see.
NAIVE = "import os; os.register_at_fork = lambda **handlers: None\n"

USE_IN_CHILD = """
async def then(storage, held):
    path = held.folder.state_path
    await storage.replace(document(path, "the parent's"))
    pid = os.fork()
    if pid == 0:
        outcomes = {}
        for name, use in {
            "replace": lambda: storage.replace(document(path, "the child's")),
            "flush": lambda: storage.flush(),
            "call": lambda: storage.call(lambda: None),
            "claim": lambda: storage.claim(held.folder),
            "release": lambda: storage.release(held, 9),
            "aclose": lambda: storage.aclose(),
        }.items():
            try:
                asyncio.run(asyncio.wait_for(use(), 30))
            except BaseException as error:
                outcomes[name] = type(error).__name__
            else:
                outcomes[name] = "nothing"
        say(**outcomes)
        os._exit(0)
    os.waitpid(pid, 0)
    await storage.replace(document(path, "the parent's again", 2))
    say(parent="saved")
    await line()
asyncio.run(holding(then))
"""

DIE_WRITING = """
class Stuck(FileOperations):
    stuck = False
    def replace(self, source, target):
        if self.stuck and target.name.endswith("_state.json"):
            say(stuck=True)
            threading.Event().wait()
        super().replace(source, target)

async def then(storage, held):
    await storage.replace(document(held.folder.state_path, "old"))
    files.stuck = True
    await storage.replace(document(held.folder.state_path, "new", 2))
files = Stuck()
asyncio.run(holding(then, files))
"""

RACE = """
async def then(storage, held):
    say(won=os.getpid())
    await line()

async def race():
    say(ready=True)
    await line()
    try:
        await holding(then)
    except AgentInUse as error:
        say(in_use=error.pid)
asyncio.run(race())
"""

TAKE_AND_WRITE = """
async def then(storage, held):
    await storage.replace(document(held.folder.state_path, "another's", 6))
    await storage.release(held, 6)
asyncio.run(holding(then))
say(done=True)
"""


class Other:
    """Another process that runs one of the scripts above."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process

    async def hear(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        line = await off_loop(self.process.stdout.readline)
        assert line, "the other process has ended"
        return json.loads(line)  # type: ignore[no-any-return]

    async def tell(self) -> None:
        assert self.process.stdin is not None
        await off_loop(self.process.stdin.write, "go on\n")
        await off_loop(self.process.stdin.flush)

    async def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        await off_loop(self.process.wait)


@asynccontextmanager
async def other(script: str, root: Path, before: str = "") -> AsyncGenerator[Other]:
    """Another process, killed at the end; its children end when its standard input does."""
    process = await off_loop(
        subprocess.Popen,
        [sys.executable, "-c", before + COMMON + script, str(root)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        yield Other(process)
    finally:
        process.kill()
        await off_loop(process.communicate)


def writers(storage: Storage) -> AgentFolder:
    return storage.workspace.folder("writer", "id-of-writer")


async def claimed(storage: Storage) -> Claim:
    return await storage.claim(writers(storage))


def lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


async def test_a_second_process_is_told_who_holds_the_agent(workspace_dir: Path) -> None:
    """S5: A second process gets AgentInUse, which names the holder's pid and host; released, it has the agent."""
    async with other(HOLD, workspace_dir) as first:
        who = await first.hear()
        async with open_storage(workspace_dir) as storage:
            with pytest.raises(AgentInUse, match=f"process {who['pid']} on ") as caught:
                await claimed(storage)
            assert (caught.value.pid, caught.value.host) == (who["pid"], socket.gethostname())
            assert caught.value.runtime_id == who["runtime"]
            await first.tell()
            assert (await first.hear()) == {"released": True}
            held = await claimed(storage)
            assert (held.sequence, held.taken_over_from) == (6, "")


async def test_the_agent_of_a_killed_process_is_free_at_once(workspace_dir: Path) -> None:
    """S6: After kill -9 of its holder an agent can be claimed at once."""
    async with open_storage(workspace_dir) as storage:
        async with other(HOLD, workspace_dir) as first:
            who = await first.hear()
            with pytest.raises(AgentInUse):
                await claimed(storage)
            await first.kill()
            held = await claimed(storage)
        assert (held.taken_over_from, held.sequence) == (who["runtime"], None)


@pytest.mark.parametrize("script", [FORK, MULTIPROCESSING], ids=["os.fork", "multiprocessing"])
async def test_a_child_that_lives_on_does_not_hold_the_agent(workspace_dir: Path, script: str) -> None:
    """S6: … also while a child lives that the killed process had forked."""
    async with other(script, workspace_dir) as first:
        who = await first.hear()
        async with open_storage(workspace_dir) as storage:
            with pytest.raises(AgentInUse):
                await claimed(storage)
            await first.kill()
            assert lives(who["child"])
            held = await claimed(storage)
            assert held.taken_over_from == who["runtime"]
            assert lives(who["child"])


async def test_without_closing_it_the_child_would_hold_the_agent(workspace_dir: Path) -> None:
    """The control of the test before: a plain flock outlives its owner in the child."""
    async with other(FORK, workspace_dir, before=NAIVE) as first:
        who = await first.hear()
        async with open_storage(workspace_dir) as storage:
            await first.kill()
            assert lives(who["child"])
            with pytest.raises(AgentInUse):
                await claimed(storage)


async def test_a_forked_child_cannot_use_the_storage(workspace_dir: Path) -> None:
    """S7: In a forked child every use of the storage raises ForkedRuntime, and the parent goes on unharmed."""
    async with other(USE_IN_CHILD, workspace_dir) as first:
        outcomes = await first.hear()
        assert outcomes.pop("aclose") == "nothing"
        assert outcomes == dict.fromkeys(("replace", "flush", "call", "claim", "release"), "ForkedRuntime")
        assert (await first.hear()) == {"parent": "saved"}
        async with open_storage(workspace_dir) as storage:
            folder = writers(storage)
            with pytest.raises(AgentInUse):
                await claimed(storage)
            assert await off_loop(value_in, folder.state_path) == "the parent's again"


async def test_a_process_killed_while_it_writes_leaves_the_old_file(workspace_dir: Path) -> None:
    """S13: What a killed writer left half done is swept by the next, and the file is the old one."""
    async with other(DIE_WRITING, workspace_dir) as first:
        assert (await first.hear()) == {"stuck": True}
        await first.kill()
        assert len(await off_loop(temporaries_in, workspace_dir)) == 1
        async with open_storage(workspace_dir) as storage:
            held = await claimed(storage)
            assert not await off_loop(temporaries_in, workspace_dir)
            assert await off_loop(value_in, held.folder.state_path) == "old"
            assert len(await off_loop(lambda: list(storage.workspace.runtimes_dir.iterdir()))) == 1


async def test_of_many_that_race_one_wins(workspace_dir: Path) -> None:
    """S5: Of several processes that claim an agent at once one has it, and the others are told which."""
    async with (
        other(RACE, workspace_dir) as a,
        other(RACE, workspace_dir) as b,
        other(RACE, workspace_dir) as c,
        other(RACE, workspace_dir) as d,
    ):
        racers = (a, b, c, d)
        for racer in racers:
            assert (await racer.hear()) == {"ready": True}
        for racer in racers:
            await racer.tell()
        outcomes = [await racer.hear() for racer in racers]
        winners = [outcome["won"] for outcome in outcomes if "won" in outcome]
        assert len(winners) == 1
        assert [outcome["in_use"] for outcome in outcomes if "in_use" in outcome] == winners * 3


async def test_who_comes_back_after_another_process_wrote_is_told(workspace_dir: Path) -> None:
    """S8: Reacquiring an agent that another process has written meanwhile raises StaleState."""
    async with open_storage(workspace_dir) as storage:
        held = await claimed(storage)
        await storage.replace(document(held.folder.state_path, "mine", sequence=5))
        await storage.release(held, 5)
        async with other(TAKE_AND_WRITE, workspace_dir) as writer:
            assert (await writer.hear()) == {"done": True}
        with pytest.raises(StaleState, match="sequence 6"):
            await storage.claim(writers(storage), known_sequence=5, last=held)
        assert (await claimed(storage)).sequence == 6
        assert await off_loop(value_in, held.folder.state_path) == "another's"
