"""A run_id of one's own: the same run, and the same answer, ever after."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import anyio
import msgspec
import pytest

from overwinter import (
    Agent,
    AgentPaused,
    Budget,
    ConfigurationError,
    NothingToResume,
    OutputInvalid,
    RunInterrupted,
    Runtime,
    tool,
)
from overwinter.agents import run_index
from overwinter.errors import UnfinishedRun
from overwinter.testing import ScriptedModel

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytestmark = pytest.mark.anyio

call, gate = ScriptedModel.call, ScriptedModel.gate


class Sum(msgspec.Struct):
    value: int


def keeper(workspace_dir: Path, *replies: Any, **options: Any) -> Agent[Any]:
    model = ScriptedModel(replies, name="scripted")
    return Agent("keeper", model=model, workspace_dir=workspace_dir, **{"autosave": True, **options})


def asked(agent: Agent[Any]) -> int:
    """How often the agent's model was asked."""
    model = agent._profile.models[0]
    assert isinstance(model, ScriptedModel)
    return len(model.requests)


async def cut_off(agent: Agent[Any], task: str, run_id: str, reached: anyio.Event) -> None:
    """Begin the run, and cancel it when the model was asked."""
    running = asyncio.create_task(agent.run(task, run_id=run_id))
    await reached.wait()
    running.cancel()
    with suppress(asyncio.CancelledError):
        await running


async def test_a_finished_run_is_answered_with_its_result(workspace_dir: Path) -> None:
    """H13: a run_id that has finished is answered with its result, and no model is asked."""
    agent = keeper(workspace_dir, '{"value": 3}', output_type=Sum)
    first = await agent.run("1 + 2?", run_id="sum")
    again = await agent.run("1 + 2?", run_id="sum")
    for name in ("output", "text", "usage", "loop_count", "stop_reason", "status", "run_id", "agent_name"):
        assert getattr(first, name) == getattr(again, name), name
    assert asked(agent) == 1
    assert len(agent.state.runs) == 1


async def test_it_is_so_in_a_new_process_that_did_not_load(workspace_dir: Path) -> None:
    """H13: also from a fresh object that did not load, in another process, which begins no conversation by it."""
    await keeper(workspace_dir, '{"value": 3}', output_type=Sum).run("1 + 2?", run_id="sum")
    fresh = keeper(workspace_dir, output_type=Sum)
    assert (await fresh.run("1 + 2?", run_id="sum")).output == Sum(3)
    assert not await anyio.Path(fresh.workspace_dir / "history").exists()
    assert asked(fresh) == 0


async def test_it_is_so_after_other_conversations(workspace_dir: Path) -> None:
    """H14: also when other conversations began since, in this process or in others."""
    for number in range(3):
        agent = keeper(workspace_dir, f"answer {number}")
        await agent.run(f"task {number}", run_id=f"r{number}")
    late = keeper(workspace_dir, "late")
    await late.run("late", run_id="late")
    for number in range(3):
        assert (await late.run(f"task {number}", run_id=f"r{number}")).text == f"answer {number}"
    assert [entry.content for entry in late.state.conversation] == ["late", "late"]
    fresh = keeper(workspace_dir)
    assert (await fresh.run("task 1", run_id="r1")).text == "answer 1"
    assert asked(fresh) == 0


async def test_an_answer_with_a_stopping_token_is_read_as_it_was(workspace_dir: Path) -> None:
    agent = keeper(workspace_dir, '{"value": 3} DONE', output_type=Sum, stopping_token="DONE")
    first = await agent.run("x", run_id="x")
    fresh = keeper(workspace_dir, output_type=Sum, stopping_token="DONE")
    again = await fresh.run("x", run_id="x")
    assert (again.output, again.text) == (first.output, first.text) == (Sum(3), '{"value": 3} DONE')


async def test_an_answer_that_is_none_of_the_type_now_asked_for_says_so(workspace_dir: Path) -> None:
    await keeper(workspace_dir, "three").run("x", run_id="x")
    with pytest.raises(OutputInvalid, match="another output_type"):
        await keeper(workspace_dir, output_type=Sum).run("x", run_id="x")


async def test_the_same_id_for_another_task_is_refused(workspace_dir: Path) -> None:
    """H15: the same run_id with another task is a ConfigurationError, wherever the run stands."""
    agent = keeper(workspace_dir, "x", "y")
    await agent.run("x", run_id="r")
    for holder in (agent, keeper(workspace_dir)):
        with pytest.raises(ConfigurationError, match="was used before, for the task 'x'"):
            await holder.run("y", run_id="r")
    fresh = keeper(workspace_dir, "new")
    await fresh.run("new")
    with pytest.raises(ConfigurationError, match="was used before"):
        await fresh.run("y", run_id="r")


async def test_a_run_under_way_is_joined(workspace_dir: Path) -> None:
    """H16: a run_id that is under way, or queued, is waited for: all who ask get the one result."""
    door = gate("first")
    agent = keeper(workspace_dir, door, "second")
    async with Runtime(workspace_dir) as runtime, anyio.create_task_group() as tasks:
        await runtime.spawn(agent)
        results: list[str] = []

        async def run(task: str, run_id: str) -> None:
            results.append((await agent.run(task, run_id=run_id)).text)

        for task, run_id in [("a", "r1"), ("a", "r1"), ("b", "r2"), ("b", "r2"), ("a", "r1")]:
            tasks.start_soon(run, task, run_id)
        await door.reached.wait()
        await anyio.wait_all_tasks_blocked()
        door.open()
    assert sorted(results) == ["first", "first", "first", "second", "second"]
    assert asked(agent) == 2


async def test_two_at_once_get_one_run_without_a_runtime_too(workspace_dir: Path) -> None:
    """H16: also without a runtime around them."""
    agent = keeper(workspace_dir, "once")
    one, other = await asyncio.gather(agent.run("a", run_id="r"), agent.run("a", run_id="r"))
    assert (one.text, other.text) == ("once", "once")
    assert asked(agent) == 1


async def test_cancelling_one_caller_leaves_the_run_to_the_others(workspace_dir: Path) -> None:
    """H17: a run goes on until the last of those who wait for it is cancelled."""
    door = gate("answer")
    agent = keeper(workspace_dir, door)
    async with Runtime(workspace_dir) as runtime:
        await runtime.spawn(agent)
        first = asyncio.create_task(agent.run("a", run_id="r"))
        await door.reached.wait()
        second = asyncio.create_task(agent.run("a", run_id="r"))
        await anyio.wait_all_tasks_blocked()
        first.cancel()
        with pytest.raises(asyncio.CancelledError):
            await first
        assert agent.status == "running"
        door.open()
        assert (await second).text == "answer"


async def test_cancelling_the_last_caller_interrupts_the_run(workspace_dir: Path) -> None:
    door = gate("answer")
    agent = keeper(workspace_dir, door)
    async with Runtime(workspace_dir) as runtime:
        await runtime.spawn(agent)
        callers = [asyncio.create_task(agent.run("a", run_id="r")) for _ in range(2)]
        await door.reached.wait()
        await anyio.wait_all_tasks_blocked()
        for caller in callers:
            caller.cancel()
            with pytest.raises(asyncio.CancelledError):
                await caller
        assert agent.status == "interrupted"


async def test_a_queued_run_is_withdrawn_with_its_last_caller_only(workspace_dir: Path) -> None:
    door = gate("one")
    agent = keeper(workspace_dir, door, "two")
    async with Runtime(workspace_dir) as runtime:
        await runtime.spawn(agent)
        busy = asyncio.create_task(agent.run("busy"))
        await door.reached.wait()
        callers = [asyncio.create_task(agent.run("a", run_id="r")) for _ in range(2)]
        await anyio.wait_all_tasks_blocked()
        callers[0].cancel()
        with suppress(asyncio.CancelledError):
            await callers[0]
        assert [task.run_id for task in agent.state.accepted] == ["r"]
        door.open()
        assert (await callers[1]).text == "two"
        assert (await busy).text == "one"


@pytest.mark.parametrize("fresh", [False, True])
async def test_a_run_that_was_cut_off_is_gone_on_with(workspace_dir: Path, fresh: bool) -> None:
    """H18: a run_id that was interrupted, paused or failed is gone on with, as resume(run_id) would."""
    door = gate()
    agent = keeper(workspace_dir, [door], "answer")
    await cut_off(agent, "a", "r", door.reached)
    holder = keeper(workspace_dir, "answer") if fresh else agent
    result = await holder.run("a", run_id="r")
    assert (result.text, result.run_id) == ("answer", "r")
    assert [entry.content for entry in holder.state.conversation] == ["a", "answer"]
    assert (await keeper(workspace_dir).run("a", run_id="r")).text == "answer"


async def test_a_paused_run_is_gone_on_with_and_others_are_told(workspace_dir: Path) -> None:
    """H18: behind a paused run, only that run itself goes on; what has finished is answered all the same."""

    @tool
    async def look() -> str:
        """Look."""
        return "seen"

    agent = keeper(workspace_dir, "done", call("look"), call("look"), "end", tools=[look], max_loops=1)
    await agent.run("first", run_id="r0")
    assert (await agent.run("long", run_id="r1")).status == "paused"
    with pytest.raises(AgentPaused):
        await agent.run("other", run_id="r2")
    assert (await agent.run("first", run_id="r0")).text == "done"
    assert (await agent.run("long", run_id="r1")).status == "paused"
    assert (await agent.resume("r1", max_loops=5)).text == "end"
    assert (await agent.run("long", run_id="r1")).text == "end"


async def test_an_accepted_task_that_never_began_begins(workspace_dir: Path) -> None:
    """H19: a run_id that was accepted and never begun begins, and is not accepted twice."""
    door = gate()
    agent = keeper(workspace_dir, [door])
    async with Runtime(workspace_dir, run_grace=0) as runtime:
        await runtime.spawn(agent)
        runs = [asyncio.create_task(agent.run(task, run_id=task)) for task in ("a", "b")]
        await door.reached.wait()
        await anyio.wait_all_tasks_blocked()
    for run in runs:
        with pytest.raises(RunInterrupted):
            await run
    fresh = keeper(workspace_dir, "b done", "a done")
    assert (await fresh.run("b", run_id="b")).text == "b done"
    assert fresh.state.accepted == ()
    assert (await fresh.run("a", run_id="a")).text == "a done"
    assert [entry.content for entry in fresh.state.conversation][:3] == ["a", "b", "b done"]


async def test_an_older_run_of_the_conversation_can_be_gone_on_with(workspace_dir: Path) -> None:
    """H20: resume(run_id) reaches older runs of the conversation; the model is told what it is to go on with."""
    door = gate()
    agent = keeper(workspace_dir, [door], "b done", "a done")
    await cut_off(agent, "a", "r1", door.reached)
    await agent.run("b", run_id="r2")
    result = await agent.resume("r1")
    assert (result.text, result.run_id) == ("a done", "r1")
    said = [entry.content for entry in agent.state.conversation]
    assert said[:3] == ["a", "b", "b done"]
    assert "Go on with this task" in said[3]
    assert "a" in said[3]
    assert [(run.run_id, run.status) for run in agent.state.runs] == [
        ("r1", "interrupted"),
        ("r2", "finished"),
        ("r1", "finished"),
    ]
    assert (await agent.run("a", run_id="r1")).text == "a done"
    with pytest.raises(NothingToResume, match="has finished"):
        await agent.resume("r1")


async def test_a_run_of_an_earlier_conversation_can_be_gone_on_with(workspace_dir: Path) -> None:
    """H21: resume(run_id) takes up an earlier conversation again, and keeps the present one in history/."""
    door = gate()
    await cut_off(keeper(workspace_dir, [door]), "a", "r1", door.reached)
    agent = keeper(workspace_dir, "b done", "a done", "more")
    with pytest.warns(UnfinishedRun):
        await agent.run("b", run_id="r2")
    assert (await agent.resume("r1")).text == "a done"
    assert [entry.content for entry in agent.state.conversation] == ["a", "a done"]
    # What was the present conversation is remembered, and so is this one, from now on.
    assert (await agent.run("b", run_id="r2")).text == "b done"
    assert (await keeper(workspace_dir).run("b", run_id="r2")).text == "b done"
    assert (await keeper(workspace_dir).run("a", run_id="r1")).text == "a done"
    kinds = [step.kind for step in await agent.history()]
    assert kinds.count("state_replaced") == 1
    await agent.run("c")
    loaded = keeper(workspace_dir)
    await loaded.load()
    assert loaded.state.conversation == agent.state.conversation
    with pytest.raises(NothingToResume, match="no run r9"):
        await agent.resume("r9")


async def test_run_takes_up_an_earlier_conversation_behind_those_that_wait(workspace_dir: Path) -> None:
    """H21: with tasks waiting, it waits for its turn; what is accepted behind it comes along."""
    door, busy = gate(), gate("busy done")
    await cut_off(keeper(workspace_dir, [door]), "a", "r1", door.reached)
    agent = keeper(workspace_dir, busy, "a done", "c done")
    async with Runtime(workspace_dir) as runtime:
        await runtime.spawn(agent)
        running = asyncio.create_task(agent.run("busy"))
        with pytest.warns(UnfinishedRun):
            await busy.reached.wait()
        older = asyncio.create_task(agent.run("a", run_id="r1"))
        joined = asyncio.create_task(agent.run("a", run_id="r1"))
        await anyio.wait_all_tasks_blocked()
        behind = asyncio.create_task(agent.run("c", run_id="r3"))
        while len(agent.state.accepted) < 1:
            await anyio.lowlevel.checkpoint()
        busy.open()
        assert (await running).text == "busy done"
        assert (await older).text == (await joined).text == "a done"
        assert (await behind).text == "c done"
    assert [entry.content for entry in agent.state.conversation] == ["a", "a done", "c", "c done"]


async def test_a_task_that_came_along_waits_in_one_place_only(workspace_dir: Path) -> None:
    """H21: and what came along and was taken back there is new to whoever asks for it again."""
    door, busy, again = gate(), gate("busy done"), gate("a done")
    await cut_off(keeper(workspace_dir, [door]), "a", "r1", door.reached)
    agent = keeper(workspace_dir, busy, again, "c done")
    async with Runtime(workspace_dir) as runtime:
        await runtime.spawn(agent)
        running = asyncio.create_task(agent.run("busy"))
        with pytest.warns(UnfinishedRun):
            await busy.reached.wait()
        older = asyncio.create_task(agent.run("a", run_id="r1"))
        behind = asyncio.create_task(agent.run("c", run_id="r3"))
        while len(agent.state.accepted) < 1:
            await anyio.lowlevel.checkpoint()
        busy.open()
        await again.reached.wait()
        behind.cancel()
        with suppress(asyncio.CancelledError):
            await behind
        assert agent.state.accepted == ()
        again.open()
        assert (await older).text == "a done"
        assert (await running).text == "busy done"
        assert (await agent.run("c", run_id="r3")).text == "c done"
    assert [entry.content for entry in agent.state.conversation] == ["a", "a done", "c", "c done"]


async def test_whoever_only_asked_for_answers_is_never_stale(workspace_dir: Path) -> None:
    """H14: an object that has begun nothing answers also from what others wrote since it last did."""
    writer = keeper(workspace_dir, "one", "two")
    await writer.run("1", run_id="r1")
    reader = keeper(workspace_dir)
    assert (await reader.run("1", run_id="r1")).text == "one"
    await writer.run("2", run_id="r2")
    assert (await reader.run("2", run_id="r2")).text == "two"
    assert (await writer.run("1", run_id="r1")).text == "one"


async def test_a_stream_of_a_finished_run_ends_with_its_result(workspace_dir: Path) -> None:
    """H13: and a stream of it is its ending alone."""
    agent = keeper(workspace_dir, "x")
    await agent.run("x", run_id="r")
    events = [event async for event in agent.stream("x", run_id="r")]
    assert [event.kind for event in events] == ["run_ended"]
    assert events[0].result.text == "x"  # type: ignore[attr-defined]


async def test_without_autosave_a_run_is_remembered_as_long_as_the_object(workspace_dir: Path) -> None:
    agent = keeper(workspace_dir, "x", autosave=False)
    assert (await agent.run("x", run_id="r")).text == (await agent.run("x", run_id="r")).text == "x"
    assert not await anyio.Path(workspace_dir).exists()


async def test_new_run_ids_cost_no_look_at_the_disk(
    workspace_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """H22: the runs in history/ are looked up in an index, which is read once for as long as the agent is held."""
    for number in range(5):
        await keeper(workspace_dir, "x").run("x", run_id=f"old-{number}")
    looked: list[str] = []

    def spy(name: str) -> None:
        original: Callable[..., Any] = getattr(run_index, name)

        def called(*args: Any, **kwargs: Any) -> Any:
            looked.append(name)
            return original(*args, **kwargs)

        monkeypatch.setattr(run_index, name, called)

    spy("history_files")
    spy("state_of")
    agent = keeper(workspace_dir, *["y"] * 20)
    for number in range(20):
        await agent.run("y", run_id=f"new-{number}")
    assert looked == ["history_files"]


async def test_a_lost_index_is_made_anew(workspace_dir: Path) -> None:
    """H22: the index holds nothing of its own: without it, or with a damaged one, every run is found."""
    for number in range(3):
        await keeper(workspace_dir, f"answer {number}").run("x", run_id=f"r{number}")
    index = anyio.Path(keeper(workspace_dir).workspace_dir / ".runs.jsonl")
    whole = await index.read_bytes()
    for content in (b"", whole[: len(whole) // 2], b"\0" * 100, None):
        if content is None:
            await index.unlink()
        else:
            await index.write_bytes(content)
        assert (await keeper(workspace_dir).run("x", run_id="r0")).text == "answer 0"
        assert (await keeper(workspace_dir).run("x", run_id="r1")).text == "answer 1"


async def test_a_limit_can_be_raised_for_an_older_run(workspace_dir: Path) -> None:
    door = gate()
    await cut_off(keeper(workspace_dir, [door]), "a", "r1", door.reached)
    agent = keeper(workspace_dir, "b", "a")
    with pytest.warns(UnfinishedRun):
        await agent.run("b", run_id="r2")
    result = await agent.resume("r1", max_loops=1, budget=Budget(tokens=10**6))
    assert (result.status, result.loop_count) == ("finished", 1)
