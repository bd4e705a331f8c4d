"""Cancellation and signals at every step of what else an agent does: the harness is that of cancelled runs."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sys
import threading
from functools import partial
from typing import TYPE_CHECKING

import pytest
from tests.faults.test_agents_cancellation import (
    MOST_STEPS,
    SCRIPT,
    SteppingLoop,
    assert_all_is_whole,
    assert_it_goes_on,
    at_every_step,
    cut_off,
    folder,
    leftovers,
    run,
    worker,
)

from overwinter import Agent, ModelError, Runtime

if TYPE_CHECKING:
    from pathlib import Path

    from tests.faults.test_agents_cancellation import Place, Steps

    from overwinter.testing import ScriptedModel

__all__ = ["folder"]

pytestmark = [
    pytest.mark.skipif(sys.platform == "win32", reason="the stepping loop is that of POSIX systems"),
    pytest.mark.allow_blocking,  # between two steps the test looks at the disk from the loop
]


async def streaming(workspace_dir: Path, steps: Steps) -> bool:
    agent, model = worker(workspace_dir)

    async def listen() -> None:
        async with contextlib.aclosing(agent.stream("work")) as events:
            async for _ in events:
                pass

    through = await cut_off(listen, steps)
    assert not await leftovers(), steps
    if not through:
        await assert_it_goes_on(workspace_dir, agent, model, steps)
    return through


async def resuming(workspace_dir: Path, steps: Steps) -> bool:
    agent, model = worker(workspace_dir, [SCRIPT[0], ModelError("gone"), *SCRIPT[1:]])
    with pytest.raises(ModelError):
        await agent.run("work")
    through = await cut_off(agent.resume, steps)
    assert not await leftovers(), steps
    if not through:
        await assert_it_goes_on(workspace_dir, agent, model, steps)
    return through


async def saving(workspace_dir: Path, steps: Steps) -> bool:
    agent, _ = worker(workspace_dir, autosave=False)
    await agent.run("work")
    through = await cut_off(agent.save, steps)
    assert not await leftovers(), steps
    if not through:
        saved = assert_all_is_whole(workspace_dir, steps)
        assert saved is None or saved.state.conversation == [*agent.state.conversation]
        await agent.save()
        other, model = worker(workspace_dir)
        await other.load()
        await assert_it_goes_on(workspace_dir, other, model, steps)
    return through


async def loading(workspace_dir: Path, steps: Steps) -> bool:
    first, _ = worker(workspace_dir)
    await first.run("work")
    agent, model = worker(workspace_dir)
    through = await cut_off(agent.load, steps)
    assert not await leftovers(), steps
    if not through:
        # Loaded or not, but nothing between.
        assert agent.state.conversation in ((), first.state.conversation), steps
        await agent.load()
        await assert_it_goes_on(workspace_dir, agent, model, steps)
    return through


async def spawning(workspace_dir: Path, steps: Steps) -> bool:
    agent, model = worker(workspace_dir)
    async with Runtime(workspace_dir, run_grace=0.0) as runtime:
        through = await cut_off(lambda: runtime.spawn(agent), steps)
        if not through:
            if agent not in runtime.agents:
                await runtime.spawn(agent)
            assert (await agent.run("work")).text
    assert not await leftovers(), steps
    if not through:
        await assert_it_goes_on(workspace_dir, agent, model, steps)
    return through


@pytest.mark.parametrize("place", [streaming, resuming, saving, loading, spawning])
def test_whatever_else_an_agent_does_can_be_cancelled_at_any_step(folder: Path, place: Place) -> None:
    """F10: stream, resume, save, load and spawn, cancelled at any await, leave all whole and the agent free."""
    assert at_every_step(place, folder, "task") > 5


def interrupted_at(step: int, number: signal.Signals, agent: Agent[str]) -> tuple[bool, str]:
    """Run it with a signal at that step; whether the signal came, and how it ended."""
    sent: list[bool] = []

    def send() -> None:
        # Where nobody handles it, it would end the test.
        if signal.getsignal(number) is not signal.SIG_DFL:
            sent.append(True)
            signal.raise_signal(number)

    def new_event_loop() -> SteppingLoop:
        loop = SteppingLoop()
        loop.begin({step: send})
        return loop

    before = {*threading.enumerate()}
    with pytest.MonkeyPatch.context() as patch:
        # What asyncio.run calls for its loop.
        patch.setattr(asyncio.events, "new_event_loop", new_event_loop)
        try:
            ended = agent.run_sync("work").text
        except (KeyboardInterrupt, SystemExit) as error:
            ended = repr(error)
    for thread in {*threading.enumerate()} - before:
        thread.join(5.0)
        assert not thread.is_alive(), f"{thread.name} goes on, at {step}"
    return bool(sent), ended


signals = pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=lambda number: number.name)


@signals
def test_a_signal_at_any_step_of_run_sync_is_a_clean_end(folder: Path, number: signal.Signals) -> None:
    """F5: ... at whichever await of run_sync the signal comes: all is whole, and a resume finishes the run."""
    missed = 0
    # Before its first step nobody handles a signal but Python.
    for step in range(1, MOST_STEPS):
        agent, model = worker(folder / f"{step}")
        sent, _ = interrupted_at(step, number, agent)
        missed = 0 if sent else missed + 1
        if missed == 3:
            break
        run(partial(goes_on, agent, model), folder / f"{step}", {step: number.name})
    sys.stdout.write(f"run_sync, {number.name}: {step - 2} steps\n")
    assert step > 20


@signals
def test_no_signal_is_swallowed_by_run_sync(folder: Path, number: signal.Signals) -> None:
    """F5: ... and however late it comes, a signal ends the program: run_sync does not return as if there were none."""
    expected = "KeyboardInterrupt()" if number == signal.SIGINT else "SystemExit(143)"
    swallowed: list[int] = []
    missed = 0
    for step in range(1, MOST_STEPS):
        sent, ended = interrupted_at(step, number, worker(folder / f"{step}")[0])
        missed = 0 if sent else missed + 1
        if missed == 3:
            break
        if sent and ended != expected:
            swallowed.append(step)
    assert not swallowed


async def goes_on(agent: Agent[str], model: ScriptedModel, workspace_dir: Path, steps: Steps) -> bool:
    await assert_it_goes_on(workspace_dir, agent, model, steps)
    return True
