"""``overwinter resume``."""

from __future__ import annotations

import asyncio
import json
import os
from typing import TYPE_CHECKING, Any

import pytest
from tests.support.commands import agent_of, look, run_once

from overwinter import Agent, Runtime
from overwinter.agents.models.offline import OfflineModel
from overwinter.cli.inspection import inspect_workspace
from overwinter.cli.rebuilding import rebuild
from overwinter.errors import ModelError
from overwinter.persistence import Workspace
from overwinter.testing import ScriptedModel

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from typer.testing import Result

PROGRAM = '''
from overwinter import Agent
from overwinter.testing import ScriptedModel


def note(fact: str) -> str:
    """Note a fact."""
    return f"noted {fact}"


def made(name="tooled"):
    return Agent(name, model=ScriptedModel(["It is noted."]), tools=[note], autosave=True)


agent = made()
agents = [agent, made("other")]
by_name = {"tooled": made()}
nothing = 7
none = lambda name: None
failing = lambda name: 1 / 0
another = lambda name: made("another")
'''


def note(fact: str) -> str:
    """Note a fact."""
    return f"noted {fact}"


def offline(name: str, **settings: Any) -> Agent[str]:
    return Agent(name, "offline", model=OfflineModel(), autosave=True, **settings)


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], str]:
    """A program in the folder in which the command is called; its name is new each time."""
    module = f"program_{os.urandom(4).hex()}"
    (tmp_path / f"{module}.py").write_text(PROGRAM)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    return lambda attribute: f"{module}:{attribute}"


def cut_off(workspace_dir: Path, name: str, **settings: Any) -> None:
    """An agent whose run was interrupted in the middle of a model call."""
    gate = ScriptedModel.gate("Too late.")
    agent = Agent(name, "offline", model=ScriptedModel([gate]), autosave=True, **settings)

    async def work() -> None:
        async with Runtime(workspace_dir) as runtime:
            await runtime.spawn(agent)
            running = asyncio.create_task(agent.run("Bees keep honey. They dance."))
            await gate.reached.wait()
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)

    asyncio.run(work())
    path = agent.config_path
    # A scripted model is a test's own; the offline one can be made anew by its name.
    path.write_text(path.read_text().replace('"scripted"', '"offline"'))


def resume(workspace: Path, *arguments: str, code: int = 0) -> Result:
    return look("resume", *arguments, "-w", str(workspace), code=code)


def statuses(workspace: Path) -> dict[str, str]:
    return {one.folder.name: one.status for one in inspect_workspace(Workspace(workspace))}


def test_an_agent_without_tools_needs_nothing_but_its_files(workspace_dir: Path) -> None:
    """T19: an agent without tools of its own is made from its config.json and goes on; its answer is printed."""
    cut_off(workspace_dir, "plain")
    assert statuses(workspace_dir) == {"plain": "interrupted"}
    assert "Bees keep honey." in resume(workspace_dir, "plain").stdout
    assert statuses(workspace_dir) == {"plain": "finished"}


@pytest.mark.parametrize(
    "settings",
    [
        {"tools": [note]},
        {"output_type": dict[str, int]},
        {"stopping_condition": lambda text: text == "stop"},
    ],
)
def test_what_the_files_do_not_hold_is_asked_for(workspace_dir: Path, settings: dict[str, Any]) -> None:
    """T20: an agent with tools, an output type or a condition is refused, in one line that says what is to be named."""
    cut_off(workspace_dir, "tooled", **settings)
    refused = resume(workspace_dir, "tooled", code=2)
    assert refused.stderr.startswith("error: agent 'tooled' cannot be resumed from here: it has ")
    assert "name the program that makes it with --from module:attribute" in refused.stderr
    assert statuses(workspace_dir) == {"tooled": "interrupted"}


@pytest.mark.parametrize("attribute", ["agent", "agents", "by_name", "made"])
def test_a_program_that_is_named_makes_it(
    workspace_dir: Path, program: Callable[[str], str], attribute: str
) -> None:
    """T21: --from takes an Agent, several, or a function that is given the name."""
    cut_off(workspace_dir, "tooled", tools=[note])
    assert resume(workspace_dir, "tooled", "--from", program(attribute)).stdout == "It is noted.\n"


@pytest.mark.parametrize(
    ("attribute", "told"),
    [
        ("nothing", "it is neither an agent or a swarm, nor several, nor a function"),
        ("missing", "has no attribute 'missing'"),
        ("failing", "it failed: ZeroDivisionError"),
        ("another", "it was asked for agent 'tooled', and made another one"),
        ("none", "does not have it"),
    ],
)
def test_a_program_that_does_not_make_it_is_refused(
    workspace_dir: Path, program: Callable[[str], str], attribute: str, told: str
) -> None:
    """T21: what --from names and cannot be used is refused in one line."""
    cut_off(workspace_dir, "tooled", tools=[note])
    refused = resume(workspace_dir, "tooled", "--from", program(attribute), code=2)
    assert told in refused.stderr
    assert refused.stderr.count("\n") == 1


@pytest.mark.parametrize("named", ["program", ":agent", "no_such_module:agent"])
def test_from_is_a_module_and_an_attribute(workspace_dir: Path, named: str) -> None:
    """T21: what --from cannot be is refused."""
    cut_off(workspace_dir, "tooled", tools=[note])
    assert f"--from {named}: " in resume(workspace_dir, "tooled", "--from", named, code=2).stderr


def test_nothing_that_a_state_says_is_imported(workspace_dir: Path, program: Callable[[str], str]) -> None:
    """T22: without --from nothing is imported, whatever the files name."""
    cut_off(workspace_dir, "plain")
    for path in workspace_dir.glob("agents/*/config.json"):
        told = path.read_text().replace('"tools": []', f'"tools": [{{"name": "{program("made")}"}}]')
        path.write_text(told)
    assert "cannot be resumed from here" in resume(workspace_dir, "plain", code=2).stderr


def test_all_that_was_cut_off_goes_on(workspace_dir: Path, program: Callable[[str], str]) -> None:
    """T23: --all lets everything go on that was cut off, tells of each what became of it, and fails if one did."""
    for name in ("one", "two"):
        cut_off(workspace_dir, name)
    cut_off(workspace_dir, "tooled", tools=[note])
    asyncio.run(run_once(workspace_dir, agent_of("done")))
    lines = resume(workspace_dir, "--all", code=1).stdout.splitlines()
    assert [line.split()[:2] for line in lines[1:4]] == [
        ["one", "finished"],
        ["tooled", "not"],
        ["two", "finished"],
    ]
    assert lines[-1] == "2 of 3 agents resumed"
    found = json.loads(resume(workspace_dir, "--all", "--json", "--from", program("made")).stdout)["agents"]
    assert [(one["agent_name"], one["status"], one["text"]) for one in found] == [
        ("tooled", "finished", "It is noted.")
    ]
    assert resume(workspace_dir, "--all").stdout.startswith("Nothing was cut off in ")


def test_a_limit_is_raised(workspace_dir: Path) -> None:
    """T24: what is paused at a limit goes on when a higher one is given, and says so with exit code 3 when not."""
    survey = ScriptedModel.call("note", {"fact": "bees"})
    agent = agent_of("limited", [survey], tools=[note], max_loops=1)
    asyncio.run(run_once(workspace_dir, agent))
    assert statuses(workspace_dir) == {"limited": "paused"}
    made = {"limited": lambda: agent_of("limited", [survey], "Done.", tools=[note], max_loops=1)}
    assert resume(workspace_dir, "--all").stdout.startswith("Nothing was cut off in ")
    import sys
    import types

    module = types.ModuleType("the_limited_one")
    module.make = lambda name: made[name]()  # type: ignore[attr-defined]
    sys.modules["the_limited_one"] = module
    try:
        again = resume(workspace_dir, "limited", "--from", "the_limited_one:make", "--max-loops", "2", code=3)
        assert "limited  paused  at its limit max_loops" in again.stdout
        assert "--max-loops N" in again.stdout
        done = resume(workspace_dir, "--all", "--from", "the_limited_one:make", "--max-loops", "9", "--json")
    finally:
        del sys.modules["the_limited_one"]
    assert json.loads(done.stdout)["agents"][0]["status"] == "finished"


def test_a_failure_is_told(workspace_dir: Path, program: Callable[[str], str]) -> None:
    """T25: when the run fails again that is said, and the exit code is 1."""
    cut_off(workspace_dir, "plain")

    async def failing(self: OfflineModel, request: object, *, on_text: object = None) -> None:
        raise ModelError("the key was refused")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(OfflineModel, "complete", failing)
        assert "the key was refused" in resume(workspace_dir, "plain", code=1).stderr
    assert statuses(workspace_dir) == {"plain": "failed"}
    resume(workspace_dir, "--all")
    assert statuses(workspace_dir) == {"plain": "finished"}


def test_what_has_nothing_to_resume_is_refused(workspace_dir: Path) -> None:
    """T25: an agent whose run has ended, and one that is at work, are refused in one line."""
    asyncio.run(run_once(workspace_dir, agent_of("done")))
    assert "has nothing to resume: its last run is finished" in resume(workspace_dir, "done", code=1).stderr
    agent = agent_of("done")

    async def work() -> Result:
        async with Runtime(workspace_dir) as runtime:
            await runtime.spawn(agent)
            return await asyncio.to_thread(resume, workspace_dir, "done", code=1)

    assert f"is at work in process {os.getpid()}" in asyncio.run(work()).stderr


@pytest.mark.parametrize("arguments", [[], ["name", "--all"]])
def test_one_or_all(workspace_dir: Path, arguments: list[str]) -> None:
    """T23: it takes either a name or --all."""
    assert "give either the NAME of an agent or --all" in resume(workspace_dir, *arguments, code=2).stderr


def test_the_settings_come_back(workspace_dir: Path) -> None:
    """T19: what is made from config.json has the same settings; credentials come from the environment."""
    agent = Agent(
        "plain",
        "gpt-none",
        model=ScriptedModel(["Done."], loop=True),
        system_prompt="Be brief.",
        temperature=0.5,
        max_loops=3,
        durability="sync",
        model_args={
            "api_key": "sk-0123456789abcdef",
            "top_p": 0.3,
            "extra_headers": {"X-Key": "a", "ok": "b"},
        },
        session="s",
        autosave=True,
    )
    asyncio.run(run_once(workspace_dir, agent))
    (one,) = inspect_workspace(Workspace(workspace_dir))
    before = {**one.configuration, "model_args": {}}
    anew = rebuild(one, None)
    assert (anew.agent_name, anew.session, anew.agent_id) == (agent.agent_name, "s", agent.agent_id)
    after = {**json.loads(anew._profile.encoded), "model_args": {}}
    assert after == before
    assert "[redacted]" not in json.dumps(anew._profile.model_args)
    assert anew._profile.model_args["top_p"] == 0.3
