"""Going on where a run was cut off, alone, as a stream, and with a whole workspace."""

from __future__ import annotations

import warnings
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

import anyio
import pytest
from tests.support.disk import UnsyncedDisk

from overwinter import Agent, ModelError, RunInterrupted, RunResult, Runtime, UnfinishedAgent, ask_human, tool
from overwinter.errors import AgentInUse, ConfigurationError, NothingToResume
from overwinter.events import Event, ModelStarted, RunEnded, RunStarted, StreamRestarted, TextDelta
from overwinter.testing import ScriptedModel

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytestmark = pytest.mark.anyio

call = ScriptedModel.call


def agent_in(where: Path, *replies: Any, name: str = "a", **settings: Any) -> Agent[str]:
    return Agent(name, model=ScriptedModel(replies), autosave=True, workspace_dir=where, **settings)


async def cut_off(agent: Agent[str], task: str, at: anyio.Event) -> None:
    """Run *task* and cancel it when the event comes."""
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(agent.run, task)
        await at.wait()
        tasks.cancel_scope.cancel()


async def interrupted(where: Path, name: str, task: str = "go") -> None:
    gate = ScriptedModel.gate()
    await cut_off(agent_in(where, [gate, "never"], name=name), task, gate.reached)


async def test_between_two_of_three_concurrent_calls(workspace_dir: Path) -> None:
    """Q20: of three concurrent calls, those that ended before the cut are not run again, and the others go on."""
    first_ended, second_began = anyio.Event(), anyio.Event()
    ran: list[str] = []

    @tool
    async def first() -> str:
        ran.append("first")
        return "1"

    @tool
    async def second() -> str:
        ran.append("second")
        second_began.set()
        await anyio.sleep_forever()
        return "2"

    @tool(idempotent=True)
    async def third() -> str:
        ran.append("third")
        if ran.count("third") == 1:
            await anyio.sleep_forever()
        return "3"

    def agent(*replies: Any) -> Agent[str]:
        return agent_in(workspace_dir, *replies, tools=[first, second, third])

    begun = agent([call("first"), call("second"), call("third")])
    async with Runtime(workspace_dir) as runtime:
        await runtime.spawn(begun)
        runtime.watch(lambda _: first_ended.set() if begun.state.tool_results else None)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(begun.run, "go")
            await first_ended.wait()
            await second_began.wait()
            tasks.cancel_scope.cancel()
    resumed = agent("Done.")
    assert (await resumed.resume()).output == "Done."
    assert ran == ["first", "second", "third", "third"]
    told = [entry.content for entry in resumed.state.conversation if entry.role == "tool"]
    assert (told[0], told[2]) == ("1", "3")
    assert "outcome is unknown" in told[1]


async def test_a_resumed_stream_says_that_it_restarted(workspace_dir: Path) -> None:
    """Q21: a resumed run can be streamed; where a reply was cut off in the middle, its stream says that it restarts."""
    gate = ScriptedModel.gate()
    first = agent_in(workspace_dir, ["Half a ", gate, "sentence."])
    async with anyio.create_task_group() as tasks:

        async def stream() -> None:
            async with aclosing(first.stream("go")) as events:
                async for _ in events:
                    pass

        tasks.start_soon(stream)
        await gate.reached.wait()
        tasks.cancel_scope.cancel()
    assert first.state.partial_text == "Half a "
    second = agent_in(workspace_dir, "A whole one.")
    seen: list[Event] = [event async for event in second.resume_stream()]
    kinds = [type(event) for event in seen if not event.kind.startswith("sav")]
    assert kinds[:3] == [RunStarted, StreamRestarted, ModelStarted]
    assert isinstance(seen[0], RunStarted)
    assert seen[0].resumed
    assert "".join(event.text for event in seen if isinstance(event, TextDelta)) == "A whole one."
    assert isinstance(seen[-1], RunEnded)
    assert seen[-1].result.output == "A whole one."
    with pytest.raises(NothingToResume):
        _ = [event async for event in second.resume_stream()]


async def test_a_stream_that_goes_on_behind_a_whole_step_does_not_restart(workspace_dir: Path) -> None:
    agent = agent_in(workspace_dir, call("ask_human", {"question": "?"}), "Done.", tools=[ask_human])
    await agent.run("go")
    await agent.answer("yes")
    kinds = [type(event) async for event in agent.resume_stream()]
    assert StreamRestarted not in kinds
    failing = agent_in(workspace_dir, "never", ModelError("no"), "Done.", name="b", max_loops=2)
    with pytest.raises(ModelError):
        await failing.run("go")
    assert StreamRestarted in [type(event) async for event in failing.resume_stream()]


async def test_what_is_unfinished_is_found(workspace_dir: Path) -> None:
    """Q22: interrupted() tells of every agent at rest with something left to do, and of no other."""
    await interrupted(workspace_dir, "cut", "the first task")
    waits = agent_in(workspace_dir, call("ask_human", {"question": "?"}), name="waits", tools=[ask_human])
    await waits.run("a question")
    limited = agent_in(workspace_dir, call("nothing"), name="limited", tools=[ask_human], max_loops=1)
    await limited.run("too long")
    failed = agent_in(workspace_dir, ModelError("no"), name="failed")
    with pytest.raises(ModelError):
        await failed.run("bound to fail")
    await agent_in(workspace_dir, "Done.", name="done").run("easily done")
    await accepted_only(workspace_dir)
    superseded = agent_in(workspace_dir, "Done.", name="cut-2")
    await interrupted(workspace_dir, "cut-2")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        await superseded.run("another")
    async with Runtime(workspace_dir) as elsewhere:
        held = agent_in(workspace_dir, "never", name="failed")
        await elsewhere.spawn(held)
        async with Runtime(workspace_dir) as runtime:
            found = {one.agent_name: one for one in await runtime.interrupted()}
    assert sorted(found) == ["cut", "left", "limited", "waits"]
    assert (found["cut"].status, found["cut"].task) == ("interrupted", "the first task")
    assert (found["waits"].status, found["waits"].stop_reason) == ("paused", "question")
    assert (found["limited"].status, found["limited"].stop_reason) == ("paused", "max_loops")
    assert (found["left"].task, found["left"].accepted, found["left"].session) == ("second", 2, "s")
    assert found["cut"].agent_id == agent_in(workspace_dir, name="cut").agent_id
    async with Runtime(workspace_dir) as runtime:
        assert "failed" in {one.agent_name for one in await runtime.interrupted()}


async def accepted_only(where: Path) -> None:
    """Leave agent "left" with a finished run, and two tasks that were accepted and never began."""
    gate = ScriptedModel.gate()
    agent = agent_in(where, [gate, "never"], name="left", session="s")
    async with Runtime(where, run_grace=0.0) as runtime, anyio.create_task_group() as tasks:
        ref = await runtime.spawn(agent)

        async def run(task: str) -> None:
            with pytest.raises(RunInterrupted):
                await agent.run(task)

        tasks.start_soon(run, "first")
        await gate.reached.wait()
        tasks.start_soon(run, "second")
        await until(lambda: len(agent.state.accepted) == 1)
        tasks.start_soon(run, "third")
        await until(lambda: len(agent.state.accepted) == 2)
        await ref.stop()
    await agent_in(where, "first done", name="left", session="s").resume()


async def until(true: Callable[[], Any]) -> None:
    with anyio.fail_after(60):
        while not true():
            await anyio.lowlevel.checkpoint()


async def test_a_whole_workspace_is_resumed(workspace_dir: Path) -> None:
    """Q23: resume_all(make) makes, spawns and finishes what stands unfinished in the workspace, accepted tasks too."""
    await interrupted(workspace_dir, "one")
    await interrupted(workspace_dir, "two")
    await interrupted(workspace_dir, "three")
    await accepted_only(workspace_dir)
    async with Runtime(workspace_dir) as runtime:
        made: dict[str, Agent[str]] = {}

        def make(found: UnfinishedAgent) -> Agent[str] | None:
            if found.agent_name == "three":
                return None
            agent = made[found.agent_name] = agent_in(
                workspace_dir,
                f"{found.agent_name} is done",
                "and this",
                name=found.agent_name,
                session=found.session,
            )
            return agent

        outcomes = await runtime.resume_all(make)
        assert {one.agent_name for one in runtime.agents} == {"one", "two", "left"}
        texts = {made_one.agent_name: outcomes[made_one.agent_id] for made_one in made.values()}
        assert all(
            isinstance(outcome, RunResult) and outcome.status == "finished" for outcome in texts.values()
        )
        assert str(texts["one"]) == "one is done"
        finished = [run.task for run in made["left"].state.runs if run.status == "finished"]
        assert finished == ["first", "second", "third"]
        assert [one.agent_name for one in await runtime.interrupted()] == ["three"]
        with pytest.raises(ConfigurationError, match="three"):
            await runtime.resume_all(lambda _: agent_in(workspace_dir, name="other"))


async def test_a_workspace_is_resumed_as_its_agents_were_defined(workspace_dir: Path) -> None:
    """Q23: without *make* they are woken up by their names, and those that nobody defined are left alone."""
    await interrupted(workspace_dir, "one")
    await interrupted(workspace_dir, "three")
    await interrupted(workspace_dir, "wrong")
    await accepted_only(workspace_dir)
    replies = {"one": ["one is done"], "left": ["and this", "and that"]}

    def made(name: str, session: str) -> Agent[str] | None:
        if name == "wrong":
            raise KeyError(name)
        told = replies.get(name)
        return None if told is None else agent_in(workspace_dir, *told, name=name, session=session)

    async with Runtime(workspace_dir, agents=made, idle_timeout=None, active_limit=1) as runtime:
        outcomes = await runtime.resume_all()
        async with runtime.agent("left", session="s").awake() as left:
            finished = [run.task for run in left.state.runs if run.status == "finished"]
            assert finished == ["first", "second", "third"]
        assert {type(one).__name__ for one in outcomes.values()} == {"RunResult", "KeyError"}
        assert str(outcomes[runtime.agent("one").agent_id]) == "one is done"
        assert len(outcomes) == 3
        assert {one.agent_name for one in await runtime.interrupted()} == {"three", "wrong"}


async def test_one_agent_that_cannot_be_had_keeps_no_other_from_going_on(workspace_dir: Path) -> None:
    await interrupted(workspace_dir, "one")
    await interrupted(workspace_dir, "two")
    async with Runtime(workspace_dir) as elsewhere, Runtime(workspace_dir) as runtime:
        taken = agent_in(workspace_dir, name="one")
        found = await runtime.interrupted()
        await elsewhere.spawn(taken)
        runtime.interrupted = lambda: _given(found)  # type: ignore[method-assign]
        outcomes = await runtime.resume_all(lambda one: agent_in(workspace_dir, "Done.", name=one.agent_name))
        assert isinstance(outcomes[taken.agent_id], AgentInUse)
        assert sorted(type(outcome).__name__ for outcome in outcomes.values()) == ["AgentInUse", "RunResult"]


async def _given(found: list[UnfinishedAgent]) -> list[UnfinishedAgent]:
    return found


async def test_damage_is_left_out_and_said(workspace_dir: Path, caplog: pytest.LogCaptureFixture) -> None:
    for name in ("one", "two", "three"):
        await interrupted(workspace_dir, name)
    one, two = (agent_in(workspace_dir, name=name) for name in ("one", "two"))
    # What the state file says of runs, the journal says too.
    await anyio.Path(one.state_path).write_text("{")
    await anyio.Path(f"{one.state_path}.previous").unlink(missing_ok=True)
    journal = anyio.Path(two.workspace_dir / "journal" / "000001.jsonl")
    lines = (await journal.read_bytes()).splitlines(keepends=True)
    await journal.write_bytes(b"".join([lines[0], b"{}\n", *lines[2:]]))
    for path in (two.state_path, anyio.Path(f"{two.state_path}.previous")):
        await anyio.Path(path).unlink(missing_ok=True)
    async with Runtime(workspace_dir, files=UnsyncedDisk()) as runtime:
        assert {one.agent_name for one in await runtime.interrupted()} == {"one", "three"}
    assert "left out" in caplog.text


async def test_what_cannot_be_read_at_the_claim_leaves_nothing_held(workspace_dir: Path) -> None:
    async with Runtime(workspace_dir, files=UnsyncedDisk()) as runtime:
        storage = await runtime.storage()
        folder = storage.workspace.folder("a", "id-of-a")

        def fail(_: object) -> None:
            raise ValueError("no")

        with pytest.raises(ValueError, match="no"):
            await storage.claim_and_read(folder, fail)
        held, name = await storage.claim_and_read(folder, lambda claim: claim.folder.name)
        assert name == "a"
        await storage.release(held, None)
