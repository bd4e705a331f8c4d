"""Limits of tokens, money and time, of a run and of a whole runtime."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import anyio
import pytest

from overwinter import (
    Agent,
    AgentPaused,
    Budget,
    Message,
    ModelReply,
    Price,
    RunPaused,
    RunResult,
    Runtime,
    Usage,
    tool,
)
from overwinter.errors import ModelError, ModelUnavailable, PriceUnknown, RunInterrupted
from overwinter.events import RunEnded
from overwinter.testing import FakeClock, ScriptedModel

if TYPE_CHECKING:
    from pathlib import Path

    from overwinter import ModelRequest

pytestmark = pytest.mark.anyio

call = ScriptedModel.call


@tool
async def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


@tool(idempotent=True)
async def look() -> str:
    """Look around."""
    return "nothing"


def reply(text: str, *, used: Usage) -> ModelReply:
    return ModelReply(Message("assistant", text), used)


async def stands_still() -> None:
    await anyio.wait_all_tasks_blocked()


class Runs:
    """Runs that go on beside the test."""

    def __init__(self) -> None:
        self.results: dict[str, RunResult[str]] = {}
        self.errors: dict[str, Exception] = {}

    async def run(self, agent: Agent[str]) -> None:
        try:
            self.results[agent.agent_name] = await agent.run("go")
        except Exception as error:
            self.errors[agent.agent_name] = error

    def reasons(self) -> set[str]:
        return {result.stop_reason for result in self.results.values()}


async def test_a_run_pauses_before_a_call_that_its_budget_cannot_hold() -> None:
    """L3: a run pauses before a call for which its budget has no room, and so stays within it."""
    model = ScriptedModel([call("look")], loop=True, cost=0.3)
    agent = Agent("a", model=model, tools=[look], budget=Budget(cost=1.0))
    result = await agent.run("go")
    assert (result.status, result.stop_reason, result.loop_count) == ("paused", "cost", 3)
    assert result.usage.cost == pytest.approx(0.9)


async def test_the_last_reply_tells_how_large_the_next_will_be() -> None:
    used = Usage(input_tokens=100, output_tokens=200, cost=0.0, calls=1)
    script = [ModelReply(Message("assistant", "", (look_call(n),)), used) for n in range(9)]
    agent = Agent("a", model=ScriptedModel(script), tools=[look], budget=Budget(tokens=1000))
    result = await agent.run("go")
    # Three times 300 are spent, and a fourth call of more than 300 has no room.
    assert (result.stop_reason, result.loop_count) == ("tokens", 3)


def look_call(number: int) -> Any:
    from overwinter import ToolCall

    return ToolCall(f"look_{number}", "look", "{}")


async def test_a_first_call_is_made_unless_its_text_alone_is_too_large() -> None:
    """L4: a first call of unknown size is made if anything is left, unless its text alone is more than that."""
    small = Agent("small", model=ScriptedModel(["one two three four"]), max_loops=2, budget=Budget(tokens=3))
    first = await small.run("go")
    assert (first.stop_reason, first.loop_count) == ("tokens", 1)
    model = ScriptedModel(["enough"])
    large = Agent("large", model=model, max_loops=2, budget=Budget(tokens=3))
    refused = await large.run("eight chars" * 8)
    assert (refused.stop_reason, refused.loop_count, model.requests) == ("tokens", 0, [])
    assert large.status == "paused"


async def test_with_a_limit_of_output_the_first_call_is_certain_too() -> None:
    model = ScriptedModel(["never"])
    agent = Agent("a", model=model, max_tokens=500, budget=Budget(tokens=400))
    assert (await agent.run("go")).stop_reason == "tokens"
    assert model.requests == []
    assert (await agent.resume(budget=Budget(tokens=600))).text == "never"


async def test_a_limit_of_output_among_the_models_settings_counts_as_well() -> None:
    model = ScriptedModel(["never"])
    agent = Agent("a", model=model, model_args={"max_completion_tokens": 500}, budget=Budget(tokens=400))
    assert (await agent.run("go")).stop_reason == "tokens"
    assert model.requests == []


async def test_a_resume_without_a_higher_limit_pauses_again_at_once() -> None:
    """L5: a limit holds for the whole run; a resume with one that is not above what was spent pauses at once."""
    clock = FakeClock()

    @tool
    async def slow() -> str:
        await clock.sleep(7)
        return "done"

    model = ScriptedModel([call("slow"), "x"], cost=0.5)
    agent = Agent("a", model=model, tools=[slow], budget=Budget(seconds=5))
    runs = Runs()
    async with Runtime(clock=clock) as runtime, anyio.create_task_group() as tasks:
        await runtime.spawn(agent)
        tasks.start_soon(runs.run, agent)
        await stands_still()
        await clock.advance(7)
        await stands_still()
        assert runs.reasons() == {"seconds"}
        await clock.advance(100)
        too_low: list[tuple[dict[str, Any], str]] = [
            ({}, "seconds"),
            ({"budget": Budget(seconds=7)}, "seconds"),
            ({"budget": Budget(cost=0.5)}, "cost"),
            ({"budget": Budget(tokens=1)}, "tokens"),
            ({"max_loops": 1, "budget": Budget(tokens=10_000)}, "max_loops"),
        ]
        for settings, limit in too_low:
            assert (await agent.resume(**settings)).stop_reason == limit
        assert len(model.requests) == 1
        # The hundred seconds in which it was paused are not counted.
        assert (await agent.resume(budget=Budget(seconds=8))).output == "x"


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"max_loops": 1}, r"'max_loops'.*resume\(max_loops="),
        ({"budget": Budget(tokens=1)}, r"'tokens'.*resume\(budget=Budget\(tokens="),
        ({"budget": Budget(cost=0.5)}, r"'cost'.*resume\(budget=Budget\(cost="),
    ],
)
async def test_a_paused_run_names_its_limit_and_what_raises_it(settings: dict[str, Any], says: str) -> None:
    """L6: whoever meets a paused run is told the limit and how to go on."""
    agent = Agent("a", model=ScriptedModel([call("look"), "x"], cost=0.5), tools=[look], **settings)
    result = await agent.run("go")
    with pytest.raises(RunPaused, match=says) as caught:
        _ = result.output
    assert caught.value.limit == result.stop_reason
    with pytest.raises(AgentPaused, match=says):
        await agent.run("another")


async def test_the_runtimes_limit_is_raised_on_the_runtime() -> None:
    """L6"""
    agent = Agent("a", model=ScriptedModel([call("look"), "x"], cost=0.5), tools=[look])
    async with Runtime(budget=Budget(cost=0.5)) as runtime:
        await runtime.spawn(agent)
        result = await agent.run("go")
        with pytest.raises(RunPaused, match=r"'runtime_cost'.*runtime\.budget = Budget\(cost="):
            _ = result.output
        assert (await agent.resume()).stop_reason == "runtime_cost"
        runtime.budget = Budget(cost=1.0)
        assert (await agent.resume()).output == "x"
        assert runtime.budget == Budget(cost=1.0)


async def test_agents_of_one_runtime_cannot_together_spend_more_than_it_may() -> None:
    """L7: calls under way are counted before they are settled, so that many agents cannot overshoot together."""
    gate = ScriptedModel.gate()
    models = [ScriptedModel([[gate, call("look")], "done"], cost=0.1) for _ in range(20)]
    team = [Agent(f"a{n}", model=model, tools=[look]) for n, model in enumerate(models)]
    runs = Runs()
    async with Runtime(budget=Budget(cost=0.55)) as runtime:
        for agent in team:
            await runtime.spawn(agent)
        async with anyio.create_task_group() as tasks:
            for agent in team:
                tasks.start_soon(runs.run, agent)
            await gate.reached.wait()
            await stands_still()
            spent = runtime.spent
            assert (spent.calls_under_way, spent.calls_waiting, spent.reserved_cost) == (5, 15, 0.5)
            gate.open()
        assert runs.reasons() == {"runtime_cost"}
        assert sum(len(model.requests) for model in models) == 5
        assert (runtime.spent.cost, runtime.spent.calls, runtime.spent.reserved_cost) == (0.5, 5, 0.0)
        runtime.budget = None
        outcomes = await runtime.resume_all()
        assert {str(outcome) for outcome in outcomes.values()} == {"done"}
        assert runtime.statistics().spent.cost == pytest.approx(4.0)


async def test_what_a_call_did_not_need_makes_room_for_those_that_wait() -> None:
    """L8: a call without room waits, first come, first served, for the calls under way to be settled."""
    gate = ScriptedModel.gate()
    order: list[str] = []

    def told(request: ModelRequest) -> str:
        order.append(request.messages[-1].content)
        return "ok"

    first = Agent("first", model=ScriptedModel([[gate, "ok"]]), max_tokens=90)
    later = [Agent(f"later{n}", model=ScriptedModel(told), max_tokens=80) for n in range(3)]
    runs = Runs()
    async with Runtime(budget=Budget(tokens=100)) as runtime, anyio.create_task_group() as tasks:
        for agent in (first, *later):
            await runtime.spawn(agent)
        tasks.start_soon(runs.run, first)
        await gate.reached.wait()
        for agent in later:
            tasks.start_soon(agent.run, agent.agent_name)
            await stands_still()
        assert runtime.spent.calls_waiting == 3
        assert order == []
        gate.open()
    assert order == ["later0", "later1", "later2"]


async def test_a_run_that_waits_for_room_can_be_paused_and_cancelled() -> None:
    """L9: a run that waits for room can be paused, cancelled and stopped like any other."""
    gate = ScriptedModel.gate()
    busy = Agent("busy", model=ScriptedModel([[gate, "ok"]]), max_tokens=90)
    waits = Agent("waits", model=ScriptedModel(["later"]), max_tokens=90)
    gives_up = Agent("gives_up", model=ScriptedModel(["later"]), max_tokens=90)
    runs = Runs()
    async with Runtime(budget=Budget(tokens=100)) as runtime, anyio.create_task_group() as tasks:
        for agent in (busy, waits, gives_up):
            await runtime.spawn(agent)
            tasks.start_soon(runs.run, agent)
            await stands_still()
        assert runtime.spent.calls_waiting == 2
        await waits.pause()
        await gives_up.cancel()
        await stands_still()
        assert runs.results["waits"].stop_reason == "pause"
        with pytest.raises(RunPaused, match=r"'pause'.*go on with `await agent\.resume\(\)`"):
            _ = runs.results["waits"].output
        assert isinstance(runs.errors["gives_up"], RunInterrupted)
        assert runtime.spent.calls_waiting == 0
        gate.open()
        await stands_still()
        assert (await waits.resume()).text == "later"
        assert (await gives_up.resume()).text == "later"


async def test_a_run_that_waits_for_room_does_not_keep_its_runtime_from_closing() -> None:
    """L9"""
    gate = ScriptedModel.gate()
    busy = Agent("busy", model=ScriptedModel([[gate, "ok"]]), max_tokens=90)
    waits = Agent("waits", model=ScriptedModel(["later"]), max_tokens=90)
    runs = Runs()
    async with anyio.create_task_group() as tasks, Runtime(budget=Budget(tokens=100), run_grace=0) as runtime:
        for agent in (busy, waits):
            await runtime.spawn(agent)
            tasks.start_soon(runs.run, agent)
            await stands_still()
        assert runtime.spent.calls_waiting == 1
    assert {type(error) for error in runs.errors.values()} == {RunInterrupted}
    assert runtime.spent.calls_under_way == runtime.spent.calls_waiting == 0


async def test_a_call_that_fails_gives_its_reservation_back() -> None:
    """L10: what was reserved for a call that failed, or was cut off, is given back."""
    agent = Agent("a", model=ScriptedModel([ModelError("no"), "yes"], cost=0.4), budget=Budget(cost=0.5))
    async with Runtime(budget=Budget(cost=0.5)) as runtime:
        await runtime.spawn(agent)
        with pytest.raises(ModelUnavailable):
            await agent.run("go")
        assert (runtime.spent.cost, runtime.spent.reserved_cost, runtime.spent.calls) == (0.0, 0.0, 0)
        assert (await agent.resume()).text == "yes"
        assert runtime.spent.cost == 0.4


async def test_a_model_of_unknown_price_is_not_asked_where_money_is_limited() -> None:
    """L11: with a limit of money a model of unknown price is refused before it is asked, unless that is allowed."""
    model = ScriptedModel(["x"], cost=None, name="mystery")
    agent = Agent("a", model=model, budget=Budget(cost=1.0))
    with pytest.raises(PriceUnknown, match=r"mystery.*price=.*allow_unknown_price") as caught:
        await agent.run("go")
    assert caught.value.model == "mystery"
    assert (agent.status, model.requests) == ("failed", [])
    result = await agent.resume(budget=Budget(cost=1.0, allow_unknown_price=True))
    assert (result.text, result.usage.cost) == ("x", None)


async def test_the_runtimes_limit_of_money_refuses_too() -> None:
    """L11"""
    agent = Agent("a", model=ScriptedModel(["x"], cost=None), budget=Budget(tokens=10_000))
    async with Runtime(budget=Budget(cost=1.0)) as runtime:
        await runtime.spawn(agent)
        with pytest.raises(PriceUnknown):
            await agent.run("go")
        runtime.budget = Budget(cost=1.0, allow_unknown_price=True)
        assert (await agent.resume()).text == "x"
        assert runtime.spent.unpriced_calls == 1


async def test_a_fallback_of_unknown_price_is_refused_before_anything_is_asked() -> None:
    """L11"""
    first, spare = ScriptedModel(["x"]), ScriptedModel(["y"], cost=None, name="spare")
    agent = Agent("a", model=first, fallback_models=[spare], budget=Budget(cost=1.0))
    with pytest.raises(PriceUnknown, match="spare"):
        await agent.run("go")
    assert first.requests == []


async def test_a_price_in_the_models_settings_is_a_price() -> None:
    told = {"input_cost_per_token": 0.01, "output_cost_per_token": 0.1}
    model = ScriptedModel(["one two"], cost=None)
    agent = Agent("a", model=model, model_args=told, budget=Budget(cost=1000.0))
    assert (await agent.run("go")).usage.cost == pytest.approx(0.01 + 0.2)


async def test_a_reply_that_tells_no_cost_is_priced_by_its_tokens() -> None:
    """L12: a reply that tells no cost is priced from its tokens when the price of its model is known."""
    used = Usage(input_tokens=10, output_tokens=2, calls=1)
    model = ScriptedModel([reply("x", used=used)], price=Price(input=0.01, output=0.1))
    result = await Agent("a", model=model).run("go")
    assert result.usage.cost == pytest.approx(0.3)


async def test_a_fallback_is_reserved_and_settled_at_its_own_price() -> None:
    """L13: a fallback is reserved at its own price; a run pauses before one that its budget cannot hold."""
    cheap = ScriptedModel([ModelError("no")], loop=True, cost=0.1)
    dear = ScriptedModel(["yes"], cost=5.0)
    agent = Agent("a", model=cheap, fallback_models=[dear], budget=Budget(cost=1.0))
    paused = await agent.run("go")
    assert (paused.stop_reason, paused.loop_count, dear.requests) == ("cost", 0, [])
    result = await agent.resume(budget=Budget(cost=6.0))
    assert (result.text, result.usage.cost) == ("yes", 5.0)


async def test_a_model_that_does_not_tell_its_tokens_is_counted_by_its_text(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """L14: where tokens are limited, a reply that tells none is counted by the length of its text, and that is said."""
    silent = reply("x" * 400, used=Usage(calls=1))
    agent = Agent("a", model=ScriptedModel([silent], loop=True), max_loops=9, budget=Budget(tokens=450))
    result = await agent.run("go")
    assert result.stop_reason == "tokens"
    assert 1 < result.loop_count < 9
    assert "does not tell how many tokens" in caplog.text


async def test_a_model_call_is_cut_off_when_the_time_is_up_and_can_be_made_again() -> None:
    """L15: a model call is cut off when the run's time is up; the run is paused, and a resume asks again."""
    clock, gate = FakeClock(), ScriptedModel.gate()
    model = ScriptedModel([["Half a ", gate, "sentence."], "whole"])
    agent = Agent("a", model=model, budget=Budget(seconds=5))
    paused: list[str] = []

    async def follow() -> None:
        async for event in agent.stream("go"):
            if isinstance(event, RunEnded):
                paused.append(event.stop_reason)

    async with Runtime(clock=clock) as runtime, anyio.create_task_group() as tasks:
        await runtime.spawn(agent)
        tasks.start_soon(follow)
        await gate.reached.wait()
        await clock.advance(4)
        assert agent.status == "running"
        await clock.advance(1)
        await stands_still()
        assert (agent.status, paused) == ("paused", ["seconds"])
        assert agent.state.partial_text == "Half a "
        assert (await agent.resume(budget=Budget(seconds=9))).text == "whole"
    assert clock.pending == 0


async def test_a_tool_is_never_cut_off_by_a_limit_of_time() -> None:
    """L16: no tool is cut off by a limit of time; the run pauses after it, with its result."""
    clock, began = FakeClock(), anyio.Event()

    @tool
    async def slow() -> str:
        began.set()
        await clock.sleep(60)
        return "it is done"

    agent = Agent("a", model=ScriptedModel([call("slow"), "x"]), tools=[slow], budget=Budget(seconds=5))
    runs = Runs()
    async with Runtime(clock=clock) as runtime, anyio.create_task_group() as tasks:
        await runtime.spawn(agent)
        tasks.start_soon(runs.run, agent)
        await began.wait()
        await clock.advance(59)
        assert agent.status == "running"
        await clock.advance(1)
    assert runs.reasons() == {"seconds"}
    assert agent.state.tool_results[0].output == "it is done"


async def test_the_time_of_a_run_is_counted_over_the_end_of_its_process(workspace_dir: Path) -> None:
    """L19: how long a run was at work is in its journal, so that a limit of time holds over the end of its process."""
    clock = FakeClock()

    @tool
    async def slow() -> str:
        await clock.sleep(7)
        return "done"

    def again(*replies: Any, seconds: float) -> Agent[str]:
        model = ScriptedModel([*replies])
        return Agent("a", model=model, tools=[slow], autosave=True, budget=Budget(seconds=seconds))

    runs = Runs()
    async with Runtime(workspace_dir, clock=clock) as runtime, anyio.create_task_group() as tasks:
        agent = again(call("slow"), seconds=5)
        await runtime.spawn(agent)
        tasks.start_soon(runs.run, agent)
        await stands_still()
        await clock.advance(7)
    assert runs.reasons() == {"seconds"}
    async with Runtime(workspace_dir, clock=FakeClock()) as runtime:
        for seconds, reason in [(6.0, "seconds"), (8.0, "answered")]:
            agent = again("x", seconds=seconds)
            await runtime.spawn(agent)
            assert (await agent.resume()).stop_reason == reason
            await runtime.stop(agent)


async def test_a_runtimes_time_begins_when_it_is_opened_and_can_be_prolonged_during_a_call() -> None:
    """L17: a runtime's seconds count from its opening; a limit raised during a call holds for that call already."""
    clock, gate = FakeClock(), ScriptedModel.gate()
    agent = Agent("a", model=ScriptedModel([[gate, call("look")], "x"]), tools=[look])
    runs = Runs()
    runtime = Runtime(clock=clock, budget=Budget(seconds=5))
    await clock.advance(100)
    async with runtime, anyio.create_task_group() as tasks:
        await runtime.spawn(agent)
        tasks.start_soon(runs.run, agent)
        await gate.reached.wait()
        runtime.budget = Budget(seconds=8)
        await clock.advance(7)
        assert (agent.status, runtime.spent.seconds) == ("running", 7)
        await clock.advance(1)
        await stands_still()
        assert runs.reasons() == {"runtime_seconds"}


async def test_a_limit_of_time_that_is_lifted_during_a_call_does_not_cut_it_off() -> None:
    """L17"""
    clock, gate = FakeClock(), ScriptedModel.gate()
    agent = Agent("a", model=ScriptedModel([[gate, "at last"]]))
    runs = Runs()
    async with (
        Runtime(clock=clock, budget=Budget(seconds=5)) as runtime,
        anyio.create_task_group() as tasks,
    ):
        await runtime.spawn(agent)
        tasks.start_soon(runs.run, agent)
        await gate.reached.wait()
        runtime.budget = None
        await clock.advance(60)
        gate.open()
    assert runs.results["a"].text == "at last"


async def test_a_runtime_counts_without_a_budget() -> None:
    """L18: what a runtime's agents spent can be read at any time, with a budget or without."""
    agent = Agent("a", model=ScriptedModel(["one two"], cost=0.25))
    async with Runtime() as runtime:
        await runtime.spawn(agent)
        await agent.run("three words here")
        assert runtime.budget is None
        assert (runtime.spent.tokens, runtime.spent.cost, runtime.spent.calls) == (5, 0.25, 1)
        runtime.budget = Budget(tokens=5)
        assert (await agent.run("more")).stop_reason == "runtime_tokens"
