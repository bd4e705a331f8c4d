"""tantra: agents on their fake provider, a tool call a step, journals on the disk: ``... AGENTS STEPS``.

Runtimes and sessions are made before the clock starts.
"""

from __future__ import annotations

import asyncio
import json
import sys
import tempfile
import time
import uuid
from pathlib import Path

from tantra import Agent, Context, FakeProvider, FileSystemStore, Runtime, Sample, tool
from tantra.providers.base import ToolCall


@tool(name="add", description="Add two numbers.")
async def add(ctx: Context, a: int, b: int) -> str:
    return str(a + b)


class Worker(Agent):
    model = "fake"
    prompt = "You add."
    tools = (add,)


def script(steps: int) -> list[Sample]:
    calls = [
        Sample(tool_calls=[ToolCall(id=f"call_{number}", name="add", args='{"a": 1, "b": 2}')])
        for number in range(steps)
    ]
    return [*calls, Sample(text="It is three.")]


async def measure(agents: int, steps: int) -> dict[str, float]:
    with tempfile.TemporaryDirectory() as folder:
        store = FileSystemStore(Path(folder) / "store")
        await store.setup()
        runtimes = [Runtime(FakeProvider(script(steps)), store, [Worker]) for _ in range(agents)]
        sessions = [await runtime.create(Worker) for runtime in runtimes]

        async def run(runtime: Runtime, session: object) -> None:
            async with runtime.connect(session, writable=True) as connection:
                said = await connection.prompt("1 + 2?", command_id=uuid.uuid4())
                assert said.text == "It is three.", said

        began = time.perf_counter()
        await asyncio.gather(*map(run, runtimes, sessions))
        seconds = time.perf_counter() - began
        for runtime in runtimes:
            await runtime.aclose()
    return {"rate": agents * steps / seconds}


if __name__ == "__main__":
    asyncio.run(measure(2, 2))
    print(json.dumps(asyncio.run(measure(*map(int, sys.argv[1:])))))
