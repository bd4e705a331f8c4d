"""What a hundred thousand named agents cost in memory: ``python benchmarks/many_agents.py [NAMED] [WOKEN]``.

One process has 100 agents and nothing else: spawned, each with one answered question. Another has 100,000 handles on
named agents; 2,000 of these were woken up, 25 at a time, each to answer one question, and all but 100 were passivated.
What each has in memory then is compared: resident memory as the system counts it, interpreter and imports included.
Both have the same garbage collection, Python's own, and no other. It does not grow with how many were woken up.
"""

from __future__ import annotations

import asyncio
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from overwinter import Agent, Message, ModelReply, ModelRequest, Runtime, Usage

if TYPE_CHECKING:
    from collections.abc import Callable

_ACTIVE = 100
_AT_ONCE = 25
_ANSWER = "What there is to say about it. " * 30


class Answering:
    """A model that answers at once, a kilobyte."""

    name = "answering"
    price = None

    async def prepare(self) -> None:
        """Nothing needs to be loaded."""

    async def complete(
        self, request: ModelRequest, *, on_text: Callable[[str], None] | None = None
    ) -> ModelReply:
        """The same for everybody."""
        return ModelReply(message=Message("assistant", _ANSWER), usage=Usage(calls=1), model=self.name)


def make(name: str, session: str) -> Agent[str]:
    """Make an agent of that name."""
    return Agent(name, model=_model, session=session, autosave=True)


_model = Answering()


def resident() -> float:
    """What this process has in memory now, in MB; on systems that do not tell, the most it ever had."""
    try:
        pages = int(Path("/proc/self/statm").read_text("ascii").split()[1])
    except OSError:
        return peak()
    return pages * resource.getpagesize() / 1e6


def peak() -> float:
    """The most that this process ever had in memory, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1e6 if sys.platform == "darwin" else 1e3)


async def alone(workspace: str) -> None:
    """100 agents and nothing else."""
    async with Runtime(workspace) as runtime:
        agents = [make(f"agent-{number}", "") for number in range(_ACTIVE)]
        for agent in agents:
            await runtime.spawn(agent)
        await asyncio.gather(*(agent.run("Tell me.") for agent in agents))
        print(resident(), peak(), len(runtime.agents), 0.0, flush=True)


async def many(workspace: str, named: int, woken: int) -> None:
    """So many handles, so many of them used once, 100 active."""
    async with Runtime(workspace, agents=make, active_limit=_ACTIVE, idle_timeout=None) as runtime:
        handles = [runtime.agent(f"agent-{number}") for number in range(named)]
        began = time.perf_counter()
        waiting = iter(handles[:woken])

        async def ask_one_after_the_other() -> None:
            for handle in waiting:
                await handle.ask("Tell me.")

        await asyncio.gather(*(ask_one_after_the_other() for _ in range(_AT_ONCE)))
        seconds = time.perf_counter() - began
        while runtime.directory.statistics().active > _ACTIVE:
            await asyncio.sleep(0.05)
        there = runtime.directory.statistics()
        assert there.activations == woken
        assert there.passivations == woken - _ACTIVE
        print(resident(), peak(), there.active, seconds, flush=True)


def measured(kind: str, *numbers: int) -> tuple[float, float, int, float]:
    """MB now, MB at most, active agents, and seconds, of a process of its own."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, __file__, kind, folder, *map(str, numbers)]
        told = subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout.split()
    return float(told[0]), float(told[1]), int(told[2]), float(told[3])


def main() -> None:
    """Measure and print, or be one of the two processes that are measured."""
    kind = sys.argv[1] if len(sys.argv) > 1 else ""
    if kind == "alone":
        asyncio.run(alone(sys.argv[2]))
        return
    if kind == "many":
        asyncio.run(many(sys.argv[2], int(sys.argv[3]), int(sys.argv[4])))
        return
    named = int(sys.argv[1]) if len(sys.argv) > 1 else 100_000
    woken = int(sys.argv[2]) if len(sys.argv) > 2 else 2000
    few, few_peak, few_active, _ = measured("alone")
    lots, lots_peak, lots_active, seconds = measured("many", named, woken)
    print(f"{few_active} agents alone: {few:.1f} MB resident (at most {few_peak:.1f} MB)")
    print(
        f"{named} named agents, {woken} of them woken up and asked, {lots_active} active: {lots:.1f} MB resident "
        f"(at most {lots_peak:.1f} MB); {woken / seconds:.0f} were woken, asked and passivated a second"
    )
    print(f"ratio {lots / few:.2f}")


if __name__ == "__main__":
    main()
