"""Errors of models and tools: what was on disk is never less afterwards, and the error says how to go on."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import anyio
import pytest
from tests.support.disk import off_loop
from tests.support.openai_server import Answer, Drop, OpenAIServer, Status, ToolUse
from tests.support.processes import (
    Child,
    SavedState,
    assert_nothing_lost,
    assert_well_formed,
    read_saved,
    say,
    temporaries,
)

from overwinter import Agent, ModelError, ModelUnavailable, OutputInvalid, RetryPolicy, ToolError, tool
from overwinter.persistence.workspace import Workspace
from overwinter.runtime import Backoff
from overwinter.testing import ScriptedModel

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from overwinter.agents.profile import Durability

pytestmark = pytest.mark.anyio

call = ScriptedModel.call
IMPATIENT = RetryPolicy(max_attempts=2, backoff=Backoff(initial=0.0, maximum=0.0, jitter=0.0))


@tool
async def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


@tool
async def cancelled() -> str:
    """Await something that somebody else cancelled."""
    future = asyncio.get_running_loop().create_future()
    future.cancel()
    return str(await future)


@tool
async def unspeakable() -> str:
    """Fail with an error that has no text."""

    class Unspeakable(Exception):
        def __str__(self) -> str:
            raise RuntimeError("there is no text")

    raise Unspeakable


@tool
async def leave() -> str:
    """End the program, or so it thinks."""
    raise SystemExit(3)


@tool
def leave_in_thread() -> str:
    """End the program from a thread, or so it thinks."""
    raise SystemExit(3)


@tool
async def interrupt() -> str:
    """Raise what Ctrl-C raises."""
    raise KeyboardInterrupt


@tool
async def group() -> str:
    """Fail as a task group does."""
    raise ExceptionGroup("several", [ValueError("one"), KeyError("two")])


TOOLS = (add, cancelled, unspeakable, leave, leave_in_thread, interrupt, group)


async def saved(agent: Agent[Any]) -> SavedState:
    folder = Workspace(agent.workspace_dir.parents[1]).folder(agent.agent_name, agent.agent_id)
    found = await off_loop(read_saved, folder)
    assert found is not None
    return found


async def with_a_past(workspace_dir: Path, name: str, script: list[Any], **settings: Any) -> Agent[str]:
    """An agent that has finished a run with a tool call, and is about to follow *script*."""
    past: list[Any] = [call("add", {"a": 1, "b": 2}), "It is 3."]
    agent = Agent(
        name,
        model=ScriptedModel([*past, *script]),
        tools=TOOLS,
        autosave=True,
        workspace_dir=workspace_dir,
        retry=IMPATIENT,
        **settings,
    )
    agent.memory.set("learned", ["a", 1, {"b": None}])
    assert (await agent.run("1 + 2?")).text == "It is 3."
    await agent.save()
    return agent


def resume_elsewhere(workspace: str, name: str) -> None:
    """A program: finish the run that was cut off."""
    model = ScriptedModel(["finished elsewhere"])
    agent = Agent(name, model=model, tools=TOOLS, autosave=True, workspace_dir=workspace)
    result = asyncio.run(agent.resume())
    for request in model.requests:
        assert_well_formed(request.messages)
    said = [message.content for message in model.requests[0].messages]
    say("resumed", {"text": result.text, "status": result.status, "said": said, "loops": result.loop_count})


async def in_a_new_process(program: Callable[..., None], *arguments: str) -> Any:
    def run() -> Any:
        with Child(program, *arguments) as child:
            value = child.expect("resumed")
            assert child.ended().code == 0
            return value

    return await off_loop(run)


@pytest.mark.parametrize("durability", ["exit", "async", "sync"])
async def test_a_model_error_loses_nothing_and_a_new_process_finishes_the_run(
    workspace_dir: Path, durability: Durability
) -> None:
    """F1: after a model error the state is saved as failed, with no less than before, and can be resumed elsewhere."""
    script = [call("add", {"a": 20, "b": 22}), ModelError("401: no such key", status_code=401)]
    agent = await with_a_past(workspace_dir, "failing", script, durability=durability)
    before = await saved(agent)
    with pytest.raises(ModelUnavailable, match="no such key") as caught:
        await agent.run("20 + 22?")
    after = await saved(agent)
    assert_nothing_lost(before.state, after.state)
    assert after.sequence > before.sequence
    assert after.state.status == after.metadata.status == "failed"
    assert after.config is not None
    assert after.config.status == "failed"
    assert [entry.content for entry in after.state.conversation[4:]] == ["20 + 22?", "", "42"]
    assert after.state.runs[-1].error.startswith("ModelUnavailable: ")
    (note,) = caught.value.__notes__
    assert str(agent.state_path) in note
    assert "resume()" in note
    there = await in_a_new_process(resume_elsewhere, str(workspace_dir), "failing")
    assert (there["text"], there["status"], there["loops"]) == ("finished elsewhere", "finished", 2)
    assert there["said"] == ["1 + 2?", "", "3", "It is 3.", "20 + 22?", "", "42"]
    last = await saved(agent)
    assert_nothing_lost(after.state, last.state)
    assert (last.state.status, last.state.conversation[-1].content) == ("finished", "finished elsewhere")
    assert not await off_loop(temporaries, workspace_dir)


@pytest.mark.parametrize(
    "reply",
    [
        RuntimeError("the model's own bug"),
        BaseExceptionGroup("several", [ValueError("one")]),
        lambda _: None,
        lambda _: [object()],
    ],
    ids=["a bug", "a group", "no reply", "a wrong reply"],
)
async def test_whatever_a_model_raises_or_returns_the_state_is_saved(workspace_dir: Path, reply: Any) -> None:
    """F1: a model's bug ends the run as failed and loses nothing."""
    agent = await with_a_past(workspace_dir, "buggy", [reply, "now it works"])
    before = await saved(agent)
    with pytest.raises(Exception) as caught:
        await agent.run("again")
    assert any("resume()" in note for note in caught.value.__notes__)
    after = await saved(agent)
    assert_nothing_lost(before.state, after.state)
    assert after.state.status == "failed"
    assert (await agent.resume()).text == "now it works"


async def test_an_answer_that_never_validates_loses_nothing(workspace_dir: Path) -> None:
    """F1: an answer that never has its shape ends the run as failed; every attempt stands on disk."""
    agent = Agent(
        "shapeless",
        model=ScriptedModel(["three"] * 3 + ["3"]),
        output_type=int,
        autosave=True,
        workspace_dir=workspace_dir,
    )
    with pytest.raises(OutputInvalid) as caught:
        await agent.run("1 + 2?")
    assert any("resume()" in note for note in caught.value.__notes__)
    after = await saved(agent)
    assert after.state.status == "failed"
    assert [entry.content for entry in after.state.conversation if entry.role == "assistant"] == ["three"] * 3
    assert (await agent.resume()).output == 3


async def test_a_failing_condition_of_the_users_own_loses_nothing(workspace_dir: Path) -> None:
    """F1: a stopping_condition that raises ends the run as failed; the reply it was shown stands on disk."""
    agent = Agent(
        "conditional",
        model=ScriptedModel(["a reply that was paid for"]),
        stopping_condition=lambda text: bool(1 / (len(text) - len(text))),
        autosave=True,
        workspace_dir=workspace_dir,
    )
    with pytest.raises(ZeroDivisionError) as caught:
        await agent.run("x")
    assert any("resume()" in note for note in caught.value.__notes__)
    after = await saved(agent)
    assert after.state.conversation[-1].content == "a reply that was paid for"


@pytest.mark.parametrize("name", ["cancelled", "unspeakable", "group"])
async def test_no_tool_error_ends_a_run_or_leaves_a_call_open(workspace_dir: Path, name: str) -> None:
    """F2: whatever a tool raises is told to the model as the answer to its call, and the run goes on."""
    agent = await with_a_past(
        workspace_dir, "tooled", [[call("add", {"a": 1, "b": 1}), call(name)], "went on"]
    )
    model = agent._profile.models[0]
    assert isinstance(model, ScriptedModel)
    before = await saved(agent)
    assert (await agent.run("try")).text == "went on"
    for request in model.requests:
        assert_well_formed(request.messages)
    await agent.save()
    after = await saved(agent)
    assert_nothing_lost(before.state, after.state)
    outcomes = {outcome.tool: outcome for outcome in after.state.tool_results[1:]}
    assert (outcomes["add"].ok, outcomes["add"].output) == (True, "2")
    assert not outcomes[name].ok


def run_a_tool_that_leaves(workspace: str, name: str) -> None:
    """A program: run an agent whose tool raises what ends programs."""

    async def main() -> None:
        agent = Agent(
            "leaver",
            model=ScriptedModel([["Looking.", call("add", {"a": 1, "b": 1})], call(name), "went on"]),
            tools=TOOLS,
            autosave=True,
            workspace_dir=workspace,
        )
        say("text", (await agent.run("try")).text)

    asyncio.run(main())


@pytest.mark.parametrize("name", ["leave", "leave_in_thread", "interrupt"])
async def test_a_tool_that_ends_the_program_hangs_nothing_and_loses_nothing(
    workspace_dir: Path, name: str
) -> None:
    """F3: a tool that calls sys.exit() is told of or ends the program; it never hangs it, and all is saved."""

    def run() -> None:
        with Child(run_a_tool_that_leaves, str(workspace_dir), name) as child:
            child.ended(within=5.0)

    await off_loop(run)
    agent = Agent("leaver", model=ScriptedModel([]), workspace_dir=workspace_dir)
    after = await saved(agent)
    assert [entry.content for entry in after.state.conversation[:3]] == ["try", "Looking.", "2"]
    assert after.state.status in ("finished", "failed", "interrupted")
    if name == "interrupt":
        there = await in_a_new_process(resume_elsewhere, str(workspace_dir), "leaver")
        assert there["text"] == "finished elsewhere"
    else:
        assert after.state.conversation[-1].content == "went on"


async def test_a_tool_error_is_told_and_nothing_is_lost_in_any_order(workspace_dir: Path) -> None:
    """F2: of concurrent calls those that ended before another failed keep their results."""

    @tool
    async def fail(after: str) -> str:
        """Fail."""
        raise ToolError(f"not {after}")

    agent = Agent(
        "several",
        model=ScriptedModel(
            [
                [call("fail", {"after": "1"}), call("add", {"a": 1, "b": 2}), call("fail", {"after": "3"})],
                "ok",
            ]
        ),
        tools=[add, fail],
        autosave=True,
        workspace_dir=workspace_dir,
    )
    await agent.run("x")
    await agent.save()
    after = await saved(agent)
    told = [entry.content for entry in after.state.conversation if entry.role == "tool"]
    assert told == ["Error: not 1", "3", "Error: not 3"]


@pytest.mark.allow_blocking  # litellm reads files of its own while it is asked
async def test_a_provider_that_fails_over_http_loses_nothing(workspace_dir: Path) -> None:
    """F4: through real litellm, a 500, a dropped connection and a 401 end in a failed run that is saved and resumed."""
    with OpenAIServer() as server:
        settings: dict[str, Any] = {
            "tools": TOOLS,
            "autosave": True,
            "workspace_dir": workspace_dir,
            "retry": IMPATIENT,
            "model_args": {"api_key": "sk-test-0123456789", "api_base": server.base_url},
        }
        agent = Agent("online", "openai/gpt-4o-mini", **settings)
        server.enqueue(
            Status(500),
            Answer("Adding.", calls=[ToolUse("add", {"a": 20, "b": 22})]),
            Drop(),
            Status(401, "no such key"),
        )
        with pytest.raises(ModelUnavailable, match="no such key") as caught:
            await agent.run("20 + 22?")
        assert any("resume()" in note for note in caught.value.__notes__)
        before = await saved(agent)
        assert before.state.status == "failed"
        assert [entry.content for entry in before.state.conversation] == ["20 + 22?", "Adding.", "42"]
        server.enqueue("It is 42.")
        other = Agent("online", "openai/gpt-4o-mini", **settings)
        assert (await other.resume()).text == "It is 42."
        after = await saved(other)
        assert_nothing_lost(before.state, after.state)
        last = server.requests[-1].body["messages"]
        assert [message["role"] for message in last] == ["user", "assistant", "tool"]
        assert b"sk-test" not in await anyio.Path(agent.state_path).read_bytes()
