"""What a run does, step by step."""

from __future__ import annotations

import threading

import anyio
import pytest

from overwinter import (
    Agent,
    AgentPaused,
    Budget,
    ConfigurationError,
    ModelError,
    ModelUnavailable,
    RunPaused,
    Runtime,
)
from overwinter.agents.models.retry import RetryPolicy
from overwinter.agents.tools import ToolContext, tool
from overwinter.errors import NothingToResume, ToolError
from overwinter.testing import FakeClock, ScriptedModel

pytestmark = pytest.mark.anyio

call = ScriptedModel.call


@tool
async def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


async def test_a_run_without_tools_is_one_model_call() -> None:
    model = ScriptedModel(["Hello."])
    agent = Agent("greeter", model=model, system_prompt="Be brief.")
    result = await agent.run("Say hello")
    assert (str(result), result.output, result.status, result.stop_reason) == (
        "Hello.",
        "Hello.",
        "finished",
        "max_loops",
    )
    assert result.loop_count == 1
    assert [(m.role, m.content) for m in model.requests[0].messages] == [
        ("system", "Be brief."),
        ("user", "Say hello"),
    ]


async def test_without_tools_each_loop_goes_on_from_the_last() -> None:
    """A2: without tools a run makes max_loops calls."""
    model = ScriptedModel(["one", "two", "three"])
    result = await Agent("a", model=model, max_loops=3).run("Count")
    assert result.text == "three"
    assert result.loop_count == 3
    assert [m.content for m in model.requests[2].messages if m.role == "assistant"] == ["one", "two"]
    assert all(request.messages[-1].role == "user" for request in model.requests)


async def test_with_tools_a_run_ends_with_the_first_answer_that_calls_none() -> None:
    """A1: with tools the run ends when the model answers without calling one."""
    model = ScriptedModel([call("add", {"a": 1, "b": 2}), "It is 3."])
    agent = Agent("adder", model=model, tools=[add])
    result = await agent.run("1 + 2?")
    assert (result.text, result.stop_reason, result.loop_count) == ("It is 3.", "answered", 2)
    roles = [(entry.role, entry.content) for entry in agent.state.conversation]
    assert roles == [("user", "1 + 2?"), ("assistant", ""), ("tool", "3"), ("assistant", "It is 3.")]
    (outcome,) = agent.state.tool_results
    assert (outcome.tool, outcome.output, outcome.ok, outcome.call_id) == ("add", "3", True, "call_1")


async def test_auto_runs_until_answered_without_a_limit() -> None:
    model = ScriptedModel([*[call("add", {"a": 1, "b": 1})] * 40, "done"])
    result = await Agent("a", model=model, tools=[add], max_loops="auto").run("go")
    assert result.loop_count == 41


async def test_a_stopping_token_or_condition_ends_a_run_early() -> None:
    """A3: stopping_token and stopping_condition end a run early."""
    by_token = await Agent(
        "a", model=ScriptedModel(["go on", "<DONE>", "never"]), max_loops=3, stopping_token="<DONE>"
    ).run("x")
    assert (by_token.stop_reason, by_token.loop_count) == ("stopping_token", 2)
    by_condition = await Agent(
        "b",
        model=ScriptedModel(["no", "yes", "never"]),
        max_loops=3,
        stopping_condition=lambda text: text == "yes",
    ).run("x")
    assert (by_condition.stop_reason, by_condition.loop_count) == ("stopping_condition", 2)


async def test_the_calls_of_one_reply_run_concurrently_and_are_answered_in_order() -> None:
    """A4: the tool calls of one reply run concurrently."""
    first_may_end = anyio.Event()

    @tool
    async def first() -> str:
        await first_may_end.wait()
        return "first"

    @tool
    async def second() -> str:
        first_may_end.set()
        return "second"

    agent = Agent("a", model=ScriptedModel([[call("first"), call("second")], "ok"]), tools=[first, second])
    await agent.run("both")
    assert [entry.content for entry in agent.state.conversation if entry.role == "tool"] == [
        "first",
        "second",
    ]
    assert [outcome.output for outcome in agent.state.tool_results] == ["second", "first"]


async def test_a_sync_tool_runs_in_a_thread() -> None:
    """A5: a synchronous tool runs in a thread."""

    def where() -> str:
        return threading.current_thread().name

    agent = Agent("a", model=ScriptedModel([call("where"), "ok"]), tools=[where])
    await agent.run("where?")
    assert agent.state.tool_results[0].output != threading.current_thread().name


async def test_a_tool_may_ask_for_its_context() -> None:
    seen: list[ToolContext] = []

    @tool
    async def look(topic: str, context: ToolContext) -> str:
        seen.append(context)
        return topic

    agent = Agent("looker", model=ScriptedModel([call("look", {"topic": "bees"}), "ok"]), tools=[look])
    result = await agent.run("look")
    (context,) = seen
    assert (context.agent_name, context.run_id, context.call_id, context.loop) == (
        "looker",
        result.run_id,
        "call_1",
        1,
    )
    assert "context" not in look.parameters["properties"]


async def test_whatever_goes_wrong_with_a_tool_is_told_to_the_model_and_the_run_goes_on() -> None:
    """A6: a failing, unknown, or wrongly called tool is an error told to the model."""

    @tool
    async def refuse() -> str:
        raise ToolError("not today")

    @tool
    async def crash() -> str:
        raise KeyError("oops")

    calls = [
        call("refuse"),
        call("crash"),
        call("missing"),
        call("add", '{"a": 1'),
        call("add", {"a": "x", "b": 1}),
        call("add", {"a": 1, "b": 2, "c": 3}),
    ]
    agent = Agent("a", model=ScriptedModel([calls, "ok"]), tools=[refuse, crash, add])
    result = await agent.run("try")
    assert result.text == "ok"
    told = [entry.content for entry in agent.state.conversation if entry.role == "tool"]
    assert told[0] == "Error: not today"
    assert told[1] == "Error: KeyError: 'oops'"
    assert "no tool 'missing'" in told[2]
    assert "add, crash, refuse" in told[2]
    assert all(text.startswith("Error: the arguments of tool 'add' are not valid") for text in told[3:])
    assert not any(outcome.ok for outcome in agent.state.tool_results)


async def test_a_tool_that_takes_too_long_is_given_up() -> None:
    """A6: a tool that times out is an error told to the model."""
    clock = FakeClock()
    began = anyio.Event()

    @tool(timeout=5)
    async def forever() -> str:
        began.set()
        await anyio.sleep_forever()
        return ""

    agent = Agent("a", model=ScriptedModel([call("forever"), "ok"]), tools=[forever])
    async with Runtime(clock=clock) as runtime, anyio.create_task_group() as tasks:
        await runtime.spawn(agent)
        tasks.start_soon(agent.run, "wait")
        await began.wait()
        await clock.advance(5)
    assert agent.state.tool_results[0].output == "Error: tool 'forever' timed out after 5 seconds."
    assert agent.status == "finished"


@pytest.mark.parametrize(
    ("value", "field"),
    [
        (float("nan"), "result"),
        ({"scores": [1.0, float("inf")]}, "scores[1]"),
        ("broken \ud800 text", "result"),
        ({"raw": b"bytes"}, "raw"),
        ({"big": 10**5000}, "big"),
    ],
    ids=["nan", "infinity", "surrogate", "bytes", "huge"],
)
async def test_a_result_that_cannot_be_stored_is_refused_by_name(value: object, field: str) -> None:
    """A7: a result that JSON cannot hold is refused, its field named, and the run goes on."""

    @tool
    async def odd() -> object:
        return value

    agent = Agent("a", model=ScriptedModel([call("odd"), "ok"]), tools=[odd])
    assert (await agent.run("x")).text == "ok"
    (outcome,) = agent.state.tool_results
    assert not outcome.ok
    assert field in outcome.output


async def test_a_loop_limit_pauses_and_a_resume_with_a_higher_one_finishes() -> None:
    """A9: a limit pauses a run, loses nothing, and a resume with a higher limit goes on."""
    model = ScriptedModel([call("add", {"a": 1, "b": 1}), call("add", {"a": 2, "b": 2}), "done"])
    agent = Agent("a", model=model, tools=[add], max_loops=2)
    paused = await agent.run("add")
    assert (paused.status, paused.stop_reason, paused.loop_count) == ("paused", "max_loops", 2)
    with pytest.raises(RunPaused, match=r"max_loops.*resume"):
        _ = paused.output
    with pytest.raises(AgentPaused, match="resume"):
        await agent.run("something else")
    result = await agent.resume(max_loops=5)
    assert (result.status, result.output, result.loop_count, result.run_id) == (
        "finished",
        "done",
        3,
        paused.run_id,
    )
    assert len([entry for entry in agent.state.conversation if entry.role == "tool"]) == 2
    with pytest.raises(NothingToResume):
        await agent.resume()


@pytest.mark.parametrize(("budget", "limit"), [(Budget(tokens=3), "tokens"), (Budget(cost=0.5), "cost")])
async def test_a_budget_pauses_after_the_step_that_spent_it(budget: Budget, limit: str) -> None:
    """A9: a budget pauses a run as a loop limit does."""
    model = ScriptedModel([call("add", {"a": 1, "b": 1}), "done"], cost=0.5)
    agent = Agent("a", model=model, tools=[add], budget=budget)
    paused = await agent.run("one two three")
    assert (paused.status, paused.stop_reason, paused.loop_count) == ("paused", limit, 1)
    assert (await agent.resume(budget=Budget(tokens=10_000))).output == "done"


async def test_cancelling_a_paused_run_makes_way_for_the_next() -> None:
    agent = Agent(
        "a", model=ScriptedModel([call("add", {"a": 1, "b": 1}), "second"]), tools=[add], max_loops=1
    )
    assert (await agent.run("first")).status == "paused"
    await agent.cancel()
    assert agent.status == "interrupted"
    assert (await agent.run("second")).output == "second"


async def test_a_task_with_queue_waits_behind_a_paused_run() -> None:
    """A23: while an agent is paused run raises AgentPaused, and with queue=True waits."""
    model = ScriptedModel([call("add", {"a": 1, "b": 1}), "first", "second"])
    agent = Agent("a", model=model, tools=[add], max_loops=1)
    results: list[str] = []

    async def queued() -> None:
        results.append((await agent.run("next", queue=True)).text)

    async with Runtime() as runtime, anyio.create_task_group() as tasks:
        await runtime.spawn(agent)
        await agent.run("begin")
        tasks.start_soon(queued)
        await anyio.wait_all_tasks_blocked()
        assert [task.task for task in agent.state.accepted] == ["next"]
        assert (await agent.resume(max_loops=9)).text == "first"
    assert results == ["second"]


async def test_pause_stops_after_the_step_under_way() -> None:
    gate = ScriptedModel.gate()
    agent = Agent("a", model=ScriptedModel([[gate, call("add", {"a": 1, "b": 1})], "done"]), tools=[add])
    async with Runtime() as runtime, anyio.create_task_group() as tasks:
        await runtime.spawn(agent)

        async def run() -> None:
            assert (await agent.run("x")).stop_reason == "pause"

        tasks.start_soon(run)
        await gate.reached.wait()
        await agent.pause()
        gate.open()
    assert agent.state.tool_results[0].output == "2"
    assert (await agent.resume()).output == "done"


async def test_a_failing_model_is_tried_again_and_then_its_fallbacks() -> None:
    flaky = ScriptedModel([ModelError("busy", retryable=True), ModelError("gone")], name="flaky")
    spare = ScriptedModel(["from the spare"], name="spare")
    clock = FakeClock()
    agent = Agent("a", model=flaky, fallback_models=[spare], retry=RetryPolicy(max_attempts=3))
    async with Runtime(clock=clock) as runtime, anyio.create_task_group() as tasks:
        await runtime.spawn(agent)
        retries: list[str] = []
        runtime.watch(lambda event: retries.append(event.kind))
        tasks.start_soon(agent.run, "x")
        await anyio.wait_all_tasks_blocked()
        await clock.advance(60)
    assert agent.state.conversation[-1].content == "from the spare"
    assert retries.count("model_retrying") == 2


async def test_a_run_that_failed_keeps_what_was_said_and_can_be_resumed() -> None:
    """A13: a model error loses nothing, and a resume asks the model again."""
    agent = Agent("a", model=ScriptedModel([ModelError("no such key"), "here I am"]))
    with pytest.raises(ModelUnavailable, match="no such key") as caught:
        await agent.run("hello")
    assert any("resume()" in note for note in caught.value.__notes__)
    assert agent.status == "failed"
    assert [entry.content for entry in agent.state.conversation] == ["hello"]
    assert (await agent.resume()).output == "here I am"


async def test_eight_concurrent_runs_finish_in_the_order_of_their_calls() -> None:
    """A10: concurrent runs of one agent go one at a time, in mailbox order, without a Runtime too."""
    agent = Agent("a", model=ScriptedModel(lambda request: f"re {request.messages[-1].content}", loop=True))
    ended: list[str] = []

    async def run(number: int) -> None:
        ended.append((await agent.run(f"{number}")).text)

    async with anyio.create_task_group() as tasks:
        for number in range(8):
            tasks.start_soon(run, number)
    assert ended == [f"re {number}" for number in range(8)]
    said = [entry.content for entry in agent.state.conversation]
    assert said == [text for number in range(8) for text in (f"{number}", f"re {number}")]


async def test_a_reply_with_what_json_cannot_hold_is_mended() -> None:
    agent = Agent("a", model=ScriptedModel(["half a \ud83d"]))
    assert (await agent.run("x")).text == "half a ?"


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"max_loops": 0}, "max_loops"),
        ({"max_loops": "many"}, "max_loops"),
        ({"durability": "eventually"}, "durability"),
        ({"temperature": "hot"}, "temperature"),
        ({"tool_timeout": -1}, "tool_timeout"),
        ({"system_prompt": "a\ud800"}, "system_prompt"),
    ],
)
def test_a_wrong_setting_fails_in_the_constructor(settings: dict[str, object], named: str) -> None:
    with pytest.raises(ConfigurationError, match=named):
        Agent("a", "gpt-4o-mini", **settings)  # type: ignore[call-overload]


def test_an_agent_without_a_model_says_what_to_pass() -> None:
    with pytest.raises(ConfigurationError, match="model_name="):
        Agent("a")


async def test_a_task_that_is_no_text_is_refused() -> None:
    agent = Agent("a", model=ScriptedModel(["x"]))
    with pytest.raises(ConfigurationError, match="string"):
        await agent.run(3)  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match="stored"):
        await agent.run("\ud800")


async def test_an_agent_that_asks_itself_is_told_so() -> None:
    @tool
    async def delegate() -> str:
        return str(await agent.run("again"))

    agent = Agent("a", model=ScriptedModel([call("delegate"), "ok"]), tools=[delegate])
    assert (await agent.run("x")).text == "ok"
    assert "wait for itself" in agent.state.tool_results[0].output


async def test_an_agent_may_ask_another() -> None:
    @tool
    async def delegate() -> str:
        return str(await helper.run("sub task"))

    helper = Agent("helper", model=ScriptedModel(["helped", "helped again"]))
    boss = Agent("boss", model=ScriptedModel([[call("delegate"), call("delegate")], "ok"]), tools=[delegate])
    assert (await boss.run("x")).text == "ok"
    assert [outcome.output for outcome in boss.state.tool_results] == ["helped", "helped again"]


async def test_a_budget_of_seconds_is_by_the_runtimes_clock() -> None:
    """A9: a time limit pauses a run, by the runtime's clock."""
    clock = FakeClock()

    @tool
    async def slow() -> str:
        await clock.sleep(7)
        return "done"

    agent = Agent("a", model=ScriptedModel([call("slow"), "x"]), tools=[slow], budget=Budget(seconds=5))
    async with Runtime(clock=clock) as runtime, anyio.create_task_group() as tasks:
        await runtime.spawn(agent)

        async def run() -> None:
            assert (await agent.run("x")).stop_reason == "seconds"

        tasks.start_soon(run)
        await anyio.wait_all_tasks_blocked()
        await clock.advance(7)
        await anyio.wait_all_tasks_blocked()
        assert (await agent.resume(budget=Budget(seconds=20))).output == "x"
