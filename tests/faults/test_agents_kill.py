"""kill -9, forks, and two processes on one agent: files are whole, nobody is locked out, one writes."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
import time
from typing import TYPE_CHECKING, Any

import anyio
import pytest
from tests.support.processes import (
    PATIENCE,
    Child,
    hear,
    read_everything,
    say,
)

from overwinter import Agent, AgentInUse, Runtime
from overwinter.errors import UnfinishedRun
from overwinter.events import Saved
from overwinter.testing import ScriptedModel

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path


pytestmark = [
    pytest.mark.anyio,
    pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork and no kill -9"),
]


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


@pytest.mark.alone
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
        agent = claimant(workspace_dir, lease_timeout=PATIENCE)
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
