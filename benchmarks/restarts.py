"""What a new process does with what an earlier one left: 10,000 saved agents listed, 1,000 interrupted ones resumed.

The 10,000 have a configuration, a state file and a journal each, and a conversation of one task and its answer; they
are made once, before the clock starts. They are listed by the command, ``overwinter ls --json``, in a process of its
own from its start to its end, and by a ``Runtime`` that looks for unfinished ones. The 1,000 are those of
``resume.py``: conversations of 20 kB, killed with ``kill -9`` while all wait for their model; the clock runs from the
opening of the new ``Runtime`` until all wait for their model again.
"""

from __future__ import annotations

import asyncio
import atexit
import shutil
import subprocess
import sys
import tempfile
from functools import cache
from typing import TYPE_CHECKING

from benchmarks import resume
from benchmarks.agents import Answering, spawn_all
from benchmarks.contest import Contest, Goal, Row, Size, clock
from overwinter import Agent, Runtime

if TYPE_CHECKING:
    from benchmarks.contest import Figures

__all__ = ["CONTESTS"]

_AT_ONCE = 1000
_LS = "import sys; sys.argv[1:] = ['ls', '--json', '--workspace', sys.argv[1]]; from overwinter.cli import main; main()"


async def settle(workspace: str, number: int) -> None:
    """Make so many saved agents and leave them in good order."""
    model = Answering()
    async with Runtime(workspace) as runtime:
        for first in range(0, number, _AT_ONCE):
            agents = [
                Agent(f"agent-{one}", model=model, autosave=True)
                for one in range(first, min(first + _AT_ONCE, number))
            ]
            await spawn_all(runtime, agents)
            async with asyncio.TaskGroup() as tasks:
                for agent in agents:
                    tasks.create_task(_answer_and_stop(runtime, agent))


async def _answer_and_stop(runtime: Runtime, agent: Agent[str]) -> None:
    await agent.run("What is there to say about willows?")
    await runtime.stop(agent)


@cache
def _settled(number: int) -> str:
    """A workspace with so many agents, made once a process."""
    folder = tempfile.mkdtemp()
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    asyncio.run(settle(folder, number))
    return folder


async def look(workspace: str) -> float:
    """Seconds until a new runtime knows which of its agents are unfinished."""
    began = clock()
    async with Runtime(workspace) as runtime:
        assert await runtime.interrupted() == []
        return clock() - began


def _list(size: Size) -> Figures:
    number = size.of(10_000, 20)
    workspace = _settled(number)
    began = clock()
    listed = subprocess.run([sys.executable, "-c", _LS, workspace], stdout=subprocess.PIPE, check=True).stdout
    seconds = clock() - began
    assert listed.count(b'"agent_name"') == number
    return {"ls": seconds, "runtime": asyncio.run(look(workspace))}


def _resume(size: Size) -> Figures:
    number = size.of(1000, 5)
    imports, found, running, processor = resume.measure(number, 20)
    return {"imports": imports, "found": found, "seconds": running, "processor": processor}


CONTESTS = (
    Contest(
        "list",
        {"overwinter": _list},
        (
            Row("list", "10,000 saved agents: overwinter ls", "ls", "s", goals=(Goal("value", 1, "most"),)),
            Row(
                "list-runtime",
                "10,000 saved agents: Runtime.interrupted()",
                "runtime",
                "s",
                goals=(Goal("value", 1, "most"),),
            ),
        ),
        turns=3,
        rounds=1,
        slow=True,
        warm_up=False,
    ),
    Contest(
        "resume",
        {"overwinter": _resume},
        (
            Row(
                "resume",
                "1,000 interrupted agents resumed",
                "seconds",
                "s",
                goals=(Goal("value", 2, "most"),),
            ),
            Row("resume-found", "until they were found", "found", "s"),
        ),
        turns=1,
        warm_up=False,
        slow=True,
    ),
)
