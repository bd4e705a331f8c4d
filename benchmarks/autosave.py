"""What autosaving costs, beside doing without it, in one run: ``python benchmarks/autosave.py [AGENTS] [STEPS]``.

Every figure is the median of several rounds in which the candidates take turns, so that a noisy machine disturbs
them alike; read the ratios, not the figures.
"""

from __future__ import annotations

import asyncio
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import anyio
from rich.console import Console
from rich.table import Table

from overwinter import Actor, Agent, Runtime, tool
from overwinter.testing import ScriptedModel

if TYPE_CHECKING:
    from overwinter.agents.profile import Durability

ROUNDS = 5
MESSAGES = 100_000
ASKS = 20_000
_TICK = 0.001


@tool
async def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


class Counter(Actor[int]):
    """Counts, and answers how far it is."""

    def __init__(self, target: int, done: asyncio.Event) -> None:
        self.count = 0
        self.target = target
        self.done = done

    async def receive(self, message: int) -> int:
        self.count += 1
        if self.count == self.target:
            self.done.set()
        return self.count


async def tell_actor() -> float:
    done = asyncio.Event()
    async with Runtime() as runtime:
        ref = await runtime.spawn(Counter(MESSAGES, done), mailbox_capacity=None)
        began = time.perf_counter()
        for number in range(MESSAGES):
            ref.tell_nowait(number)
        await done.wait()
        return MESSAGES / (time.perf_counter() - began)


async def tell_queue() -> float:
    queue: asyncio.Queue[int] = asyncio.Queue()

    async def consume() -> None:
        for _ in range(MESSAGES):
            await queue.get()

    task = asyncio.create_task(consume())
    began = time.perf_counter()
    for number in range(MESSAGES):
        queue.put_nowait(number)
    await task
    return MESSAGES / (time.perf_counter() - began)


async def ask_actor() -> float:
    async with Runtime() as runtime:
        ref = await runtime.spawn(Counter(-1, asyncio.Event()))
        began = time.perf_counter()
        for number in range(ASKS):
            await ref.ask(number)
        return ASKS / (time.perf_counter() - began)


async def ask_queue() -> float:
    queue: asyncio.Queue[tuple[int, asyncio.Future[int]]] = asyncio.Queue()
    loop = asyncio.get_running_loop()

    async def serve() -> None:
        for _ in range(ASKS):
            number, future = await queue.get()
            future.set_result(number)

    task = asyncio.create_task(serve())
    began = time.perf_counter()
    for number in range(ASKS):
        future: asyncio.Future[int] = loop.create_future()
        queue.put_nowait((number, future))
        await future
    await task
    return ASKS / (time.perf_counter() - began)


async def steps(agents: int, loops: int, durability: Durability | None) -> tuple[float, float, float]:
    """Steps a second, the loop's longest gap in milliseconds, and kilobytes written a step."""
    with tempfile.TemporaryDirectory() as folder:
        gap = Gap()
        async with Runtime(Path(folder) / "agent_workspace") as runtime:
            team = [
                Agent(
                    f"agent-{number}",
                    model=ScriptedModel(
                        [ScriptedModel.call("add", {"a": 1, "b": 2})] * (loops - 1) + ["It is three."]
                    ),
                    tools=[add],
                    max_loops=loops,
                    autosave=durability is not None,
                    durability=durability or "async",
                )
                for number in range(agents)
            ]
            for agent in team:
                await runtime.spawn(agent)
            watch = asyncio.create_task(gap.watch())
            began = time.perf_counter()
            async with anyio.create_task_group() as tasks:
                for agent in team:
                    tasks.start_soon(agent.run, "1 + 2?")
            elapsed = time.perf_counter() - began
            watch.cancel()
        written = runtime.statistics().persistence.bytes_written
        return agents * loops / elapsed, gap.longest * 1000, written / (agents * loops) / 1000


class Gap:
    """The longest time by which the event loop was late; it looks every millisecond and leaves the rest."""

    def __init__(self) -> None:
        self.longest = 0.0

    async def watch(self) -> None:
        last = time.perf_counter()
        while True:
            await asyncio.sleep(_TICK)
            now = time.perf_counter()
            self.longest = max(self.longest, now - last - _TICK)
            last = now


async def main(agents: int, loops: int) -> None:
    console = Console()
    plain: dict[str, list[float]] = {
        "tell": [],
        "tell, asyncio.Queue": [],
        "ask": [],
        "ask, asyncio.Queue": [],
    }
    levels: tuple[Durability | None, ...] = (None, "exit", "async", "sync")
    saved: dict[str, list[tuple[float, float, float]]] = {level or "off": [] for level in levels}
    for _ in range(ROUNDS):
        for name, measure in zip(plain, (tell_actor, tell_queue, ask_actor, ask_queue), strict=True):
            plain[name].append(await measure())
        for level in levels:
            saved[level or "off"].append(await steps(agents, loops, level))

    table = Table(title=f"messages a second (median of {ROUNDS})")
    for heading in ("", "a second", "ratio"):
        table.add_column(heading, justify="left" if not heading else "right")
    for name in ("tell", "ask"):
        ours, theirs = statistics.median(plain[name]), statistics.median(plain[f"{name}, asyncio.Queue"])
        table.add_row(name, f"{ours:,.0f}", f"{ours / theirs:.2f} x asyncio.Queue")
    console.print(table)

    table = Table(title=f"{agents} agents x {loops} steps, a tool call each (median of {ROUNDS})")
    for heading in (
        "autosave",
        "steps a second",
        "time against off",
        "longest gap of the loop",
        "written a step",
    ):
        table.add_column(heading, justify="left" if heading == "autosave" else "right")
    base = statistics.median(rate for rate, _, _ in saved["off"])
    for name, rounds in saved.items():
        rate, gap, written = (statistics.median(column) for column in zip(*rounds, strict=True))
        table.add_row(name, f"{rate:,.0f}", f"{base / rate:.2f} x", f"{gap:.0f} ms", f"{written:.1f} kB")
    console.print(table)


if __name__ == "__main__":
    numbers = [int(word) for word in sys.argv[1:]]
    asyncio.run(main(*(numbers or [100])[:1], *(numbers[1:] or [20])[:1]))
