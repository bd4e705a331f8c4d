"""Looking back: what happened, what was known at each step, and going on from there."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

import anyio
import pytest
from anyio import to_thread

from overwinter import Agent, Budget, ConfigurationError, Runtime, tool
from overwinter.agents.fork import fork_options
from overwinter.agents.past import read_history, read_state_at
from overwinter.errors import AgentExists, StateNotFound, StepNotFound
from overwinter.persistence import FileOperations, journal_line
from overwinter.testing import ScriptedModel

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.anyio

call = ScriptedModel.call


@tool
async def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


def keeper(workspace_dir: Path, *replies: Any, **options: Any) -> Agent[str]:
    options = {"autosave": True, "tools": [add], **options}
    return Agent(
        "keeper", model=ScriptedModel(replies, name="scripted"), workspace_dir=workspace_dir, **options
    )


async def test_everything_that_happened_is_told_in_its_order(workspace_dir: Path) -> None:
    """H3: history() tells every step: its number, time, run, loop, kind, and one line about it."""
    agent = keeper(workspace_dir, call("add", {"a": 1, "b": 2}), "It is 3.")
    await agent.run("1 + 2?", run_id="sum")
    agent.memory.set("sum", 3)
    await agent.save()
    steps = await agent.history()
    assert [(step.step, step.kind, step.run_id, step.loop) for step in steps] == [
        (1, "task_accepted", "sum", 0),
        (2, "run_began", "sum", 0),
        (3, "model_replied", "sum", 1),
        (4, "tools_started", "sum", 1),
        (5, "tool_finished", "sum", 1),
        (6, "model_replied", "sum", 2),
        (7, "finished", "sum", 2),
        (8, "memory_set", "", 2),
    ]
    assert [step.summary for step in steps] == [
        "1 + 2?",
        "1 + 2?",
        'calls add({"a":1,"b":2})',
        'add({"a":1,"b":2})',
        "add answered: 3",
        "It is 3.",
        "answered",
        "sum = 3",
    ]
    assert all(step.at for step in steps)
    assert await agent.history("sum") == steps[:7]
    assert await agent.history("other") == []


async def test_the_state_at_a_step_is_what_was_known_then(workspace_dir: Path) -> None:
    """H4: state_at(step) is the state as it was when that step had happened, for each step there is."""
    agent = keeper(workspace_dir, call("add", {"a": 1, "b": 2}), "It is 3.", "Yes.")
    await agent.run("1 + 2?")
    await agent.run("Sure?")
    assert [len((await agent.state_at(step)).conversation) for step in range(1, 12)] == [
        *(0, 1, 2, 2, 3, 4, 4),
        *(4, 5, 6, 6),
    ]
    middle = await agent.state_at(4)
    assert (middle.status, middle.loop_count, middle.tool_results) == ("running", 1, ())
    last = await agent.state_at(11)
    assert (last.status, last.conversation, last.usage) == (
        "finished",
        agent.state.conversation,
        agent.state.usage,
    )


async def test_a_step_that_is_not_there_is_refused_with_the_range_there_is(workspace_dir: Path) -> None:
    """H5: a step that there is not raises StepNotFound, which names the steps there are."""
    agent = keeper(workspace_dir, "x")
    with pytest.raises(StepNotFound, match="nothing of it was saved"):
        await agent.state_at(1)
    assert await agent.history() == []
    assert not await anyio.Path(workspace_dir).exists()
    await agent.run("x")
    for step in (0, -1, 5, 10**6):
        with pytest.raises(StepNotFound, match="it has the steps 1 to 4") as caught:
            await agent.state_at(step)
        assert (caught.value.first, caught.value.last) == (1, 4)


async def test_history_is_told_of_an_agent_that_lives_nowhere(workspace_dir: Path) -> None:
    """H6: to look back nobody has to hold the agent, or to have loaded it."""
    await keeper(workspace_dir, "x").run("hello")
    other = keeper(workspace_dir)
    assert [step.kind for step in await other.history()][-1] == "finished"
    assert (await other.state_at(4)).conversation[-1].content == "x"
    assert other.state.conversation == ()
    await other.load()


async def test_history_is_told_while_the_agent_is_at_work(workspace_dir: Path) -> None:
    """H6: and it may be at work meanwhile: all that happened before the call is told."""
    told: list[str] = []
    agents: list[Agent[str]] = []

    @tool
    async def look_back() -> str:
        """Look back."""
        told.extend(step.kind for step in await agents[0].history())
        return "ok"

    agents.append(keeper(workspace_dir, call("look_back", {}), "done", tools=[look_back]))
    await agents[0].run("look")
    assert told == ["task_accepted", "run_began", "model_replied", "tools_started"]


async def test_history_goes_on_over_fresh_starts_and_loads(workspace_dir: Path, tmp_path: Path) -> None:
    """H7: an agent's history has all its conversations, and every step of each can be had again."""
    await keeper(workspace_dir, "one").run("first")
    copy = tmp_path / "copy.json"
    await anyio.Path(copy).write_bytes(await anyio.Path(keeper(workspace_dir).state_path).read_bytes())
    second = keeper(workspace_dir, "two", "three")
    await second.run("second")
    await second.load(copy)
    await second.run("third")
    kinds = [step.kind for step in await second.history()]
    assert kinds.count("started_anew") == 1
    assert kinds.count("state_replaced") == 1
    assert kinds.count("finished") == 3
    steps = {step.step: step for step in await second.history()}
    replaced = next(step for step in steps.values() if step.kind == "state_replaced")
    assert "copy.json" in replaced.summary
    before = await second.state_at(replaced.step - 1)
    assert [entry.content for entry in before.conversation] == ["second", "two"]
    assert [entry.content for entry in (await second.state_at(4)).conversation] == ["first", "one"]
    # What load() took the place of is kept as a document as well.
    kept = [path.name async for path in anyio.Path(second.workspace_dir / "history").iterdir()]
    assert sorted(kept) == ["000004.json", "000009.json"]


async def test_damage_in_the_past_is_told_and_what_follows_can_be_had(workspace_dir: Path) -> None:
    """H8: where records are missing or damaged the history says so, and what does not need them is there."""
    agent = keeper(workspace_dir, "one", "two", "three")
    for task in ("a", "b", "c"):
        await agent.run(task)
    journal = anyio.Path(agent.workspace_dir / "journal" / "000001.jsonl")
    lines = (await journal.read_bytes()).splitlines(keepends=True)
    lines[2] = lines[2].replace(b"one", b"0ne")
    await journal.write_bytes(b"".join(lines))
    steps = await keeper(workspace_dir).history()
    assert [(step.step, step.summary) for step in steps if step.kind == "gap"] == [
        (3, "step 3 is not kept, or cannot be read")
    ]
    assert len(steps) == 12
    with pytest.raises(StepNotFound, match="this one, or what it was made from, was dropped or is damaged"):
        await agent.state_at(3)
    assert len((await agent.state_at(12)).conversation) == 6


async def test_a_diff_tells_what_changed_between_two_steps(workspace_dir: Path) -> None:
    """H9: diff(a, b) tells what was said, which tools ended, what was remembered and used, and the status."""
    agent = keeper(workspace_dir, call("add", {"a": 1, "b": 2}), "It is 3.")
    await agent.run("1 + 2?")
    agent.memory.set("sum", 3)
    await agent.save()
    diff = await agent.diff(2, 8)
    assert (diff.before, diff.after, diff.status) == (2, 8, ("running", "finished"))
    assert [entry.role for entry in diff.said] == ["assistant", "tool", "assistant"]
    assert [outcome.tool for outcome in diff.tools] == ["add"]
    assert [(change.kind, change.key, change.after) for change in diff.memory] == [("set", "sum", 3)]
    assert diff.usage.calls == 2
    text = str(diff)
    for part in ("step 2 -> step 8", "running -> finished", "It is 3.", "add", "sum = 3", "2 model calls"):
        assert part in text, text
    back = await agent.diff(8, 2)
    assert (back.said, back.unsaid, back.tools) == ((), diff.said, ())
    assert [change.kind for change in back.memory] == ["deleted"]
    same = await agent.diff(8, 8)
    assert same.is_empty
    assert "nothing changed" in str(same)


async def test_a_fork_begins_where_the_other_was_and_goes_its_own_way(workspace_dir: Path) -> None:
    """H10: fork(at=step) is a new agent in a folder of its own that knows what this one knew at that step."""
    agent = keeper(workspace_dir, "one", "two", system_prompt="Be brief.")
    await agent.run("a")
    await agent.run("b")
    fork = await agent.fork(at=4, agent_name="other", model=ScriptedModel(["three"], name="scripted"))
    assert [entry.content for entry in fork.state.conversation] == ["a", "one"]
    assert fork.workspace_dir != agent.workspace_dir
    await fork.run("c")
    assert [entry.content for entry in fork.state.conversation] == ["a", "one", "c", "three"]
    assert [entry.content for entry in agent.state.conversation] == ["a", "one", "b", "two"]
    again = Agent("other", model=ScriptedModel([]), workspace_dir=workspace_dir, autosave=True, tools=[add])
    await again.load()
    assert again.state.conversation == fork.state.conversation
    first = (await again.history())[0]
    assert (first.step, first.kind) == (1, "state_replaced")
    assert "agent 'keeper', step 4" in first.summary
    assert fork.session == agent.session
    assert fork._profile.system_prompt == "Be brief."


async def test_a_fork_of_a_run_in_its_middle_can_be_resumed_there(workspace_dir: Path) -> None:
    """H11: what was open at the step is closed in the fork, and a run that had not finished can be resumed there."""
    agent = keeper(workspace_dir, call("add", {"a": 1, "b": 2}), "It is 3.")
    await agent.run("1 + 2?", run_id="sum")
    fork = await agent.fork(at=4, session="fork", model=ScriptedModel(["Perhaps 3."]))
    assert (fork.agent_name, fork.session, fork.status) == ("keeper", "fork", "interrupted")
    assert "outcome is unknown" in fork.state.conversation[-1].content
    result = await fork.resume()
    assert (result.text, result.run_id, result.loop_count) == ("Perhaps 3.", "sum", 2)
    assert agent.status == "finished"


async def test_a_fork_takes_nobodys_place(workspace_dir: Path) -> None:
    """H12: a fork of a name that there is already is refused, and so is one without a name of its own."""
    agent = keeper(workspace_dir, "one")
    await agent.run("a")
    other = Agent("other", model=ScriptedModel(["x"]), workspace_dir=workspace_dir, autosave=True)
    await other.run("theirs")
    with pytest.raises(AgentExists, match="'other'"):
        await agent.fork(agent_name="other")
    assert (await other.history())[-1].kind == "finished"
    with pytest.raises(ConfigurationError, match="a name or a session of its own"):
        await agent.fork()
    with pytest.raises(StepNotFound):
        await agent.fork(at=99, agent_name="third")
    assert len([path async for path in anyio.Path(workspace_dir / "agents").iterdir()]) == 2


async def test_a_fork_of_what_was_never_saved(workspace_dir: Path) -> None:
    agent = keeper(workspace_dir, "one", autosave=False)
    with pytest.raises(StateNotFound):
        await agent.fork(agent_name="other")
    await agent.run("a")
    agent.memory.set("k", [1])
    fork = await agent.fork(agent_name="other")
    assert [entry.content for entry in fork.state.conversation] == ["a", "one"]
    assert fork.memory.get("k") == [1]
    assert await anyio.Path(fork.state_path).exists()
    agent.memory.set("k", [2])
    assert fork.memory.get("k") == [1]


async def test_a_fork_of_an_agent_at_work_on_a_runtime(workspace_dir: Path) -> None:
    model = ScriptedModel(["one", "two"])
    agent = Agent("keeper", model=model, autosave=True)
    async with Runtime(workspace_dir) as runtime:
        await runtime.spawn(agent)
        await agent.run("a")
        fork = await agent.fork(agent_name="other")
        await runtime.spawn(fork)
        assert (await fork.run("b")).text == "two"
    assert fork.workspace_dir.parent == agent.workspace_dir.parent


async def test_a_fork_has_every_setting_of_the_other(workspace_dir: Path) -> None:
    """H10: with its settings, tools and models, but for what is said otherwise."""
    agent = keeper(
        workspace_dir,
        budget=Budget(tokens=7),
        durability="sync",
        model_args={"api_key": "k"},
        fallback_models=["x"],
    )
    options = fork_options(agent._profile, "other", None, {"max_tokens": 9})
    taken = set(inspect.signature(Agent.__init__).parameters) - {"self", "agent_id", "workspace_dir"}
    assert set(options) == taken
    fork = Agent(**options, workspace_dir=workspace_dir)
    ours, theirs = agent._profile.settings, fork._profile.settings
    for name in type(ours).__struct_fields__:
        if name not in ("agent_name", "agent_id", "max_tokens"):
            assert getattr(ours, name) == getattr(theirs, name), name
    assert theirs.max_tokens == 9
    assert fork._profile.models == agent._profile.models
    assert fork._profile.request_args == {"api_key": "k"}


async def test_a_record_that_nobody_understands_is_told_as_such(workspace_dir: Path) -> None:
    agent = keeper(workspace_dir, "x")
    await agent.run("x")
    journal = anyio.Path(agent.workspace_dir / "journal" / "000001.jsonl")
    strange = journal_line(5, b'{"type":"danced"}')
    await journal.write_bytes(await journal.read_bytes() + strange)
    assert (await keeper(workspace_dir).history())[-1].summary.startswith("not readable")


class VanishingFiles(FileOperations):
    """A disk on which retention removes each segment when it is first read."""

    def __init__(self) -> None:
        super().__init__()
        self.vanished: set[Path] = set()

    def read_bytes(self, path: Path) -> bytes:
        if path.suffix == ".jsonl" and path not in self.vanished:
            self.vanished.add(path)
            raise FileNotFoundError(2, "it was dropped", str(path))
        return super().read_bytes(path)


async def test_what_is_dropped_while_it_is_read_is_looked_at_again(workspace_dir: Path) -> None:
    """H6: nor does it matter that the past is dropped meanwhile."""
    agent = keeper(workspace_dir, "x")
    await agent.run("x")
    folder = agent._member.folder
    steps = await to_thread.run_sync(lambda: read_history(folder, files=VanishingFiles()))
    assert [step.step for step in steps] == [1, 2, 3, 4]
    state = await to_thread.run_sync(lambda: read_state_at(folder, 3, files=VanishingFiles()))
    assert state.status == "running"
