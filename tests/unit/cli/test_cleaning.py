"""``overwinter clean``: what goes, what stays, and what a dry run touches."""

from __future__ import annotations

import asyncio
import json
import os
import time
from typing import TYPE_CHECKING, Any

import pytest
from tests.support.commands import agent_of, everything_in, folder_of, look, run_once

from overwinter import Runtime
from overwinter.cli.inspection import inspect_agent
from overwinter.persistence import Workspace, segments
from overwinter.testing import ScriptedModel

if TYPE_CHECKING:
    from pathlib import Path

    from typer.testing import Result

    from overwinter.agents.records import StateBody

DAY = 86_400.0
RUNS = 12


@pytest.fixture
def small_segments(monkeypatch: pytest.MonkeyPatch) -> None:
    """Segments of a kilobyte, so that a few runs fill some."""
    from overwinter.persistence import journal_file

    monkeypatch.setattr(segments, "SEGMENT_BYTES", 1_000)
    monkeypatch.setattr(journal_file, "SEGMENT_BYTES", 1_000)


@pytest.fixture
def workspace(workspace_dir: Path, small_segments: None) -> Path:
    """An agent with an earlier conversation and a dozen runs in the present one."""

    async def work() -> None:
        await run_once(workspace_dir, agent_of("talker", "Earlier."))
        talker = agent_of("talker", *(["Done."] * RUNS))
        # Each on a runtime of its own: what is moved into a journal at once stands in one segment.
        for number in range(RUNS):
            await run_once(workspace_dir, talker, task=f"Task {number} of many, and what it is about.")

    asyncio.run(work())
    return workspace_dir


@pytest.fixture
def talker(workspace: Path) -> Path:
    return folder_of(workspace, "talker")


def clean(workspace: Path, *more: str, code: int = 0) -> Result:
    return look("clean", "-w", str(workspace), *more, code=code)


def removed(result: Result) -> dict[str, int]:
    """What went of all agents, by file."""
    agents = json.loads(result.stdout)["agents"]
    return {name: size for one in agents for name, size in one["removed"].items()}


def age(folder: Path, days: float) -> None:
    """Make every file that is not a state seem old."""
    then = time.time() - days * DAY
    for path in folder.rglob("*.json*"):
        os.utime(path, (then, then))


def body_of(folder: Path) -> StateBody:
    seen = inspect_agent(folder, Workspace(folder.parent.parent))
    assert seen.problems == []
    assert seen.state is not None
    return seen.state[1]


def segment_names(folder: Path) -> list[str]:
    return sorted(path.name for path in (folder / "journal").glob("0*.jsonl"))


def test_without_options_only_leftovers_go(workspace: Path, talker: Path) -> None:
    """T26: without an age or a number of runs, only what dead processes left behind goes."""
    (talker / ".overwinter-0123456789abcdef.tmp").write_bytes(b"half")
    (talker / "history" / ".overwinter-0123456789abcdee.tmp").write_bytes(b"half")
    (workspace / ".runtimes" / "0123456789abcdef").mkdir(parents=True, exist_ok=True)
    before = body_of(talker), segment_names(talker)
    done = clean(workspace)
    assert "2 leftover temporaries" in done.stdout
    assert "2 files of 8 B dropped" in done.stdout
    assert not list(workspace.rglob("*.tmp"))
    assert not list((workspace / ".runtimes").iterdir())
    assert (body_of(talker), segment_names(talker)) == before
    assert clean(workspace).stdout.startswith("Nothing to drop of 1 agent in ")


def test_old_runs_go(workspace: Path, talker: Path) -> None:
    """T27: --keep-runs drops the segments and conversations before the newest runs; what the agent knows stays."""
    before = body_of(talker)
    segments_before = segment_names(talker)
    gone = removed(clean(workspace, "--keep-runs", "2", "--json"))
    assert any(name.startswith("journal/") for name in gone)
    assert any(name.startswith("history/") for name in gone)
    assert len(segment_names(talker)) < len(segments_before)
    assert body_of(talker) == before
    assert "sound" in look("verify", "-w", str(workspace)).stdout
    steps = json.loads(look("history", "talker", "--all", "--json", "-w", str(workspace)).stdout)["steps"]
    assert len({step["run_id"] for step in steps if step["kind"] == "model_replied"}) >= 2


def test_what_is_young_stays(workspace: Path, talker: Path) -> None:
    """T27: --older-than drops what is older, and nothing else; with --keep-runs only what both let go."""
    assert removed(clean(workspace, "--older-than", "30d", "--json")) == {}
    assert removed(clean(workspace, "--older-than", "30d", "--keep-runs", "1", "--json")) == {}
    age(talker, 31)
    assert removed(clean(workspace, "--older-than", "30d", "--keep-runs", "99", "--json")) == {}
    kept_by_runs = removed(clean(workspace, "--older-than", "30d", "--keep-runs", "5", "--dry-run", "--json"))
    assert kept_by_runs == removed(clean(workspace, "--keep-runs", "5", "--dry-run", "--json")) != {}
    everything_old = removed(clean(workspace, "--older-than", "2w", "--json"))
    assert len(everything_old) > len(kept_by_runs)


def test_a_dry_run_touches_nothing(workspace: Path, talker: Path) -> None:
    """T28: --dry-run tells what would go, by file and with its bytes, and changes no file, mode or time."""
    (talker / ".overwinter-0123456789abcdef.tmp").write_bytes(b"half")
    (workspace / ".runtimes" / "0123456789abcdef").mkdir(parents=True, exist_ok=True)
    before = everything_in(workspace)
    would = clean(workspace, "--keep-runs", "2", "--dry-run", "--json")
    assert everything_in(workspace) == before
    assert "nothing was touched (--dry-run)" in clean(workspace, "--keep-runs", "2", "--dry-run").stdout
    assert everything_in(workspace) == before
    done = clean(workspace, "--keep-runs", "2", "--json")
    assert removed(done) == removed(would)
    for name, size in removed(done).items():
        assert size == len(before[str(talker / name)][0])
        assert not (talker / name).exists()


def test_an_agent_in_use_is_left_alone(workspace: Path, talker: Path) -> None:
    """T29: an agent that a live process holds is left alone, and it is said which process that is."""
    age(talker, 31)
    agent = agent_of("talker")

    async def work() -> Any:
        async with Runtime(workspace) as runtime:
            await runtime.spawn(agent)
            return await asyncio.to_thread(clean, workspace, "--older-than", "30d")

    said = asyncio.run(work()).stdout
    assert f"in use by process {os.getpid()}" in " ".join(said.split())
    assert "Nothing to drop" in said


def test_an_unfinished_run_is_left_alone(workspace_dir: Path, small_segments: None) -> None:
    """T29: of an agent whose run can be resumed nothing goes."""
    call = ScriptedModel.call("note", {"fact": "bees"})

    def note(fact: str) -> str:
        """Note a fact."""
        return fact * 200

    agent = agent_of("limited", *[[call]] * 9, tools=[note], max_loops=8)
    asyncio.run(run_once(workspace_dir, agent))
    age(folder_of(workspace_dir, "limited"), 31)
    before = segment_names(folder_of(workspace_dir, "limited"))
    said = clean(workspace_dir, "--older-than", "30d", "--keep-runs", "1").stdout
    assert "its run is not finished (paused)" in " ".join(said.split())
    assert segment_names(folder_of(workspace_dir, "limited")) == before


def test_a_damaged_agent_is_left_alone(workspace: Path, talker: Path) -> None:
    """T29: of an agent with a damaged file nothing goes, and verify is named."""
    (talker / "talker_state.json").write_bytes(b"{")
    said = " ".join(clean(workspace, "--keep-runs", "1").stdout.split())
    assert "damaged; overwinter verify tells more" in said


def test_none_is_no_number_of_runs_to_keep(workspace: Path) -> None:
    """T27: --keep-runs 0 is wrong usage, with exit code 2: the newest run always stays."""
    assert "--keep-runs" in clean(workspace, "--keep-runs", "0", code=2).stderr


@pytest.mark.parametrize("wrong", ["30", "d", "-3d", "0d", "soon"])
def test_an_age_is_a_number_and_a_unit(workspace: Path, wrong: str) -> None:
    """T27: an age that cannot be read is refused with exit code 2."""
    assert f"--older-than {wrong}: give an age" in clean(workspace, f"--older-than={wrong}", code=2).stderr
