"""The examples do what they say, each as a program of its own."""

from __future__ import annotations

import ast
import json
import re
import signal
import sys
from typing import TYPE_CHECKING, Any

import pytest
from tests.support.commands import directly
from tests.support.examples import EXAMPLES, LONGEST, SCRIPTED, environment, started
from tests.support.openai_server import Answer, Behaviour, Hold, OpenAIServer, Status, ToolUse

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

MEADOWS = {
    "borage", "chestnut", "clover", "dandelion", "heather", "lavender", "linden", "phacelia", "rape", "sainfoin",
    "thyme", "willow",
}  # fmt: skip


def run(name: str, env: dict[str, str], *words: str) -> str:
    """Run an example to its good end, with warnings as errors, silent but for what it prints."""
    with started(name, env, "-W", "error", words=words) as process:
        out, err = process.communicate(timeout=LONGEST)
    assert (process.returncode, err) == (0, "")
    return out


def document(path: Path) -> dict[str, Any]:
    decoded: dict[str, Any] = json.loads(path.read_text("utf-8"))
    return decoded


def states(workspace: Path) -> dict[str, dict[str, Any]]:
    """The states of all agents of a workspace, by name; each must decode."""
    found = [document(path) for path in workspace.glob("agents/*/*_state.json")]
    return {state["_autosave_metadata"]["agent_name"]: state for state in found}


def scout(body: Mapping[str, Any]) -> Answer:
    """What a good model answers a scout: it surveys its meadow, notes what is there, and reports it."""
    last = body["messages"][-1]
    if last["role"] == "user":
        return Answer(calls=[ToolUse("survey", {"meadow": last["content"].rpartition(": ")[2]})])
    if last["tool_call_id"].startswith("call_note"):
        return Answer("Worth it.")
    return Answer(calls=[ToolUse("note", {"text": last["content"]}, id=f"call_note_{len(body['messages'])}")])


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    return tmp_path / "agent_workspace"


@pytest.fixture
def server() -> Iterator[OpenAIServer]:
    with OpenAIServer(responder=scout) as running:
        yield running


def test_every_example_says_how_to_run_it_and_can_be_read_in_a_sitting() -> None:
    names = {path.stem for path in EXAMPLES.glob("*.py")}
    assert names == {
        "approval", "autosave", "code_review", "counter_actor", "document_pipeline", "recovery", "research_team",
        "service", "support_desk", "swarm",
    }  # fmt: skip
    for name in names:
        source = (EXAMPLES / f"{name}.py").read_text("utf-8")
        assert len(source.splitlines()) < 120, name
        assert f"python examples/{name}.py" in (ast.get_docstring(ast.parse(source)) or ""), name


def test_the_swarm_needs_no_key_with_a_stand_in(workspace: Path) -> None:
    lines = run("swarm", environment(workspace, SCRIPTED)).splitlines()
    reports = {line.partition(" ")[0] for line in lines if line.startswith("scout-")}
    assert reports == {f"scout-{meadow}" for meadow in MEADOWS}
    assert 'scout-clover (3 steps, 2 tools): Found {"blossoms":5200,"metres":300}' in lines
    assert lines[-2] == "12 agents handled 12 messages, 0 failures"
    assert re.fullmatch(
        rf"Saved in {re.escape(str(workspace))}: PersistenceStatistics\(saves=\d+, .*", lines[-1]
    )
    assert "failures=0, failing=False" in lines[-1]


def test_the_scouts_of_the_swarm_ask_the_model_all_at_once(workspace: Path, server: OpenAIServer) -> None:
    holds = [Hold() for _ in MEADOWS]
    server.enqueue(*holds)
    with started("swarm", environment(workspace, server.environment())) as process:
        for hold in holds:
            assert hold.reached.wait(LONGEST), "they ask one after another"
        for hold in holds:
            hold.release()
        out, err = process.communicate(timeout=LONGEST)
    assert process.returncode == 0, err
    assert out.count("(3 steps, 2 tools): Worth it.") == len(MEADOWS)
    saved = states(workspace)
    assert set(saved) == {f"scout-{meadow}" for meadow in MEADOWS}
    assert {state["status"] for state in saved.values()} == {"finished"}
    assert [entry["role"] for entry in saved["scout-clover"]["conversation"]] == [
        "user", "assistant", "tool", "assistant", "tool", "assistant",
    ]  # fmt: skip
    (note,) = workspace.glob("agents/scout-clover-*/note.txt")
    assert json.loads(note.read_text("utf-8")) == {"blossoms": 5200, "metres": 300}


def test_a_scout_whose_model_fails_does_not_call_the_others_back(
    workspace: Path, server: OpenAIServer
) -> None:
    def stung(body: Mapping[str, Any]) -> Behaviour:
        return Status(400, "stung") if "thyme" in body["messages"][1]["content"] else scout(body)

    server.responder = stung
    with started("swarm", environment(workspace, directly(server))) as process:
        out, err = process.communicate(timeout=LONGEST)
    assert process.returncode == 0, err
    assert re.search(r"^scout-thyme did not come back: .*stung", out, re.MULTILINE)
    assert out.count("Worth it.") == len(MEADOWS) - 1
    saved = states(workspace)
    assert saved.pop("scout-thyme")["status"] == "failed"
    assert {state["status"] for state in saved.values()} == {"finished"}


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such signals")
@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, -signal.SIGINT), (signal.SIGTERM, 128 + signal.SIGTERM)]
)
def test_a_signal_saves_every_scout_of_the_swarm(
    workspace: Path, server: OpenAIServer, number: signal.Signals, code: int
) -> None:
    holds = [Hold() for _ in MEADOWS]
    server.enqueue(*holds)
    with started("swarm", environment(workspace, directly(server))) as process:
        for hold in holds:
            assert hold.reached.wait(LONGEST)
        process.send_signal(number)
        _, err = process.communicate(timeout=LONGEST)
    assert process.returncode == code, err
    saved = states(workspace)
    assert set(saved) == {f"scout-{meadow}" for meadow in MEADOWS}
    for name, state in saved.items():
        assert state["status"] == "interrupted"
        assert state["conversation"][0]["content"].endswith(name.removeprefix("scout-"))


@pytest.mark.parametrize("said", [("yes",), ("no", "never sent back")])
def test_a_refund_waits_for_a_person_over_processes_and_happens_once(
    workspace: Path, said: tuple[str, ...]
) -> None:
    env = environment(workspace, SCRIPTED)
    for _ in range(2):
        assert "waits for a person" in run("approval", env)
    for words in (said, ()):
        assert run("approval", env, *words) == "That is settled.\n"
    (folder,) = workspace.glob("agents/*")
    paid = folder / "refunds.txt"
    assert (paid.read_text("utf-8").split() if paid.exists() else []) == (
        ["call_1", "A-17", "49"] if said == ("yes",) else []
    )
    (answer,) = [entry for entry in states(workspace)["refunds"]["conversation"] if entry["role"] == "tool"]
    assert said[-1] in answer["content"] or said == ("yes",)


def test_the_counter_counts_on_in_the_next_run(workspace: Path) -> None:
    env = environment(workspace)
    assert run("counter_actor", env) == "Counted 100 words in this run, 100 in 1 run(s).\n"
    assert run("counter_actor", env) == "Counted 100 words in this run, 200 in 2 run(s).\n"
    (path,) = workspace.glob("actors/counter-*/counter_state.json")
    saved = document(path)
    assert saved["value"] == {"words": 200, "runs": 2}
    assert saved["_autosave_metadata"]["agent_name"] == "counter"
    (previous,) = workspace.glob("actors/counter-*/counter_state.json.previous")
    assert document(previous)["_autosave_metadata"]["sequence"] < saved["_autosave_metadata"]["sequence"]
