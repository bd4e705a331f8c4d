"""What is dropped of an agent's past, and what never is."""

from __future__ import annotations

import json
import os
import shutil
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any

import anyio
import pytest
from anyio import to_thread

from overwinter import Agent, ConfigurationError, Retention, StateNotFound
from overwinter.agents.base import base_path, peek
from overwinter.agents.dropping import drop_past
from overwinter.agents.past import read_history, read_state_at
from overwinter.agents.restore import read_agent
from overwinter.agents.run_index import RunIndex
from overwinter.errors import CorruptFileSetAside, StepNotFound, UnfinishedRun
from overwinter.persistence import FILES, FileOperations, find_end, journal_bytes, segments
from overwinter.testing import ScriptedModel

if TYPE_CHECKING:
    from pathlib import Path

    from overwinter.persistence import AgentFolder

pytestmark = pytest.mark.anyio

LONG = "many words " * 40


@pytest.fixture(autouse=True)
def small_segments(monkeypatch: pytest.MonkeyPatch) -> None:
    """Segments of 4 kB, looked at after each kilobyte."""
    monkeypatch.setattr("overwinter.persistence.journal_file.SEGMENT_BYTES", 4 << 10)
    monkeypatch.setattr("overwinter.agents.saving._LOOK_EVERY", 1 << 10)


def keeper(workspace_dir: Path, *replies: Any, **options: Any) -> Agent[Any]:
    model = ScriptedModel(replies or [LONG], name="scripted", loop=True)
    return Agent("keeper", model=model, workspace_dir=workspace_dir, **{"autosave": True, **options})


async def past_bytes(agent: Agent[Any]) -> int:
    """What the journal and history/ take up."""

    def look() -> int:
        folder = agent._member.folder
        kept = [path.stat().st_size for path in folder.history_dir.glob("*.json")]
        return journal_bytes(folder.journal_dir) + sum(kept)

    return await to_thread.run_sync(look)


async def run_often(agent: Agent[Any], times: int) -> None:
    for number in range(times):
        await agent.run(f"task {number}", run_id=f"r{number}")


async def test_a_bound_in_bytes_is_kept(workspace_dir: Path) -> None:
    """H23: with Retention(bytes=n), journal and history/ stay at n bytes, give or take a segment."""
    agent = keeper(workspace_dir, retention=Retention(bytes=16 << 10))
    await run_often(agent, 60)
    assert await past_bytes(agent) < (16 << 10) + 2 * (5 << 10)
    assert len(agent.state.runs) == 60
    loaded = keeper(workspace_dir)
    await loaded.load()
    assert loaded.state.conversation == agent.state.conversation


async def test_steps_that_are_kept_can_all_be_had(workspace_dir: Path) -> None:
    """H24: where old steps were dropped the history begins later and says so; each state from there on is there."""
    whole, bounded = (
        keeper(workspace_dir / "a"),
        keeper(workspace_dir / "b", retention=Retention(bytes=12 << 10)),
    )
    await run_often(whole, 40)
    await run_often(bounded, 40)
    steps = await bounded.history()
    assert steps[0].kind == "gap"
    assert steps[0].summary.startswith("steps 1 to ")
    first, last = steps[1].step, steps[-1].step
    assert [step.step for step in steps[1:]] == list(range(first, last + 1))
    for step in (first - 1, first, (first + last) // 2, last):
        ours, theirs = await bounded.state_at(step), await whole.state_at(step)
        assert [entry.content for entry in ours.conversation] == [
            entry.content for entry in theirs.conversation
        ]
        assert ours.status == theirs.status
    with pytest.raises(StepNotFound, match=f"it has the steps {first - 1} to {last}") as caught:
        await bounded.state_at(first - 2)
    assert (caught.value.first, caught.value.last) == (first - 1, last)
    assert [step.summary for step in steps[1:]] == [
        step.summary for step in (await whole.history())[first - 1 :]
    ]


async def test_nothing_is_dropped_that_a_damaged_state_file_would_be_made_up_for_with(
    workspace_dir: Path,
) -> None:
    """H25: the journal never goes past the previous generation of the state file, and a state stands before it."""
    agent = keeper(workspace_dir, retention=Retention(bytes=8 << 10))
    await run_often(agent, 40)
    folder = agent._member.folder
    previous = await to_thread.run_sync(lambda: peek(folder.previous_path, files=FILES))
    base = await to_thread.run_sync(lambda: peek(base_path(folder), files=FILES))
    assert previous is not None
    assert base is not None
    assert 0 < base.sequence <= previous.sequence
    for damaged in ((folder.state_path,), (folder.state_path, folder.previous_path)):
        for path in damaged:
            await anyio.Path(path).write_text("{")
        other = keeper(workspace_dir)
        with pytest.warns(CorruptFileSetAside):
            await other.load()
        assert other.state.conversation == agent.state.conversation
        await other.save()


async def test_only_the_last_runs_are_kept(workspace_dir: Path) -> None:
    """H26: with Retention(runs=n), what came before the last n runs goes, in whole segments."""
    agent = keeper(workspace_dir, retention=Retention(runs=5))
    await run_often(agent, 40)
    began = [step.run_id for step in await agent.history() if step.kind == "run_began"]
    assert began[-5:] == [f"r{number}" for number in range(35, 40)]
    assert len(began) < 20
    # They are part of the present conversation, and remembered.
    assert (await agent.run("task 0", run_id="r0")).text == LONG


async def test_what_is_older_than_some_days_goes(workspace_dir: Path) -> None:
    """H26: with Retention(days=n), what was last written before that goes."""
    await run_often(keeper(workspace_dir, retention=Retention()), 30)
    agent = keeper(workspace_dir, retention=Retention(days=7))
    await agent.load()
    before = await past_bytes(agent)
    long_ago = (datetime.now(UTC) - timedelta(days=8)).timestamp()

    def make_old() -> None:
        for path in sorted(agent._member.folder.journal_dir.glob("*.jsonl"))[:-1]:
            os.utime(path, (long_ago, long_ago))

    await to_thread.run_sync(make_old)
    await run_often(agent, 3)
    await agent.run("one more")
    assert await past_bytes(agent) < before / 2


async def test_earlier_conversations_go_the_oldest_first(workspace_dir: Path) -> None:
    """H27: earlier conversations go with their time, but one that was not finished stays, and can be resumed."""
    gate = ScriptedModel.gate()
    first = keeper(workspace_dir, [gate])
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(lambda: first.run("unfinished", run_id="open"))
        await gate.reached.wait()
        tasks.cancel_scope.cancel()
    for number in range(12):
        agent = keeper(workspace_dir, retention=Retention(bytes=6 << 10))
        if not number:
            with pytest.warns(UnfinishedRun):
                await agent.run(f"task {number}", run_id=f"r{number}")
        else:
            await run_often_with(agent, f"r{number}")
    names = sorted([path.name async for path in anyio.Path(agent.workspace_dir / "history").iterdir()])
    assert names[0] == "000003.json"
    assert len(names) < 12
    assert (await agent.run("task r11", run_id="r11")).text == LONG
    # What was dropped is not remembered: the id may be used anew, in this process and in others.
    before = len(agent.state.runs)
    await agent.run("another", run_id="r0")
    assert len(agent.state.runs) == before + 1
    assert (await agent.resume("open")).text == LONG
    assert [entry.content for entry in agent.state.conversation] == ["unfinished", LONG]


async def run_often_with(agent: Agent[Any], run_id: str) -> None:
    await agent.run(f"task {run_id}", run_id=run_id)


async def test_nothing_is_dropped_where_everything_is_to_be_kept(workspace_dir: Path) -> None:
    """H28: Retention() keeps everything; unless it is given, 64 MB are kept; config.json says what holds."""
    agent = keeper(workspace_dir, retention=Retention())
    await run_often(agent, 40)
    steps = await agent.history()
    assert [step.step for step in steps] == list(range(1, 161))
    config = json.loads(await anyio.Path(agent.config_path).read_text())
    assert config["retention"] == {"runs": None, "days": None, "bytes": None}
    default = keeper(workspace_dir / "other")
    assert default._profile.settings.retention == Retention(bytes=64 << 20)


async def test_a_disk_that_refuses_to_drop_harms_no_run(
    workspace_dir: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*args: object, **kwargs: object) -> None:
        raise StateNotFound("no")

    monkeypatch.setattr("overwinter.agents.forgetting.drop_past", refuse)
    agent = keeper(workspace_dir, retention=Retention(bytes=1))
    await run_often(agent, 3)
    assert "could not be dropped: no" in caplog.text
    assert (await to_thread.run_sync(lambda: find_end(agent._member.folder.journal_dir))).sequence == 12


@pytest.mark.parametrize("wrong", [{"runs": 0}, {"days": -1.0}, {"bytes": float("inf")}])
def test_a_retention_that_cannot_work_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError, match="retention"):
        Retention(**wrong)


def test_a_segment_has_about_a_megabyte() -> None:
    assert segments.SEGMENT_BYTES == 1 << 20


class Crash(BaseException):
    """The process ends here."""


class CrashingFiles(FileOperations):
    """A disk on which the process ends before the given change."""

    def __init__(self, changes: int) -> None:
        super().__init__()
        self.left = changes

    def _change(self) -> None:
        self.left -= 1
        if self.left < 0:
            raise Crash

    def open_new(self, path: Path) -> int:
        self._change()
        return super().open_new(path)

    def write(self, fd: int, data: bytes | memoryview) -> int:
        if not self.left:
            super().write(fd, data[: len(data) // 2])
        self._change()
        return super().write(fd, data)

    def replace(self, source: Path, target: Path) -> None:
        self._change()
        super().replace(source, target)

    def unlink(self, path: Path) -> None:
        self._change()
        super().unlink(path)


@pytest.mark.allow_blocking  # nothing else is on the loop
async def test_a_crash_while_the_past_is_dropped_harms_nothing(workspace_dir: Path, tmp_path: Path) -> None:
    """H25: wherever the process ends while the past is dropped, what is kept is whole, also without the documents."""
    agent = keeper(workspace_dir, retention=Retention())
    await keeper(workspace_dir, "earlier", retention=Retention()).run("earlier")
    await run_often(agent, 40)
    last = agent._state.sequence
    wanted = agent.state.conversation
    crashes = 0
    for changes in range(100):
        root = tmp_path / f"{changes}"
        shutil.copytree(workspace_dir, root)
        folder = keeper(root)._member.folder
        dropping = partial(
            drop_past,
            folder,
            Retention(bytes=10 << 10),
            index=RunIndex(),
            present=(),
            agent=b"{}",
            now=datetime.now(UTC),
        )
        try:
            dropped = dropping(files=CrashingFiles(changes))
        except Crash:
            crashes += 1
        else:
            assert dropped.bytes
            break
        check_whole(folder, last, wanted)
        dropping(files=FILES)
        check_whole(folder, last, wanted)
    assert crashes >= 10
    check_whole(folder, last, wanted)


def check_whole(folder: AgentFolder, last: int, wanted: Any) -> None:
    steps = read_history(folder, files=FILES)
    kept = [step.step for step in steps if step.kind not in ("gap", "kept")]
    assert kept == list(range(kept[0], last + 1))
    # Some of what is in front of the new base may be there still, and not what it was made from.
    base = peek(base_path(folder), files=FILES)
    first = kept[0] if base is None else max(kept[0], base.sequence)
    for step in (first, (first + last) // 2, last):
        assert read_state_at(folder, step, files=FILES).sequence == step
    assert tuple(read_agent(folder, files=FILES, now=datetime.now(UTC)).state.conversation) == wanted
    hidden = folder.path / "hidden"
    hidden.mkdir(exist_ok=True)
    for path in (folder.state_path, folder.previous_path):
        path.rename(hidden / path.name)
    assert tuple(read_agent(folder, files=FILES, now=datetime.now(UTC)).state.conversation) == wanted
    for path in (folder.state_path, folder.previous_path):
        (hidden / path.name).rename(path)
