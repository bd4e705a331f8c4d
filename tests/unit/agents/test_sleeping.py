"""Sleep that outlasts the process: in tools, and in actors."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any

import anyio
import pytest
from tests.support.disk import FailingDisk, HeldDisk, UnsyncedDisk, turns

from overwinter import (
    Actor,
    Agent,
    AgentInUse,
    ConfigurationError,
    RunInterrupted,
    Runtime,
    SaveError,
    sleep,
    sleep_until,
    tool,
)
from overwinter.errors import ActorStopped
from overwinter.testing import FakeClock, ScriptedModel

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

pytestmark = pytest.mark.anyio

call = ScriptedModel.call
HOUR = 3600.0


class BedsideClock(FakeClock):
    """A clock that knows how many sleep by it, and whose time of day can be set, as a person or a time server does."""

    def __init__(self, start: datetime = datetime(2030, 1, 1, tzinfo=UTC)) -> None:
        super().__init__(start)
        self.off = timedelta()
        self.sleeping = 0

    def now(self) -> datetime:
        return super().now() + self.off

    async def sleep(self, seconds: float) -> None:
        # The storage naps, too, but not for long.
        self.sleeping += seconds >= 10
        try:
            await super().sleep(seconds)
        finally:
            self.sleeping -= seconds >= 10


class Sleepers:
    """Asleep in a tool; ``asleep`` and ``awake`` count."""

    def __init__(self, rest: Callable[[], Awaitable[None]]) -> None:
        self.rest = rest
        self.asleep = 0
        self.awake = 0
        self.begun = anyio.Event()

    def tool(self) -> Any:
        @tool(idempotent=True)
        async def rest() -> str:
            """Rest a while."""
            self.asleep += 1
            self.begun.set()
            await self.rest()
            self.awake += 1
            return "rested"

        return rest

    def agent(self, *replies: Any, **settings: Any) -> Agent[str]:
        script: Any = replies or [call("rest", call_id="the-call"), "Good morning."]
        model = ScriptedModel(script)
        return Agent("sleeper", model=model, tools=[self.tool()], **settings)


async def until_asleep(clock: BedsideClock, count: int) -> None:
    """Return when so many sleep."""
    with anyio.fail_after(60):
        while clock.sleeping < count:
            await anyio.sleep(0.001)


async def test_a_tool_sleeps_by_the_runtimes_clock_and_keeps_nothing_busy() -> None:
    """X13: only a timer waits."""
    clock, sleepers = BedsideClock(), Sleepers(lambda: sleep(HOUR))
    async with Runtime(clock=clock) as runtime, anyio.create_task_group() as tasks:
        agent = sleepers.agent()
        await runtime.spawn(agent)
        tasks.start_soon(agent.run, "Sleep.")
        await until_asleep(clock, 1)
        assert agent._state.sleeps == {("the-call", "", 1): "2030-01-01T01:00:00+00:00"}
        assert runtime.tool_limiter.borrowed_tokens == 0
        await clock.advance(HOUR - 1)
        assert sleepers.awake == 0
        await clock.advance(1)
        assert sleepers.awake == 1
    assert agent.state.tool_results[0].output == "rested"
    assert agent._state.sleeps == {}


async def test_a_repeated_call_goes_on_to_the_deadline_that_was_recorded(workspace_dir: Path) -> None:
    """X14: also when the run was interrupted and the agent is another object; and the finished sleep is forgotten."""
    clock, sleepers = BedsideClock(), Sleepers(lambda: sleep(HOUR))
    async with Runtime(workspace_dir, clock=clock, files=UnsyncedDisk(), run_grace=0.0) as runtime:
        agent = sleepers.agent(autosave=True)
        await runtime.spawn(agent)
        async with anyio.create_task_group() as tasks:

            async def run() -> None:
                with pytest.raises(RunInterrupted):
                    await agent.run("Sleep.")

            tasks.start_soon(run)
            await until_asleep(clock, 1)
            await agent.cancel()
    later = BedsideClock(clock.now() + timedelta(minutes=40))
    async with Runtime(workspace_dir, clock=later, files=UnsyncedDisk()) as runtime:
        again = sleepers.agent("Good morning.", autosave=True)
        await runtime.spawn(again)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(again.resume)
            await until_asleep(later, 1)
            assert again._state.sleeps == {("the-call", "", 1): "2030-01-01T01:00:00+00:00"}
            await later.advance(20 * 60 - 1)
            assert (sleepers.asleep, sleepers.awake) == (2, 0)
            await later.advance(1)
        assert again.state.status == "finished"
        assert again._state.sleeps == {}


async def test_a_deadline_that_has_passed_returns_at_once() -> None:
    """X15: and leaves no record."""
    clock = BedsideClock()
    sleepers = Sleepers(lambda: sleep_until(clock.now() - timedelta(days=1)))
    async with Runtime(clock=clock) as runtime:
        agent = sleepers.agent()
        await runtime.spawn(agent)
        await agent.run("Sleep.")
    assert sleepers.awake == 1


async def test_the_sleep_begins_when_its_record_is_on_the_disk(workspace_dir: Path) -> None:
    """X16: in "async" too."""
    clock, disk, sleepers = BedsideClock(), HeldDisk(), Sleepers(lambda: sleep(HOUR))
    disk.gates = {"fsync"}
    async with Runtime(workspace_dir, clock=clock, files=disk) as runtime, anyio.create_task_group() as tasks:
        model_waits = ScriptedModel.gate(call("rest", call_id="the-call"))
        agent = sleepers.agent(model_waits, "Good morning.", autosave=True)
        await runtime.spawn(agent)
        tasks.start_soon(agent.run, "Sleep.")
        await model_waits.reached.wait()
        disk.hold()
        model_waits.open()
        await sleepers.begun.wait()
        await disk.until_stuck()
        await turns(200)
        assert agent._state.sleeps
        assert clock.sleeping == 0
        disk.let_go()
        await until_asleep(clock, 1)
        await clock.advance(HOUR)


@pytest.mark.parametrize(("idempotent", "warned"), [(True, False), (False, True)])
async def test_a_tool_that_may_not_be_repeated_is_warned_of(
    idempotent: bool, warned: bool, caplog: pytest.LogCaptureFixture
) -> None:
    clock = BedsideClock()

    @tool(idempotent=idempotent)
    async def rest() -> None:
        """Rest a while."""
        await sleep(HOUR)

    async with Runtime(clock=clock) as runtime, anyio.create_task_group() as tasks:
        agent = Agent("a", model=ScriptedModel([call("rest"), "Good morning."]), tools=[rest])
        await runtime.spawn(agent)
        tasks.start_soon(agent.run, "Sleep.")
        await until_asleep(clock, 1)
        await clock.advance(HOUR)
    assert ("is not idempotent" in caplog.text) == warned


async def test_several_sleeps_of_a_call_are_told_apart_by_order_and_by_key() -> None:
    """X17"""
    clock = BedsideClock()

    async def rest() -> None:
        await sleep(60)
        await sleep(60)
        async with anyio.create_task_group() as both:
            both.start_soon(lambda: sleep(30, key="left"))
            both.start_soon(lambda: sleep_until(clock.now() + timedelta(seconds=40), key="right"))

    sleepers = Sleepers(rest)
    async with Runtime(clock=clock) as runtime, anyio.create_task_group() as tasks:
        agent = sleepers.agent()
        await runtime.spawn(agent)
        tasks.start_soon(agent.run, "Sleep.")
        for _ in range(2):
            await until_asleep(clock, 1)
            await clock.advance(60)
        await until_asleep(clock, 2)
        assert agent._state.sleeps == {
            ("the-call", "", 1): "2030-01-01T00:01:00+00:00",
            ("the-call", "", 2): "2030-01-01T00:02:00+00:00",
            ("the-call", "left", 1): "2030-01-01T00:02:30+00:00",
            ("the-call", "right", 1): "2030-01-01T00:02:40+00:00",
        }
        await clock.advance(60)
    assert sleepers.awake == 1


@pytest.mark.parametrize("hours", [2, -2])
async def test_a_clock_that_is_set_is_noticed_within_a_minute(hours: int) -> None:
    """X18: the deadline is one of the clock on the wall."""
    clock = BedsideClock()
    sleepers = Sleepers(lambda: sleep(10 * HOUR))
    async with Runtime(clock=clock) as runtime, anyio.create_task_group() as tasks:
        agent = sleepers.agent()
        await runtime.spawn(agent)
        tasks.start_soon(agent.run, "Sleep.")
        await until_asleep(clock, 1)
        clock.off = timedelta(hours=hours)
        await clock.advance((10 - hours) * HOUR - 1)
        assert sleepers.awake == 0
        await clock.advance(60)
        assert sleepers.awake == 1


async def test_a_synchronous_tool_is_told_to_become_async() -> None:
    """X19"""

    @tool
    def snooze() -> str:
        """Snooze."""
        asyncio.run(_snooze())
        return "never"

    async def _snooze() -> None:
        await sleep(1)

    agent = Agent("a", model=ScriptedModel([call("snooze"), "oh"]), tools=[snooze])
    await agent.run("Sleep.")
    assert "make it `async def`" in agent.state.tool_results[0].output


async def test_a_task_that_outlives_its_call_cannot_sleep_durably() -> None:
    caught: list[ConfigurationError] = []
    left: list[asyncio.Task[None]] = []
    ended = anyio.Event()

    async def later() -> None:
        await ended.wait()
        try:
            await sleep(1)
        except ConfigurationError as error:
            caught.append(error)

    @tool
    async def leave() -> str:
        """Leave a task behind."""
        left.append(asyncio.create_task(later()))
        return "left"

    await Agent("a", model=ScriptedModel([call("leave"), "oh"]), tools=[leave]).run("Go.")
    ended.set()
    await left[0]
    assert "has ended" in str(caught[0])


@pytest.mark.parametrize(
    "rest",
    [
        lambda: sleep(1),
        lambda: sleep(float("nan")),
        lambda: sleep(float("inf")),
        lambda: sleep_until(datetime(2030, 1, 1)),
    ],
)
async def test_where_nothing_could_be_restarted_there_is_no_durable_sleep(rest: Callable[[], Any]) -> None:
    """X19: nor is there one of no length, or without a time zone."""
    with pytest.raises(ConfigurationError):
        await rest()


async def test_a_time_beyond_the_calendar_is_refused() -> None:
    sleepers = Sleepers(lambda: sleep(1e15))
    agent = sleepers.agent()
    await agent.run("Sleep.")
    assert "beyond the calendar" in agent.state.tool_results[0].output


class Bell(Actor[Any]):
    """Sleeps under the key that it is told, and says when it has woken."""

    def __init__(self, rung: list[str]) -> None:
        self.rung = rung

    async def receive(self, message: Any) -> Any:
        key, seconds = message
        if key == "child":
            ref = await self.context.spawn(Bell(self.rung), name="little")
            return await ref.ask(["inner", seconds])
        await sleep(seconds, key=key)
        self.rung.append(key)
        return "ding"


async def test_a_named_actor_goes_on_to_its_deadline_after_a_restart(workspace_dir: Path) -> None:
    """X20: the same key is the same deadline; when it is over the key is free."""
    rung: list[str] = []
    clock = BedsideClock()
    async with Runtime(workspace_dir, clock=clock, files=UnsyncedDisk()) as runtime:
        ref = await runtime.spawn(Bell(rung), name="tower bell")
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(_ask_in_vain, ref, ["noon", HOUR])
            await until_asleep(clock, 1)
            await ref.stop(timeout=0)
    later = BedsideClock(clock.now() + timedelta(minutes=30))
    async with Runtime(workspace_dir, clock=later, files=UnsyncedDisk()) as runtime:
        ref = await runtime.spawn(Bell(rung), name="tower bell")
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(ref.ask, ["noon", HOUR])
            await until_asleep(later, 1)
            await later.advance(HOUR / 2 - 1)
            assert rung == []
            await later.advance(1)
        assert rung == ["noon"]
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(ref.ask, ["noon", HOUR])
            await until_asleep(later, 1)
            await later.advance(HOUR - 1)
            assert rung == ["noon"]
            await later.advance(1)
        assert rung == ["noon", "noon"]
    latest = BedsideClock(later.now())
    async with Runtime(workspace_dir, clock=latest, files=UnsyncedDisk()) as runtime:
        kept = await runtime.sleeps._open("tower bell")
        assert kept.value == {}
        assert kept.path.parent.parent == workspace_dir / "actors"


async def _ask_in_vain(ref: Any, message: Any) -> None:
    with pytest.raises(ActorStopped):
        await ref.ask(message)


async def test_actors_sleep_apart_from_each_other_and_from_their_children(workspace_dir: Path) -> None:
    clock, rung = BedsideClock(), list[str]()
    async with Runtime(workspace_dir, clock=clock, files=UnsyncedDisk()) as runtime:
        async with anyio.create_task_group() as tasks:
            for number, name in enumerate(["one", "two", "three"]):
                ref = await runtime.spawn(Bell(rung), name=name)
                tasks.start_soon(ref.ask, ["child" if number == 2 else name, 10.0 * (number + 1)])
            await until_asleep(clock, 3)
            assert sorted(runtime.sleeps._deadlines) == ["one", "three/little", "two"]
            await clock.advance(30)
        assert rung == ["one", "two", "inner"]


@pytest.mark.parametrize(("name", "key"), [(None, "noon"), ("bell", "")])
async def test_an_actor_needs_a_name_and_the_sleep_a_key(
    name: str | None, key: str, workspace_dir: Path
) -> None:
    """X19"""
    async with Runtime(workspace_dir) as runtime:
        ref = await runtime.spawn(Bell([]), name=name)
        with pytest.raises(ConfigurationError):
            await ref.ask([key, 1.0])
    assert not await anyio.Path(workspace_dir / "actors").exists()


async def test_an_actor_sleeps_on_although_the_disk_fails(
    workspace_dir: Path, caplog: pytest.LogCaptureFixture
) -> None:
    clock, disk, rung = BedsideClock(), FailingDisk(), list[str]()
    async with Runtime(workspace_dir, clock=clock, files=disk) as runtime:
        ref = await runtime.spawn(Bell(rung), name="bell")
        await runtime.sleeps._open("bell")
        disk.broken = {"replace"}
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(ref.ask, ["noon", 30.0])
            with anyio.fail_after(60):
                while "is not on disk yet" not in caplog.text:
                    await anyio.sleep(0.001)
            disk.broken = set()
            await clock.advance(30)
        with pytest.raises(SaveError):
            await ref.ask(["\ud800", 30.0])
    assert rung == ["noon"]


async def test_a_tool_that_asks_an_actor_does_not_lend_it_its_sleep(workspace_dir: Path) -> None:
    """An actor that was spawned inside a tool call inherits its context, and sleeps as itself all the same."""
    clock, rung = BedsideClock(), list[str]()

    async with Runtime(workspace_dir, clock=clock, files=UnsyncedDisk()) as runtime:

        @tool
        async def ring() -> str:
            """Ring the bell."""
            ref = await runtime.spawn(Bell(rung), name="bell")
            return str(await ref.ask(["noon", 50.0]))

        agent = Agent("ringer", model=ScriptedModel([call("ring"), "It rang."]), tools=[ring])
        await runtime.spawn(agent)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(agent.run, "Ring.")
            await until_asleep(clock, 1)
            assert agent._state.sleeps == {}
            await clock.advance(50)
        assert rung == ["noon"]


async def test_a_deadline_may_be_given_in_any_time_zone() -> None:
    clock = BedsideClock()
    east = timezone(timedelta(hours=9))
    sleepers = Sleepers(lambda: sleep_until(datetime(2030, 1, 1, 10, tzinfo=east)))
    async with Runtime(clock=clock) as runtime, anyio.create_task_group() as tasks:
        agent = sleepers.agent()
        await runtime.spawn(agent)
        tasks.start_soon(agent.run, "Sleep.")
        await until_asleep(clock, 1)
        assert agent._state.sleeps["the-call", "", 1] == datetime(2030, 1, 1, 1, tzinfo=UTC).isoformat()
        await clock.advance(HOUR)


async def test_an_actor_cannot_sleep_in_two_runtimes_at_once(workspace_dir: Path) -> None:
    clock = BedsideClock()
    async with (
        Runtime(workspace_dir, clock=clock, files=UnsyncedDisk()) as one,
        Runtime(workspace_dir, clock=clock, files=UnsyncedDisk()) as two,
    ):
        first, second = await one.spawn(Bell([]), name="bell"), await two.spawn(Bell([]), name="bell")
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(first.ask, ["noon", 30.0])
            await until_asleep(clock, 1)
            with pytest.raises(AgentInUse):
                await second.ask(["noon", 30.0])
            await clock.advance(30)


async def test_two_sleeps_under_one_key_of_an_actor_share_the_deadline(workspace_dir: Path) -> None:
    clock, rung = BedsideClock(), list[str]()
    async with Runtime(workspace_dir, clock=clock, files=UnsyncedDisk()) as runtime:

        class Twins(Actor[float]):
            async def receive(self, message: float) -> None:
                async with anyio.create_task_group() as both:
                    both.start_soon(self.rest, message)
                    both.start_soon(self.rest, message * 2)

            async def rest(self, seconds: float) -> None:
                await sleep(seconds, key="twins")
                rung.append(f"{clock.monotonic():g}")

        ref = await runtime.spawn(Twins, name="twins")
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(ref.ask, 30.0)
            await until_asleep(clock, 2)
            await clock.advance(30)
        assert rung == ["30", "30"]
