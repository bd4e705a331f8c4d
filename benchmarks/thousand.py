"""A thousand agents at once, in a swarm and without one: ``python benchmarks/thousand.py [AGENTS]``.

Each asks a model that takes 100 ms, once. A `ConcurrentWorkflow` brings its agents to the runtime, runs them and
records what each did; beside it the same agents are spawned and run in a task group. New agents each round, in turn.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
import time
from statistics import median
from typing import TYPE_CHECKING

from overwinter import Agent, ConcurrentWorkflow, Message, ModelReply, ModelRequest, Runtime, Usage

if TYPE_CHECKING:
    from collections.abc import Callable

_ROUNDS = 7
_TAKES = 0.1


class Slow:
    """A model that takes its time, and none of the processor's."""

    name = "slow"
    price = None

    async def prepare(self) -> None:
        """Nothing needs to be loaded."""

    async def complete(
        self, request: ModelRequest, *, on_text: Callable[[str], None] | None = None
    ) -> ModelReply:
        """Answer after 100 ms."""
        await asyncio.sleep(_TAKES)
        return ModelReply(message=Message("assistant", "done"), usage=Usage(calls=1), model=self.name)


async def in_a_swarm(agents: list[Agent[str]], runtime: Runtime) -> None:
    """All of them, as members."""
    swarm = ConcurrentWorkflow("all", agents)
    await runtime.spawn(swarm)
    result = await swarm.run("Go.")
    assert len(result.members) == len(agents)


async def by_themselves(agents: list[Agent[str]], runtime: Runtime) -> None:
    """All of them, spawned and run by the caller."""
    for agent in agents:
        await runtime.spawn(agent)
    async with asyncio.TaskGroup() as tasks:
        for agent in agents:
            tasks.create_task(agent.run("Go."))


async def measure(number: int) -> dict[str, tuple[float, float]]:
    """Seconds, and seconds of the processor, by how they were run."""
    taken: dict[str, list[tuple[float, float]]] = {}
    for _ in range(_ROUNDS):
        for name, run in (("by themselves", by_themselves), ("in a swarm", in_a_swarm)):
            model = Slow()
            agents = [Agent(f"agent-{place}", model=model) for place in range(number)]
            with tempfile.TemporaryDirectory() as folder:
                async with Runtime(folder) as runtime:
                    began, worked = time.perf_counter(), time.process_time()
                    await run(agents, runtime)
                    seconds = (time.perf_counter() - began, time.process_time() - worked)
            taken.setdefault(name, []).append(seconds)
    return {
        name: (median(wall for wall, _ in times), median(work for _, work in times))
        for name, times in taken.items()
    }


def main() -> None:
    """Measure and print."""
    number = int(sys.argv[1]) if len(sys.argv) > 1 else 1000
    print(f"{number:,} agents, one model call of {_TAKES * 1000:.0f} ms each; medians of {_ROUNDS}")
    for name, (wall, work) in asyncio.run(measure(number)).items():
        print(f"{name:15} {wall:5.2f} s, of the processor {work:5.2f} s")


if __name__ == "__main__":
    main()
