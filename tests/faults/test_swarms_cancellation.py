"""A swarm's run that is cancelled, in whatever way: all members stop, and all of it can be gone on with."""

from __future__ import annotations

import asyncio
import signal
import sys
import threading
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from anyio import sleep_forever
from tests.support.ledger import Ledger, read_ledger
from tests.support.processes import Child, memory_folder, read_everything, say
from tests.support.swarms_cast import Cast
from tests.support.swarms_lives import told
from tests.support.swarms_patterns import PATTERNS, make
from tests.support.swarms_stage import AGENTS, ALWAYS, Stage, assert_once, undisturbed

from overwinter import RunInterrupted, Runtime

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

pytestmark = pytest.mark.anyio


@pytest.fixture
def workspace_dir(tmp_path: Path) -> Iterator[Path]:
    with memory_folder(tmp_path) as chosen:
        yield chosen / "agent_workspace"


WAYS = ["its caller is cancelled", "cancel()", "its actor is stopped", "its runtime is stopped"]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("pattern", PATTERNS)
async def test_a_cancelled_swarm_leaves_all_members_at_rest_and_resumable(
    pattern: str, way: str, workspace_dir: Path
) -> None:
    """Z8: however a swarm's run is cancelled, swarms within swarms too, no member is at work any more when that
    returns, and fresh objects finish it with the result of a run that nobody disturbed, repeating no call that was
    answered."""
    expected, calls = await undisturbed(pattern)
    stage = Stage(pattern, AGENTS[pattern], "hangs", ALWAYS, workspace=workspace_dir)
    async with Runtime(workspace_dir, clock=stage.clock) as runtime:
        swarm = stage.swarm
        await runtime.spawn(swarm)
        run = asyncio.ensure_future(swarm.run("the task"))
        await stage.cast.hangs.wait()
        members = [guest for guest in runtime.guests if guest.status == "running"]
        assert members
        if way == "its caller is cancelled":
            run.cancel()
        elif way == "cancel()":
            await stage.while_time_passes(swarm.cancel())
        elif way == "its actor is stopped":
            await stage.while_time_passes(runtime.stop(swarm))
        else:
            await stage.while_time_passes(runtime.stop())
        with pytest.raises((RunInterrupted, asyncio.CancelledError)) as ended:
            await run
        assert isinstance(ended.value, asyncio.CancelledError) == (way == "its caller is cancelled")
        assert swarm.status == "interrupted"
        assert {member.status for member in members} - {"finished"} == {"interrupted"}
        assert not any(guest.status == "running" for guest in runtime.guests)
    fresh = Stage(pattern, workspace=workspace_dir)
    assert told(await fresh.run(resume=True)) == expected
    assert_once(pattern, stage.answered + fresh.answered, calls, saved=True)


class WaitingCast(Cast):
    """A cast of which one waits for ever, and says so."""

    def __init__(self, ledger: Ledger, who: str) -> None:
        super().__init__(ledger)
        self._who = who

    async def comes_to(self, who: str, asked: Sequence[object]) -> None:
        if who == self._who:
            say("working")
            await sleep_forever()


def at_work(workspace: str, ledger: str, pattern: str, victim: str) -> None:
    """A script that runs a swarm."""
    cast = WaitingCast(Ledger(Path(ledger)), victim)
    make(pattern, cast, autosave=True, workspace_dir=workspace).run_sync("the task")


def goes_on(workspace: str, ledger: str, pattern: str) -> None:
    """Another, that finishes what the first began."""

    async def resume() -> Any:
        swarm = make(pattern, Cast(Ledger(Path(ledger))), autosave=True, workspace_dir=workspace)
        return await swarm.resume()

    say("result", told(asyncio.run(resume())))


@pytest.mark.skipif(sys.platform == "win32", reason="Windows knows no such signals")
@pytest.mark.skipif(threading.current_thread() is not threading.main_thread(), reason="no main thread")
@pytest.mark.parametrize(
    ("pattern", "number"),
    [
        ("ConcurrentWorkflow", signal.SIGINT),
        ("GraphWorkflow", signal.SIGTERM),
        ("nested", signal.SIGINT),
        ("nested", signal.SIGTERM),
    ],
)
def test_ctrl_c_saves_a_swarm_and_all_members(
    pattern: str, number: int, workspace_dir: Path, tmp_path: Path
) -> None:
    """Z9: Ctrl-C and SIGTERM in ``run_sync`` interrupt and save a swarm, swarms within it and their members before
    the program ends, and another program finishes the run without repeating a call that was answered."""
    expected, calls = asyncio.run(undisturbed(pattern))
    ledger = tmp_path / "ledger"
    with Child(at_work, str(workspace_dir), str(ledger), pattern, AGENTS[pattern]) as child:
        child.expect("working")
        child.send(number)
        assert child.ended().code in (-number, 128 + number)
    statuses = {name: saved.state.status for name, saved in read_everything(workspace_dir).items()}
    assert statuses[AGENTS[pattern]] == "interrupted"
    # One is idle whose turn had not come.
    assert set(statuses.values()) <= {"interrupted", "finished", "idle"}, statuses
    with Child(goes_on, str(workspace_dir), str(ledger), pattern) as child:
        assert child.expect("result") == expected
        assert child.ended().code == 0
    answered = [entry.key for entry in read_ledger(ledger, 0)[0] if entry.kind == "answered"]
    assert Counter(answered) == calls
