"""How fast a process takes up what a killed one left: ``python benchmarks/resume.py [AGENTS] [KILOBYTES]``.

A first process runs the agents, each with a conversation of so many kilobytes, and is killed with SIGKILL while every
one of them waits for its model. A second one finds them, loads them and goes on with them; the clock runs from its
start until all wait for their model again. Its imports are told apart, and so is the processor's time, which
says more where others use the machine at the same time.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

_STARTED = time.perf_counter()

from overwinter import Agent, Message, ModelReply, ModelRequest, Runtime, ToolCall, Usage, tool  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Callable

    from overwinter import UnfinishedAgent

_IMPORTED = time.perf_counter() - _STARTED
_ROUNDS = 3
_STEPS = 4


@tool
async def look() -> str:
    """Look something up."""
    return "what was found"


class Slow:
    """A model that gives some answers, and then keeps everybody waiting."""

    name = "slow"
    price = None

    def __init__(self, kilobytes: int, everybody: asyncio.Event, agents: int) -> None:
        self._text = "x" * (kilobytes * 1000 // _STEPS)
        self._everybody = everybody
        self._missing = agents

    async def prepare(self) -> None:
        """Nothing needs to be loaded."""

    async def complete(
        self, request: ModelRequest, *, on_text: Callable[[str], None] | None = None
    ) -> ModelReply:
        """Say something and call a tool, or wait for ever."""
        said = sum(message.role == "assistant" for message in request.messages)
        if said >= _STEPS:
            self._missing -= 1
            if not self._missing:
                self._everybody.set()
            await asyncio.get_running_loop().create_future()
        call = ToolCall(f"call_{said}", "look", "{}")
        return ModelReply(
            message=Message("assistant", self._text, (call,)), usage=Usage(calls=1), model=self.name
        )


async def begin(workspace: Path, agents: int, kilobytes: int) -> None:
    """Run the agents until all wait for their model, and say so."""
    everybody = asyncio.Event()
    model = Slow(kilobytes, everybody, agents)
    async with Runtime(workspace) as runtime, asyncio.TaskGroup() as tasks:
        for number in range(agents):
            agent = Agent(f"agent-{number}", model=model, tools=[look], autosave=True)
            await runtime.spawn(agent)
            tasks.create_task(agent.run("Go on until you are killed"))
        await everybody.wait()
        # Until what a process logs in its last second is in the journals, which a takeover does in one go.
        await asyncio.sleep(1.0)
        print("ready", flush=True)
        await asyncio.get_running_loop().create_future()


async def resume(workspace: Path, agents: int, kilobytes: int) -> None:
    """Find them, load them, go on with them, and print the seconds that this took."""
    everybody = asyncio.Event()
    model = Slow(kilobytes, everybody, agents)
    found = 0.0

    def make(one: UnfinishedAgent) -> Agent[str]:
        nonlocal found
        found = found or time.perf_counter() - began
        return Agent(one.agent_name, model=model, tools=[look], autosave=True, session=one.session)

    began, used = time.perf_counter(), time.process_time()
    async with Runtime(workspace, run_grace=0.0) as runtime:
        going_on = asyncio.create_task(runtime.resume_all(make))
        await everybody.wait()
        print(_IMPORTED, found, time.perf_counter() - began, time.process_time() - used, flush=True)
        going_on.cancel()
        await asyncio.wait([going_on])


def measure(agents: int, kilobytes: int) -> tuple[float, float, float, float]:
    """Seconds for the imports, until the agents were found, until all were running again, and of the processor."""
    with tempfile.TemporaryDirectory() as folder:
        arguments = [folder, str(agents), str(kilobytes)]
        first = subprocess.Popen([sys.executable, __file__, "begin", *arguments], stdout=subprocess.PIPE)
        assert first.stdout is not None
        assert first.stdout.readline() == b"ready\n"
        first.kill()
        first.wait()
        first.stdout.close()
        told = subprocess.run(
            [sys.executable, __file__, "resume", *arguments], stdout=subprocess.PIPE, check=True
        ).stdout
        imports, found, running, processor = map(float, told.split())
        return imports, found, running, processor


def main() -> None:
    """Measure and print, or be one of the two processes that are measured."""
    kind, *arguments = sys.argv[1:] or [""]
    if kind in ("begin", "resume"):
        workspace, agents, kilobytes = arguments
        role = begin if kind == "begin" else resume
        asyncio.run(role(Path(workspace), int(agents), int(kilobytes)))
        return
    number, size = (*map(int, sys.argv[1:]), *(1000, 20)[len(sys.argv) - 1 :])
    print(f"{number} agents of {size} kB, killed in the middle of a run")
    for _ in range(_ROUNDS):
        imports, found, running, processor = measure(number, size)
        print(
            f"found after {found:.2f} s, running again after {running:.2f} s "
            f"(imports {imports:.2f} s, processor {processor:.2f} s)"
        )


if __name__ == "__main__":
    main()
