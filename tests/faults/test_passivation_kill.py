"""kill -9 while named agents are told, woken up and passivated: nothing is lost, and no answer is asked for again."""

from __future__ import annotations

import asyncio
import os
import signal
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from tests.support.deadly import DeadlyDisk
from tests.support.processes import Child, memory_folder, say

from overwinter import Agent, Runtime
from overwinter.testing import ScriptedModel

if TYPE_CHECKING:
    from overwinter import ModelRequest
    from overwinter.agents.definitions import Make

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.allow_blocking,  # it waits for another process, when nothing else is on the loop
    pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no kill -9"),
]

_NAMES = ("a", "b", "c")
_POINTS = (3, 11, 19, 27, 35, 44, 53, 62, 75, 90, 110, 140)


def maker(ledger: str) -> Make:
    """What makes agents that note each task they are asked to do."""

    async def reply(request: ModelRequest) -> Any:
        task = request.messages[-1].content
        with Path(ledger).open("a") as file:
            file.write(f"{task}\n")
        return f"did {task}"

    def make(name: str, session: str) -> Agent[Any]:
        model = ScriptedModel(reply, loop=True)
        return Agent(name, session=session, model=model, autosave=True, durability="sync")

    return make


def life(workspace: str, ledger: str, dies_at: int) -> None:
    """Tell and ask three agents, of which one may be active, and passivate them; die at some operation of the disk."""

    async def live() -> None:
        disk = DeadlyDisk(dies_at)
        async with Runtime(
            workspace, agents=maker(ledger), files=disk, active_limit=1, idle_timeout=None
        ) as runtime:
            for turn in range(3):
                for name in _NAMES:
                    task = f"{name} tell {turn}"
                    say("accepted", await runtime.agent(name).tell(task, run_id=task))
                for name in _NAMES:
                    task = f"{name} ask {turn}"
                    assert await runtime.agent(name).ask(task, run_id=task) == f"did {task}"
                    say("answered", task)
                    while not await runtime.passivate(name):
                        await asyncio.sleep(0)
                    say("passivated", name)

    asyncio.run(live())
    say("lived")


@pytest.mark.parametrize("dies_at", _POINTS)
async def test_a_kill_at_any_point_of_passivation_and_waking_up_loses_nothing(
    tmp_path: Path, dies_at: int
) -> None:
    """N27: killed at any point of being told, woken up and passivated, an agent has every task that was accepted."""
    with memory_folder(tmp_path) as folder:
        workspace, ledger = str(folder / "workspace"), str(folder / "ledger")
        heard: dict[str, list[Any]] = {"accepted": [], "answered": [], "passivated": [], "hit": []}
        with Child(life, workspace, ledger, dies_at) as child:
            while (word := child.next_word()) is not None and word[0] != "lived":
                heard[word[0]].append(word[1])
            ended = child.ended()
            assert (ended.code, len(heard["hit"])) == (-signal.SIGKILL, 1), ended.stderr
        async with Runtime(workspace, agents=maker(ledger), active_limit=1, idle_timeout=None) as runtime:
            for task in (*heard["accepted"], *heard["answered"]):
                result = await runtime.agent(task[0]).run(task, run_id=task)
                assert (result.status, result.text) == ("finished", f"did {task}")
            for name in _NAMES:
                # What was begun and not acknowledged is no less finished.
                async with runtime.agent(name).awake() as agent:
                    while agent.state.accepted or agent.status not in ("idle", "finished"):
                        await asyncio.sleep(0)
        asked = Counter(Path(ledger).read_text().splitlines() if Path(ledger).exists() else ())
        assert set(asked) >= {*heard["accepted"], *heard["answered"]}
        assert [task for task in heard["answered"] if asked[task] != 1] == []
        assert [task for task, times in asked.items() if times > 2] == []
