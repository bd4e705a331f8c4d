"""Cancellation at every step: nothing is torn, nothing is left behind, and the agent can go on."""

from __future__ import annotations

import asyncio
import sys
import threading
from typing import TYPE_CHECKING, Any, TypeAlias

import anyio
import pytest
from tests.support.processes import (
    assert_nothing_lost,
    assert_well_formed,
    memory_folder,
    read_everything,
    temporaries,
)

from overwinter import Agent, NothingToResume, RunInterrupted, Runtime, StateNotFound, tool
from overwinter.testing import ScriptedModel

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine, Iterator
    from pathlib import Path

    from tests.support.processes import SavedState

    Steps: TypeAlias = dict[int, str]
    Place: TypeAlias = Callable[[Path, Steps], Coroutine[Any, Any, bool]]

pytestmark = [
    pytest.mark.skipif(sys.platform == "win32", reason="the stepping loop is that of POSIX systems"),
    pytest.mark.allow_blocking,  # between two steps the test looks at the disk from the loop
]

call = ScriptedModel.call
MOST_STEPS = 2000


class SteppingLoop(asyncio.SelectorEventLoop):
    """An event loop that counts its steps, those in which something runs, and acts at chosen ones."""

    def __init__(self) -> None:
        super().__init__()
        self.steps = -1
        self.at: dict[int, Callable[[], object]] = {}
        self.threads = {*threading.enumerate()}

    def begin(self, at: dict[int, Callable[[], object]]) -> None:
        self.steps, self.at = 0, at

    def _run_once(self) -> None:
        super()._run_once()  # type: ignore[misc]
        if self.steps >= 0:
            act = self.at.pop(self.steps, None)
            self.steps += 1
            if act is not None:
                act()


def run(place: Place, workspace_dir: Path, steps: Steps) -> bool:
    with asyncio.Runner(loop_factory=SteppingLoop) as runner:
        return runner.run(place(workspace_dir, steps))


def the_loop() -> SteppingLoop:
    loop = asyncio.get_running_loop()
    assert isinstance(loop, SteppingLoop)
    return loop


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    with memory_folder(tmp_path) as chosen:
        yield chosen


@tool
async def add(a: int, b: int) -> int:
    """Add two numbers, not at once."""
    await asyncio.sleep(0)
    return a + b


@tool
async def note(text: str) -> str:
    """Note a text."""
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    return text


SCRIPT = [
    ["Adding.", call("add", {"a": 1, "b": 2}), call("note", {"text": "one"})],
    call("add", {"a": 3, "b": 4}),
    "Done.",
]


def worker(workspace_dir: Path, script: Any = SCRIPT, **settings: Any) -> tuple[Agent[str], ScriptedModel]:
    model = ScriptedModel([*script, "More."], loop=True)
    settings = {"autosave": True, "tools": [add, note], "workspace_dir": workspace_dir, **settings}
    return Agent("worker", model=model, **settings), model


async def leftovers() -> list[str]:
    """The tasks that do not end by themselves, soon."""
    others = asyncio.all_tasks() - {asyncio.current_task()}
    if others:
        _, pending = await asyncio.wait(others, timeout=30.0)
        return [repr(task) for task in pending]
    return []


async def cut_off(work: Callable[[], Awaitable[Any]], steps: Steps) -> bool:
    """Run *work*, cancelled at the given steps natively ("task") or by a scope of anyio; whether it ended before."""
    scope = anyio.CancelScope()

    async def inside() -> None:
        with scope:
            await work()

    task = asyncio.ensure_future(inside())
    acts = {"task": task.cancel, "scope": scope.cancel}
    loop = the_loop()
    loop.begin({step: acts[act] for step, act in steps.items()})
    try:
        await task
    except asyncio.CancelledError:
        pass
    except (RunInterrupted, NothingToResume, StateNotFound) as error:
        raise AssertionError(f"{error!r} hides the cancellation of step {[*steps]}") from error
    finally:
        left, loop.steps = loop.at, -1
    return len(left) == len(steps)


def assert_all_is_whole(workspace_dir: Path, at: object) -> SavedState | None:
    for thread in {*threading.enumerate()} - the_loop().threads:
        # An opening or a claim that was cancelled comes to its end, and is undone, behind.
        if thread.name.startswith("overwinter-"):
            thread.join(5.0)
            assert not thread.is_alive(), f"{thread.name} goes on: a storage was never closed, at {at}"
    assert not temporaries(workspace_dir), at
    saved = read_everything(workspace_dir).get("worker") if workspace_dir.exists() else None
    if saved is not None:
        # Whoever was cancelled wants nothing any more.
        assert not saved.state.accepted, at
        assert saved.state.status != "running", at
    return saved


async def go_on(agent: Agent[str]) -> str:
    try:
        return (await agent.resume()).text
    except (NothingToResume, StateNotFound):
        return (await agent.run("again")).text


async def assert_it_goes_on(workspace_dir: Path, agent: Agent[str], model: ScriptedModel, at: object) -> None:
    """The same object finishes what was cut off, and then another one has the agent."""
    saved = assert_all_is_whole(workspace_dir, at)
    assert await go_on(agent) in ("Done.", "More."), at
    for request in model.requests:
        assert_well_formed(request.messages)
    assert not await leftovers(), at
    after = assert_all_is_whole(workspace_dir, at)
    assert after is not None
    if saved is not None:
        assert_nothing_lost(saved.state, after.state)
        assert after.sequence > saved.sequence
    other, others_model = worker(workspace_dir, ["Another."])
    async with Runtime(workspace_dir) as runtime:
        await runtime.spawn(other)
        await other.load()
        assert other.state.conversation == agent.state.conversation, at
        assert (await other.run("and now?")).text == "Another."
    assert_well_formed(others_model.requests[0].messages)
    assert not await leftovers(), at


async def alone(workspace_dir: Path, steps: Steps) -> bool:
    agent, model = worker(workspace_dir)
    through = await cut_off(lambda: agent.run("work"), steps)
    assert not await leftovers(), steps
    if not through:
        await assert_it_goes_on(workspace_dir, agent, model, steps)
    return through


async def alone_in_sync(workspace_dir: Path, steps: Steps) -> bool:
    agent, model = worker(workspace_dir, durability="sync")
    through = await cut_off(lambda: agent.run("work"), steps)
    assert not await leftovers(), steps
    if not through:
        await assert_it_goes_on(workspace_dir, agent, model, steps)
    return through


async def one_of_three(workspace_dir: Path, steps: Steps) -> bool:
    agent, model = worker(workspace_dir, SCRIPT * 3)
    texts: list[str] = []

    async def run(task: str) -> None:
        texts.append((await agent.run(task)).text)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(run, "first")
        tasks.start_soon(cut_off_in_a_group, lambda: run("second"), steps)
        tasks.start_soon(run, "third")
    through = len(texts) == 3
    assert len(texts) >= 2, steps
    assert not await leftovers(), steps
    for request in model.requests:
        assert_well_formed(request.messages)
    saved = assert_all_is_whole(workspace_dir, steps)
    assert saved is not None
    ended = [(run.task, run.status) for run in saved.state.runs if run.task != "second"]
    assert ended == [("first", "finished"), ("third", "finished")], steps
    cut_off_run = [run.status for run in saved.state.runs if run.task == "second"]
    assert cut_off_run in ([], ["interrupted"], ["finished"]), steps
    return through


async def cut_off_in_a_group(work: Callable[[], Awaitable[Any]], steps: Steps) -> None:
    await cut_off(work, steps)


async def on_a_runtime(workspace_dir: Path, steps: Steps) -> bool:
    agent, model = worker(workspace_dir)
    async with Runtime(workspace_dir, run_grace=0.0) as runtime:
        await runtime.spawn(agent)
        through = await cut_off(lambda: agent.run("work"), steps)
        assert agent.status != "running", steps
        if agent.status == "interrupted":
            # It returns when that is saved, although the Runtime goes on.
            saved = read_everything(workspace_dir)["worker"]
            assert saved.state.status == "interrupted", steps
            assert saved.state.conversation == [*agent.state.conversation], steps
        if not through:
            assert await go_on(agent) in ("Done.", "More.")
            for request in model.requests:
                assert_well_formed(request.messages)
    assert not await leftovers(), steps
    if not through:
        await assert_it_goes_on(workspace_dir, agent, model, steps)
    return through


async def with_the_runtime(workspace_dir: Path, steps: Steps) -> bool:
    agent, model = worker(workspace_dir)

    async def whole() -> None:
        async with Runtime(workspace_dir, run_grace=0.0) as runtime:
            await runtime.spawn(agent)
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(agent.run, "work")

    through = await cut_off(whole, steps)
    assert not await leftovers(), steps
    if not through:
        await assert_it_goes_on(workspace_dir, agent, model, steps)
    return through


def at_every_step(place: Place, folder: Path, *acts: str, apart: int = 1, stride: int = 1) -> int:
    """Cut *place* off at each of its steps, and again so many steps later; how many steps there were."""
    came_through = 0
    for first in range(0, MOST_STEPS, stride):
        steps = {first + number * apart: act for number, act in enumerate(acts)}
        # What a thread does may come a step earlier or later, so once is not enough.
        came_through = came_through + 1 if run(place, folder / f"{first}", steps) else 0
        if came_through == 3:
            sys.stdout.write(f"{place.__name__}, cancelled by {acts}: {first - 2 * stride} steps\n")
            return first - 2 * stride
    raise AssertionError("it never came through")


@pytest.mark.parametrize(
    ("place", "act"),
    [
        (alone, "task"),
        (alone, "scope"),
        (alone_in_sync, "task"),
        (on_a_runtime, "task"),
        (with_the_runtime, "task"),
        (with_the_runtime, "scope"),
    ],
)
def test_a_run_cancelled_at_any_step_leaves_all_whole_and_can_go_on(
    folder: Path, place: Place, act: str
) -> None:
    """F9: cancelled at any await, a run leaves whole files, no temporary, no task and no claim; it can be resumed."""
    assert at_every_step(place, folder, act) > 15


def test_cancelling_one_of_several_runs_at_any_step_harms_no_other(folder: Path) -> None:
    """F9: cancelling one of several concurrent runs, at any await, withdraws or interrupts it and no other."""
    assert at_every_step(one_of_three, folder, "task") > 15


@pytest.mark.parametrize("apart", [1, 4])
def test_a_second_cancellation_while_the_first_is_being_saved_harms_nothing(folder: Path, apart: int) -> None:
    """F11: cancelled a second time while it saves because of the first, a run leaves no task and no claim behind."""
    assert at_every_step(alone, folder, "task", "task", apart=apart, stride=2) > 15
