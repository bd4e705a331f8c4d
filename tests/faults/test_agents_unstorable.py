"""What JSON cannot hold: stored the same, or refused by name; the run goes on, and the state loads."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import anyio
import pytest
from tests.support.disk import off_loop
from tests.support.processes import assert_well_formed, read_everything

from overwinter import Agent, Message, ModelReply, Runtime, ToolCall, ToolContext, Usage, tool
from overwinter.errors import SaveError, SaveRejected
from overwinter.events import Event, SaveFailing
from overwinter.testing import ScriptedModel

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.anyio

call = ScriptedModel.call

HUGE = 10**5000
CYCLE: list[Any] = []
CYCLE.append(CYCLE)
DEEP: list[Any] = []
for _ in range(100_000):
    DEEP = [DEEP]

UNSTORABLE = {
    "nan": math.nan,
    "infinity": math.inf,
    "surrogate": "half of \ud83d",
    "bytes": b"bytes",
    "huge": HUGE,
    "cycle": CYCLE,
    "deep": DEEP,
    "object": object(),
    "keys": {1: "one"},
}
each = pytest.mark.parametrize("bad", UNSTORABLE.values(), ids=UNSTORABLE)


def assert_same(one: Any, other: Any) -> None:
    assert one == other
    assert type(one) is type(other)


async def finished_and_loaded(
    workspace_dir: Path, script: Any, *tools: Any
) -> tuple[Agent[str], Agent[str], list[SaveFailing]]:
    """Run the script to its end on a Runtime; the agent, another one loaded from its files, and failed saves."""
    failures: list[SaveFailing] = []

    def see(event: Event) -> None:
        if isinstance(event, SaveFailing):
            failures.append(event)

    model = ScriptedModel(script)
    agent = Agent("odd", model=model, tools=tools, autosave=True)
    async with Runtime(workspace_dir) as runtime:
        runtime.watch(see)
        await runtime.spawn(agent)
        with anyio.fail_after(60):
            assert (await agent.run("go")).text.startswith("Done")
            await agent.save()
    for request in model.requests:
        assert_well_formed(request.messages)
    await off_loop(read_everything, workspace_dir)
    loaded = Agent("odd", model=ScriptedModel([]), tools=tools, autosave=True, workspace_dir=workspace_dir)
    await loaded.load()
    assert loaded.status == "finished"
    assert loaded.state.conversation == agent.state.conversation
    assert loaded.state.tool_results == agent.state.tool_results
    assert loaded.state.usage == agent.state.usage
    assert loaded.state.runs == agent.state.runs
    return agent, loaded, failures


@each
async def test_a_tools_result_is_stored_the_same_or_refused_by_name(workspace_dir: Path, bad: Any) -> None:
    """F26: a tool's result that JSON cannot hold is refused by name, to the model; the run goes on, the state loads."""

    @tool
    async def odd() -> Any:
        """Return something odd."""
        return {"good": 1, "scores": [bad]}

    agent, _, failures = await finished_and_loaded(workspace_dir, [call("odd"), "Done."], odd)
    assert not failures
    (outcome,) = agent.state.tool_results
    if isinstance(bad, dict):
        assert outcome.output == '{"good":1,"scores":[{"1":"one"}]}', (
            "JSON has such keys as text, as one expects"
        )
    else:
        assert not outcome.ok
        assert "result" in outcome.output
        assert "scores[0]" in outcome.output or bad is DEEP or bad is CYCLE or type(bad) is object


@each
async def test_what_memory_cannot_store_is_refused_by_name_and_the_rest_is_kept(
    workspace_dir: Path, bad: Any
) -> None:
    """F27: what memory cannot store is refused when it is set, by name, also within a tool; the run goes on."""

    @tool
    async def remember(context: ToolContext) -> str:
        """Remember."""
        context.memory.set("good", [1, 2.5, None, True, {"é": "🐝"}])
        context.memory.set("bad", {"deep": [bad]})
        return "remembered"

    agent, loaded, failures = await finished_and_loaded(workspace_dir, [call("remember"), "Done."], remember)
    assert not failures
    (outcome,) = agent.state.tool_results
    assert not outcome.ok
    assert "memory.bad" in outcome.output
    assert loaded.state.memory == {"good": [1, 2.5, None, True, {"é": "🐝"}]}
    with pytest.raises(SaveRejected) as refused:
        agent.memory.set("bad", {"deep": [bad]})
    assert refused.value.field.startswith("memory.bad")


@each
async def test_a_models_provider_fields_are_stored_the_same_or_dropped_and_told_of(
    workspace_dir: Path, bad: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """F28: a custom Model's provider fields that JSON cannot hold are dropped, by name in the log; the run goes on."""
    said = Message(role="assistant", content="Done.", provider={"signature": [bad]})
    agent, _, failures = await finished_and_loaded(workspace_dir, [ModelReply(said)])
    assert not failures
    assert agent.state.conversation[-1].provider == {}
    assert any("reply.provider" in record.getMessage() for record in caplog.records)


async def test_provider_fields_that_can_be_stored_go_back_verbatim(workspace_dir: Path) -> None:
    """F28: ... those it can hold are stored and come back the same, types included."""
    fields = {"signature": "Zm9v+/=", "numbers": [1, 1.0, True, None, 2**62], "é": {"🐝": []}}
    said = Message(role="assistant", content="Done.", provider=fields)
    _, loaded, _ = await finished_and_loaded(workspace_dir, [ModelReply(said)])
    for name, value in fields.items():
        assert_same(loaded.state.conversation[-1].provider[name], value)


@pytest.mark.parametrize(
    "made",
    [
        ToolCall("id-\ud83d", "odd", "{}"),
        ToolCall("id", "odd\ud83d", "{}"),
        ToolCall("id", "odd", '{"half": "\ud83d"}'),
        ToolCall("id", "odd", "[" * 100_000),
        ToolCall("id", "odd", '{"n": ' + "9" * 5000 + "}"),
        ToolCall("id", "odd", "{}", {"signature": math.nan}),
        ToolCall(None, "odd", "{}"),  # type: ignore[arg-type]
        ToolCall(7, "odd", "{}"),  # type: ignore[arg-type]
        ToolCall("id", None, "{}"),  # type: ignore[arg-type]
        ToolCall("id", "odd", None),  # type: ignore[arg-type]
        ToolCall("id", "odd", {}),  # type: ignore[arg-type]
        ToolCall("id", "odd", b"{}"),  # type: ignore[arg-type]
    ],
    ids=[
        "id: surrogate", "name: surrogate", "arguments: surrogate", "arguments: deep", "arguments: huge int",
        "provider: nan", "id: None", "id: int", "name: None", "arguments: None", "arguments: dict",
        "arguments: bytes",
    ],
)  # fmt: skip
async def test_whatever_a_model_says_of_a_tool_call_the_state_is_saved_and_loads(
    workspace_dir: Path, made: ToolCall
) -> None:
    """F29: a custom Model's odd tool call is mended or refused; saving goes on and the state loads."""

    @tool
    async def odd() -> str:
        """Return something."""
        return "something"

    reply = ModelReply(Message(role="assistant", content="Calling.", tool_calls=(made,)))
    _, _, failures = await finished_and_loaded(workspace_dir, [reply, "Done."], odd)
    assert not failures


@pytest.mark.parametrize(
    "content", ["Done \ud83d", None, b"Done.", 7], ids=["surrogate", "None", "bytes", "int"]
)
async def test_whatever_text_a_model_returns_the_state_is_saved_and_loads(
    workspace_dir: Path, content: Any
) -> None:
    """F30: a custom Model's text that JSON cannot hold is mended, or ends the run by name; the state loads."""
    reply = ModelReply(Message(role="assistant", content=content))
    model = ScriptedModel([reply, "Done."])
    agent = Agent("odd", model=model, autosave=True, workspace_dir=workspace_dir)
    refused: Exception | None = None
    try:
        result = await agent.run("go")
    except Exception as error:
        refused = error
        result = await agent.resume()
    assert refused is None or "content" in str(refused), f"{refused!r} does not name the field"
    assert isinstance(result.text, str)
    loaded = Agent("odd", model=ScriptedModel([]), autosave=True, workspace_dir=workspace_dir)
    await loaded.load()
    assert loaded.state.conversation == agent.state.conversation


@pytest.mark.parametrize(
    "usage",
    [
        Usage(cost=math.nan, calls=1),
        Usage(cost=math.inf, calls=1),
        Usage(input_tokens=HUGE, calls=1),
        Usage(input_tokens=1.5, calls=1),  # type: ignore[arg-type]
        Usage(input_tokens=True, calls=1),
        Usage(input_tokens=None, calls=1),  # type: ignore[arg-type]
        None,
    ],
    ids=[
        "cost: nan",
        "cost: infinity",
        "tokens: huge",
        "tokens: float",
        "tokens: bool",
        "tokens: None",
        "None",
    ],
)
async def test_whatever_usage_a_model_reports_the_state_is_saved_and_loads(
    workspace_dir: Path, usage: Any
) -> None:
    """F31: a custom Model's usage that JSON cannot hold stops neither the run nor its saves, and the state loads."""
    replies = [
        ModelReply(Message(role="assistant", content=text), usage) for text in ("Done.", "Done twice.")
    ]
    agent, loaded, failures = await finished_and_loaded(workspace_dir, replies)
    assert not failures
    assert loaded.state.usage.calls <= agent.state.usage.calls


@pytest.mark.parametrize("bad", ["half of \ud83d", "nul \x00 and \u2028"], ids=["surrogate", "odd"])
async def test_whatever_text_an_error_has_the_state_is_saved_and_loads(workspace_dir: Path, bad: str) -> None:
    """F31: ... and neither does the text of an error, of a tool or of a model."""

    @tool
    async def odd() -> str:
        """Fail."""
        raise ValueError(bad)

    model = ScriptedModel([call("odd"), ValueError(bad), "Done."])
    agent = Agent("odd", model=model, tools=[odd], autosave=True, workspace_dir=workspace_dir)
    with pytest.raises(ValueError, match=r"half|nul"):
        await agent.run("go")
    loaded = Agent(
        "odd", model=ScriptedModel(["Done."]), tools=[odd], autosave=True, workspace_dir=workspace_dir
    )
    await loaded.load()
    assert loaded.status == "failed"
    assert loaded.state.conversation == agent.state.conversation
    assert (await loaded.resume()).text == "Done."


async def test_a_rejected_state_is_told_of_and_names_the_field(workspace_dir: Path) -> None:
    """F32: a state that cannot be encoded all the same is refused by save(), by name; the old one stays."""
    agent = Agent(
        "odd", model=ScriptedModel(["Done."], loop=True), autosave=True, workspace_dir=workspace_dir
    )
    await agent.run("go")
    before = (await off_loop(read_everything, workspace_dir))["odd"]
    # No way is known by which this gets there; if one is found, this is what is promised.
    agent.memory.set("changed", True)
    agent._state.partial_text = "half of \ud83d"
    with pytest.raises(SaveError) as refused, anyio.fail_after(60):
        await agent.save()
    assert "partial_text" in str(refused.value)
    after = (await off_loop(read_everything, workspace_dir))["odd"]
    # What its journal could hold is there.
    assert after.state.memory == {"changed": True}
    after.state.memory.clear()
    assert after.state == before.state
