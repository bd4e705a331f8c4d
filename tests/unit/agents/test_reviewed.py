"""What a reader with fresh eyes broke, so that it stays mended."""

from __future__ import annotations

import asyncio
import json
import shutil
import threading
from typing import TYPE_CHECKING, Any

import anyio
import msgspec
import pytest

from overwinter import (
    Actor,
    Agent,
    AgentPaused,
    Budget,
    ConfigurationError,
    Message,
    ModelReply,
    RunInterrupted,
    Runtime,
    ToolCall,
    ToolContext,
    Usage,
    tool,
)
from overwinter.agents.saving import Saving
from overwinter.errors import AgentInUse
from overwinter.events import RunEnded
from overwinter.persistence import encode_checked
from overwinter.testing import ScriptedModel

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.anyio

call = ScriptedModel.call


def an_agent(workspace_dir: Path, *replies: Any, name: str = "keeper", **options: Any) -> Agent[str]:
    model = ScriptedModel(replies, name="scripted")
    return Agent(name, model=model, autosave=True, workspace_dir=workspace_dir, **options)


async def everything_in(folder: Path) -> str:
    texts = [await path.read_text() async for path in anyio.Path(folder).rglob("*") if await path.is_file()]
    return "\n".join(texts)


async def read(path: Path) -> dict[str, Any]:
    return json.loads(await anyio.Path(path).read_text("utf-8"))  # type: ignore[no-any-return]


@tool
async def add(a: int, b: int) -> int:
    """Add."""
    return a + b


async def test_loading_another_state_keeps_ones_own(workspace_dir: Path, tmp_path: Path) -> None:
    """A15: what stood in the folder is kept when a fresh agent goes on from another file."""
    await an_agent(workspace_dir, "mine").run("own")
    other = an_agent(tmp_path / "elsewhere", "theirs")
    await other.run("other")
    fresh = an_agent(workspace_dir, "a", "b")
    await fresh.load(other.state_path)
    await fresh.run("1")
    await fresh.run("2")
    assert '"mine"' in await everything_in(fresh.workspace_dir)
    assert len([path async for path in anyio.Path(fresh.workspace_dir / "history").iterdir()]) == 1


async def test_a_resume_after_such_a_load_keeps_it_too(workspace_dir: Path, tmp_path: Path) -> None:
    """A15: a resume replaces nothing in silence either."""
    await an_agent(workspace_dir, "mine").run("own")
    other = an_agent(tmp_path / "elsewhere", call("add", {"a": 1, "b": 1}), tools=[add], max_loops=1)
    await other.run("other")
    async with Runtime(workspace_dir) as runtime:
        fresh = an_agent(workspace_dir, "done", tools=[add])
        await runtime.spawn(fresh)
        await fresh.load(other.state_path)
        await fresh.resume(max_loops=3)
        await fresh.save()
        await fresh.save()
    assert '"mine"' in await everything_in(fresh.workspace_dir)


async def test_an_agent_that_moves_keeps_what_stands_where_it_moves_to(tmp_path: Path) -> None:
    """A15: in another workspace a loaded agent is a newcomer."""
    await an_agent(tmp_path / "two", "theirs").run("x")
    agent = Agent("keeper", model=ScriptedModel(["mine", "more", "most"]), autosave=True)
    async with Runtime(tmp_path / "one") as runtime:
        await runtime.spawn(agent)
        await agent.run("x")
        await agent.save()
        await agent.load()
    async with Runtime(tmp_path / "two") as runtime:
        await runtime.spawn(agent)
        await agent.run("y")
        await agent.save()
        await agent.run("z")
    assert '"theirs"' in await everything_in(agent.workspace_dir)


@pytest.mark.parametrize("durability", ["exit", "async"])
async def test_memory_set_between_runs_is_saved_at_stop(workspace_dir: Path, durability: Any) -> None:
    await an_agent(workspace_dir, "x", durability=durability).run("x")
    agent = an_agent(workspace_dir, durability=durability)
    async with Runtime(workspace_dir) as runtime:
        await runtime.spawn(agent)
        await agent.load()
        agent.memory.set("k", 1)
    again = an_agent(workspace_dir)
    await again.load()
    assert again.state.memory == {"k": 1}
    assert again.state.conversation


async def test_a_recorded_result_is_never_asked_for_again(workspace_dir: Path, tmp_path: Path) -> None:
    """A16: a result that a save in the middle of a step recorded is used, and its tool not run again."""
    ran: list[str] = []
    last = anyio.Event()

    @tool(idempotent=True)
    async def fast(context: ToolContext) -> str:
        ran.append("fast")
        return "fast is done"

    @tool
    async def once() -> str:
        ran.append("once")
        return "once is done"

    @tool
    async def slow(context: ToolContext) -> str:
        context.memory.set("seen", 1)
        last.set()
        await anyio.sleep_forever()
        return ""

    tools = [fast, once, slow]
    agent = an_agent(workspace_dir, [call("fast"), call("once"), call("slow")], tools=tools)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(agent.run, "go")
        await last.wait()
        await agent.save()
        copied = tmp_path / "copied"
        await anyio.to_thread.run_sync(shutil.copytree, workspace_dir, copied)
        tasks.cancel_scope.cancel()
    ran.clear()
    survivor = an_agent(copied, "done", tools=tools)
    lease = anyio.Path(survivor.workspace_dir / ".lease.json")
    await lease.unlink()
    await survivor.resume()
    assert ran == []
    answers = [entry.content for entry in survivor.state.conversation if entry.role == "tool"]
    assert answers[:2] == ["fast is done", "once is done"]
    assert "unknown" in answers[2]


async def test_in_sync_a_start_and_what_a_resume_finished_are_on_disk_before_the_next_step(
    workspace_dir: Path,
) -> None:
    async def logged() -> list[dict[str, Any]]:
        (log,) = [path async for path in anyio.Path(workspace_dir / ".runtimes").glob("*/*.jsonl")]
        return [json.loads(line)["line"]["record"] for line in (await log.read_text()).splitlines()]

    seen: list[str] = []
    paid: list[list[str]] = []

    @tool
    async def pay() -> str:
        paid.append((await logged())[-1]["call_ids"])
        return "paid"

    async def look(request: object) -> str:
        seen.append((await logged())[-1]["output"])
        return "done"

    agent = an_agent(workspace_dir, call("pay"), look, tools=[pay], durability="sync")
    await agent.run("pay")
    assert paid == [["call_1"]]
    assert seen == ["paid"]


async def test_an_answer_that_was_recorded_is_not_bought_again(
    workspace_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A26: a run whose last answer was recorded ends with it when it is resumed."""

    async def stopped(self: Saving) -> None:
        raise asyncio.CancelledError

    for options in ({}, {"tools": [add]}):
        agent = an_agent(workspace_dir, "the answer", name=f"n{len(options)}", durability="sync", **options)
        with monkeypatch.context() as patch:
            patch.setattr(Saving, "step", stopped)
            with pytest.raises((RunInterrupted, asyncio.CancelledError)):
                await agent.run("x")
        result = await agent.resume()
        assert (result.status, result.output, result.loop_count) == ("finished", "the answer", 1)


class Keeper(Actor[int]):
    """Keeps a number."""

    async def receive(self, message: int) -> None:
        """Mark it."""


async def test_a_marked_snapshot_is_saved_when_its_runtime_closes(workspace_dir: Path) -> None:
    async with Runtime(workspace_dir) as runtime:
        snapshot = await runtime.snapshot("number", type=int, default=0)
        snapshot.mark(1)
        snapshot.mark(2)
    async with Runtime(workspace_dir) as runtime:
        assert (await runtime.snapshot("number", type=int, default=0)).value == 2


async def test_of_gathered_runs_those_behind_a_paused_one_are_told() -> None:
    """A23: a run behind one that pauses gets AgentPaused, and waits for nobody."""
    agent = Agent("a", model=ScriptedModel([call("add", {"a": 1, "b": 1})]), tools=[add], max_loops=1)
    results = await asyncio.gather(*(agent.run(f"{n}") for n in range(3)), return_exceptions=True)
    assert getattr(results[0], "status", None) == "paused"
    assert [type(result) for result in results[1:]] == [AgentPaused, AgentPaused]
    assert agent.state.accepted == ()


async def test_an_agent_on_another_event_loop_says_so() -> None:
    gate = ScriptedModel.gate()
    agent = Agent("a", model=ScriptedModel([[gate, "x"], "y"]))
    errors: list[BaseException] = []

    def elsewhere() -> None:
        try:
            agent.run_sync("from another thread")
        except ConfigurationError as error:
            errors.append(error)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(agent.run, "here")
        await gate.reached.wait()
        thread = threading.Thread(target=elsewhere)
        thread.start()
        await anyio.to_thread.run_sync(thread.join)
        gate.open()
    assert "another event loop" in str(errors[0])
    assert (await agent.run("again")).text == "y"


def test_an_agent_may_go_from_one_event_loop_to_the_next(workspace_dir: Path) -> None:
    agent = an_agent(workspace_dir, "one", "two", "three")
    assert agent.run_sync("1").text == "one"
    assert asyncio.run(agent.run("2")).text == "two"
    assert agent.run_sync("3").text == "three"


async def test_a_deleted_folder_is_begun_anew(workspace_dir: Path) -> None:
    agent = an_agent(workspace_dir, "one", "two")
    await agent.run("1")
    await anyio.to_thread.run_sync(shutil.rmtree, workspace_dir)
    await agent.run("2")
    assert len((await read(agent.state_path))["conversation"]) == 4


async def test_agents_that_wait_for_each_other_in_a_circle_are_told() -> None:
    @tool
    async def ask_b() -> str:
        return str(await b.run("from a"))

    @tool
    async def ask_a() -> str:
        return str(await a.run("from b"))

    a = Agent("a", model=ScriptedModel([call("ask_b"), "a is done"]), tools=[ask_b])
    b = Agent("b", model=ScriptedModel([call("ask_a"), "b is done"]), tools=[ask_a])
    with anyio.fail_after(60):
        assert (await a.run("x")).text == "a is done"
    assert "wait for itself" in b.state.tool_results[0].output


async def test_an_agent_is_spawned_once(workspace_dir: Path) -> None:
    agent = Agent("a", model=ScriptedModel(["x"], loop=True))
    async with Runtime(workspace_dir) as runtime:
        results = await asyncio.gather(runtime.spawn(agent), runtime.spawn(agent), return_exceptions=True)
        assert sorted(isinstance(result, AgentInUse) for result in results) == [False, True]


async def test_two_saves_at_once_without_autosave(workspace_dir: Path) -> None:
    agent = Agent("a", model=ScriptedModel(["x"]), workspace_dir=workspace_dir)
    await agent.run("x")
    first, second = await asyncio.gather(agent.save(), agent.save())
    assert first == second == agent.state_path


async def test_streams_of_two_agents_with_one_run_id_are_kept_apart() -> None:
    gate = ScriptedModel.gate()
    slow = Agent("slow", model=ScriptedModel([["sl", gate, "ow"]]))
    quick = Agent("quick", model=ScriptedModel(["quick"]))
    ended: dict[str, list[str]] = {}

    async def follow(agent: Agent[str]) -> None:
        async for event in agent.stream("x", run_id="request-1"):
            if isinstance(event, RunEnded):
                ended.setdefault(agent.agent_name, []).append(event.agent_name)

    async with Runtime() as runtime, anyio.create_task_group() as tasks:
        await runtime.spawn(slow)
        await runtime.spawn(quick)
        tasks.start_soon(follow, slow)
        await gate.reached.wait()
        await follow(quick)
        gate.open()
    assert ended == {"quick": ["quick"], "slow": ["slow"]}


async def test_a_run_id_names_one_run() -> None:
    agent = Agent("a", model=ScriptedModel(["x", "y"]))
    await agent.run("x", run_id="r1")
    with pytest.raises(ConfigurationError, match="r1"):
        await agent.run("y", run_id="r1")


async def test_a_reply_of_unknown_price_does_not_switch_a_money_limit_off() -> None:
    def reply(cost: float | None) -> ModelReply:
        said = Message("assistant", "", (ToolCall("c", "add", '{"a": 1, "b": 1}'),))
        return ModelReply(said, Usage(cost=cost, calls=1))

    model = ScriptedModel([reply(1.0), reply(None), reply(1.0), reply(1.0), reply(1.0)])
    agent = Agent("a", model=model, tools=[add], budget=Budget(cost=3))
    result = await agent.run("x")
    assert (result.stop_reason, result.loop_count) == ("cost", 4)


async def test_an_error_of_one_agent_is_no_others_when_all_are_resumed(workspace_dir: Path) -> None:
    def broken(text: str) -> bool:
        raise ValueError("a bug")

    for name in ("bad", "good"):
        paused = an_agent(workspace_dir, call("add", {"a": 1, "b": 1}), name=name, tools=[add], max_loops=1)
        await paused.run("x")
    async with Runtime(workspace_dir) as runtime:
        bad = an_agent(workspace_dir, "x", name="bad", tools=[add], max_loops=3, stopping_condition=broken)
        good = an_agent(workspace_dir, "fine", name="good", tools=[add], max_loops=3)
        for agent in (bad, good):
            await runtime.spawn(agent)
        outcomes = await runtime.resume_all()
    assert isinstance(outcomes[bad.agent_id], ValueError)
    assert str(outcomes[good.agent_id]) == "fine"


async def test_two_calls_with_one_id_are_answered_apart() -> None:
    @tool
    async def echo(word: str) -> str:
        return word

    calls = (ToolCall("same", "echo", '{"word": "one"}'), ToolCall("same", "echo", '{"word": "two"}'))
    model = ScriptedModel([ModelReply(Message("assistant", "", calls)), "ok"])
    agent = Agent("a", model=model, tools=[echo])
    await agent.run("x")
    assert [entry.content for entry in agent.state.conversation if entry.role == "tool"] == ["one", "two"]


async def test_a_stopping_token_is_no_part_of_a_typed_answer() -> None:
    class Point(msgspec.Struct):
        x: int

    agent = Agent("a", model=ScriptedModel(['{"x": 1} DONE']), stopping_token="DONE", output_type=Point)
    assert (await agent.run("x")).output == Point(1)


def test_an_async_stopping_condition_is_refused() -> None:
    async def condition(text: str) -> bool:
        return True

    with pytest.raises(ConfigurationError, match="async"):
        Agent("a", "m", stopping_condition=condition)  # type: ignore[arg-type]


async def test_the_view_of_a_state_cannot_be_written() -> None:
    agent = Agent("a", model=ScriptedModel(["x"]))
    await agent.run("x")
    with pytest.raises(AttributeError):
        agent.state.conversation[1].content = "tampered"  # type: ignore[misc]


async def test_a_long_conversation_is_encoded_once(
    workspace_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A35: what was saved of a conversation is not encoded again, with a runtime or without one."""
    from overwinter.persistence import fragments

    encoded: list[str] = []
    encode = encode_checked

    def counting(value: object, **options: Any) -> bytes:
        encoded.append(options["what"])
        return encode(value, **options)

    monkeypatch.setattr(fragments, "encode_checked", counting)
    agent = an_agent(workspace_dir, "one", "two", "three")
    for task in ("1", "2", "3"):
        await agent.run(task)
    conversation = [what for what in encoded if what.startswith("conversation")]
    assert conversation == [f"conversation[{n}]" for n in range(6)]


async def test_a_resume_waits_for_a_tool_that_was_left_behind_in_its_thread() -> None:
    """A36: a sync tool that a cancelled run left behind is waited for by a resume, and not run beside itself."""
    began, release = threading.Event(), threading.Event()
    ran: list[int] = []

    @tool(idempotent=True)
    def stubborn() -> str:
        ran.append(1)
        began.set()
        release.wait(60)
        return "done after all"

    agent = Agent("a", model=ScriptedModel([call("stubborn"), "ok"]), tools=[stubborn])
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(agent.run, "x")
        await anyio.to_thread.run_sync(began.wait)
        tasks.cancel_scope.cancel()
    assert agent.status == "interrupted"
    release.set()
    assert (await agent.resume()).output == "ok"
    assert ran == [1]
    assert agent.state.tool_results[0].output == "done after all"
