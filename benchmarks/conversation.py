"""What a step costs when 10,000 messages were said before, beside one when 10 were, in turn.

One agent has come to 10,000 messages with the same steps, a tool call in each; then it and a new one of ten messages
are taken in turn, for some steps each at a time, so that the disk and the machine are the same to both. A step is from
one model call to the next. The bytes are those that the runtime wrote for them, its log included; before the other has
its turn, everything is written. Both are saved just before: a state file is written anew when as much again has been
said as it holds, and that belongs to the steps before. ``long_conversation.py`` measures one conversation from its
beginning to its end.
"""

from __future__ import annotations

import asyncio
import tempfile
import time
from functools import partial
from statistics import mean, median
from typing import TYPE_CHECKING

from benchmarks.contest import Contest, Goal, Row, Size
from benchmarks.long_conversation import look_up
from overwinter import Agent, Message, ModelReply, ModelRequest, Runtime, ToolCall, Usage

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from benchmarks.contest import Figures
    from overwinter.agents.profile import Durability

__all__ = ["CONTESTS"]

_AT_ONCE = 10  # steps of one, before the other has its turn


class Caller:
    """A model that calls the tool for so many steps, then waits; and does some more whenever it is told to."""

    name = "caller"
    price = None

    def __init__(self, first: int) -> None:
        self._left = first
        self._made = 0
        self._told = asyncio.Event()
        self.waiting = asyncio.Event()
        self._ended = False

    async def prepare(self) -> None:
        """Nothing needs to be loaded."""

    async def complete(
        self, request: ModelRequest, *, on_text: Callable[[str], None] | None = None
    ) -> ModelReply:
        """Call the tool, or end."""
        if not self._left:
            self.waiting.set()
            await self._told.wait()
            self._told.clear()
        self._left -= 1
        self._made += 1
        calls = () if self._ended else (ToolCall(f"call_{self._made}", "look_up", '{"term":"hive"}'),)
        message = Message("assistant", "Let me look that up. " * 10, calls)
        return ModelReply(message=message, usage=Usage(input_tokens=100, output_tokens=20, cost=0.0, calls=1))

    async def go_on(self, steps: int) -> None:
        """Do so many steps; return when the model is asked for the one after them."""
        self.waiting.clear()
        self._left = steps
        self._told.set()
        await self.waiting.wait()

    def end(self) -> None:
        """Answer without a call."""
        self._ended = True
        self._left = 1
        self._told.set()


async def talk(messages: int, turns: int, durability: Durability) -> Figures:
    """Microseconds and bytes of a step, early and late."""
    with tempfile.TemporaryDirectory() as folder:
        async with Runtime(folder) as runtime, asyncio.TaskGroup() as tasks:
            models = {"late": Caller(messages // 2), "early": Caller(5)}
            for name, model in models.items():
                agent = Agent(
                    name, model=model, tools=[look_up], max_loops="auto", autosave=True, durability=durability
                )
                await runtime.spawn(agent)
                tasks.create_task(agent.run("Look it all up."))
                await model.waiting.wait()
                await agent.save()
            storage = await runtime.storage()
            times: dict[str, list[float]] = {name: [] for name in models}
            written: dict[str, list[int]] = {name: [] for name in models}
            for _ in range(turns):
                for name, model in models.items():
                    await storage.flush()
                    before, began = _written(runtime), time.perf_counter()
                    await model.go_on(_AT_ONCE)
                    times[name].append((time.perf_counter() - began) / _AT_ONCE * 1e6)
                    await storage.flush()
                    written[name].append(_written(runtime) - before)
            for model in models.values():
                model.end()
    return {name: median(each) for name, each in times.items()} | {
        f"{name} bytes": mean(each) / _AT_ONCE for name, each in written.items()
    }


def _written(runtime: Runtime) -> int:
    disk = runtime.statistics().persistence
    return disk.bytes_written + disk.log_bytes


def _talk(durability: Durability, size: Size) -> Figures:
    # After twenty turns the early one has some two hundred steps behind it, and is no longer early.
    return asyncio.run(talk(size.of(10_000, 100), size.of(20, 2), durability))


def _rows() -> Iterator[Row]:
    goals = (Goal("ratio", 1.2, "most"),)
    for durability in ("async", "sync"):
        for what, unit, suffix in (("time", "µs", ""), ("written", "bytes", " bytes")):
            yield Row(
                f"long-{durability}-{what}",
                f'a step at 10,000 messages, "{durability}": {what}',
                f"late{suffix}",
                unit,
                of=durability,
                against=durability,
                against_figure=f"early{suffix}",
                beside="at 10",
                goals=goals,
            )


CONTESTS = (
    Contest(
        "long",
        {"async": partial(_talk, "async"), "sync": partial(_talk, "sync")},
        tuple(_rows()),
        turns=1,
        rounds=2,
        warm_up=False,
    ),
)
