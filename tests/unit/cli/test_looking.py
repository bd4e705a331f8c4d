"""``overwinter ls`` and ``overwinter show``."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
from typing import TYPE_CHECKING

import pytest
from tests.support.commands import agent_of, everything_in, folder_of, look, run_once

from overwinter import Runtime, __version__, events
from overwinter.testing import ScriptedModel

if TYPE_CHECKING:
    from pathlib import Path

    from typer.testing import Result

HOSTILE = "\x1b[2J\x1b]0;owned\x07 [red]bees[/red] :bee: \u202eevil"


def note(fact: str) -> str:
    """Note a fact."""
    return f"noted {fact}"


@pytest.fixture
def workspace(workspace_dir: Path) -> Path:
    """Three agents that have ended their work."""
    talker = agent_of("talker", [ScriptedModel.call("note", {"fact": "honey"})], "It is noted.", tools=[note])
    talker.memory.set("bees", {"kept": 3})
    asyncio.run(run_once(workspace_dir, talker, agent_of("worker-1"), agent_of("worker-2", session="alice")))
    return workspace_dir


def first_save(runtime: Runtime) -> asyncio.Event:
    """Set as soon as something was saved."""
    saved = asyncio.Event()
    runtime.watch(lambda event: saved.set() if isinstance(event, events.Saved) else None)
    return saved


def test_ls_lists_the_agents(workspace: Path) -> None:
    """C17: ls tells of each agent its status, loop, last save, size, and who holds it."""
    lines = look("ls", "-w", str(workspace)).stdout.splitlines()
    assert lines[0].split() == ["agent", "session", "status", "loop", "last", "save", "state", "held", "by"]
    assert lines[1].split()[:4] == ["talker", "-", "finished", "2"]
    assert lines[3].split()[:4] == ["worker-2", "alice", "finished", "1"]
    assert lines[-1].startswith("3 agents in ")


def test_ls_prints_one_document_of_json(workspace: Path) -> None:
    """C25: with --json there is one document, with the same keys for every agent."""
    document = json.loads(look("ls", "--json", "-w", str(workspace)).stdout)
    assert document["workspace"] == str(workspace)
    assert [agent["agent_name"] for agent in document["agents"]] == ["talker", "worker-1", "worker-2"]
    for agent in document["agents"]:
        assert list(agent) == [
            "agent_name",
            "session",
            "agent_id",
            "status",
            "saved_status",
            "run_id",
            "loop_count",
            "last_save",
            "state_bytes",
            "folder",
            "held_by",
            "problems",
        ]
        assert agent["problems"] == []
        assert agent["held_by"] is None


def test_looking_changes_nothing(workspace: Path) -> None:
    """C18: ls and show leave every file, its mode and its time as they are."""
    (folder_of(workspace, "worker-1") / "worker-1_state.json").write_text("{")
    before = everything_in(workspace)
    look("ls", "-w", str(workspace))
    look("show", "talker", "-w", str(workspace))
    look("show", "worker-1", "-w", str(workspace))
    assert everything_in(workspace) == before


def test_an_agent_at_work_is_looked_at_beside_its_holder(workspace: Path) -> None:
    """C19: an agent that a live runtime holds is running, and named with the process that holds it."""
    gate = ScriptedModel.gate("Done.")
    agent = agent_of("busy", gate)

    async def work() -> tuple[Result, Result]:
        async with Runtime(workspace) as runtime, asyncio.TaskGroup() as tasks:
            await runtime.spawn(agent)
            saved = first_save(runtime)
            running = tasks.create_task(agent.run("Take your time."))
            await gate.reached.wait()
            await saved.wait()
            listed = await asyncio.to_thread(look, "ls", "--json", "-w", str(workspace))
            shown = await asyncio.to_thread(look, "show", "busy", "-w", str(workspace))
            gate.open()
            await running
        return listed, shown

    listed, shown = asyncio.run(work())
    (busy,) = [one for one in json.loads(listed.stdout)["agents"] if one["agent_name"] == "busy"]
    assert busy["held_by"]["pid"] == os.getpid()
    assert busy["status"] == "running"
    assert f"process {os.getpid()} on " in shown.stdout
    assert "Take your time." in shown.stdout


def test_an_agent_whose_process_died_was_interrupted(workspace: Path) -> None:
    """C20: an agent that was at work when its process died is interrupted and held by nobody."""
    gate = ScriptedModel.gate("Done.")
    agent = agent_of("busy", gate)

    async def work() -> None:
        async with Runtime(workspace) as runtime, asyncio.TaskGroup() as tasks:
            await runtime.spawn(agent)
            saved = first_save(runtime)
            running = tasks.create_task(agent.run("Take your time."))
            await gate.reached.wait()
            await saved.wait()
            # What a killed process leaves behind: the files as they are now, and a lock that nobody holds.
            ignore = shutil.ignore_patterns("*.tmp")
            await asyncio.to_thread(shutil.copytree, workspace, workspace.with_name("copy"), ignore=ignore)
            gate.open()
            await running

    asyncio.run(work())
    document = json.loads(look("show", "busy", "--json", "-w", str(workspace.with_name("copy"))).stdout)
    assert document["status"] == "interrupted"
    assert document["held_by"] is None


def test_show_shows_everything(workspace: Path) -> None:
    """C29: show tells of configuration, memory, runs and the conversation, with the tool calls and their results."""
    shown = look("show", "talker", "-w", str(workspace)).stdout
    for told in ("Configuration", "scripted", "Memory", '{"kept":3}', "Runs", "Do it.", "held by     nobody"):
        assert told in shown
    conversation = shown[shown.index("Conversation (4 messages, 1 tool result)") :].splitlines()
    assert conversation[1:] == [
        "  user",
        "    Do it.",
        "  assistant  loop 1",
        '    → note {"fact":"honey"}',
        "  tool note  loop 1",
        "    noted honey",
        "  assistant  loop 2",
        "    It is noted.",
    ]


def test_show_prints_one_document_of_json(workspace: Path) -> None:
    """C25: show --json has everything that the files have."""
    document = json.loads(look("show", "talker", "--json", "-w", str(workspace)).stdout)
    assert document["metadata"]["agent_name"] == "talker"
    assert document["configuration"]["tools"][0]["name"] == "note"
    assert document["memory"] == {"bees": {"kept": 3}}
    assert [entry["role"] for entry in document["conversation"]] == ["user", "assistant", "tool", "assistant"]
    assert document["tool_results"][0]["output"] == "noted honey"
    assert document["runs"][0]["status"] == "finished"
    assert document["usage"]["calls"] == 2


@pytest.mark.parametrize("name", ["worker-1", "worker-1-", "talk", "talker"])
def test_a_beginning_of_a_name_is_enough(workspace: Path, name: str) -> None:
    """C22: NAME is an agent's name, its folder's, or a beginning that only one has."""
    found = json.loads(look("show", name, "--json", "-w", str(workspace)).stdout)["agent_name"]
    assert found.startswith(name.rstrip("-"))


def test_a_folder_has_a_name_too(workspace: Path) -> None:
    """C22: the name of an agent's folder finds it."""
    look("show", folder_of(workspace, "talker").name, "-w", str(workspace))


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("worker", "'worker' may be any of 2 agents: worker-1, worker-2 (session 'alice')"),
        ("nobody", "there is no agent 'nobody' in "),
        ("\x1b[31m", r"there is no agent '\x1b[31m' in "),
    ],
)
def test_a_name_that_is_not_one_agents_is_refused(workspace: Path, name: str, told: str) -> None:
    """C22: an unknown or ambiguous name is refused in one line that lists the candidates, with exit code 2."""
    result = look("show", name, "-w", str(workspace), code=2)
    assert result.stdout == ""
    assert result.stderr.startswith(f"error: {told}")
    assert result.stderr.count("\n") == 1
    assert "worker-1" in result.stderr


def test_sessions_are_told_apart(workspace: Path) -> None:
    """C23: where several share a name, the session chooses."""
    asyncio.run(run_once(workspace, agent_of("worker-2"), agent_of("worker-2", session="bob")))
    refused = look("show", "worker-2", "-w", str(workspace), code=2)
    assert "choose one with --session" in refused.stderr
    for session in ("", "alice", "bob"):
        shown = look("show", "worker-2", "--session", session, "--json", "-w", str(workspace))
        assert json.loads(shown.stdout)["session"] == session
    refused = look("show", "worker-2", "--session", "carol", "-w", str(workspace), code=2)
    assert "there is no agent 'worker-2' with session 'carol'" in refused.stderr


@pytest.mark.parametrize("damage", ["{", "[]", '{"_autosave_metadata": {}}', "\x00\xff"])
def test_a_damaged_state_is_named_and_left_where_it_is(workspace: Path, damage: str) -> None:
    """C21: a damaged file is named, its previous generation is shown, and nothing is moved."""
    folder = folder_of(workspace, "talker")
    path = folder / "talker_state.json"
    path.write_bytes(damage.encode("latin-1"))
    listed = look("ls", "-w", str(workspace)).stdout
    assert f"{folder.name}: talker_state.json is damaged: " in listed
    shown = look("show", "talker", "-w", str(workspace)).stdout
    assert "problem     talker_state.json is damaged: " in shown
    assert "state       talker_state.json.previous" in shown
    assert path.read_bytes() == damage.encode("latin-1")


def test_everything_may_be_damaged(workspace: Path) -> None:
    """C21: an agent of which nothing can be read is listed by its folder, and shown with what is wrong."""
    folder = folder_of(workspace, "talker")
    for path in folder.rglob("*"):
        if path.is_file():
            path.write_text("}")
    lines = look("ls", "-w", str(workspace)).stdout.splitlines()
    assert lines[1].split()[:3] == [folder.name, "-", "unreadable"]
    shown = look("show", "talker", "-w", str(workspace)).stdout
    assert shown.count("is damaged") == 4
    assert "Its state has not been saved yet." in shown
    assert json.loads(look("show", "talker", "--json", "-w", str(workspace)).stdout)["conversation"] == []


def test_a_file_of_a_later_overwinter_is_named(workspace: Path) -> None:
    """C21: a file that is too new is named with both versions."""
    path = folder_of(workspace, "talker") / "config.json"
    path.write_text(path.read_text().replace('"schema_version": 1', '"schema_version": 99'))
    assert "schema version 99" in look("show", "talker", "-w", str(workspace)).stdout.replace("\n", " ")


def test_a_state_that_no_overwinter_wrote_is_named(workspace: Path) -> None:
    """C21: a state whose members have the wrong shape is damaged too."""
    folder = folder_of(workspace, "worker-1")
    path = folder / "worker-1_state.json"
    document = json.loads(path.read_bytes())
    document["conversation"] = {"role": "user"}
    del document["_autosave_metadata"]["checksum"]
    path.write_text(json.dumps(document))
    (folder / "worker-1_state.json.previous").unlink()
    assert "worker-1_state.json is damaged" in look("ls", "-w", str(workspace)).stdout


def test_what_the_agents_said_cannot_act_on_the_terminal(workspace_dir: Path) -> None:
    """C24: escape sequences, markup and emoji codes of names, tasks and answers are shown as they are written."""
    agent = agent_of(HOSTILE, HOSTILE, system_prompt=HOSTILE, session=HOSTILE)
    agent.memory.set(HOSTILE, HOSTILE)
    asyncio.run(run_once(workspace_dir, agent, task=HOSTILE))
    listed = look("ls", "-w", str(workspace_dir)).stdout
    shown = look("show", "red-bees", "-w", str(workspace_dir), code=2).stderr
    document = look("show", HOSTILE, "--json", "-w", str(workspace_dir)).stdout
    shown = look("show", HOSTILE, "-w", str(workspace_dir)).stdout
    for printed in (listed, shown, document):
        assert all(
            character == "\n" or 32 <= ord(character) < 0x7F or ord(character) > 0x9F for character in printed
        )
        assert "\u202e" not in printed
    assert r"\x1b[2J\x1b]0;owned\x07 [red]bees[/red] :bee: \u202eevil" in shown
    assert json.loads(document)["conversation"][0]["content"] == HOSTILE


def test_a_long_message_is_cut(workspace_dir: Path) -> None:
    """C29: a long message is cut on the terminal, which is said; --json has all of it."""
    asyncio.run(run_once(workspace_dir, agent_of("talker", "word " * 1000)))
    assert "more characters; --json has all)" in look("show", "talker", "-w", str(workspace_dir)).stdout
    document = json.loads(look("show", "talker", "--json", "-w", str(workspace_dir)).stdout)
    assert len(document["conversation"][1]["content"]) == 5000


def test_no_line_is_wider_than_the_terminal(workspace: Path) -> None:
    """C13: at 80 columns no line of a table is wider, whatever the names are."""
    asyncio.run(run_once(workspace, agent_of("a very long name, and it goes on " * 9)))
    for line in look("ls", "-w", str(workspace)).stdout.splitlines()[:-1]:
        assert len(line) <= 80


@pytest.mark.parametrize("command", [["ls"], ["ls", "--json"], ["show", "any"]])
def test_a_missing_workspace_is_named(tmp_path: Path, command: list[str]) -> None:
    """C17: where there is no workspace, that is said, with what to do, and exit code 2; none is made."""
    result = look(*command, "-w", str(tmp_path / "nowhere"), code=2)
    assert result.stderr.startswith(f"error: there is no workspace at {tmp_path / 'nowhere'}; ")
    assert list(tmp_path.iterdir()) == []


def test_an_empty_workspace_is_no_error(tmp_path: Path) -> None:
    """C17: a workspace without agents is listed as such."""
    assert look("ls", "-w", str(tmp_path)).stdout == f"There are no agents in {tmp_path}\n"
    assert json.loads(look("ls", "--json", "-w", str(tmp_path)).stdout)["agents"] == []
    assert "there are none" in look("show", "any", "-w", str(tmp_path), code=2).stderr


def test_what_is_no_agents_folder_is_passed_over(workspace: Path) -> None:
    """C17: an empty folder and a stray file among the agents are not agents; a folder with something in it is named."""
    (workspace / "agents" / "empty").mkdir()
    (workspace / "agents" / "notes.txt").write_text("Bees.")
    (workspace / "agents" / "stray").mkdir()
    (workspace / "agents" / "stray" / "notes.txt").write_text("Bees.")
    found = json.loads(look("ls", "--json", "-w", str(workspace)).stdout)["agents"]
    assert [one["agent_name"] for one in found] == ["stray", "talker", "worker-1", "worker-2"]
    assert found[0]["problems"] == [".identity.json is missing"]


def test_the_version_is_told() -> None:
    """C26: --version prints the version."""
    assert look("--version").stdout == f"overwinter {__version__}\n"


def test_the_commands_have_help() -> None:
    """C26: every command tells what it does."""
    names = (
        "demo",
        "resume",
        "fork",
        "ls",
        "show",
        "history",
        "diff",
        "pending",
        "approve",
        "deny",
        "answer",
    )
    for command in ([], *([name] for name in (*names, "verify", "clean"))):
        assert "Usage" in look(*command, "--help").stdout
