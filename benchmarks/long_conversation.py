"""What a step costs at 10,000 messages, beside what it costs at 10, in one and the same run.

    python benchmarks/long_conversation.py [--durability sync] [--messages 10000]

An agent calls a tool in each step, so that a step adds two messages. Steps are timed one by one, from one model call
to the next, and the bytes that the runtime writes are counted, around 10 messages and around 10,000.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from overwinter import Agent, Message, ModelReply, ModelRequest, Runtime, ToolCall, Usage, tool

if TYPE_CHECKING:
    from collections.abc import Callable

    from overwinter.agents.profile import Durability

WINDOW = 400  # steps measured at each place
MOST = 1.2  # times what a step cost at first


@tool(idempotent=True)
async def look_up(term: str) -> str:
    """Look a term up."""
    return f"{term} is a word of the trade. " * 8


class Caller:
    """A model that calls the tool again and again, and notes when it is asked, and what was written until then."""

    name = "caller"

    def __init__(self, steps: int, written: Callable[[], int]) -> None:
        self._steps = steps
        self._written = written
        self.asked: list[float] = []
        self.bytes: list[int] = []

    async def prepare(self) -> None:
        """Nothing to load."""

    async def complete(
        self, request: ModelRequest, *, on_text: Callable[[str], None] | None = None
    ) -> ModelReply:
        """Call the tool, or end after the last step."""
        self.asked.append(time.perf_counter())
        self.bytes.append(self._written())
        number = len(self.asked)
        calls = (
            (ToolCall(id=f"call_{number}", name="look_up", arguments='{"term":"hive"}'),)
            if number <= self._steps
            else ()
        )
        message = Message(role="assistant", content="Let me look that up. " * 10, tool_calls=calls)
        return ModelReply(message=message, usage=Usage(input_tokens=100, output_tokens=20, cost=0.0, calls=1))


async def measure(workspace: str, messages: int, durability: Durability) -> tuple[list[float], list[int]]:
    """The time at which each step began, and the bytes written until then."""
    async with Runtime(workspace) as runtime:

        def written() -> int:
            disk = runtime.statistics().persistence
            return disk.bytes_written + disk.log_bytes

        model = Caller(messages // 2 + WINDOW + 20, written)
        agent = Agent(
            "long",
            model=model,
            tools=[look_up],
            max_loops="auto",
            autosave=True,
            durability=durability,
        )
        await runtime.spawn(agent)
        await agent.run("Look it all up.")
    return model.asked, model.bytes


def window(asked: list[float], written: list[int], first: int) -> tuple[float, float]:
    """The median time of the steps from the one numbered *first* on, and the mean bytes."""
    times = [after - before for before, after in zip(asked[first:], asked[first + 1 :], strict=False)][
        :WINDOW
    ]
    return statistics.median(times), (written[first + WINDOW] - written[first]) / WINDOW


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--messages", type=int, default=10_000)
    parser.add_argument("--durability", choices=["exit", "async", "sync"], action="append")
    options = parser.parse_args()
    print(f"{'':8} {'at 10 messages':>28} {f'at {options.messages:,} messages':>28} {'ratio':>14}")
    for durability in options.durability or ["async", "sync"]:
        with tempfile.TemporaryDirectory(dir=Path.cwd()) as workspace:
            asked, written = asyncio.run(measure(workspace, options.messages, durability))
        early_time, early_bytes = window(asked, written, 5)
        late_time, late_bytes = window(asked, written, options.messages // 2)
        early = f"{early_time * 1e6:.0f} µs, {early_bytes:,.0f} bytes"
        late = f"{late_time * 1e6:.0f} µs, {late_bytes:,.0f} bytes"
        ratio = f"{late_time / early_time:.2f}, {late_bytes / early_bytes:.2f}"
        within = (
            "" if max(late_time / early_time, late_bytes / early_bytes) <= MOST else f"  (more than {MOST})"
        )
        print(f"{durability:8} {early:>28} {late:>28} {ratio:>14}{within}")


if __name__ == "__main__":
    main()
