"""The tutorial's two programs, each in a process of its own, against a model served over real HTTP."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from threading import Timer
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
from tests.support.commands import directly
from tests.support.openai_server import Answer, Hold, OpenAIServer, ReceivedRequest, Status

if TYPE_CHECKING:
    from collections.abc import Iterator

EXAMPLES = Path(__file__).parents[2] / "examples"
TASK = "Write a comprehensive guide on Python best practices. Include 5 sections."
FOLDER = "autosave-demo-8573aaac0014"  # the name's own, in every workspace and for ever
LONGEST = 180.0
SCRIPTED = {"OVERWINTER_MODEL": "scripted"}

no_signals = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such signals")


def environment(workspace: Path | None, *settings: dict[str, str]) -> dict[str, str]:
    """The environment of a user who has set nothing but this."""
    ours = {
        name: value for name, value in os.environ.items() if not name.startswith(("OPENAI_", "OVERWINTER_"))
    }
    ours.pop("WORKSPACE_DIR", None)
    ours |= {"NO_PROXY": "127.0.0.1", "PYTHONIOENCODING": "utf-8"}
    if workspace is not None:
        ours["WORKSPACE_DIR"] = str(workspace)
    for more in settings:
        ours |= more
    return ours


@contextmanager
def started(name: str, env: dict[str, str], cwd: Path) -> Iterator[subprocess.Popen[str]]:
    """An example as a process, which is gone when the block is."""
    with subprocess.Popen(
        [sys.executable, EXAMPLES / f"{name}.py"],
        env=env,
        cwd=cwd,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        encoding="utf-8",
    ) as process:
        guard = Timer(LONGEST, process.kill)
        guard.start()
        try:
            yield process
        finally:
            guard.cancel()
            process.kill()


def run(name: str, env: dict[str, str], cwd: Path) -> str:
    """Run an example to its good end, and return what it printed."""
    with started(name, env, cwd) as process:
        out, err = process.communicate(timeout=LONGEST)
    assert process.returncode == 0, err
    assert "Traceback" not in err
    assert "Warning" not in err
    return out


def fail(name: str, env: dict[str, str], cwd: Path) -> str:
    """Run an example to a bad end, and return what it said."""
    with started(name, env, cwd) as process:
        _, err = process.communicate(timeout=LONGEST)
    assert process.returncode == 1, err
    return err


def document(path: Path) -> dict[str, Any]:
    decoded: dict[str, Any] = json.loads(path.read_text("utf-8"))
    return decoded


def said(request: ReceivedRequest) -> list[tuple[str, str]]:
    return [(message["role"], message["content"]) for message in request.body["messages"]]


def in_state(state: dict[str, Any]) -> list[tuple[str, str]]:
    return [(entry["role"], entry["content"]) for entry in state["conversation"]]


class Told(NamedTuple):
    """What became of the two programs, run one after the other."""

    workspace: Path
    first: str
    state_after_first: dict[str, Any]
    config_after_first: dict[str, Any]
    second: str
    requests: list[ReceivedRequest]

    @property
    def folder(self) -> Path:
        return self.workspace / "agents" / FOLDER


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> Told:
    home = tmp_path_factory.mktemp("home")
    workspace = home / "my workspace"
    with OpenAIServer() as server:
        server.enqueue(*(f"Section {number}" for number in range(1, 6)), *("and on",) * 4, "The end.")
        env = environment(workspace, server.environment())
        first = run("autosave", env, home)
        folder = workspace / "agents" / FOLDER
        state, config = document(folder / "autosave-demo_state.json"), document(folder / "config.json")
        second = run("recovery", env, home)
        return Told(workspace, first, state, config, second, list(server.requests))


@pytest.fixture
def server() -> Iterator[OpenAIServer]:
    with OpenAIServer() as running:
        yield running


def test_the_first_program_prints_what_its_reader_expects(told: Told) -> None:
    metadata = told.config_after_first["_autosave_metadata"]
    lines = told.first.splitlines()
    # It was read before save(), which writes the configuration once more.
    timestamp = datetime.fromisoformat(lines[3].removeprefix("Timestamp: "))
    assert timestamp <= datetime.fromisoformat(metadata["timestamp"])
    assert lines == [
        f"Agent workspace: {told.folder}",
        "",
        "=== Autosave Metadata ===",
        f"Timestamp: {timestamp.isoformat()}",
        "Loop Count: 5",
        f"Agent ID: {metadata['agent_id']}",
        "Agent Name: autosave-demo",
        "",
        "=== State Files ===",
        "Found 1 state file(s): ['autosave-demo_state.json']",
        "",
        "=== Final Response ===",
        "Section 5",
    ]


def test_the_folder_and_its_files_have_the_names_of_the_tutorial(told: Told) -> None:
    assert [entry.name for entry in (told.workspace / "agents").iterdir()] == [FOLDER]
    visible = {entry.name for entry in told.folder.iterdir() if not entry.name.startswith(".")}
    assert {"config.json", "autosave-demo_state.json"} <= visible
    assert [path.name for path in told.folder.glob("*_state.json")] == ["autosave-demo_state.json"]
    assert not [path for path in told.workspace.rglob("*") if path.suffix == ".tmp" or "corrupt" in path.name]
    for document_of in (told.config_after_first, told.state_after_first):
        assert document_of["_autosave_metadata"]["agent_id"].replace("-", "")[:12] == FOLDER[-12:]


def test_the_metadata_say_what_was_saved_and_when(told: Told) -> None:
    config, state = (
        dict(saved["_autosave_metadata"]) for saved in (told.config_after_first, told.state_after_first)
    )
    assert re.fullmatch(r"sha256:[0-9a-f]{64}", state.pop("checksum"))
    for metadata in (config, state):
        assert set(metadata) == {
            "timestamp", "loop_count", "agent_id", "agent_name", "run_id", "status", "sequence",
            "schema_version", "overwinter_version",
        }  # fmt: skip
        assert abs((datetime.now(UTC) - datetime.fromisoformat(metadata["timestamp"])).total_seconds()) < 600
        assert datetime.fromisoformat(metadata["timestamp"]).utcoffset() == datetime.now(UTC).utcoffset()
        assert (metadata["loop_count"], metadata["status"], metadata["schema_version"]) == (5, "finished", 1)
    assert config["run_id"] == state["run_id"] != ""


def test_the_configuration_holds_every_setting_and_no_key(told: Told) -> None:
    config = told.config_after_first
    assert (config["agent_name"], config["model_name"], config["max_loops"]) == (
        "autosave-demo",
        "gpt-4o-mini",
        5,
    )
    assert config["autosave"] is config["verbose"] is True
    assert config["loop_count"] == 5


def test_the_state_holds_the_conversation_and_the_task(told: Told) -> None:
    state = told.state_after_first
    assert (state["task"], state["status"], state["loop_count"]) == (TASK, "finished", 5)
    assert in_state(state)[:2] == [("user", TASK), ("assistant", "Section 1")]
    assert [text for role, text in in_state(state) if role == "assistant"] == [
        f"Section {n}" for n in range(1, 6)
    ]
    for part in ("tool_results", "memory", "accepted", "usage"):
        assert part in state


def test_the_second_process_resumes_from_the_saved_state(told: Told) -> None:
    assert told.second.splitlines() == [
        "Resumed from saved state",
        "Messages in the conversation: 10",
        "",
        "=== Final Response ===",
        "The end.",
    ]


def test_the_second_process_sends_the_whole_conversation_of_the_first(told: Told) -> None:
    conversation = in_state(told.state_after_first)
    assert len(conversation) == 10
    assert len(told.requests) == 10
    assert said(told.requests[5]) == [*conversation, ("user", "Continue from where you left off")]


def test_after_the_second_process_the_state_holds_both_runs(told: Told) -> None:
    state = document(told.folder / "autosave-demo_state.json")
    assert in_state(state)[:10] == in_state(told.state_after_first)
    assert in_state(state)[10] == ("user", "Continue from where you left off")
    assert [(one["task"], one["status"]) for one in state["runs"]] == [
        (TASK, "finished"),
        ("Continue from where you left off", "finished"),
    ]


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such permission bits")
def test_nobody_else_may_read_what_was_saved(told: Told) -> None:
    for path in told.workspace.rglob("*"):
        assert path.stat().st_mode & 0o777 == (0o700 if path.is_dir() else 0o600), path


def test_without_a_state_the_second_program_starts_fresh(tmp_path: Path, server: OpenAIServer) -> None:
    out = run("recovery", environment(tmp_path / "w", directly(server)), tmp_path)
    assert out.splitlines()[0] == "No previous state found, starting fresh"
    assert said(server.requests[0]) == [("user", "Start a new task")]


def test_without_workspace_dir_it_is_agent_workspace_in_the_current_folder(tmp_path: Path) -> None:
    env = environment(None, SCRIPTED)
    assert f"Agent workspace: {tmp_path / 'agent_workspace' / 'agents' / FOLDER}" in run(
        "autosave", env, tmp_path
    )
    assert [entry.name for entry in tmp_path.iterdir()] == ["agent_workspace"]
    assert run("recovery", env, tmp_path).startswith("Resumed from saved state\n")


def test_verbose_tells_of_each_save(tmp_path: Path) -> None:
    with started("autosave", environment(tmp_path / "w", SCRIPTED), tmp_path) as process:
        _, err = process.communicate(timeout=LONGEST)
    folder = tmp_path / "w" / "agents" / FOLDER
    for name in ("config.json", "autosave-demo_state.json"):
        assert f"[autosave-demo] autosaved {folder / name} (" in err


def test_an_error_of_the_model_leaves_a_state_to_go_on_from(tmp_path: Path, server: OpenAIServer) -> None:
    server.enqueue("Section 1", Status(401, "no such key"))
    err = fail("autosave", environment(tmp_path / "w", directly(server)), tmp_path)
    assert "no such key" in err
    assert "resume()" in err
    state = document(tmp_path / "w" / "agents" / FOLDER / "autosave-demo_state.json")
    assert (state["status"], state["loop_count"]) == ("failed", 1)
    assert in_state(state)[:2] == [("user", TASK), ("assistant", "Section 1")]


@no_signals
def test_ctrl_c_saves_the_state_and_the_second_program_goes_on(tmp_path: Path, server: OpenAIServer) -> None:
    hold = Hold(Answer("never said"))
    server.enqueue("Section 1", "Section 2", hold)
    env = environment(tmp_path / "w", directly(server))
    with started("autosave", env, tmp_path) as process:
        assert hold.reached.wait(LONGEST)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=LONGEST)
    assert process.returncode == -signal.SIGINT
    assert "KeyboardInterrupt" in err
    state = document(tmp_path / "w" / "agents" / FOLDER / "autosave-demo_state.json")
    assert (state["status"], state["loop_count"], state["task"]) == ("interrupted", 2, TASK)
    assert in_state(state)[:2] == [("user", TASK), ("assistant", "Section 1")]
    assert ("assistant", "Section 2") in in_state(state)

    assert run("recovery", env, tmp_path).startswith("Resumed from saved state\n")
    assert said(server.requests[3]) == [*in_state(state), ("user", "Continue from where you left off")]


def is_recorded(text: str, workspace: Path) -> bool:
    """Whether a record in a log or a journal has the text; a log's segment may go while it is looked at."""
    for path in workspace.rglob("*.jsonl"):
        with suppress(FileNotFoundError):
            if text in path.read_text("utf-8"):
                return True
    return False


@no_signals
def test_what_was_saved_before_a_kill_is_there_for_the_second_program(
    tmp_path: Path, server: OpenAIServer
) -> None:
    server.enqueue("Section 1", "Section 2", Hold())
    env = environment(tmp_path / "w", directly(server))
    with started("autosave", env, tmp_path) as process:
        # Records are written behind the run, within milliseconds of the reply.
        while len(server.requests) < 3 or not is_recorded("Section 2", tmp_path / "w"):
            assert process.poll() is None
        process.kill()
        process.communicate(timeout=LONGEST)
    assert process.returncode == -signal.SIGKILL

    # The dead process's claim on the agent stands in nobody's way, and its log is brought in.
    assert run("recovery", env, tmp_path).startswith("Resumed from saved state\n")
    kept = in_state(document(tmp_path / "w" / "agents" / FOLDER / "autosave-demo_state.json"))
    assert ("assistant", "Section 2") in kept
    resumed = said(server.requests[3])
    assert ("assistant", "Section 1") in resumed
    assert ("assistant", "Section 2") in resumed


def test_a_workspace_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("a file stands here")
    err = fail("autosave", environment(tmp_path / "taken", SCRIPTED), tmp_path)
    assert re.search(rf"WorkspaceError: .*{re.escape(str(tmp_path / 'taken'))}", err)
