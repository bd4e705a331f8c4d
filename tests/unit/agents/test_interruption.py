"""Runs that are cut off, and what is left of them."""

from __future__ import annotations

import json
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

import anyio
import pytest

from overwinter import Agent, RunInterrupted, Runtime, tool
from overwinter.errors import ModelError
from overwinter.events import (
    Event,
    ReplyReceived,
    RunEnded,
    RunStarted,
    StreamRestarted,
    TextDelta,
    ToolFinished,
)
from overwinter.testing import FakeClock, ScriptedModel

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.anyio

call = ScriptedModel.call


async def read(path: Path) -> dict[str, Any]:
    return json.loads(await anyio.Path(path).read_text("utf-8"))  # type: ignore[no-any-return]


def a_waiting_tool() -> tuple[Any, anyio.Event]:
    began = anyio.Event()

    @tool
    async def wait() -> str:
        began.set()
        await anyio.sleep_forever()
        return ""

    return wait, began


async def test_cancelling_a_run_saves_it_before_it_returns(workspace_dir: Path) -> None:
    """A11: cancelling the caller interrupts its run, and the state is saved when the cancellation is through."""
    wait, began = a_waiting_tool()
    model = ScriptedModel([["Let me see.", call("wait")]])
    agent = Agent("a", model=model, tools=[wait], autosave=True, workspace_dir=workspace_dir)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(agent.run, "look")
        await began.wait()
        tasks.cancel_scope.cancel()
    state = await read(agent.state_path)
    assert state["status"] == state["_autosave_metadata"]["status"] == "interrupted"
    assert [entry["content"] for entry in state["conversation"]] == ["look", "Let me see."]
    assert state["begun_calls"] == ["call_1"]
    assert (await read(agent.config_path))["_autosave_metadata"]["status"] == "interrupted"


async def test_a_call_of_unknown_outcome_is_told_and_not_repeated(workspace_dir: Path) -> None:
    """A16: a resumed run never repeats a call that had begun, unless it is idempotent, and answers every call."""
    wait, began = a_waiting_tool()
    ran: list[str] = []

    @tool
    async def quick() -> str:
        ran.append("quick")
        return "quick"

    @tool(idempotent=True)
    async def again() -> str:
        ran.append("again")
        if len(ran) < 3:
            await anyio.sleep_forever()
        return "again"

    model = ScriptedModel([[call("quick"), call("wait"), call("again")], "done"])
    agent = Agent("a", model=model, tools=[wait, quick, again], autosave=True, workspace_dir=workspace_dir)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(agent.run, "three")
        await began.wait()
        await anyio.wait_all_tasks_blocked()
        tasks.cancel_scope.cancel()
    model = ScriptedModel(["done"])
    fresh = Agent("a", model=model, tools=[wait, quick, again], autosave=True, workspace_dir=workspace_dir)
    assert (await fresh.resume()).output == "done"
    assert sorted(ran) == ["again", "again", "quick"]
    answers = {
        entry.tool_call_id: entry.content for entry in fresh.state.conversation if entry.role == "tool"
    }
    assert answers["call_1"] == "quick"
    assert "outcome is unknown" in answers["call_2"]
    assert answers["call_3"] == "again"


async def test_a_new_run_after_an_interruption_answers_the_open_calls_first() -> None:
    """A16: a conversation never goes to a model with a tool call without an answer."""
    wait, began = a_waiting_tool()
    model = ScriptedModel([[call("wait"), call("wait")], "fine"])
    agent = Agent("a", model=model, tools=[wait])
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(agent.run, "one")
        await began.wait()
        tasks.cancel_scope.cancel()
    await agent.run("two")
    roles = [message.role for message in model.requests[1].messages]
    assert roles == ["user", "assistant", "tool", "tool", "user"]


async def test_a_queued_run_that_is_cancelled_is_withdrawn(workspace_dir: Path) -> None:
    """A12: cancelling a caller whose turn has not come withdraws its task."""
    gate = ScriptedModel.gate()
    agent = Agent(
        "a", model=ScriptedModel([[gate, "first"], "third"]), autosave=True, workspace_dir=workspace_dir
    )
    async with Runtime(workspace_dir) as runtime, anyio.create_task_group() as tasks:
        await runtime.spawn(agent)
        tasks.start_soon(agent.run, "1")
        await gate.reached.wait()
        with anyio.CancelScope() as second:

            async def give_up() -> None:
                await anyio.wait_all_tasks_blocked()
                second.cancel()

            tasks.start_soon(give_up)
            await agent.run("2")
        assert agent.state.accepted == ()
        gate.open()
        assert (await agent.run("3")).text == "third"
    assert [entry.content for entry in agent.state.conversation] == ["1", "first", "3", "third"]


async def test_cancel_gives_up_the_run_under_way() -> None:
    gate = ScriptedModel.gate()
    agent = Agent("a", model=ScriptedModel([[gate, "never"], "next"]))
    async with Runtime() as runtime, anyio.create_task_group() as tasks:
        await runtime.spawn(agent)

        async def run() -> None:
            with pytest.raises(RunInterrupted, match="cancelled"):
                await agent.run("1")

        tasks.start_soon(run)
        await gate.reached.wait()
        await agent.cancel()
        assert agent.status == "interrupted"
        assert (await agent.run("2")).text == "next"


async def test_a_stream_yields_the_run_as_it_happens() -> None:
    @tool
    async def add(a: int, b: int) -> int:
        return a + b

    model = ScriptedModel([["Adding. ", call("add", {"a": 1, "b": 2})], "It is three."])
    agent = Agent("a", model=model, tools=[add])
    events: list[Event] = [event async for event in agent.stream("1 + 2?")]
    assert isinstance(events[0], RunStarted)
    assert "".join(event.text for event in events if isinstance(event, TextDelta)) == "Adding. It is three."
    assert [event.output for event in events if isinstance(event, ToolFinished)] == ["3"]
    assert [event.tool_calls for event in events if isinstance(event, ReplyReceived)] == [("add",), ()]
    last = events[-1]
    assert isinstance(last, RunEnded)
    assert last.result.output == "It is three."
    assert len({event.run_id for event in events}) == 1


async def test_leaving_a_stream_early_cancels_its_run(workspace_dir: Path) -> None:
    """A24: leaving a stream early cancels its run; what was streamed is kept as partial text."""
    gate = ScriptedModel.gate()
    agent = Agent(
        "a", model=ScriptedModel([["Half a ", gate, "sentence."]]), autosave=True, workspace_dir=workspace_dir
    )
    async with aclosing(agent.stream("talk")) as stream:
        async for event in stream:
            if isinstance(event, TextDelta) and event.text.startswith(" a"):
                break
    assert agent.status == "interrupted"
    state = await read(agent.state_path)
    assert (state["status"], state["partial_text"]) == ("interrupted", "Half a ")


async def test_a_stream_that_broke_says_that_it_starts_again() -> None:
    clock = FakeClock()
    model = ScriptedModel([["Half a ", ModelError("dropped", retryable=True)], "Whole."])
    agent = Agent("a", model=model)
    events: list[Event] = []

    async def follow() -> None:
        events.extend([event async for event in agent.stream("talk")])

    async with Runtime(clock=clock) as runtime, anyio.create_task_group() as tasks:
        await runtime.spawn(agent)
        tasks.start_soon(follow)
        await anyio.wait_all_tasks_blocked()
        await clock.advance(60)
    restart = next(n for n, event in enumerate(events) if isinstance(event, StreamRestarted))
    assert "".join(event.text for event in events[restart:] if isinstance(event, TextDelta)) == "Whole."


async def test_a_stream_raises_what_its_run_raises() -> None:
    agent = Agent("a", model=ScriptedModel([ModelError("no")]))
    seen: list[Event] = []
    with pytest.raises(ModelError, match="no"):
        async for event in agent.stream("x"):
            seen.append(event)
    assert isinstance(seen[-1], RunEnded)
    assert seen[-1].status == "failed"


async def test_an_asker_that_times_out_interrupts_its_run() -> None:
    from overwinter.agents.commands import RunTask
    from overwinter.errors import AskTimeout

    clock = FakeClock()
    gate = ScriptedModel.gate()
    agent = Agent("a", model=ScriptedModel([[gate, "x"]]))
    async with Runtime(clock=clock) as runtime, anyio.create_task_group() as tasks:
        ref = await runtime.spawn(agent)

        async def ask() -> None:
            with pytest.raises(AskTimeout):
                await ref.ask(RunTask(task="x", run_id="r1"), timeout=3)

        tasks.start_soon(ask)
        await gate.reached.wait()
        await clock.advance(3)
    assert agent.status == "interrupted"
