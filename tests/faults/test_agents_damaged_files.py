"""Files that are damaged, too new, or of an earlier run: nothing is passed over, and nothing is lost in silence."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING, Any

import pytest
from tests.support.processes import read_everything, temporaries

from overwinter import Agent, ModelError, ModelUnavailable, Runtime
from overwinter.errors import (
    CorruptFileSetAside,
    CorruptState,
    SchemaTooNew,
    StaleState,
    UnfinishedRun,
    WorkspaceError,
)
from overwinter.testing import ScriptedModel

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.allow_blocking,  # the test looks at files between runs, when nothing else is on the loop
]


def worker(workspace_dir: Path, script: Any = ("answer",), **settings: Any) -> Agent[str]:
    settings = {"autosave": True, **settings}
    return Agent("worker", model=ScriptedModel(script, loop=True), workspace_dir=workspace_dir, **settings)


def said(agent: Agent[str]) -> list[str]:
    return [entry.content for entry in agent.state.conversation]


async def two_generations(workspace_dir: Path) -> Agent[str]:
    """An agent with a state of two runs and a previous one of the first."""
    agent = worker(workspace_dir, ["first answer", "second answer"])
    async with Runtime(workspace_dir) as runtime:
        await runtime.spawn(agent)
        for task in ("first", "second"):
            await agent.run(task)
            await agent.save()
    previous = agent.state_path.with_name(agent.state_path.name + ".previous")
    assert len(json.loads(previous.read_bytes())["conversation"]) < 4
    return agent


def cut(data: bytes) -> bytes:
    return data[: len(data) // 2]


def flip(data: bytes) -> bytes:
    place = data.index(b"second answer")
    return data[:place] + b"X" + data[place + 1 :]


def empty(data: bytes) -> bytes:
    return b""


def zeros(data: bytes) -> bytes:
    return bytes(len(data))


def edit_metadata(data: bytes) -> bytes:
    return data.replace(b'"_autosave_metadata"', b'"_autosave_metadatum"')


def other_json(data: bytes) -> bytes:
    return b"[]\n"


damages = pytest.mark.parametrize("damage", [cut, flip, empty, zeros, edit_metadata, other_json])


@damages
async def test_a_damaged_state_is_set_aside_and_the_previous_one_used(
    workspace_dir: Path, damage: Callable[[bytes], bytes]
) -> None:
    """F33: a damaged state file is set aside, as it is, its previous generation is used, and a warning says so."""
    agent = await two_generations(workspace_dir)
    damaged = damage(agent.state_path.read_bytes())
    agent.state_path.write_bytes(damaged)
    other = worker(workspace_dir, ["third answer"])
    with pytest.warns(CorruptFileSetAside, match=r"worker_state\.json"):
        await other.load()
    assert said(other)[:1] == ["first"]
    (aside,) = agent.workspace_dir.glob("*.corrupt-*")
    assert aside.read_bytes() == damaged
    assert (await other.run("third")).text == "third answer"
    assert read_everything(workspace_dir)["worker"].state.conversation == [*other.state.conversation]
    assert not temporaries(workspace_dir)


@damages
async def test_flipping_any_byte_is_noticed(workspace_dir: Path, damage: Callable[[bytes], bytes]) -> None:
    """F33: ... and an agent that starts anew there warns, keeps the damaged file, and goes on."""
    agent = await two_generations(workspace_dir)
    damaged = damage(agent.state_path.read_bytes())
    agent.state_path.write_bytes(damaged)
    other = worker(workspace_dir, ["fresh answer"])
    with pytest.warns(CorruptFileSetAside):
        assert (await other.run("fresh")).text == "fresh answer"
    assert said(other) == ["fresh", "fresh answer"]
    assert damaged in [path.read_bytes() for path in agent.workspace_dir.glob("*.corrupt-*")]
    kept = [json.loads(path.read_bytes()) for path in (agent.workspace_dir / "history").iterdir()]
    assert [state["conversation"][0]["content"] for state in kept] == ["first"], "the previous one is kept"


@pytest.mark.parametrize("autosave", [True, False])
async def test_without_a_good_generation_load_says_so(workspace_dir: Path, autosave: bool) -> None:
    """F34: where no good generation is left, and no whole journal, load() raises CorruptState and names the files;
    nothing is deleted."""
    agent = await two_generations(workspace_dir)
    shutil.rmtree(agent.workspace_dir / "journal")
    paths = [agent.state_path, agent.state_path.with_name(agent.state_path.name + ".previous")]
    for path in paths:
        path.write_bytes(cut(path.read_bytes()))
    damaged = sorted(path.read_bytes() for path in paths)
    other = worker(workspace_dir, autosave=autosave)
    with pytest.raises(CorruptState, match=r"worker_state\.json"):
        await other.load()
    found = sorted(path.read_bytes() for path in agent.workspace_dir.iterdir() if "_state.json" in path.name)
    assert found == damaged


async def test_a_damaged_configuration_stops_nothing(workspace_dir: Path) -> None:
    """F34: a damaged config.json is set aside and written anew; the state is what counts."""
    agent = await two_generations(workspace_dir)
    agent.config_path.write_bytes(cut(agent.config_path.read_bytes()))
    other = worker(workspace_dir)
    with pytest.warns(CorruptFileSetAside, match=r"config\.json"):
        await other.load()
    await other.run("more")
    assert said(other)[:4] == ["first", "first answer", "second", "second answer"]
    found = read_everything(workspace_dir)["worker"]
    assert found.config is not None
    assert found.sequence > 4


async def too_new(workspace_dir: Path, name: str) -> tuple[Path, bytes]:
    """Make one of the files one of a later overwinter."""
    agent = await two_generations(workspace_dir)
    path = agent.workspace_dir / name
    document = json.loads(path.read_bytes())
    if "_autosave_metadata" in document:
        document["_autosave_metadata"]["schema_version"] = 999
        document["from_the_future"] = True
    else:
        document["schema_version"] = 999
    data = json.dumps(document).encode()
    path.write_bytes(data)
    return path, data


@pytest.mark.parametrize("name", ["worker_state.json", "config.json", ".identity.json", ".lease.json"])
@pytest.mark.parametrize("what", ["load", "run", "resume", "save"])
async def test_a_file_of_a_later_version_is_refused_and_left_untouched(
    workspace_dir: Path, name: str, what: str
) -> None:
    """F35: a file of a later schema version is refused with both versions named, and nothing in the folder is
    touched, also when a fresh agent would start there."""
    path, data = await too_new(workspace_dir, name)
    before = {entry.name: entry.read_bytes() for entry in path.parent.iterdir() if entry.is_file()}
    model = ScriptedModel(["paid for"])
    agent = Agent("worker", model=model, autosave=True, workspace_dir=workspace_dir)
    works: dict[str, Callable[[], Awaitable[Any]]] = {
        "load": agent.load,
        "run": lambda: agent.run("x"),
        "resume": agent.resume,
        "save": agent.save,
    }
    with pytest.raises(SchemaTooNew, match=r"999.*version 1\b"):
        await works[what]()
    assert not model.requests
    assert path.read_bytes() == data
    after = {entry.name: entry.read_bytes() for entry in path.parent.iterdir() if entry.is_file()}
    for each in (before, after):
        each.pop(".lease.json")
    assert after == before


async def test_loading_another_file_of_a_later_version_is_refused(
    workspace_dir: Path, tmp_path: Path
) -> None:
    """F35: ... and so is one that is named to load()."""
    path, data = await too_new(workspace_dir, "worker_state.json")
    other = Agent("other", model=ScriptedModel(["x"]), workspace_dir=workspace_dir)
    with pytest.raises(SchemaTooNew, match="999"):
        await other.load(path)
    assert path.read_bytes() == data


async def test_a_fresh_agent_keeps_the_earlier_conversation(workspace_dir: Path) -> None:
    """F36: a fresh agent on an existing conversation keeps the earlier one in history/, byte for byte."""
    first = worker(workspace_dir, ["one"])
    await first.run("first")
    states = [first.state_path.read_bytes()]
    for number in range(3):
        fresh = worker(workspace_dir, ["again"])
        assert (await fresh.run(f"fresh {number}")).text == "again"
        assert said(fresh) == [f"fresh {number}", "again"]
        states.append(fresh.state_path.read_bytes())
        history = {path.read_bytes() for path in (fresh.workspace_dir / "history").iterdir()}
        assert history == set(states[:-1])


async def test_an_unfinished_run_is_announced_before_a_fresh_one_leaves_it_behind(
    workspace_dir: Path,
) -> None:
    """F37: where an unfinished run stands a fresh run warns, once, and names resume(); the run is kept in history/."""
    agent = worker(workspace_dir, [ModelError("gone")])
    with pytest.raises(ModelUnavailable):
        await agent.run("an important task")
    fresh = worker(workspace_dir, ["fresh"])
    with pytest.warns(UnfinishedRun, match=r"an important task.*resume\(\)") as warned:
        await fresh.run("other")
    # Warnings are errors here, so a second one would be seen.
    await fresh.run("another")
    assert warned[0].filename == __file__, "it points to the line that calls run()"
    (kept,) = (fresh.workspace_dir / "history").iterdir()
    assert json.loads(kept.read_bytes())["task"] == "an important task"
    back = Agent("worker", model=ScriptedModel(["done"]), autosave=True, workspace_dir=workspace_dir)
    await back.load(kept)
    assert (await back.resume()).text == "done"
    assert said(back) == ["an important task", "done"]


async def test_where_an_earlier_conversation_cannot_be_kept_none_is_begun_however_often_one_tries(
    workspace_dir: Path,
) -> None:
    """F38: where the earlier conversation cannot be kept, run raises, every time, and the file stays as it was."""
    first = worker(workspace_dir, ["precious"])
    await first.run("first")
    before = first.state_path.read_bytes()
    (first.workspace_dir / "history").touch()
    model = ScriptedModel(["paid for"], loop=True)
    fresh = Agent("worker", model=model, autosave=True, workspace_dir=workspace_dir)
    async with Runtime(workspace_dir) as runtime:
        await runtime.spawn(fresh)
        for _ in range(2):
            with pytest.raises(WorkspaceError, match="history"):
                await fresh.run("x")
    with pytest.raises(WorkspaceError, match="history"):
        await fresh.run("x")
    with pytest.raises(WorkspaceError, match="history"):
        await fresh.save()
    assert not model.requests
    assert first.state_path.read_bytes() == before


async def test_an_object_that_lost_its_agent_to_another_is_told_so(workspace_dir: Path) -> None:
    """F39: an object whose agent was written by another meanwhile gets StaleState, and load() brings it up to date."""
    first, second = worker(workspace_dir, ["one"]), worker(workspace_dir, ["two"])
    await first.run("first")
    await second.load()
    await second.run("second")
    for _ in range(2):
        with pytest.raises(StaleState, match=r"load\(\)"):
            await first.run("third")
    await first.load()
    assert said(first) == ["first", "one", "second", "two"]
    await first.run("third")
