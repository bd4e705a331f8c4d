"""kill -9, forks, and two processes on one agent: files are whole, nobody is locked out, one writes."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import socket
import sys
import time
from typing import TYPE_CHECKING, Any

import anyio
import pytest
from tests.support.processes import (
    Child,
    assert_nothing_lost,
    assert_well_formed,
    hear,
    memory_folder,
    read_everything,
    say,
    temporaries,
)

from overwinter import Agent, AgentInUse, NothingToResume, Runtime, StateNotFound, tool
from overwinter.errors import UnfinishedRun
from overwinter.events import Event, Saved
from overwinter.persistence import FileOperations
from overwinter.testing import ScriptedModel

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from tests.support.processes import SavedState

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork and no kill -9"),
]

call = ScriptedModel.call
AGENTS = 20
KILLS = 16


@tool
async def add(a: int, b: int) -> int:
    """Add two numbers, at the pace of work and not of a busy loop."""
    await asyncio.sleep(0.01)
    return a + b


class DeadlyDisk(FileOperations):
    """A disk whose process dies at the given operation, a write half done."""

    def __init__(self, operations: int) -> None:
        super().__init__()
        self.left = operations

    def _count(self) -> bool:
        self.left -= 1
        return self.left == 0

    def _die_at_zero(self) -> None:
        if self._count():
            os.kill(os.getpid(), signal.SIGKILL)

    def open_new(self, path: Path) -> int:
        fd = super().open_new(path)
        self._die_at_zero()
        return fd

    def write(self, fd: int, data: bytes | memoryview) -> int:
        if self._count():
            super().write(fd, data[: len(data) // 2])
            os.kill(os.getpid(), signal.SIGKILL)
        return super().write(fd, data)

    def fsync(self, fd: int) -> None:
        self._die_at_zero()
        super().fsync(fd)

    def replace(self, source: Path, target: Path) -> None:
        self._die_at_zero()
        super().replace(source, target)

    def link(self, existing: Path, new: Path) -> None:
        super().link(existing, new)
        self._die_at_zero()

    def unlink(self, path: Path) -> None:
        self._die_at_zero()
        super().unlink(path)

    def sync_folder(self, path: Path) -> None:
        self._die_at_zero()
        super().sync_folder(path)


async def swarm(workspace: str, files: FileOperations | None) -> None:
    """Load what twenty agents saved, tell of it, and go on, for ever."""
    async with Runtime(workspace, files=files) as runtime:
        agents = [
            Agent(
                f"agent-{number}",
                model=ScriptedModel(lambda _: ["Going on.", call("add", {"a": 1, "b": 2})], loop=True),
                tools=[add],
                max_loops="auto",
                autosave=True,
                durability="sync" if number % 2 else "async",
            )
            for number in range(AGENTS)
        ]
        for agent in agents:
            await runtime.spawn(agent)
            if agent.state_path.exists():
                await agent.load()
        say("loaded", os.getpid())
        assert hear() == "go"

        def tell(event: Event) -> None:
            if isinstance(event, Saved):
                say("saved", [event.agent_name, event.sequence])

        runtime.watch(tell)

        async def work(agent: Agent[str]) -> None:
            try:
                await agent.resume()
            except (NothingToResume, StateNotFound):
                await agent.run("work")

        async with anyio.create_task_group() as tasks:
            for agent in agents:
                tasks.start_soon(work, agent)


def a_swarm_a_word(workspace: str) -> None:
    """A program: for each number it hears, a process that works until it is killed; after so many operations if > 0."""
    while operations := hear():
        pid = os.fork()
        if pid == 0:
            deadly = DeadlyDisk(int(operations)) if int(operations) else None
            asyncio.run(swarm(workspace, deadly))
        _, status = os.waitpid(pid, 0)
        say("died", os.waitstatus_to_exitcode(status))


def one_life(
    child: Child, operations: int, after: int, left_behind: list[int], workspace: Path
) -> dict[str, int]:
    """One process from its birth to its death, by its disk or by us after so many saves; what it acknowledged."""
    acknowledged: dict[str, int] = {}
    pid, saves, dead = 0, 0, False
    child.tell(str(operations))
    while not dead:
        heard = child.next_word()
        assert heard is not None, child.ended().stderr
        word, value = heard
        if word == "loaded":
            pid = value
            assert not temporaries(workspace), "what a killed writer left is swept when its agent is opened"
            child.tell("go")
        elif word == "saved":
            acknowledged[value[0]] = max(value[1], acknowledged.get(value[0], 0))
            saves += 1
            if saves == after:
                assert pid > 1
                os.kill(pid, signal.SIGKILL)
        else:
            assert (word, value) == ("died", -signal.SIGKILL), child.ended(0.1).stderr
            dead = True
    left_behind.append(len(temporaries(workspace)))
    return acknowledged


@pytest.mark.allow_blocking  # nothing else is on this loop
async def test_kill_9_at_any_instant_leaves_every_agent_whole_and_free(tmp_path: Path) -> None:
    """F12: killed at any instant while twenty agents autosave, every file is whole, no acknowledged save is lost,
    no agent is locked, no sequence goes backwards, and what was half written is swept at the next opening."""
    chance = random.Random(4)
    known: dict[str, SavedState] = {}
    left_behind: list[int] = []
    saves = 0
    began = time.monotonic()
    with memory_folder(tmp_path) as folder, Child(a_swarm_a_word, str(folder)) as child:
        for number in range(KILLS):
            # In turns: by its own disk in the midst of an operation, and from outside wherever it happens to be.
            operations, after = (0, chance.randrange(1, 40)) if number % 2 else (chance.randrange(1, 300), 0)
            acknowledged = one_life(child, operations, after, left_behind, folder)
            found = read_everything(folder)
            for name, state in found.items():
                assert state.sequence >= acknowledged.get(name, 0), f"{name}: an acknowledged save is lost"
                if name in known:
                    assert_nothing_lost(known[name].state, state.state)
                    assert state.metadata.sequence >= known[name].metadata.sequence
            assert found.keys() >= known.keys() | acknowledged.keys()
            known = found
            saves += sum(acknowledged.values())
        assert len(known) == AGENTS
        sys.stdout.write(
            f"{KILLS} kills in {time.monotonic() - began:.1f} s, {sum(map(bool, left_behind))} of them left "
            f"{sum(left_behind)} temporaries; {sum(len(s.state.conversation) for s in known.values())} messages\n"
        )
        assert sum(map(bool, left_behind)) > KILLS // 10, "the test has lost its teeth"
        cut_off = next(name for name, state in known.items() if state.state.status == "running")
        model = ScriptedModel(["Done."])
        agent = Agent(cut_off, model=model, tools=[add], autosave=True, workspace_dir=folder)
        assert (await agent.resume()).text == "Done."
        assert_well_formed(model.requests[0].messages)


def holder(workspace: str, fork: bool) -> None:
    """A program: hold an agent, and maybe have a child that outlives us."""

    async def main() -> None:
        async with Runtime(workspace) as runtime:
            agent = Agent("shared", model=ScriptedModel(["first"], loop=True), autosave=True)
            await runtime.spawn(agent)
            await agent.run("x")
            await agent.save()
            if fork:
                child = os.fork()
                if child == 0:
                    os.close(1)
                    os.read(0, 1)
                    os._exit(0)
                say("forked", child)
            say("holding", os.getpid())
            await asyncio.get_running_loop().run_in_executor(None, hear)

    asyncio.run(main())


def claimant(workspace: Path, **settings: Any) -> Agent[str]:
    return Agent(
        "shared", model=ScriptedModel(["second"]), autosave=True, workspace_dir=workspace, **settings
    )


@pytest.mark.allow_blocking
@pytest.mark.parametrize("stopped", [False, True], ids=["at work", "stopped"])
async def test_a_second_process_is_told_who_holds_the_agent(workspace_dir: Path, stopped: bool) -> None:
    """F13: a second process on a live agent's name gets AgentInUse with pid and host before any model is asked."""
    with Child(holder, str(workspace_dir), False) as child:
        pid = child.expect("holding")
        if stopped:
            os.kill(pid, signal.SIGSTOP)
        works: list[Callable[[Agent[str]], Awaitable[Any]]] = [
            lambda agent: agent.run("mine"),
            lambda agent: agent.resume(),
            lambda agent: agent.load(),
            lambda agent: agent.save(),
        ]
        for work in works:
            agent = claimant(workspace_dir)
            with pytest.raises(AgentInUse, match=f"{pid}.*{socket.gethostname()}") as refused:
                await work(agent)
            assert (refused.value.pid, refused.value.host) == (pid, socket.gethostname())
            model = agent._profile.models[0]
            assert isinstance(model, ScriptedModel)
            assert not model.requests
    assert [e.content for e in read_everything(workspace_dir)["shared"].state.conversation] == ["x", "first"]


@pytest.mark.allow_blocking
@pytest.mark.parametrize("fork", [False, True], ids=["alone", "with a child that lives on"])
async def test_after_kill_9_another_process_has_the_agent_at_once(workspace_dir: Path, fork: bool) -> None:
    """F14: after kill -9 of its holder an agent can be opened at once, also while a forked child of it lives."""
    with Child(holder, str(workspace_dir), fork) as child:
        orphan = child.expect("forked") if fork else 0
        child.expect("holding")
        child.kill()
        child.process.wait()
        try:
            if fork:
                os.kill(orphan, 0)
            began = time.monotonic()
            agent = claimant(workspace_dir)
            await agent.load()
            assert (await agent.run("y")).text == "second"
            took = time.monotonic() - began
        finally:
            if fork:
                os.kill(orphan, signal.SIGKILL)
    sys.stdout.write(f"taken over in {took * 1000:.0f} ms\n")
    assert took < 5.0
    said = [entry.content for entry in agent.state.conversation]
    assert said == ["x", "first", "y", "second"]


def grab(workspace: str) -> None:
    """A program: try to have the agent at the same instant as others."""

    async def main() -> None:
        agent = Agent("shared", model=ScriptedModel(["mine"]), autosave=True)
        async with Runtime(workspace) as runtime:
            await runtime.storage()
            say("ready")
            assert hear() == "go"
            try:
                await runtime.spawn(agent)
            except AgentInUse as error:
                say("in use", error.pid)
            else:
                await agent.load()
                await agent.run("y")
                say("got", os.getpid())
            hear()

    asyncio.run(main())


def test_of_several_that_take_over_at_once_one_has_the_agent(workspace_dir: Path) -> None:
    """F14: ... of several processes that try at the same instant exactly one has it, and the others are told which."""
    with Child(holder, str(workspace_dir), False) as child:
        child.expect("holding")
        child.kill()
        child.process.wait()
    with Child(grab, str(workspace_dir)) as one, Child(grab, str(workspace_dir)) as two:
        rivals = [one, two]
        for rival in rivals:
            rival.expect("ready")
        for rival in rivals:
            rival.tell("go")
        outcomes = dict(word for rival in rivals if (word := rival.next_word()) is not None)
        assert sorted(outcomes) == ["got", "in use"]
        assert outcomes["got"] == outcomes["in use"]
        for rival in rivals:
            rival.tell("end")
            assert rival.ended().code == 0
    said = [entry.content for entry in read_everything(workspace_dir)["shared"].state.conversation]
    assert said == ["x", "first", "y", "mine"]


@pytest.mark.allow_blocking
async def test_a_claimant_may_wait_for_the_holder_to_end(workspace_dir: Path) -> None:
    """F15: with lease_timeout a second process has the agent as soon as the first has ended in good order."""
    with Child(holder, str(workspace_dir), False) as child:
        child.expect("holding")
        agent = claimant(workspace_dir, lease_timeout=20.0)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(agent.run, "y")
            await anyio.wait_all_tasks_blocked()
            child.tell("end")
        assert child.ended().code == 0
    assert agent.state.conversation[-1].content == "second"


def accept_and_die(workspace: str) -> None:
    """A program: accept a task, save that, and be killed before it begins."""

    async def main() -> None:
        gate = ScriptedModel.gate()
        agent = Agent("early", model=ScriptedModel([[gate, "never"]]), autosave=True)
        async with Runtime(workspace) as runtime:
            runtime.watch(
                lambda event: os.kill(os.getpid(), signal.SIGKILL) if isinstance(event, Saved) else None
            )
            await runtime.spawn(agent)
            await agent.run("a task that was accepted")

    asyncio.run(main())


@pytest.mark.allow_blocking
async def test_a_task_accepted_before_kill_9_is_found(workspace_dir: Path) -> None:
    """F16: a task that was accepted before its process was killed stands on disk and in the loaded state."""
    with Child(accept_and_die, str(workspace_dir)) as child:
        assert child.ended().code == -signal.SIGKILL
    agent = Agent("early", model=ScriptedModel(["begun"]), autosave=True, workspace_dir=workspace_dir)
    await agent.load()
    tasks = [agent.state.task, *(accepted.task for accepted in agent.state.accepted)]
    assert "a task that was accepted" in tasks


@pytest.mark.allow_blocking
async def test_a_task_accepted_before_kill_9_can_be_done(workspace_dir: Path) -> None:
    """F16: ... and resume() does it."""
    with Child(accept_and_die, str(workspace_dir)) as child:
        assert child.ended().code == -signal.SIGKILL
    agent = Agent("early", model=ScriptedModel(["begun"]), autosave=True, workspace_dir=workspace_dir)
    assert (await agent.resume()).text == "begun"
    assert agent.state.conversation[0].content == "a task that was accepted"
    assert not agent.state.accepted


@pytest.mark.allow_blocking
async def test_a_task_accepted_before_kill_9_is_not_left_behind_in_silence(workspace_dir: Path) -> None:
    """F16: ... and a fresh run that leaves it behind warns, and names it and resume()."""
    with Child(accept_and_die, str(workspace_dir)) as child:
        assert child.ended().code == -signal.SIGKILL
    agent = Agent("early", model=ScriptedModel(["other"]), autosave=True, workspace_dir=workspace_dir)
    with pytest.warns(UnfinishedRun, match=r"a task that was accepted.*resume\(\)"):
        await agent.run("another task")
