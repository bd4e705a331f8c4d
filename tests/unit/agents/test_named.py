"""Agents that are known by name: woken up when they are wanted, and passivated when they are not."""

from __future__ import annotations

import asyncio
import gc
import sys
import weakref
from typing import TYPE_CHECKING, Any

import pytest
from tests.support.disk import FailingDisk, HeldDisk, UnsyncedDisk

from overwinter import (
    Agent,
    AgentNotDefined,
    ConfigurationError,
    NamedAgent,
    NothingToResume,
    RunInterrupted,
    RunPaused,
    Runtime,
    ask_human,
    tool,
)
from overwinter.agents.directory import DirectoryStatistics
from overwinter.agents.models.offline import OfflineModel
from overwinter.errors import AgentInUse, AskTimeout, RuntimeClosed
from overwinter.events import RunEnded, RunStarted
from overwinter.testing import FakeClock, ScriptedModel

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from overwinter import ModelRequest
    from overwinter.agents.definitions import Make
    from overwinter.testing import ScriptGate

pytestmark = pytest.mark.anyio


class Cast:
    """Makes agents that answer with their name and how often they were asked; keeps what it made, weakly."""

    def __init__(self, **settings: Any) -> None:
        self.settings = {"autosave": True, **settings}
        self.made: list[weakref.ref[Agent[Any]]] = []
        self.tasks: list[str] = []
        self.gates: dict[str, ScriptGate] = {}
        self.fails = False

    def __call__(self, name: str, session: str) -> Agent[Any]:
        async def reply(request: ModelRequest) -> Any:
            said = [message.content for message in request.messages if message.role == "user"]
            self.tasks.append(said[-1])
            if self.fails:
                raise ValueError("no answer today")
            text = f"{name} {len(said)}"
            gate = self.gates.get(said[-1])
            return text if gate is None else [gate, text]

        agent: Agent[Any] = Agent(
            name, session=session, model=ScriptedModel(reply, loop=True), **self.settings
        )
        self.made.append(weakref.ref(agent))
        return agent


def runtime_in(where: Path, make: Make | None = None, **settings: Any) -> Runtime:
    settings.setdefault("idle_timeout", None)
    return Runtime(where, agents=make, files=settings.pop("files", UnsyncedDisk()), **settings)


async def until(condition: Callable[[], bool]) -> None:
    """Return when something that the disk's threads bring about is so."""
    while not condition():
        await asyncio.sleep(0)


async def at_rest(runtime: Runtime) -> DirectoryStatistics:
    """What there is when nobody is on the way in or out."""
    await until(lambda: not runtime.directory._door.leaving)
    return runtime.directory.statistics()


async def test_an_agent_is_made_when_it_is_first_used_and_goes_on_where_it_was(workspace_dir: Path) -> None:
    """N1: a named agent is made with its first message; passivated, its next message wakes it up, with all it knew."""
    cast = Cast()
    async with runtime_in(workspace_dir, cast) as runtime:
        editor = runtime.agent("editor")
        assert (editor.agent_name, editor.active, len(cast.made)) == ("editor", False, 0)
        assert (await editor.run("first")).text == "editor 1"
        assert editor.active
        assert editor == runtime.agent("editor")
        assert await runtime.passivate("editor")
        assert not editor.active
        assert await editor.ask("second") == "editor 2"
        assert len(cast.made) == 2
        async with editor.awake() as agent:
            assert agent.agent_id == editor.agent_id
            assert [run.task for run in agent.state.runs] == ["first", "second"]
        assert (await editor.save()).name == "editor_state.json"
        assert runtime.agents == (agent,)
    async with runtime_in(workspace_dir, cast) as runtime:
        assert await runtime.agent("editor").ask("third") == "editor 3"
        assert await runtime.agent("editor", "other").ask("first") == "editor 1"


async def test_an_agent_at_rest_leaves_nothing_in_memory(workspace_dir: Path) -> None:
    """N2: of a passivated agent nothing is kept: it is freed at once, and its claim is another's to take."""
    cast = Cast()
    async with runtime_in(workspace_dir, cast) as runtime:
        await runtime.agent("editor").ask("first")
        gc.collect()
        gc.disable()
        try:
            assert await runtime.passivate("editor")
            await asyncio.sleep(0)
            assert cast.made[0]() is None
        finally:
            gc.enable()
        async with runtime_in(workspace_dir, cast) as other:
            assert await other.agent("editor").ask("second") == "editor 2"
            with pytest.raises(AgentInUse):
                await runtime.agent("editor").ask("third")
        assert await runtime.agent("editor").ask("third") == "editor 3"


async def test_a_handle_is_a_few_words(workspace_dir: Path) -> None:
    """N3: a handle is at most 150 bytes, its name included, and the runtime keeps nothing of it."""
    runtime = runtime_in(workspace_dir)
    name = "agent-12345"
    handle = runtime.agent(name)
    assert sys.getsizeof(handle) + sys.getsizeof(name) <= 150
    assert len({runtime.agent(name), handle}) == 1
    assert handle != name
    assert repr(runtime.agent("a", "s")) == "<NamedAgent 'a' of session 's' at rest>"
    with pytest.raises(ConfigurationError, match="string"):
        runtime.agent(7)  # type: ignore[arg-type]
    with pytest.raises(RuntimeClosed):
        await handle.run("x")


async def test_an_agent_that_was_spawned_is_that_agent(workspace_dir: Path) -> None:
    """N4: the name of an agent that was spawned on the runtime is that agent, which is not passivated."""
    cast = Cast()
    async with runtime_in(workspace_dir, cast) as runtime:
        agent = cast("editor", "")
        await runtime.spawn(agent)
        editor = runtime.agent("editor")
        assert editor.active
        assert await editor.ask("first") == "editor 1"
        run_id = await editor.tell("second")
        await until(lambda: agent.state.run_id == run_id and agent.status == "finished")
        assert len(cast.made) == 1
        with pytest.raises(ConfigurationError, match="spawned"):
            await runtime.passivate("editor")
        stopping = asyncio.create_task(runtime.stop(agent))
        await asyncio.sleep(0)
        assert await editor.ask("third") == "editor 3"
        await stopping
        assert len(cast.made) == 2
        again = cast("editor", "")
        with pytest.raises(AgentInUse):
            await runtime.spawn(again)


async def test_exact_names_go_before_patterns(workspace_dir: Path) -> None:
    """N5: an exact name is made by its own function, then patterns in their order, then the runtime's `agents=`."""
    made: list[tuple[str, str]] = []

    def maker(label: str) -> Callable[[str, str], Agent[Any] | None]:
        def make(name: str, session: str) -> Agent[Any] | None:
            made.append((label, name))
            return None if name == "customer-none" else Cast()(name, session)

        return make

    async with runtime_in(workspace_dir, maker("default")) as runtime:
        runtime.define("customer-*", maker("pattern"))
        runtime.define("customer-[12]", maker("later"))
        runtime.define("customer-1", maker("exact"))
        for name in ("customer-1", "customer-2", "editor", "customer-none"):
            if name == "customer-none":
                with pytest.raises(AgentNotDefined):
                    await runtime.agent(name).ask("x")
            else:
                await runtime.agent(name).ask("x")
        assert made == [
            ("exact", "customer-1"),
            ("pattern", "customer-2"),
            ("default", "editor"),
            ("pattern", "customer-none"),
            ("default", "customer-none"),
        ]
        runtime.define("wrong", lambda name, session: Cast()("another", session))
        with pytest.raises(ConfigurationError, match="made 'another'"):
            await runtime.agent("wrong").ask("x")
        runtime.define("wrong", lambda name, session: 7)  # type: ignore[arg-type, return-value]
        with pytest.raises(ConfigurationError, match="returned int"):
            await runtime.agent("wrong").ask("x")
        with pytest.raises(ConfigurationError, match="function of name and session"):
            runtime.define("wrong", "agent")  # type: ignore[arg-type]
        assert runtime.directory.statistics().active == 3


async def test_an_agent_that_nobody_defined_is_made_from_its_files(workspace_dir: Path) -> None:
    """N6: where nobody defined it, an agent is made from its saved configuration; one with tools says to define it."""

    @tool
    def look() -> str:
        """Look."""
        return "seen"

    def offline(name: str, **settings: Any) -> Agent[Any]:
        return Agent(name, model=OfflineModel(), autosave=True, workspace_dir=workspace_dir, **settings)

    await offline("plain", session="s", system_prompt="Be brief.", tools=[ask_human]).run("One. Two.")
    await offline("tooled", tools=[look]).run("One. Two.")
    async with runtime_in(workspace_dir) as runtime:
        plain = runtime.agent("plain", "s")
        assert await plain.ask("Three. Four.")
        async with plain.awake() as agent:
            assert [run.task for run in agent.state.runs] == ["One. Two.", "Three. Four."]
            assert isinstance(agent, Agent)
        with pytest.raises(AgentNotDefined, match=r"tools? \(look\).*runtime.define\('tooled'"):
            await runtime.agent("tooled").ask("x")
        with pytest.raises(AgentNotDefined, match="none in this workspace"):
            await runtime.agent("plain").ask("x")
        runtime.define("tooled", lambda name, session: offline(name, tools=[look]))
        assert await runtime.agent("tooled").ask("Five. Six.")


async def test_a_told_task_is_on_disk_and_runs_by_itself(workspace_dir: Path) -> None:
    """N7: `tell` returns when the task is accepted, on disk and not begun or ended; with its run_id it is done once."""
    cast = Cast()
    gate = cast.gates["one"] = ScriptedModel.gate()
    ended: list[str] = []
    async with runtime_in(workspace_dir, cast) as runtime:
        runtime.watch(lambda event: ended.append(event.run_id) if isinstance(event, RunEnded) else None)
        editor = runtime.agent("editor")
        first = await editor.tell("one")
        assert await editor.tell("two", run_id="second") == "second"
        assert await editor.tell("two", run_id="second") == "second"
        with pytest.raises(ConfigurationError, match="used before"):
            await editor.tell("three", run_id="second")
        with pytest.raises(ConfigurationError, match="string"):
            await editor.tell(7)  # type: ignore[arg-type]
        async with runtime_in(workspace_dir) as other:
            assert [found.run_id for found in await other.interrupted()] == []
        assert ended == []
        gate.open()
        await until(lambda: len(ended) == 2)
        assert ended == [first, "second"]
        assert await editor.tell("two", run_id="second") == "second"
        assert cast.tasks == ["one", "two"]


async def test_accepted_tasks_of_a_runtime_that_was_closed_are_done_by_the_next(workspace_dir: Path) -> None:
    """N8: woken up, an agent goes on with the run that was cut off and with all accepted tasks, before anything new."""
    cast = Cast()
    gate = cast.gates["one"] = ScriptedModel.gate()
    async with runtime_in(workspace_dir, cast, run_grace=0.0) as runtime:
        editor = runtime.agent("editor")
        for task in ("one", "two", "three"):
            await editor.tell(task, run_id=task)
        await gate.reached.wait()
    cast.gates.clear()
    cast.tasks.clear()
    async with runtime_in(workspace_dir, cast) as runtime:
        assert await runtime.agent("editor").ask("four") == "editor 4"
        assert cast.tasks == ["one", "two", "three", "four"]
        assert (await runtime.agent("editor").run("two", run_id="two")).text == "editor 2"


async def test_what_somebody_gave_up_is_not_gone_on_with(workspace_dir: Path) -> None:
    cast = Cast()
    gate = cast.gates["one"] = ScriptedModel.gate()
    async with runtime_in(workspace_dir, cast) as runtime:
        editor = runtime.agent("editor")
        running = asyncio.create_task(editor.run("one"))
        await gate.reached.wait()
        running.cancel()
        await asyncio.wait({running})
        gate = cast.gates["two"] = ScriptedModel.gate()
        running = asyncio.create_task(editor.run("two"))
        await gate.reached.wait()
        async with editor.awake() as agent:
            await agent.cancel()
        with pytest.raises(RunInterrupted):
            await running
        assert await runtime.passivate("editor")
        cast.gates.clear()
        assert await editor.ask("three") == "editor 3"
        assert cast.tasks == ["one", "two", "three"]


async def test_resume_is_about_the_run_that_was_cut_off(workspace_dir: Path) -> None:
    """N9: `resume` of an agent that it wakes up finishes that run first, and what was accepted after it."""
    cast = Cast()
    gate = cast.gates["one"] = ScriptedModel.gate()
    async with runtime_in(workspace_dir, cast, run_grace=0.0) as runtime:
        await runtime.agent("editor").tell("one", run_id="first")
        await runtime.agent("editor").tell("two", run_id="second")
        await gate.reached.wait()
    cast.gates.clear()
    async with runtime_in(workspace_dir, cast) as runtime:
        editor = runtime.agent("editor")
        assert (await editor.resume()).run_id == "first"
        assert (await editor.run("two", run_id="second")).text == "editor 2"
        await until(lambda: runtime.directory.statistics().at_work == 0)
        assert await runtime.passivate("editor")
        with pytest.raises(NothingToResume):
            await editor.resume()


async def test_a_stream_and_a_time_limit(workspace_dir: Path) -> None:
    """N10: `ask` gives up after its timeout, and the run is interrupted and can be resumed."""
    clock, cast = FakeClock(), Cast()
    gate = cast.gates["slow"] = ScriptedModel.gate()
    async with runtime_in(workspace_dir, cast, clock=clock) as runtime:
        editor = runtime.agent("editor")
        events = [event async for event in editor.stream("first")]
        assert isinstance(events[0], RunStarted)
        assert isinstance(events[-1], RunEnded)
        asking = asyncio.create_task(editor.ask("slow", timeout=5.0, run_id="slow"))
        await gate.reached.wait()
        await clock.advance(5.0)
        with pytest.raises(AskTimeout, match="within 5 s"):
            await asking
        cast.gates.clear()
        assert (await editor.resume()).run_id == "slow"


async def test_a_paused_agent_rests_and_waits_for_its_person(workspace_dir: Path) -> None:
    """N11: a paused agent may be passivated; woken up it is paused still, and what it is told waits behind that."""

    def make(name: str, session: str) -> Agent[Any]:
        model = ScriptedModel(lambda request: "Done." if request.messages[-1].role == "tool" else wanted)
        return Agent(name, model=model, tools=[ask_human], autosave=True)

    wanted = ScriptedModel.call("ask_human", {"question": "Really?"})
    async with runtime_in(workspace_dir, make) as runtime:
        editor = runtime.agent("editor")
        with pytest.raises(RunPaused, match="Really"):
            await editor.ask("go")
        assert await runtime.passivate("editor")
        assert await editor.tell("more")
        assert not await runtime.passivate("editor")
        async with editor.awake() as agent:
            assert agent.status == "paused"
            assert isinstance(agent, Agent)
            await agent.answer("yes")
            assert str(await agent.resume()) == "Done."


async def test_agents_that_nobody_uses_are_passivated(workspace_dir: Path) -> None:
    """N12: an agent that nobody has used for `idle_timeout` seconds is passivated; use begins that time anew."""
    clock, cast = FakeClock(), Cast()
    async with runtime_in(workspace_dir, cast, clock=clock, idle_timeout=60.0) as runtime:
        for name in ("a", "b"):
            await runtime.agent(name).ask("x")
        await clock.advance(40.0)
        await runtime.agent("b").ask("y")
        await clock.advance(20.0)
        assert (await at_rest(runtime)).active == 1
        assert [agent.agent_name for agent in runtime.agents] == ["b"]
        async with runtime.agent("b").awake():
            await clock.advance(1000.0)
            assert (await at_rest(runtime)).active == 1
        await clock.advance(60.0)
        assert await at_rest(runtime) == DirectoryStatistics(
            active=0, at_work=0, activations=2, passivations=2
        )
    assert clock.pending == 0


async def test_a_timer_that_rings_a_trifle_early_does_not_ring_for_ever(workspace_dir: Path) -> None:
    clock, cast = FakeClock(), Cast()
    async with runtime_in(workspace_dir, cast, clock=clock, idle_timeout=0.3) as runtime:
        for number in range(1, 12):
            await clock.advance(0.1 * number)
            await runtime.agent("editor").ask("x")
            await clock.advance(0.3)
            await clock.advance(0.1)
            assert (await at_rest(runtime)).passivations == number


async def test_of_too_many_those_used_longest_ago_are_passivated(workspace_dir: Path) -> None:
    """N13: when more than `active_limit` are active, those whose last use is longest ago are passivated."""
    cast = Cast()
    async with runtime_in(workspace_dir, cast, active_limit=2) as runtime:
        for name in ("a", "b", "a", "c"):
            await runtime.agent(name).ask("x")
        await at_rest(runtime)
        assert {agent.agent_name for agent in runtime.agents} == {"a", "c"}
        await asyncio.gather(*(runtime.agent(f"n{number}").ask("x") for number in range(50)))
        there = await at_rest(runtime)
        assert (there.active, there.activations) == (2, 53)


async def test_memory_is_bounded_when_waking_up_is_faster_than_the_disk(workspace_dir: Path) -> None:
    """N14: who wakes up waits while `active_limit` and a tenth (4 at least) are in memory, some of them leaving."""
    cast = Cast()
    most = 0
    async with runtime_in(workspace_dir, cast, active_limit=4) as runtime:

        def look(_: object) -> None:
            nonlocal most
            most = max(most, runtime.directory.statistics().active)

        runtime.watch(look)

        async def ask(number: int) -> None:
            for again in range(3):
                assert await runtime.agent(f"n{number}").ask("x") == f"n{number} {again + 1}"

        for start in range(0, 60, 6):
            await asyncio.gather(*map(ask, range(start, start + 6)))
        assert most <= 4 + 4 + 6
        assert (await at_rest(runtime)).active == 4


async def test_an_agent_at_work_is_never_passivated(workspace_dir: Path) -> None:
    """N15: an agent at work, with accepted tasks, or awaited, is not passivated, by the clock, the limit or by hand."""
    clock, cast = FakeClock(), Cast()
    gate = cast.gates["one"] = ScriptedModel.gate()
    async with runtime_in(workspace_dir, cast, clock=clock, idle_timeout=1.0, active_limit=1) as runtime:
        editor = runtime.agent("editor")
        await editor.tell("one")
        await editor.tell("two")
        await gate.reached.wait()
        await runtime.agent("other").ask("x")
        await clock.advance(100.0)
        assert not await runtime.passivate("editor")
        assert editor.active
        gate.open()
        await until(lambda: cast.tasks[-1] == "two")
        await until(lambda: runtime.directory.statistics().at_work == 0)
        # One that works although nobody uses it by its name.
        async with editor.awake() as agent:
            pass
        gate = cast.gates["three"] = ScriptedModel.gate()
        running = asyncio.create_task(agent.run("three"))
        await gate.reached.wait()
        await clock.advance(100.0)
        assert not await runtime.passivate("editor")
        gate.open()
        assert (await running).text == "editor 3"
        await clock.advance(100.0)
        await at_rest(runtime)
        assert not editor.active


async def test_an_agent_that_is_not_saved_stays(workspace_dir: Path) -> None:
    """N16: an agent without autosave would forget everything, and is never passivated."""
    clock = FakeClock()
    async with runtime_in(
        workspace_dir, Cast(autosave=False), clock=clock, idle_timeout=1.0, active_limit=1
    ) as runtime:
        for name in ("a", "b"):
            await runtime.agent(name).ask("x")
        await runtime.agent("a").tell("y")
        await clock.advance(100.0)
        assert runtime.directory.statistics().active == 2
        with pytest.raises(ConfigurationError, match="autosave"):
            await runtime.passivate("a")
        assert await runtime.passivate("nobody")
        assert await runtime.agent("a").ask("z") == "a 3"


async def test_a_message_that_comes_while_it_is_passivated_is_served(workspace_dir: Path) -> None:
    """N17: a message that comes while an agent is passivated waits, and finds it awake again; an early one keeps it."""
    disk, cast = HeldDisk(), Cast()
    async with runtime_in(workspace_dir, cast, files=disk) as runtime:
        editor = runtime.agent("editor")
        await editor.ask("first")
        for wait in range(0, 40, 3):
            passivating = asyncio.create_task(runtime.passivate("editor"))
            for _ in range(wait):
                await asyncio.sleep(0)
            number = len(cast.tasks) + 1
            answers = await asyncio.gather(editor.ask("next"), editor.tell("told"), editor.save())
            assert answers[0] == f"editor {number}"
            await passivating
            await until(lambda: len(cast.tasks) % 2 == 1)
        await until(lambda: runtime.directory.statistics().at_work == 0)
        # While it is being saved.
        async with editor.awake() as agent:
            agent.memory.set("fact", 1)
        disk.hold()
        passivating = asyncio.create_task(runtime.passivate("editor"))
        await until(disk.stuck.is_set)
        async with editor.awake() as same:
            assert same is agent
            disk.let_go()
            assert not await passivating
        assert await runtime.passivate("editor")
        both = await asyncio.gather(runtime.passivate("editor"), runtime.passivate("editor"))
        assert all(both)


async def test_two_that_passivate_at_once(workspace_dir: Path) -> None:
    async with runtime_in(workspace_dir, Cast()) as runtime:
        await runtime.agent("editor").ask("first")
        first = asyncio.create_task(runtime.passivate("editor"))
        await until(lambda: runtime.directory._berths["editor", ""].left is not None)
        assert await runtime.passivate("editor")
        assert await first


async def test_an_agent_that_was_stopped_is_woken_up_again(workspace_dir: Path) -> None:
    """N18: a named agent that somebody stopped is woken up by its next message, after the end of that stop."""
    cast = Cast()
    async with runtime_in(workspace_dir, cast) as runtime:
        editor = runtime.agent("editor")
        await editor.ask("first")
        (agent,) = runtime.agents
        stopping = asyncio.create_task(runtime.stop(agent))
        await asyncio.sleep(0)
        answers = await asyncio.gather(editor.ask("second"), editor.ask("third"))
        await stopping
        assert sorted(answers) == ["editor 2", "editor 3"]


async def test_a_disk_that_fails_keeps_the_agent_awake(workspace_dir: Path) -> None:
    """N19: while the disk refuses what an agent knows, the agent is not passivated and goes on; later it is."""
    clock, disk, cast = FakeClock(), FailingDisk(), Cast()
    async with runtime_in(workspace_dir, cast, files=disk, clock=clock, idle_timeout=60.0) as runtime:
        editor = runtime.agent("editor")
        await editor.ask("first")
        disk.broken = {"write", "fsync", "open"}
        assert await editor.ask("second") == "editor 2"
        await clock.advance(60.0)
        for _ in range(30):
            await clock.advance(1.0)
        assert editor.active
        assert await editor.ask("third") == "editor 3"
        disk.broken = set()
        await until_passivated(clock, runtime)
        assert await editor.ask("fourth") == "editor 4"


async def until_passivated(clock: FakeClock, runtime: Runtime) -> None:
    while runtime.directory.statistics().active:
        await clock.advance(10.0)
        await asyncio.sleep(0.001)  # the disk's threads are no business of the clock's


async def test_a_runtime_that_closes_loses_nothing(workspace_dir: Path) -> None:
    """N20: a runtime that closes while agents are woken up, passivated and told loses no accepted task."""
    cast = Cast()
    accepted: list[str] = []

    async def tell(runtime: Runtime, life: int, number: int) -> None:
        name, task = f"n{number % 5}", f"{life}.{number}"
        try:
            accepted.append(await runtime.agent(name).tell(task, run_id=task))
            await runtime.passivate(name)
        except (RuntimeClosed, RunInterrupted):
            return

    for life in range(10):
        before = len(accepted)
        async with runtime_in(workspace_dir, cast, active_limit=2) as runtime:
            telling = [asyncio.create_task(tell(runtime, life, number)) for number in range(15)]
            while len(accepted) < before + life:
                await asyncio.sleep(0)
        await asyncio.gather(*telling)
        assert len(runtime.directory.background) == 0
    assert len(accepted) >= 45
    async with runtime_in(workspace_dir, cast) as runtime:
        for run_id in accepted:
            number = int(run_id.partition(".")[2])
            assert (await runtime.agent(f"n{number % 5}").run(run_id, run_id=run_id)).status == "finished"
    assert set(cast.tasks) >= set(accepted)


async def test_a_run_that_failed_with_nobody_waiting_is_logged(
    workspace_dir: Path, caplog: pytest.LogCaptureFixture
) -> None:
    cast = Cast()
    cast.fails = True
    async with runtime_in(workspace_dir, cast) as runtime:
        await runtime.agent("editor").tell("one", run_id="first")
        await until(lambda: runtime.directory.statistics().at_work == 0)
    assert "run first of agent 'editor' failed, and nobody waited for it" in caplog.text


async def test_callers_that_give_up_while_it_wakes_up(workspace_dir: Path) -> None:
    disk, cast = HeldDisk(), Cast()
    async with runtime_in(workspace_dir, cast, files=disk, idle_timeout=0.0) as runtime:
        await runtime.agent("other").ask("x")
        disk.hold()
        asking = [asyncio.create_task(runtime.agent("editor").ask("x")) for _ in range(2)]
        await until(disk.stuck.is_set)
        for task in asking:
            task.cancel()
        await asyncio.wait(asking)
        disk.let_go()
        await until(lambda: runtime.directory.statistics().passivations == 2)
    assert cast.tasks == ["x"]


async def test_an_error_of_the_maker_is_its_callers(workspace_dir: Path) -> None:
    def make(name: str, session: str) -> Agent[Any]:
        raise LookupError("no such customer")

    async with runtime_in(workspace_dir, make) as runtime:
        for _ in range(2):
            with pytest.raises(LookupError):
                await runtime.agent("editor").ask("x")
        assert runtime.directory.statistics().active == 0
    for settings in ({"idle_timeout": -1.0}, {"active_limit": 0}):
        with pytest.raises(ConfigurationError, match=next(iter(settings))):
            Runtime(workspace_dir, **settings)


async def test_a_named_agent_stands_in_a_swarm(workspace_dir: Path) -> None:
    """N21: a handle can stand where an agent stands."""
    from overwinter import SequentialWorkflow

    async with runtime_in(workspace_dir, Cast(), active_limit=1) as runtime:
        handles = [runtime.agent("writer"), runtime.agent("editor")]
        assert all(isinstance(handle, NamedAgent) for handle in handles)
        swarm = SequentialWorkflow("house", handles, autosave=True)
        await runtime.spawn(swarm)
        assert str(await swarm.run("go")) == "editor 1"
        assert str(await swarm.run("go")) == "editor 2"
