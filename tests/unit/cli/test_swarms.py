"""Swarms in the commands that look, verify, clean and resume."""

from __future__ import annotations

import asyncio
import json
import shutil
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from tests.support.commands import agent_of, everything_in, look, run_once

from overwinter import Runtime
from overwinter.agents.swarms import ConcurrentWorkflow, SequentialWorkflow
from overwinter.agents.swarms.graph import Graph, to_mermaid
from overwinter.cli.scripts.building import build
from overwinter.cli.scripts.reading import read_script

if TYPE_CHECKING:
    from pathlib import Path

SCRIPT = """\
[swarm]
name = "press"
pattern = "SequentialWorkflow"

[defaults]
model = "offline"

[[agents]]
name = "researcher"

[[swarms]]
name = "panel"
pattern = "ConcurrentWorkflow"
members = ["left", "right"]

[[agents]]
name = "left"

[[agents]]
name = "right"
"""
TASK = "Bees fly. Bees make honey. The winter is long."


async def work(workspace: Path, swarm: Any) -> None:
    async with Runtime(workspace) as runtime:
        await runtime.spawn(swarm)
        await swarm.run(TASK)


def swarm_folder(workspace: Path, name: str) -> Path:
    (found,) = (workspace / "swarms").glob(f"{name}-????????????")
    return found


def made_by_a_program() -> SequentialWorkflow[str]:
    panel = ConcurrentWorkflow("panel", [agent_of("left"), agent_of("right")])
    return SequentialWorkflow("press", [agent_of("researcher"), panel], autosave=True)


async def cut_off(workspace: Path, swarm: Any) -> None:
    """The swarm as if killed while its second member was at work."""

    def stop(event: Any) -> None:
        if event.kind == "run_started" and event.agent_name == "panel":
            task.cancel()

    async with Runtime(workspace) as runtime:
        await runtime.spawn(swarm)
        runtime.watch(stop)
        task = asyncio.ensure_future(swarm.run(TASK))
        with pytest.raises(asyncio.CancelledError):
            await task


@pytest.fixture
def workspace(workspace_dir: Path) -> Path:
    """A swarm of two levels that has done a task, and an agent of its own."""
    asyncio.run(work(workspace_dir, made_by_a_program()))
    asyncio.run(run_once(workspace_dir, agent_of("hermit")))
    return workspace_dir


def at(workspace: Path, *arguments: str, code: int = 0) -> Any:
    return look(*arguments, "--workspace", str(workspace), code=code)


def test_ls_has_a_table_of_swarms_and_one_of_agents(workspace: Path) -> None:
    """Y14: `ls` lists swarms and agents, each with its status and steps."""
    shown = at(workspace, "ls").stdout
    swarms, agents = shown.split("\n\n")[:2]
    assert [line.split()[:3] for line in swarms.splitlines()] == [
        ["swarm", "status", "done"],
        ["panel", "finished", "2"],
        ["press", "finished", "2"],
    ]
    assert [line.split()[0] for line in agents.splitlines()] == [
        "agent",
        "hermit",
        "left",
        "researcher",
        "right",
    ]
    assert "4 agents and 2 swarms in" in shown
    told = json.loads(at(workspace, "ls", "--json").stdout)
    assert [one["agent_name"] for one in told["swarms"]] == ["panel", "press"]
    assert [member["name"] for member in told["swarms"][1]["members"]] == ["researcher", "panel"]


def test_the_tree_shows_who_belongs_to_whom(workspace: Path) -> None:
    """Y15: `ls --tree` shows each swarm with its members, theirs within them, and then the agents that are in none."""
    shown = at(workspace, "ls", "--tree").stdout.splitlines()
    assert [line[: line.index("finished")].rstrip() for line in shown[1:7]] == [
        "press  SequentialWorkflow",
        "├── researcher",
        "└── panel  ConcurrentWorkflow",
        "    ├── left",
        "    └── right",
        "hermit",
    ]
    told = json.loads(at(workspace, "ls", "--tree", "--json").stdout)
    assert [one["agent_name"] for one in told["agents"]] == ["hermit"]
    (press,) = told["swarms"]
    assert [(one["agent_name"], one["kind"]) for one in press["members"]] == [
        ("researcher", "agent"),
        ("panel", "swarm"),
    ]


def test_the_tree_shows_a_member_that_has_no_folder(workspace: Path) -> None:
    (left,) = (workspace / "agents").glob("left-*")
    shutil.rmtree(left)
    assert "left" in at(workspace, "ls", "--tree").stdout
    assert "not saved" in at(workspace, "ls", "--tree").stdout


def test_a_ring_of_swarms_is_shown_all_the_same(workspace: Path) -> None:
    """Y16: configurations that name each other in a ring, or are damaged, hide nobody and hang nothing."""
    press, panel = (swarm_folder(workspace, name) / "config.json" for name in ("press", "panel"))
    document = json.loads(panel.read_bytes())
    document["swarm"]["members"] = [
        {
            "name": "press",
            "kind": "swarm",
            "session": "",
            "agent_id": json.loads(press.read_bytes())["agent_id"],
        }
    ]
    panel.write_text(json.dumps(document))
    names = [line.split()[-6] for line in at(workspace, "ls", "--tree").stdout.splitlines()[1:4]]
    assert len(names) == 3
    document["swarm"] = "nothing"
    panel.write_text(json.dumps(document))
    assert "panel" in at(workspace, "ls", "--tree").stdout


def test_show_tells_what_each_member_did(workspace: Path) -> None:
    """Y17: `show` tells of a swarm its pattern, and what each member did in its last run."""
    shown = at(workspace, "show", "press").stdout
    assert "Members (SequentialWorkflow)" in shown
    assert "1-researcher" in shown
    assert "2-panel" in shown
    assert "swarm id" in shown
    told = json.loads(at(workspace, "show", "press", "--json").stdout)
    assert [(one["key"], one["status"]) for one in told["works"]] == [
        ("1-researcher", "finished"),
        ("2-panel", "finished"),
    ]


def test_the_picture_is_that_of_the_pattern(workspace: Path, tmp_path: Path) -> None:
    """Y18: `graph` prints what `to_mermaid` does, of a swarm in the workspace and of a file that describes one."""
    assert at(workspace, "graph", "press").stdout == made_by_a_program().to_mermaid()
    path = tmp_path / "press.toml"
    path.write_text(SCRIPT)
    assert look("graph", str(path)).stdout == build(read_script(path)).to_mermaid()
    assert look("graph", str(path), "--direction", "LR").stdout.startswith("flowchart LR\n")
    assert "give TD" in look("graph", str(path), "--direction", "up", code=2).stderr
    assert "is an agent, and has nobody within it" in at(workspace, "graph", "hermit", code=2).stderr


def test_a_damaged_picture_is_refused(workspace: Path) -> None:
    config = swarm_folder(workspace, "press") / "config.json"
    document = json.loads(config.read_bytes())
    picture = msgspec.convert(document["swarm"]["graph"], Graph)
    assert to_mermaid(picture)
    document["swarm"]["graph"]["edges"].append({"source": "start", "target": "nobody"})
    config.write_text(json.dumps(document))
    assert "the picture of 'press' is damaged" in at(workspace, "graph", "press", code=1).stderr
    document["swarm"]["graph"] = 3
    config.write_text(json.dumps(document))
    assert "has no picture that can be read" in at(workspace, "graph", "press", code=1).stderr


@pytest.mark.parametrize("command", ["show", "history", "resume", "graph", "watch"])
def test_a_name_that_is_both_is_asked_about(workspace_dir: Path, command: str) -> None:
    """Y19: NAME may be a swarm's; where it is an agent's as well, `agents/NAME` and `swarms/NAME` say which."""
    asyncio.run(run_once(workspace_dir, agent_of("press")))
    asyncio.run(work(workspace_dir, made_by_a_program()))
    more = ["--once"] if command == "watch" else []
    told = at(workspace_dir, command, "press", *more, code=2).stderr
    assert "'press' is both an agent and a swarm: say agents/press or swarms/press" in told
    if command == "show":
        assert "Members" in at(workspace_dir, command, "swarms/press").stdout
        assert "agent id" in at(workspace_dir, command, "agents/press").stdout
        assert "there is no swarm 'swarms/left'" in at(workspace_dir, command, "swarms/left", code=2).stderr


def test_history_and_diff_know_swarms(workspace: Path) -> None:
    """Y20: `history`, `diff`, `verify` and `clean` take swarms as they do agents."""
    steps = json.loads(at(workspace, "history", "press", "--json").stdout)["steps"]
    assert {step["kind"] for step in steps} >= {"member_started", "member_finished", "finished"}
    assert at(workspace, "diff", "press", "1", str(steps[-1]["step"])).stdout


def test_verify_checks_and_repairs_swarms(workspace: Path) -> None:
    assert at(workspace, "verify").stdout.startswith("4 agents, 2 swarms, ")
    state = swarm_folder(workspace, "press") / "press_state.json"
    state.write_bytes(b"{")
    at(workspace, "verify", "left")
    at(workspace, "verify", "swarms/press", code=1)
    at(workspace, "verify", "--repair", "press", code=3)
    at(workspace, "verify", "press")
    assert "2-panel" in at(workspace, "show", "press").stdout


def test_clean_knows_swarms(workspace: Path) -> None:
    left = swarm_folder(workspace, "press") / ".tmp-1-2"
    told = json.loads(at(workspace, "clean", "--dry-run", "--json").stdout)
    assert {one["what"] for one in told["agents"]} == {"agent", "swarm"}
    assert "4 agents and 2 swarms" in at(workspace, "clean").stdout
    assert not left.exists()


def test_what_only_agents_have_is_refused(workspace: Path) -> None:
    told = at(workspace, "fork", "press", "--name", "other", code=2).stderr
    assert "'press' is a swarm, which has members at work; fork one of these" in told
    told = at(workspace, "answer", "press", "Yes.", code=1).stderr
    assert "no call of swarm 'press' waits for a person, and none of its members'" in told


def test_who_was_cut_off_is_at_nothing(workspace_dir: Path) -> None:
    """Y54: watch tells of nobody whose process died what he did: an interrupted swarm is at nothing."""
    asyncio.run(cut_off(workspace_dir, made_by_a_program()))
    (row,) = json.loads(at(workspace_dir, "watch", "press", "--json").stdout)["rows"]
    assert (row["status"], row["doing"]) == ("interrupted", "")


def test_looking_changes_nothing(workspace: Path) -> None:
    """Y21: looking at swarms changes nothing, and neither does watching them."""
    before = everything_in(workspace)
    for arguments in (["ls", "--tree"], ["show", "press"], ["graph", "press"], ["watch", "--once"]):
        at(workspace, *arguments)
    assert everything_in(workspace) == before


class TestResuming:
    @pytest.fixture
    def script(self, workspace_dir: Path, tmp_path: Path) -> Path:
        """A file whose swarm was cut off."""
        path = tmp_path / "press.toml"
        path.write_text(SCRIPT)
        asyncio.run(cut_off(workspace_dir, build(read_script(path))))
        return path

    def test_a_swarm_of_a_file_needs_no_file_to_go_on(self, workspace_dir: Path, script: Path) -> None:
        """Y22: `resume` makes a swarm of a file from its config.json alone; what is finished is not done again."""
        script.unlink()
        assert "interrupted" in at(workspace_dir, "ls", "--tree").stdout
        assert "  panel       2-panel       interrupted" in at(workspace_dir, "show", "press").stdout
        assert at(workspace_dir, "resume", "press").stdout
        told = json.loads(at(workspace_dir, "show", "press", "--json").stdout)
        assert told["status"] == "finished"
        assert [one["key"] for one in told["works"]] == ["1-researcher", "2-panel"]
        runs = json.loads(at(workspace_dir, "show", "researcher", "--json").stdout)["runs"]
        assert len(runs) == 1

    def test_all_goes_on_with_the_swarm_and_not_with_its_parts(
        self, workspace_dir: Path, script: Path
    ) -> None:
        """Y23: `resume --all` goes on with a swarm, and leaves what its members do for it to the swarm."""
        told = json.loads(at(workspace_dir, "resume", "--all", "--json").stdout)
        assert [(one["agent_name"], one["kind"], one["status"]) for one in told["agents"]] == [
            ("press", "swarm", "finished")
        ]
        assert at(workspace_dir, "resume", "--all").stdout.startswith("Nothing was cut off")

    def test_loops_are_the_members_own(self, workspace_dir: Path, script: Path) -> None:
        told = at(workspace_dir, "resume", "press", "--max-loops", "3", code=2).stderr
        assert "is a swarm, and loops are its members'" in told

    def test_a_part_of_a_swarm_names_the_swarm(self, workspace_dir: Path, script: Path) -> None:
        told = at(workspace_dir, "resume", "panel", code=2).stderr
        assert "is a part of swarm 'press', which goes on" in told

    def test_a_swarm_that_a_program_made_needs_that(self, workspace_dir: Path) -> None:
        """Y24: of a swarm that a program made, `resume` says what it was and that its program is needed."""
        asyncio.run(cut_off(workspace_dir, made_by_a_program()))
        told = at(workspace_dir, "resume", "press", code=2).stderr
        assert "it is a SequentialWorkflow that a program made (its members: researcher, panel)" in told
        assert "--from module:attribute" in told
