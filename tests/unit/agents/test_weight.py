"""What an agent costs, where thousands live in one process."""

from __future__ import annotations

import gc
from typing import TYPE_CHECKING
from weakref import ref

import anyio
import pytest

from overwinter import Agent, Message, ModelReply, Runtime, ToolCall, Usage
from overwinter.agents.records import Entry, RunSummary, Work
from overwinter.agents.weakly import weakly
from overwinter.testing import ScriptedModel

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from overwinter import ModelRequest

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize(
    "kept",
    [
        Message("assistant", "", (ToolCall("1", "look"),)),
        Entry(role="user", content="go", run_id="r"),
        Usage(calls=1),
        RunSummary(run_id="r", task="go", usage=Usage()),
        Work(run_id="r", key="k", member="m", usage=Usage()),
    ],
)
def test_what_is_kept_by_the_thousand_is_nothing_to_the_garbage_collection(kept: object) -> None:
    assert not gc.is_tracked(kept)


def test_an_agent_costs_the_garbage_collection_little() -> None:
    """It looks at everything there is, again and again, while thousands of agents are made."""
    model = ScriptedModel(["done"])
    made = [Agent("first", model=model)]
    gc.collect()
    gc.disable()
    try:
        before = len(gc.get_objects())
        made += [Agent(f"bee{number}", model=model) for number in range(50)]
        cost = (len(gc.get_objects()) - before) / 50
    finally:
        gc.enable()
    assert cost < 35


async def test_an_agent_that_was_stopped_is_gone(tmp_path: Path) -> None:
    """Also where nobody asks the runtime how it is doing."""
    async with Runtime(tmp_path) as runtime:
        agent = Agent("bee", model=ScriptedModel(["done"]))
        await runtime.spawn(agent)
        await agent.run("go")
        await runtime.stop(agent)
        known = ref(agent)
        del agent
        gc.collect()
        assert known() is None


def test_a_method_that_is_remembered_weakly_keeps_nothing_alive() -> None:
    class Bee:
        def hum(self, how: str, *, loud: bool = False) -> str:
            return how.upper() if loud else how

    bee = Bee()
    hum = weakly(bee.hum, "silence")
    assert (hum("bzz"), hum("bzz", loud=True)) == ("bzz", "BZZ")
    del bee
    assert hum("bzz") == "silence"


class Hasty:
    """A model that makes nobody wait."""

    name = "hasty"
    price = None

    def __init__(self) -> None:
        self.asked = 0

    async def prepare(self) -> None:
        pass

    async def complete(
        self, request: ModelRequest, *, on_text: Callable[[str], None] | None = None
    ) -> ModelReply:
        self.asked += 1
        return ModelReply(Message("assistant", "on"))


async def test_others_have_their_turn_in_each_step_of_a_model_that_makes_nobody_wait(tmp_path: Path) -> None:
    model = Hasty()
    seen: list[int] = []
    async with Runtime(tmp_path) as runtime:
        agent = Agent("bee", model=model, max_loops=200)
        await runtime.spawn(agent)

        async def watch() -> None:
            while model.asked < 200:
                seen.append(model.asked)
                await anyio.lowlevel.checkpoint()

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(agent.run, "go")
            await watch()
    assert {*range(1, 200)} <= {*seen}
