"""What an idle agent keeps in memory: its configuration, a tool, and a conversation of one task and its answer.

The agents share a model, as they do in life, and have a system prompt and a name of their own. They are spawned on a
``Runtime``, saved, have each done one task, and have done nothing for four seconds. The bytes are those that Python
allocated (``tracemalloc``), after a garbage collection, from before the first agent was made; the agents' handles are
included.
"""

from __future__ import annotations

import asyncio
import gc
import tempfile
import tracemalloc
from typing import TYPE_CHECKING

from benchmarks.contest import Contest, Goal, Row, Size
from overwinter import Agent, Message, ModelReply, ModelRequest, Runtime, Usage, tool

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from benchmarks.contest import Figures

__all__ = ["CONTESTS", "Answering", "all_on_disk", "spawn_all"]


_REST = 4.0  # seconds in which whoever is idle may put away what it needs only at work


class Answering:
    """A model that answers everybody at once, with the same."""

    name = "answering"
    price = None

    async def prepare(self) -> None:
        """Nothing needs to be loaded."""

    async def complete(
        self, request: ModelRequest, *, on_text: Callable[[str], None] | None = None
    ) -> ModelReply:
        """Say that it is done."""
        return ModelReply(message=Message("assistant", "It is done."), usage=Usage(calls=1), model=self.name)


@tool
async def look_up(term: str) -> str:
    """Look a term up."""
    return term


async def weigh(number: int, *, autosave: bool, rest: float) -> float:
    """Bytes for each of so many agents, after a rest of so many seconds."""
    model = Answering()
    with tempfile.TemporaryDirectory() as folder:
        async with Runtime(folder) as runtime:
            await _idle(runtime, model, range(1), autosave=autosave)
            gc.collect()
            tracemalloc.start()
            try:
                agents = await _idle(runtime, model, range(1, number + 1), autosave=autosave)
                if autosave:
                    await all_on_disk(runtime, agents)
                await asyncio.sleep(rest)
                gc.collect()
                weight = tracemalloc.get_traced_memory()[0] / number
            finally:
                tracemalloc.stop()
            assert all(len(agent.state.conversation) == 2 for agent in agents)
    return weight


async def all_on_disk(runtime: Runtime, agents: Sequence[Agent[str]]) -> None:
    """Return when all their records are in their journals, and all documents in their files."""
    storage = await runtime.storage()
    await storage.flush()
    async with asyncio.TaskGroup() as tasks:
        for agent in agents:
            tasks.create_task(storage.records.gather(agent.workspace_dir, sync=False))


async def _idle(runtime: Runtime, model: Answering, numbers: range, *, autosave: bool) -> list[Agent[str]]:
    agents = [
        Agent(
            f"agent-{number}",
            model=model,
            system_prompt=f"You are number {number}. You look things up, and say what you found.",
            tools=[look_up],
            autosave=autosave,
        )
        for number in numbers
    ]
    await spawn_all(runtime, agents)
    async with asyncio.TaskGroup() as tasks:
        for agent in agents:
            tasks.create_task(agent.run("What is there to say about willows?"))
    return agents


async def spawn_all(runtime: Runtime, agents: Sequence[Agent[str]]) -> None:
    """Spawn them side by side, so that their folders are claimed together."""
    async with asyncio.TaskGroup() as tasks:
        for agent in agents:
            tasks.create_task(runtime.spawn(agent))


def _weigh(size: Size) -> Figures:
    number = size.of(1000, 20)
    rest = 0.0 if size is Size.TINY else _REST
    return {
        "saved": asyncio.run(weigh(number, autosave=True, rest=rest)),
        "unsaved": asyncio.run(weigh(number, autosave=False, rest=rest)),
    }


CONTESTS = (
    Contest(
        "idle-agent",
        {"overwinter": _weigh},
        (
            Row(
                "idle-agent",
                "an idle agent that is saved, after one task",
                "saved",
                "bytes",
                goals=(Goal("value", 6000, "most"),),
            ),
            Row("idle-agent-unsaved", "the same with autosave off", "unsaved", "bytes"),
        ),
        turns=1,
        rounds=1,
    ),
)
