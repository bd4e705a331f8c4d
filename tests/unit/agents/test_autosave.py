"""What is saved, where, when, and what a save never does."""

from __future__ import annotations

import json
import stat
import sys
from typing import TYPE_CHECKING, Any

import anyio
import pytest

from overwinter import Agent, AgentInUse, Runtime, Secret
from overwinter.agents.tools import ToolContext, tool
from overwinter.errors import SaveRejected
from overwinter.events import Event, Saved
from overwinter.persistence import storable_name
from overwinter.testing import FakeClock, ScriptedModel

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


async def tree(path: Path) -> list[str]:
    return sorted([str(entry.relative_to(path)) async for entry in anyio.Path(path).rglob("*")])


async def test_a_run_leaves_a_configuration_and_a_state(workspace_dir: Path) -> None:
    """A14: the files, their names and their metadata are those of the tutorial."""
    agent = Agent(
        "autosave-demo",
        model=ScriptedModel(["answer"], loop=True),
        max_loops=5,
        autosave=True,
        workspace_dir=workspace_dir,
    )
    await agent.run("Write")
    assert (
        agent.workspace_dir
        == workspace_dir / "agents" / f"autosave-demo-{agent.agent_id.replace('-', '')[:12]}"
    )
    config = await read(agent.config_path)
    metadata = config["_autosave_metadata"]
    assert next(iter(config)) == "_autosave_metadata"
    assert metadata["loop_count"] == config["loop_count"] == 5
    assert (metadata["agent_id"], metadata["agent_name"]) == (agent.agent_id, "autosave-demo")
    assert metadata["status"] == "finished"
    assert set(metadata) == {
        "timestamp", "loop_count", "agent_id", "agent_name", "run_id", "status", "sequence",
        "schema_version", "overwinter_version",
    }  # fmt: skip
    assert config["max_loops"] == 5
    state = await read(agent.state_path)
    assert agent.state_path.name == "autosave-demo_state.json"
    assert state["_autosave_metadata"]["checksum"].startswith("sha256:")
    assert [entry["role"] for entry in state["conversation"]][:2] == ["user", "assistant"]
    assert [name async for name in anyio.Path(agent.workspace_dir).glob("*_state.json")] == [
        anyio.Path(agent.state_path)
    ]


async def test_config_json_holds_every_setting(workspace_dir: Path) -> None:
    agent = Agent(
        "full",
        model=ScriptedModel(["x"], name="scripted-1"),
        session="customer-7",
        agent_description="knows all",
        system_prompt="Be brief.",
        tools=[add],
        temperature=0.5,
        max_tokens=100,
        stopping_token="<DONE>",
        fallback_models=["gpt-4o-mini"],
        autosave=True,
        workspace_dir=workspace_dir,
        model_args={"top_p": 0.9},
    )
    await agent.run("x")
    config = await read(agent.config_path)
    assert config["model_name"] == "scripted-1"
    assert config["fallback_models"] == ["gpt-4o-mini"]
    assert config["model_args"] == {"top_p": 0.9}
    (described,) = config["tools"]
    assert (described["name"], described["description"]) == ("add", "Add two numbers.")
    assert described["parameters"]["required"] == ["a", "b"]
    unset = {"verbose", "output_type", "stopping_condition", "retry", "budget", "durability", "autosave"}
    given = {"session", "agent_description", "system_prompt", "temperature", "max_tokens", "stopping_token"}
    assert unset | given <= set(config)


async def test_the_configuration_is_saved_at_each_step(workspace_dir: Path) -> None:
    """A21: config.json is replaced at each loop step, and of steps within a quarter of a second at the last."""
    counts: list[int] = []
    clock = FakeClock()
    config_saved = anyio.Event()

    def watch(event: Event) -> None:
        if isinstance(event, Saved) and event.path == str(agent.config_path):
            config_saved.set()

    async def look(request: object) -> str:
        nonlocal config_saved
        if agent.state.loop_count:
            await clock.advance(0.25)
            await config_saved.wait()
            config_saved = anyio.Event()
            counts.append((await read(agent.config_path))["_autosave_metadata"]["loop_count"])
        return "x"

    agent = Agent("a", model=ScriptedModel([look] * 4), max_loops=4, autosave=True)
    async with Runtime(workspace_dir, clock=clock) as runtime:
        runtime.watch(watch)
        await runtime.spawn(agent)
        await agent.run("x")
    assert counts == [1, 2, 3]


async def test_the_state_is_there_from_the_first_accepted_task(workspace_dir: Path) -> None:
    """A22: the state file exists once a task was accepted, so a process killed early is found."""
    gate = ScriptedModel.gate()
    agent = Agent("a", model=ScriptedModel([[gate, "x"]]), autosave=True, workspace_dir=workspace_dir)
    async with Runtime(workspace_dir) as runtime, anyio.create_task_group() as tasks:
        await runtime.spawn(agent)
        saved = anyio.Event()
        runtime.watch(lambda event: saved.set() if isinstance(event, Saved) else None)
        tasks.start_soon(agent.run, "early")
        await gate.reached.wait()
        await saved.wait()
        state = await read(agent.state_path)
        assert "early" in (state["task"], *(accepted["task"] for accepted in state["accepted"]))
        gate.open()


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such permission bits")
async def test_files_are_private(workspace_dir: Path) -> None:
    """A19: files are 0600 and folders 0700."""
    agent = Agent("a", model=ScriptedModel(["x", "y"]), autosave=True, workspace_dir=workspace_dir)
    await agent.run("one")
    await agent.run("two")
    seen = 0
    async for path in anyio.Path(workspace_dir).rglob("*"):
        mode = stat.S_IMODE((await path.stat()).st_mode)
        assert mode == (0o700 if await path.is_dir() else 0o600), path
        seen += 1
    assert seen >= 6
    assert not [name for name in await tree(workspace_dir) if name.endswith(".tmp")]


async def test_no_credential_stands_in_any_file(workspace_dir: Path) -> None:
    """A18: no credential setting and no Secret is written to any file."""
    key = "sk-very-secret-value-0123456789"

    @tool
    async def leak() -> str:
        raise RuntimeError(f"401: bad key {key}")

    agent = Agent(
        "a",
        model=ScriptedModel([call("leak"), "x"]),
        tools=[leak],
        autosave=True,
        workspace_dir=workspace_dir,
        model_args={"api_key": key, "extra_headers": {"Authorization": f"Bearer {key}"}, "own": Secret(key)},
    )
    await agent.run("x")
    files = [path async for path in anyio.Path(workspace_dir).rglob("*") if await path.is_file()]
    assert files
    for path in files:
        assert key.encode() not in await path.read_bytes(), path
    assert (await read(agent.config_path))["model_args"]["api_key"] == "[redacted]"


async def test_the_model_is_given_the_credentials(workspace_dir: Path) -> None:
    model = ScriptedModel(["x"])
    await Agent("a", model=model, model_args={"api_key": Secret("sk-1")}).run("x")
    assert model.requests[0].args == {"api_key": "sk-1"}


async def test_without_autosave_nothing_is_written(workspace_dir: Path) -> None:
    """A20: without autosave nothing is written and no lease is taken."""
    agent = Agent("a", model=ScriptedModel(["x", "y"]), workspace_dir=workspace_dir)
    other = Agent("a", model=ScriptedModel(["x"]), workspace_dir=workspace_dir)
    async with Runtime(workspace_dir) as runtime:
        await runtime.spawn(agent)
        await agent.run("x")
        await other.run("x")
    assert not await anyio.Path(workspace_dir).exists()


async def test_an_explicit_save_writes_without_autosave_too(workspace_dir: Path) -> None:
    agent = Agent("a", model=ScriptedModel(["x"]), workspace_dir=workspace_dir)
    await agent.run("x")
    path = await agent.save()
    assert path == agent.state_path
    assert (await read(path))["conversation"][1]["content"] == "x"
    async with Runtime(workspace_dir) as runtime:
        await runtime.spawn(Agent("a", model=ScriptedModel(["x"]), autosave=True))


async def test_memory_is_saved_and_what_cannot_be_is_refused_by_name(workspace_dir: Path) -> None:
    """A30: what memory cannot store is refused when it is set, with the field's name."""
    agent = Agent("a", model=ScriptedModel(["x"], loop=True), autosave=True, workspace_dir=workspace_dir)
    agent.memory.set("scores", [1, 2.5, {"deep": ["é", None, True]}])
    for value, field in (
        ([1, 2, float("nan")], "memory.bad[2]"),
        ({"raw": b"x"}, "memory.bad.raw"),
        ("\ud800", "memory.bad"),
        ({"n": [10**5000]}, "memory.bad.n[0]"),
    ):
        with pytest.raises(SaveRejected) as refused:
            agent.memory.set("bad", value)
        assert refused.value.field == field
    await agent.run("x")
    assert (await read(agent.state_path))["memory"] == {"scores": [1, 2.5, {"deep": ["é", None, True]}]}


async def test_what_is_kept_in_memory_does_not_change_behind_its_back() -> None:
    agent = Agent("a", model=ScriptedModel(["x"]))
    scores = [1]
    agent.memory.set("scores", scores)
    scores.append(float("nan"))  # type: ignore[arg-type]
    agent.memory.get("scores").append(2)
    assert agent.memory.get("scores") == [1]


async def test_tools_leave_their_files_in_the_agents_folder(workspace_dir: Path) -> None:
    @tool
    async def note(text: str, context: ToolContext) -> str:
        await anyio.Path(context.workspace_dir / "note.txt").write_text(text)
        return "noted"

    agent = Agent(
        "a", model=ScriptedModel([call("note", {"text": "hi"}), "x"]), tools=[note], autosave=True,
        workspace_dir=workspace_dir,
    )  # fmt: skip
    await agent.run("x")
    assert await anyio.Path(agent.workspace_dir / "note.txt").read_text() == "hi"


async def test_eight_concurrent_runs_with_autosave_all_finish(workspace_dir: Path) -> None:
    """A10: with autosave on, eight concurrent runs finish eight of eight, in order, with nothing torn."""
    for inside in (True, False):
        agent = Agent(
            f"busy-{inside}",
            model=ScriptedModel(lambda request: f"re {request.messages[-1].content}", loop=True),
            autosave=True,
            workspace_dir=workspace_dir,
        )
        ended: list[str] = []

        async def run(number: int, agent: Agent[str] = agent, ended: list[str] = ended) -> None:
            ended.append((await agent.run(f"{number}")).text)

        if inside:
            async with Runtime(workspace_dir) as runtime:
                await runtime.spawn(agent)
                async with anyio.create_task_group() as tasks:
                    for number in range(8):
                        tasks.start_soon(run, number)
        else:
            async with anyio.create_task_group() as tasks:
                for number in range(8):
                    tasks.start_soon(run, number)
        assert ended == [f"re {number}" for number in range(8)]
        state = await read(agent.state_path)
        assert [entry["content"] for entry in state["conversation"]] == [
            text for number in range(8) for text in (f"{number}", f"re {number}")
        ]
        assert [run["status"] for run in state["runs"]] == ["finished"] * 8


async def test_a_thousand_agents_autosave_at_once(workspace_dir: Path) -> None:
    """A31: a thousand agents autosave at once and every file decodes."""
    agents = [
        Agent(f"agent-{number}", model=ScriptedModel([f"answer {number}"]), autosave=True)
        for number in range(1000)
    ]
    async with Runtime(workspace_dir) as runtime:
        for agent in agents:
            await runtime.spawn(agent)
        async with anyio.create_task_group() as tasks:
            for agent in agents:
                tasks.start_soon(agent.run, f"task of {agent.agent_name}")
        assert runtime.statistics().agents == 1000
    for number, agent in enumerate(agents):
        assert (await read(agent.config_path))["_autosave_metadata"]["status"] == "finished"
        state = await read(agent.state_path)
        assert [entry["content"] for entry in state["conversation"]] == [
            f"task of agent-{number}",
            f"answer {number}",
        ]


async def test_a_second_runtime_of_one_process_is_refused(workspace_dir: Path) -> None:
    """A27: two runtimes in one process are two owners."""
    import os

    agent = Agent("shared", model=ScriptedModel(["x"]), autosave=True)
    async with Runtime(workspace_dir) as one, Runtime(workspace_dir) as two:
        await one.spawn(agent)
        with pytest.raises(AgentInUse, match=str(os.getpid())) as refused:
            await two.spawn(Agent("shared", model=ScriptedModel(["x"]), autosave=True))
        assert refused.value.pid == os.getpid()
        with pytest.raises(AgentInUse):
            await two.spawn(agent)
        with pytest.raises(AgentInUse):
            await Agent("shared", model=ScriptedModel(["x"]), autosave=True, workspace_dir=workspace_dir).run(
                "x"
            )
        await one.stop(agent)
        await two.spawn(Agent("shared", model=ScriptedModel(["x"]), autosave=True))


@pytest.mark.parametrize(
    "name",
    [
        "../../etc/passwd",
        "CON",
        "",
        "n" * 300,
        "é",
        "e\u0301",
        "A",
        "a",
        "nul\x00name",
        "..",
        "/",
        "a/b",
        "🐝",
        "half \ud83d",
    ],
)
async def test_no_name_leaves_the_workspace(workspace_dir: Path, name: str) -> None:
    """A32: whatever its name, an agent has a folder of its own inside the workspace."""
    agent = Agent(name, model=ScriptedModel(["x"]), autosave=True, workspace_dir=workspace_dir)
    await agent.run("x")
    assert agent.workspace_dir.parent == workspace_dir / "agents"
    assert (await read(agent.state_path))["_autosave_metadata"]["agent_name"] == storable_name(name)
    again = Agent(name, model=ScriptedModel(["y"]), autosave=True, workspace_dir=workspace_dir)
    await again.load()
    assert again.state.conversation[1].content == "x"


async def test_similar_names_have_different_folders(workspace_dir: Path) -> None:
    names = ["é", "e\u0301", "A", "a", "a b", "a-b", "", "agent"]
    folders = {
        Agent(name, model=ScriptedModel([]), workspace_dir=workspace_dir).workspace_dir.name.casefold()
        for name in names
    }
    assert len(folders) == len(names)


async def test_sessions_tell_agents_of_one_name_apart(workspace_dir: Path) -> None:
    async with Runtime(workspace_dir) as runtime:
        agents = [Agent("desk", model=ScriptedModel([s]), session=s, autosave=True) for s in ("ann", "bob")]
        for agent in agents:
            await runtime.spawn(agent)
            await agent.run("who?")
    assert agents[0].workspace_dir != agents[1].workspace_dir


async def test_saves_are_events(workspace_dir: Path) -> None:
    seen: list[Event] = []
    agent = Agent("a", model=ScriptedModel(["x"]), autosave=True)
    async with Runtime(workspace_dir) as runtime:
        runtime.watch(seen.append)
        await runtime.spawn(agent)
        await agent.run("x")
        await agent.save()
    saved = [event for event in seen if isinstance(event, Saved)]
    assert {event.path for event in saved} == {str(agent.config_path), str(agent.state_path)}
    assert all(event.bytes > 0 for event in saved)


async def test_what_is_deleted_from_memory_does_not_come_back(workspace_dir: Path) -> None:
    agent = Agent("a", model=ScriptedModel(["x", "y"]), autosave=True, workspace_dir=workspace_dir)
    agent.memory.set("kept", 1)
    agent.memory.set("gone", 2)
    await agent.run("x")
    agent.memory.delete("gone")
    agent.memory.delete("never there")
    await agent.run("y")
    assert (await read(agent.state_path))["memory"] == {"kept": 1}
    assert ("gone" in agent.memory, list(agent.memory), len(agent.memory)) == (False, ["kept"], 1)
