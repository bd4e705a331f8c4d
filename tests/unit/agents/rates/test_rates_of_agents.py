"""Agents of one runtime that share the rates of their models."""

from __future__ import annotations

from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING, Any

import anyio
import pytest

from overwinter import (
    Agent,
    Backoff,
    Budget,
    ConcurrentWorkflow,
    Message,
    ModelReply,
    RateLimit,
    RetryPolicy,
    RunResult,
    Runtime,
    Secret,
    Summarize,
    Swarm,
    Usage,
    tool,
)
from overwinter.agents import RateStatistics
from overwinter.errors import ModelBusy, ModelError, ModelUnavailable, RunInterrupted
from overwinter.events import ModelWaiting
from overwinter.testing import FakeClock, ScriptedModel

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from overwinter import Model, ModelRequest

pytestmark = pytest.mark.anyio

POLICY = RetryPolicy(max_attempts=3, backoff=Backoff(initial=0.5, jitter=0.0), longest_wait=60.0)


class World:
    """A runtime on a clock that the test turns, and runs that go on beside the test."""

    def __init__(self, runtime: Runtime, clock: FakeClock, tasks: anyio.abc.TaskGroup) -> None:
        self.runtime = runtime
        self.clock = clock
        self._tasks = tasks
        self.asked: list[tuple[float, str]] = []
        self.results: dict[str, RunResult[Any]] = {}
        self.errors: dict[str, Exception] = {}
        self.waits: list[ModelWaiting] = []
        runtime.watch(self._watch)

    def _watch(self, event: Any) -> None:
        if isinstance(event, ModelWaiting):
            self.waits.append(event)

    def model(self, *before: Any, name: str = "m", tokens: int = 0) -> ScriptedModel:
        """A model that notes when it is asked and by whom, fails as told, and then answers."""
        script = list(before)

        def reply(request: ModelRequest) -> Any:
            self.asked.append((self.clock.monotonic(), request.messages[-1].content))
            if script:
                return script.pop(0)
            return ModelReply(Message("assistant", "ok"), Usage(input_tokens=tokens, calls=1))

        return ScriptedModel(reply, name=name, loop=True)

    def agent(self, name: str, model: Model, **options: Any) -> Agent[str]:
        options.setdefault("retry", POLICY)
        return Agent(name, model=model, **options)

    async def begin(self, *agents: Agent[Any] | Swarm[Any], task: str = "") -> None:
        for agent in agents:
            await self.runtime.spawn(agent)
            self._tasks.start_soon(self._run, agent, task)
            await self.clock.advance(0)

    async def _run(self, agent: Agent[Any] | Swarm[Any], task: str) -> None:
        try:
            self.results[agent.agent_name] = await agent.run(task or agent.agent_name)
        except Exception as error:
            self.errors[agent.agent_name] = error

    @property
    def times(self) -> list[float]:
        return [at for at, _ in self.asked]

    def rate(self, name: str = "m") -> RateStatistics:
        return self.runtime.statistics().rates[name]


@asynccontextmanager
async def a_world(rate_limits: dict[str, RateLimit] | None = None, **options: Any) -> AsyncGenerator[World]:
    clock = FakeClock()
    options.setdefault("run_grace", 0.0)
    async with AsyncExitStack() as stack:
        tasks = await stack.enter_async_context(anyio.create_task_group())
        runtime = await stack.enter_async_context(Runtime(clock=clock, rate_limits=rate_limits, **options))
        yield World(runtime, clock, tasks)


def busy(retry_after: float | None = None, status: int = 429) -> ModelError:
    return ModelError("busy", model="m", retryable=True, status_code=status, retry_after=retry_after)


async def test_all_agents_of_a_runtime_share_the_requests_of_a_minute() -> None:
    """G3: in no minute, wherever it begins, do more calls begin than the limit says."""
    async with a_world({"m": RateLimit(requests_per_minute=3)}) as world:
        model = world.model()
        await world.begin(*(world.agent(f"a{n}", model) for n in range(7)))
        assert world.times == [0.0] * 3
        assert world.rate() == RateStatistics(waiting=4, requests=3)
        await world.clock.advance(59.0)
        assert len(world.asked) == 3
        await world.clock.advance(61.0)
        assert world.times == [0.0] * 3 + [60.0] * 3 + [120.0]
        assert len(world.results) == 7


async def test_a_retry_is_a_request_like_any_other() -> None:
    """G3"""
    async with a_world({"m": RateLimit(requests_per_minute=2)}) as world:
        model = world.model(busy(), busy())
        await world.begin(world.agent("a", model))
        await world.clock.advance(60.0)
        assert world.times == [0.0, 0.5, 60.0]
        assert world.results["a"].text == "ok"


async def test_no_more_calls_are_under_way_than_the_limit_says() -> None:
    """G4: no more calls of a model are under way at once than ``in_flight`` says, and a place that is free is taken."""
    async with a_world({"m": RateLimit(in_flight=2)}) as world:
        gates = [ScriptedModel.gate() for _ in range(5)]
        models = [ScriptedModel([[gate, "ok"]], name="m") for gate in gates]
        await world.begin(*(world.agent(f"a{n}", model) for n, model in enumerate(models)))
        assert [gate.reached.is_set() for gate in gates] == [True, True, False, False, False]
        assert world.rate() == RateStatistics(in_flight=2, waiting=3)
        gates[1].open()
        await world.clock.advance(0)
        assert [gate.reached.is_set() for gate in gates] == [True, True, True, False, False]
        for gate in gates:
            gate.open()
        await world.clock.advance(0)
        assert len(world.results) == 5
        assert world.rate() == RateStatistics()


async def test_a_tool_that_asks_another_agent_holds_no_place_meanwhile() -> None:
    """G4"""
    async with a_world({"m": RateLimit(in_flight=1)}) as world:
        inner = world.agent("inner", world.model())

        @tool
        async def ask_inner() -> str:
            """Ask another agent."""
            return str(await inner.run("help"))

        call = ScriptedModel.call("ask_inner")
        await world.runtime.spawn(inner)
        await world.begin(world.agent("outer", ScriptedModel([call, "done"], name="m"), tools=[ask_inner]))
        assert world.results["outer"].text == "done"


async def test_agents_that_wait_take_turns() -> None:
    """G5: agents that wait take turns, and the calls of one go in the order in which they came."""
    async with a_world({"m": RateLimit(requests_per_minute=1)}) as world:
        model = world.model()
        await world.begin(world.agent("first", model))
        lane = world.runtime.rates.lane(model, {})
        assert lane is not None
        order: list[str] = []

        async def enter(who: str) -> None:
            (await lane.enter(who, 0, POLICY)).broke_off()
            order.append(who)

        async with anyio.create_task_group() as tasks:
            for who in ["greedy"] * 4 + ["modest"]:
                tasks.start_soon(enter, who)
            await world.clock.advance(0)
            await world.begin(world.agent("agent", model))
            await world.clock.advance(300.0)
            await world.clock.advance(60.0)
        assert order == ["greedy", "modest", "greedy", "greedy", "greedy"]
        assert world.times == [0.0, 180.0]


async def test_tokens_are_reserved_by_estimate_and_settled_by_use() -> None:
    """G6: what a call is likely to use is reserved when it begins, and settled with what it used."""
    async with a_world({"m": RateLimit(tokens_per_minute=2000)}) as world:
        answer = anyio.Event()

        async def slowly(_: ModelRequest) -> ModelReply:
            await answer.wait()
            return ModelReply(Message("assistant", "ok"), Usage(input_tokens=100, calls=1))

        slow = ScriptedModel(slowly, name="m")
        await world.begin(world.agent("a", slow, max_tokens=1500))
        assert 1500 <= world.rate().tokens < 1520
        await world.begin(world.agent("b", world.model(tokens=300), max_tokens=600))
        assert world.rate().waiting == 1
        answer.set()
        await world.clock.advance(0)
        assert world.rate() == RateStatistics(tokens=400)
        assert world.times == [0.0]


async def test_a_call_larger_than_the_limit_is_made_when_nothing_else_is_in_the_window() -> None:
    """G7: a call that needs more tokens than the whole limit is made when nothing else was used for a minute."""
    async with a_world({"m": RateLimit(tokens_per_minute=1000)}) as world:
        await world.begin(world.agent("small", world.model(tokens=10)))
        await world.begin(world.agent("large", world.model(tokens=5000), max_tokens=5000))
        await world.begin(world.agent("after", world.model(tokens=10), max_tokens=10))
        assert world.rate().waiting == 2
        await world.clock.advance(60.0)
        assert world.asked == [(0.0, "small"), (60.0, "large")]
        await world.clock.advance(60.0)
        assert world.asked[2:] == [(120.0, "after")]


async def test_a_refused_call_used_no_tokens_and_was_a_request() -> None:
    """G6"""
    async with a_world({"m": RateLimit(tokens_per_minute=2000, requests_per_minute=9)}) as world:
        model = world.model(ModelError("no", model="m", status_code=400))
        await world.begin(world.agent("a", model, max_tokens=1500))
        assert isinstance(world.errors["a"], ModelUnavailable)
        assert world.rate() == RateStatistics(requests=1)


async def test_a_summary_waits_its_turn_like_any_call() -> None:
    """G3"""
    async with a_world({"m": RateLimit(requests_per_minute=1)}) as world:
        model = world.model(tokens=1000)
        agent = world.agent("a", model, max_loops=2, context=Summarize(above=100, keep=1))
        await world.begin(agent)
        for expected in ([0.0], [0.0, 60.0], [0.0, 60.0, 120.0]):
            assert world.times == expected
            await world.clock.advance(60.0)
        assert world.results["a"].status == "finished"


async def test_each_model_has_a_limit_of_its_own_and_so_has_each_fallback() -> None:
    """G2: a limit holds for the model of its name, or for each one whose name begins so; the longest one counts."""
    limits = {"m": RateLimit(requests_per_minute=1), "*": RateLimit(requests_per_minute=2)}
    refusal = ModelError("no", model="m", status_code=400)
    async with a_world(limits) as world:
        first = world.model(*[refusal] * 3)
        spare = world.model(name="spare")
        await world.begin(*(world.agent(f"a{n}", first, fallback_models=[spare]) for n in range(3)))
        assert world.times == [0.0, 0.0]
        await world.begin(world.agent("b", spare), world.agent("c", spare))
        assert world.rate("spare") == RateStatistics(requests=2, waiting=1)
        await world.clock.advance(200.0)
        assert len(world.results) == 5


async def test_accounts_are_counted_apart() -> None:
    """G2"""
    async with a_world({"m": RateLimit(requests_per_minute=1)}) as world:
        model = world.model()
        keys = [None, "one", "two", "two"]
        await world.begin(
            *(
                world.agent(f"a{n}", model, model_args={"api_key": Secret(key)} if key else None)
                for n, key in enumerate(keys)
            )
        )
        assert [name for _, name in world.asked] == ["a0", "a1", "a2"]
        assert sorted(world.runtime.statistics().rates) == ["m", "m (2)", "m (3)"]
        assert "two" not in repr(world.runtime.rates.__dict__)
        await world.clock.advance(60.0)
        assert len(world.results) == 4


async def test_the_members_of_a_swarm_share_the_limit_with_all_others() -> None:
    """G3"""
    async with a_world({"*": RateLimit(requests_per_minute=2)}) as world:
        model = world.model()
        swarm = ConcurrentWorkflow("swarm", [world.agent(f"m{n}", model) for n in range(3)])
        await world.begin(swarm, task="go")
        await world.begin(world.agent("other", model))
        assert world.times == [0.0, 0.0]
        await world.clock.advance(60.0)
        assert world.times == [0.0, 0.0, 60.0, 60.0]
        assert {"swarm", "other"} == set(world.results)


async def test_whoever_is_cancelled_while_it_waits_takes_nothing() -> None:
    """G8: a call that waits and is cancelled, paused or stopped withdraws at once, and nobody loses a turn by that."""
    async with a_world({"m": RateLimit(requests_per_minute=1)}) as world:
        model = world.model()
        agents = [world.agent(f"a{n}", model) for n in range(4)]
        await world.begin(*agents)
        await agents[1].cancel()
        await world.clock.advance(0)
        assert isinstance(world.errors["a1"], RunInterrupted)
        assert world.rate().waiting == 2
        await world.clock.advance(120.0)
        assert world.asked == [(0.0, "a0"), (60.0, "a2"), (120.0, "a3")]


async def test_a_run_can_be_paused_while_it_waits_and_goes_on_with_a_resume() -> None:
    """G8"""
    async with a_world({"m": RateLimit(requests_per_minute=1)}) as world:
        model = world.model()
        agent = world.agent("waits", model)
        await world.begin(world.agent("a", model), agent)
        await agent.pause()
        await world.clock.advance(0)
        assert (world.results["waits"].status, world.results["waits"].stop_reason) == ("paused", "pause")
        assert world.rate().waiting == 0
        await world.clock.advance(60.0)
        assert (await agent.resume()).text == "ok"


async def test_a_run_can_be_paused_while_it_waits_to_be_retried_after_a_refusal() -> None:
    """G8"""
    async with a_world() as world:
        agent = world.agent("a", world.model(busy(retry_after=30.0)))
        await world.begin(agent)
        await agent.pause()
        await world.clock.advance(0)
        assert world.results["a"].stop_reason == "pause"
        await world.clock.advance(40.0)
        assert (await agent.resume()).text == "ok"


async def test_a_run_that_is_to_be_paused_does_not_begin_to_wait() -> None:
    """G8"""
    async with a_world() as world:
        asked = anyio.Event()
        refuse = anyio.Event()

        async def slowly(_: ModelRequest) -> ModelError:
            asked.set()
            await refuse.wait()
            return busy(retry_after=30.0)

        agent = world.agent("a", ScriptedModel(slowly, name="m"))
        await world.begin(agent)
        await asked.wait()
        await agent.pause()
        refuse.set()
        await world.clock.advance(0)
        assert world.results["a"].stop_reason == "pause"
        assert world.rate() == RateStatistics(held_for=30.0)


async def test_a_wait_does_not_keep_a_runtime_from_closing() -> None:
    """G8"""
    errors: list[Exception] = []

    async def run(agent: Agent[str]) -> None:
        try:
            await agent.run("go")
        except RunInterrupted as error:
            errors.append(error)

    model = ScriptedModel(["ok"], name="m", loop=True)
    limits = {"m": RateLimit(requests_per_minute=1)}
    async with anyio.create_task_group() as tasks, Runtime(rate_limits=limits, run_grace=0) as runtime:
        for agent in [Agent(f"a{n}", model=model) for n in range(3)]:
            await runtime.spawn(agent)
            tasks.start_soon(run, agent)
        await anyio.wait_all_tasks_blocked()
        assert runtime.statistics().rates["m"].waiting == 2
    assert len(errors) == 2


async def test_the_time_of_a_wait_is_time_of_the_run() -> None:
    """G9: the time for which a call waits counts as the run's time, like that for which the model takes to answer."""
    async with a_world({"m": RateLimit(requests_per_minute=1)}) as world:
        model = world.model()
        agent = world.agent("waits", model, budget=Budget(seconds=20.0))
        await world.begin(world.agent("a", model), agent)
        await world.clock.advance(20.0)
        assert world.results["waits"].stop_reason == "seconds"
        await world.clock.advance(40.0)
        assert (await agent.resume(budget=Budget(seconds=30.0))).text == "ok"


async def test_a_wait_is_told_with_its_reason_and_how_long_it_takes_at_least() -> None:
    """G10: a call that has to wait is told with the limit and the seconds that are known."""
    async with a_world({"m": RateLimit(requests_per_minute=1), "n": RateLimit(in_flight=1)}) as world:
        model, gate = world.model(), ScriptedModel.gate()
        await world.begin(world.agent("a", model))
        await world.clock.advance(10.0)
        await world.begin(world.agent("b", model))
        slow = ScriptedModel([[gate, "ok"], "ok"], name="n")
        await world.begin(world.agent("c", slow), world.agent("d", slow))
        told = [(event.agent_name, event.model, event.limit, event.seconds) for event in world.waits]
        assert told == [("b", "m", "requests_per_minute", 50.0), ("d", "n", "in_flight", 0.0)]
        assert world.waits[0].loop == 1
        gate.open()
        await world.clock.advance(50.0)


async def test_a_provider_that_asks_to_come_back_later_is_left_alone_by_all() -> None:
    """G11: what a provider says with ``Retry-After`` holds back every call of that model, with limits or without."""
    async with a_world() as world:
        model, other = world.model(busy(retry_after=20.0)), world.model(name="other")
        await world.begin(world.agent("refused", model))
        await world.begin(world.agent("b", model), world.agent("c", model), world.agent("d", other))
        assert world.asked == [(0.0, "refused"), (0.0, "d")]
        assert world.rate() == RateStatistics(waiting=3, held_for=20.0)
        assert [(event.agent_name, event.limit, event.seconds) for event in world.waits] == [
            ("refused", "retry_after", 20.0),
            ("b", "retry_after", 20.0),
            ("c", "retry_after", 20.0),
        ]
        await world.clock.advance(19.0)
        assert len(world.asked) == 2
        await world.clock.advance(11.0)
        assert world.asked[2:] == [(20.0, "refused"), (21.0, "b"), (21.5, "c")]
        assert world.runtime.statistics().rates == {}


async def test_twenty_that_are_refused_at_once_come_back_one_after_the_other() -> None:
    """G12: after that time held calls go on one after the other, at gaps that grow shorter from a second on."""
    async with a_world() as world:
        model = world.model(*[busy(retry_after=10.0)] * 20)
        gate = anyio.Event()

        async def at_once(request: ModelRequest) -> Any:
            world.asked.append((world.clock.monotonic(), request.messages[-1].content))
            if len(world.asked) == 20:
                gate.set()
            await gate.wait()
            return busy(retry_after=10.0) if len(world.asked) == 20 else "ok"

        model = ScriptedModel(at_once, name="m", loop=True)
        await world.begin(*(world.agent(f"a{n}", model) for n in range(20)))
        assert world.times == [0.0] * 20
        await world.clock.advance(30.0)
        later = world.times[20:]
        assert len(later) == 20 == len(set(later))
        assert min(later) == 10.0
        assert max(later) == pytest.approx(13.55, abs=0.01)
        assert len(world.results) == 20


async def test_without_a_time_only_the_refused_call_waits() -> None:
    """G11"""
    async with a_world() as world:
        model = world.model(busy())
        await world.begin(world.agent("a", model), world.agent("b", model))
        assert world.asked == [(0.0, "a"), (0.0, "b")]
        await world.clock.advance(1.0)
        assert world.asked[2:] == [(0.5, "a")]


async def test_a_place_that_a_refused_call_leaves_is_not_taken_before_its_time() -> None:
    """G11"""
    async with a_world({"m": RateLimit(in_flight=1)}) as world:
        model = world.model(busy(retry_after=20.0))
        first = world.agent("a", model)
        await world.begin(first)
        await world.begin(world.agent("b", model))
        assert world.asked == [(0.0, "a")]
        await world.clock.advance(40.0)
        assert world.asked == [(0.0, "a"), (20.0, "a"), (21.0, "b")]


async def test_a_model_that_is_held_for_too_long_is_given_up_without_asking_and_the_fallback_asked() -> None:
    """G13: a waiting call gives a model up when its provider asks for longer than the policy waits, or refuses on."""
    async with a_world() as world:
        model, spare = world.model(busy(retry_after=100.0)), world.model(name="spare")
        await world.begin(world.agent("a", model))
        assert isinstance(world.errors["a"], ModelUnavailable)
        await world.begin(world.agent("b", model, fallback_models=[spare]), world.agent("c", model))
        assert world.asked == [(0.0, "a"), (0.0, "b")]
        assert world.results["b"].text == "ok"
        assert isinstance(world.errors["c"], ModelUnavailable)
        cause = world.errors["c"].__cause__
        assert isinstance(cause, ModelBusy)
        assert (cause.model, cause.retry_after, cause.status_code) == ("m", 100.0, 429)
        await world.clock.advance(100.0)
        await world.begin(world.agent("d", model))
        assert world.results["d"].text == "ok"


async def test_a_provider_that_refuses_on_is_given_up_by_all_and_few_of_them_ask() -> None:
    """G13"""
    async with a_world() as world:
        model = world.model(*[busy(retry_after=10.0)] * 100)
        await world.begin(*(world.agent(f"a{n}", model) for n in range(10)))
        await world.clock.advance(30.0)
        # As many refusals as one call would have taken, and whoever did not go itself gives up with it.
        assert world.times == [0.0, 10.0, 20.0, 30.0]
        assert len(world.errors) == 7
        await world.clock.advance(70.0)
        assert len(world.errors) == 10
        assert len(world.asked) < 12


async def test_a_provider_that_answers_some_in_between_is_waited_for_until_all_had_their_turn() -> None:
    """G13"""
    async with a_world() as world:
        model = world.model(*[busy(retry_after=10.0), "ok", "ok"] * 10)
        await world.begin(*(world.agent(f"a{n}", model) for n in range(12)))
        await world.clock.advance(300.0)
        assert len(world.results) == 12
        assert len(world.asked) > 12 + POLICY.max_attempts


async def test_what_is_not_limited_and_not_held_is_not_counted() -> None:
    """G14: a model that is neither limited nor held costs a look-up, and nothing is kept of it."""
    async with a_world({"limited": RateLimit(in_flight=1), "free": RateLimit()}) as world:
        free = world.model(name="free")
        await world.begin(world.agent("a", free), world.agent("b", world.model()))
        assert world.runtime.statistics().rates == {}
        assert len(world.results) == 2


async def test_new_limits_hold_at_once_for_those_who_wait_too() -> None:
    """G15: the limits of a runtime can be read and set at any time; new ones hold at once, for who waits as well."""
    async with a_world({"m": RateLimit(requests_per_minute=1)}) as world:
        model = world.model()
        await world.begin(*(world.agent(f"a{n}", model) for n in range(4)))
        assert world.times == [0.0]
        world.runtime.rate_limits = {"m": RateLimit(requests_per_minute=3)}
        await world.clock.advance(0)
        assert world.times == [0.0] * 3
        world.runtime.rate_limits = {}
        await world.clock.advance(0)
        assert world.times == [0.0] * 4
        assert (world.runtime.rate_limits, world.runtime.statistics().rates) == ({}, {})


async def test_an_agent_that_runs_on_its_own_obeys_too() -> None:
    """G11"""
    soon = RetryPolicy(backoff=Backoff(initial=0.001))
    model = ScriptedModel([busy(retry_after=0.01), "ok"], name="m")
    assert (await Agent("a", model=model, retry=soon).run("go")).text == "ok"
