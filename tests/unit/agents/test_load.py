"""What comes back from disk, and what a fresh start leaves alone."""

from __future__ import annotations

import json
import logging
from typing import TYPE_CHECKING, Any

import anyio
import pytest

from overwinter import (
    Agent,
    AgentInUse,
    ConfigurationError,
    NothingToResume,
    RunInterrupted,
    Runtime,
    StateNotFound,
    tool,
)
from overwinter.errors import (
    AgentError,
    CorruptFileSetAside,
    CorruptState,
    SchemaTooNew,
    StaleState,
    UnfinishedRun,
)
from overwinter.testing import ScriptedModel

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.anyio

call = ScriptedModel.call


@tool
async def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


async def read(path: Path) -> dict[str, Any]:
    return json.loads(await anyio.Path(path).read_text("utf-8"))  # type: ignore[no-any-return]


def an_agent(workspace_dir: Path, *replies: Any, **options: Any) -> Agent[str]:
    model = ScriptedModel(replies, name="scripted")
    return Agent("keeper", model=model, autosave=True, workspace_dir=workspace_dir, **options)


async def test_load_brings_everything_back(workspace_dir: Path) -> None:
    """A14: load() brings back conversation, tool results, memory, task, usage, loop count and status."""
    first = an_agent(
        workspace_dir, call("add", {"a": 1, "b": 2}), "It is 3.", tools=[add], system_prompt="Add."
    )
    first.memory.set("facts", {"π": 3.14, "list": [1, None, "x"]})
    await first.run("1 + 2?")
    second = an_agent(workspace_dir, "still 3", tools=[add])
    await second.load()
    for name in ("status", "conversation", "tool_results", "memory", "task", "accepted", "runs", "run_id"):
        assert getattr(second.state, name) == getattr(first.state, name), name
    assert (second.state.loop_count, second.state.usage) == (first.state.loop_count, first.state.usage)
    result = await second.run("Sure?")
    assert result.text == "still 3"
    model = second._profile.models[0]
    assert isinstance(model, ScriptedModel)
    assert [(m.role, m.content) for m in model.requests[0].messages] == [
        ("system", "Add."),
        ("user", "1 + 2?"),
        ("assistant", ""),
        ("tool", "3"),
        ("assistant", "It is 3."),
        ("user", "Sure?"),
    ]
    assert model.requests[0].messages[2].tool_calls[0].arguments == '{"a":1,"b":2}'


async def test_the_constructors_settings_win_and_the_difference_is_logged(
    workspace_dir: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A17: constructor settings win, those left open are taken from the file, differences are logged."""
    await an_agent(workspace_dir, "x", system_prompt="old", temperature=0.1, max_loops=1).run("x")
    second = an_agent(workspace_dir, "y", system_prompt="new")
    with caplog.at_level(logging.WARNING, "overwinter.agents"):
        await second.load()
    assert "system_prompt was 'old'; the constructor's 'new' is used" in caplog.text
    await second.run("y")
    config = await read(second.config_path)
    assert (config["system_prompt"], config["temperature"], config["max_loops"]) == ("new", 0.1, 1)


async def test_load_without_a_saved_state_says_so_and_creates_nothing(workspace_dir: Path) -> None:
    agent = an_agent(workspace_dir)
    with pytest.raises(StateNotFound, match="autosave=True"):
        await agent.load()
    with pytest.raises(StateNotFound):
        await agent.load(workspace_dir / "nowhere.json")
    assert not await anyio.Path(agent.workspace_dir).exists()


async def test_load_takes_another_file_too(workspace_dir: Path, tmp_path: Path) -> None:
    first = an_agent(workspace_dir, "x")
    await first.run("hello")
    copy = tmp_path / "copy.json"
    await anyio.Path(copy).write_bytes(await anyio.Path(first.state_path).read_bytes())
    other = Agent("other", model=ScriptedModel(["y"]), workspace_dir=workspace_dir)
    await other.load(copy)
    assert [entry.content for entry in other.state.conversation] == ["hello", "x"]


async def test_a_fresh_agent_keeps_what_was_there_before(workspace_dir: Path) -> None:
    """A15: a fresh agent starts a new conversation and keeps the earlier one in history/."""
    await an_agent(workspace_dir, "old answer").run("old")
    fresh = an_agent(workspace_dir, "new answer")
    await fresh.run("new")
    assert [entry["content"] for entry in (await read(fresh.state_path))["conversation"]] == [
        "new",
        "new answer",
    ]
    (kept,) = [path async for path in anyio.Path(fresh.workspace_dir / "history").iterdir()]
    assert [entry["content"] for entry in json.loads(await kept.read_text())["conversation"]] == [
        "old",
        "old answer",
    ]
    again = Agent("again", model=ScriptedModel([]), workspace_dir=workspace_dir)
    await again.load(fresh.workspace_dir / "history" / kept.name)
    assert again.state.conversation[1].content == "old answer"


async def test_successive_runs_of_one_object_go_on_in_its_conversation(workspace_dir: Path) -> None:
    agent = an_agent(workspace_dir, "one", "two")
    await agent.run("1")
    await agent.run("2")
    assert len((await read(agent.state_path))["conversation"]) == 4
    assert not await anyio.Path(agent.workspace_dir / "history").exists()


async def test_an_unfinished_run_is_announced(workspace_dir: Path) -> None:
    """A15: an unfinished run left behind by a fresh agent is announced, with a warning that names resume()."""
    paused = an_agent(workspace_dir, call("add", {"a": 1, "b": 1}), tools=[add], max_loops=1)
    assert (await paused.run("count")).status == "paused"
    fresh = an_agent(workspace_dir, "x", "y")
    with pytest.warns(UnfinishedRun, match=r"paused.*'count'.*resume\(\)"):
        await fresh.run("new")
    await fresh.run("no second warning")


async def test_resume_finishes_in_a_new_object_what_was_cut_off(workspace_dir: Path) -> None:
    """A26: a paused run is finished by a fresh object with resume(), and nothing that was said is asked again."""
    paused = an_agent(workspace_dir, call("add", {"a": 1, "b": 1}), tools=[add], max_loops=1)
    stopped = await paused.run("count")
    fresh = an_agent(workspace_dir, "two", tools=[add])
    result = await fresh.resume(max_loops=3)
    assert (result.output, result.run_id, result.loop_count) == ("two", stopped.run_id, 2)
    with pytest.raises(NothingToResume, match="run\\(task\\)"):
        await fresh.resume()
    with pytest.raises(NothingToResume):
        await an_agent(workspace_dir).resume()


async def test_resume_without_anything_saved(workspace_dir: Path) -> None:
    with pytest.raises(StateNotFound):
        await an_agent(workspace_dir).resume()


async def test_a_state_of_a_later_overwinter_is_refused_and_left_alone(workspace_dir: Path) -> None:
    """A28: a file of a newer schema version is refused with both versions named, by a fresh start too."""
    first = an_agent(workspace_dir, "x")
    await first.run("x")
    later = (await anyio.Path(first.state_path).read_text()).replace(
        '"schema_version": 1', '"schema_version": 9'
    )
    await anyio.Path(first.state_path).write_text(later)
    for act in (an_agent(workspace_dir).load, lambda: an_agent(workspace_dir, "y").run("y")):
        with pytest.raises(SchemaTooNew, match=r"version 9.*version 1"):
            await act()
    assert await anyio.Path(first.state_path).read_text() == later


async def test_a_damaged_state_gives_way_to_the_one_before(workspace_dir: Path) -> None:
    """A29: a damaged state file is set aside and said so, and the previous generation is used."""
    first = an_agent(workspace_dir, "one", "two", durability="sync")
    await first.run("1")
    await first.run("2")
    path = anyio.Path(first.state_path)
    await path.write_bytes((await path.read_bytes()).replace(b"two", b"too"))
    second = an_agent(workspace_dir)
    with pytest.warns(CorruptFileSetAside, match="checksum"):
        await second.load()
    assert second.state.conversation[0].content == "1"
    assert [p.name async for p in anyio.Path(first.workspace_dir).glob("*.corrupt-*")]
    await anyio.Path(first.workspace_dir / f"{first.state_path.name}.previous").write_text("{}")
    await path.write_text("{")
    third = an_agent(workspace_dir)
    with pytest.warns(CorruptFileSetAside, match="The journal has everything"):
        await third.load()
    assert [entry.content for entry in third.state.conversation] == ["1", "one", "2", "two"]
    await path.write_text("{")
    async for segment in anyio.Path(first.workspace_dir / "journal").iterdir():
        await segment.unlink()
    with pytest.raises(CorruptState, match="set aside"):
        await an_agent(workspace_dir).load()


async def test_what_somebody_else_wrote_is_not_overwritten(workspace_dir: Path) -> None:
    """A33: an agent that another has written meanwhile raises StaleState, and load() goes on from there."""
    first = an_agent(workspace_dir, "one", "three")
    await first.run("1")
    second = an_agent(workspace_dir, "two")
    await second.load()
    await second.run("2")
    with pytest.raises(StaleState, match="load"):
        await first.run("3")
    await first.load()
    await first.run("3")
    assert [entry.content for entry in first.state.conversation] == ["1", "one", "2", "two", "3", "three"]


async def test_load_is_refused_while_the_agent_works(workspace_dir: Path) -> None:
    gate = ScriptedModel.gate()
    agent = an_agent(workspace_dir, [gate, "x"])
    async with Runtime(workspace_dir) as runtime, anyio.create_task_group() as tasks:
        await runtime.spawn(agent)
        tasks.start_soon(agent.run, "x")
        await gate.reached.wait()
        with pytest.raises(AgentError, match="at work"):
            await agent.load()
        gate.open()


async def test_an_agent_with_another_workspace_is_not_spawned(workspace_dir: Path, tmp_path: Path) -> None:
    async with Runtime(workspace_dir) as runtime:
        with pytest.raises(ConfigurationError, match="workspace_dir"):
            await runtime.spawn(Agent("a", model=ScriptedModel([]), workspace_dir=tmp_path / "other"))
        agent = Agent("a", model=ScriptedModel(["x"]), autosave=True)
        await runtime.spawn(agent)
        await agent.run("x")
    assert agent.state_path.is_relative_to(workspace_dir)


async def test_a_refused_agent_can_be_spawned_later(workspace_dir: Path) -> None:
    one, two = an_agent(workspace_dir, "x"), an_agent(workspace_dir, "y")
    async with Runtime(workspace_dir) as first:
        await first.spawn(one)
        async with Runtime(workspace_dir) as second:
            with pytest.raises(AgentInUse):
                await second.spawn(two)
            await first.stop(one)
            await second.spawn(two)
            assert (await two.run("y")).text == "y"


async def test_resume_all_finishes_every_unfinished_run_of_a_runtime(workspace_dir: Path) -> None:
    for name in ("ann", "bob"):
        paused = Agent(
            name, model=ScriptedModel([call("add", {"a": 1, "b": 1})]), tools=[add], max_loops=1, autosave=True,
            workspace_dir=workspace_dir,
        )  # fmt: skip
        await paused.run("count")
        await paused.cancel()
    async with Runtime(workspace_dir) as runtime:
        agents = [
            Agent(name, model=ScriptedModel([f"{name} is done"]), tools=[add], max_loops=2, autosave=True)
            for name in ("ann", "bob", "new")
        ]
        for agent in agents:
            await runtime.spawn(agent)
        outcomes = await runtime.resume_all()
    assert {key: str(value) for key, value in outcomes.items()} == {
        agents[0].agent_id: "ann is done",
        agents[1].agent_id: "bob is done",
    }


async def test_a_run_that_was_stopped_says_so(workspace_dir: Path) -> None:
    """A25: stopping a runtime interrupts its runs, whose callers get RunInterrupted, and saves them."""
    gate = ScriptedModel.gate()
    agent = an_agent(workspace_dir, call("add", {"a": 1, "b": 1}), [gate, "never"], tools=[add])
    errors: list[RunInterrupted] = []

    async def run(task: str) -> None:
        with pytest.raises(RunInterrupted) as caught:
            await agent.run(task)
        errors.append(caught.value)

    async with anyio.create_task_group() as tasks, Runtime(workspace_dir, run_grace=0) as runtime:
        await runtime.spawn(agent)
        tasks.start_soon(run, "first")
        await gate.reached.wait()
        tasks.start_soon(run, "second")
        await anyio.wait_all_tasks_blocked()
    assert len(errors) == 2
    state = await read(agent.state_path)
    assert state["status"] == "interrupted"
    assert [entry["role"] for entry in state["conversation"]] == ["user", "assistant", "tool"]
    assert [accepted["task"] for accepted in state["accepted"]] == ["second"]


async def test_an_explicit_save_keeps_what_was_there_before_too(workspace_dir: Path) -> None:
    """A15: what was there before is never overwritten in silence, by save() either."""
    await an_agent(workspace_dir, "old").run("old")
    fresh = Agent("keeper", model=ScriptedModel(["new"]), workspace_dir=workspace_dir)
    await fresh.run("new")
    await fresh.save()
    await fresh.save()
    assert len([path async for path in anyio.Path(fresh.workspace_dir / "history").iterdir()]) == 1


async def test_a_task_that_was_only_accepted_is_run_by_a_resume(workspace_dir: Path) -> None:
    """A34: a task that was accepted and never begun is kept, and a resume runs it."""
    gate = ScriptedModel.gate()
    agent = an_agent(workspace_dir, [gate, "never"])

    async def interrupted(task: str) -> None:
        with pytest.raises(RunInterrupted):
            await agent.run(task)

    # The tasks outlive the runtime, whose end they are told of.
    async with anyio.create_task_group() as tasks:  # noqa: SIM117
        async with Runtime(workspace_dir, run_grace=0) as runtime:
            await runtime.spawn(agent)
            tasks.start_soon(interrupted, "first")
            await gate.reached.wait()
            tasks.start_soon(interrupted, "second")
            await anyio.wait_all_tasks_blocked()
    fresh = an_agent(workspace_dir, "first at last", "second at last")
    assert (await fresh.resume()).text == "first at last"
    assert (await fresh.resume()).text == "second at last"
    with pytest.raises(NothingToResume):
        await fresh.resume()


async def test_a_saving_that_breaks_harms_no_run(
    workspace_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from overwinter.agents.saving import Saving

    async def broken(self: Saving, *, wait: bool) -> None:
        raise RuntimeError("a bug")

    monkeypatch.setattr(Saving, "run_ended", broken)
    assert (await an_agent(workspace_dir, "fine").run("x")).text == "fine"
