"""A swarm in one task group: a dozen scouts survey a meadow each, all at once, on one runtime that saves them all.

    export OPENAI_API_KEY="..."
    python examples/swarm.py

``OVERWINTER_MODEL`` names another model (any litellm name); ``OVERWINTER_MODEL=scripted`` needs no key.
"""

from __future__ import annotations

import asyncio
import os
from typing import Annotated

import anyio
import msgspec

from overwinter import Agent, ModelRequest, OverwinterError, Runtime, ToolContext, ToolError, tool
from overwinter.testing import ScriptedCall, ScriptedModel

MODEL = os.environ.get("OVERWINTER_MODEL", "gpt-4o-mini")

# What is in bloom, and how many metres away.
MEADOWS = {
    "clover": (5200, 300), "heather": (8100, 2400), "lavender": (6400, 900), "linden": (9900, 1500),
    "borage": (2100, 150), "thyme": (1700, 400), "phacelia": (7300, 600), "rape": (9200, 2900),
    "sainfoin": (3600, 1100), "willow": (4100, 700), "chestnut": (8800, 3400), "dandelion": (2900, 100),
}  # fmt: skip


class Survey(msgspec.Struct):
    """What a scout finds in a meadow."""

    blossoms: int
    metres: int


@tool
def survey(meadow: Annotated[str, msgspec.Meta(description="its name, such as clover")]) -> Survey:
    """Fly to a meadow, count what is in bloom there and measure the way."""
    if meadow not in MEADOWS:
        raise ToolError(f"there is no meadow {meadow!r}; ask for one of {', '.join(MEADOWS)}")
    return Survey(*MEADOWS[meadow])


@tool(idempotent=True)
async def note(text: str, context: ToolContext) -> str:
    """Keep a line for the other scouts, in a file of your own."""
    await anyio.Path(context.workspace_dir / "note.txt").write_text(text + "\n", "utf-8")
    return "noted"


def scripted(request: ModelRequest) -> str | list[ScriptedCall]:
    """What a model might do: survey the meadow, note what was found, and report it."""
    last = request.messages[-1]
    if last.role == "user":
        return [ScriptedModel.call("survey", {"meadow": last.content.rpartition(": ")[2]})]
    if last.name == "survey":
        return [ScriptedModel.call("note", {"text": last.content})]
    return f"Found {request.messages[-3].content}"


def scout(meadow: str) -> Agent[str]:
    return Agent(
        agent_name=f"scout-{meadow}",
        model_name=MODEL,
        model=ScriptedModel(scripted, loop=True) if MODEL == "scripted" else None,
        system_prompt="You are a scout bee. Survey your meadow, note what you found, and report it in one sentence.",
        tools=[survey, note],
        autosave=True,
    )


async def fly(runtime: Runtime, meadow: str) -> None:
    agent = scout(meadow)
    try:
        await runtime.spawn(agent)
        result = await agent.run(f"Is the flight worth it? Your meadow: {meadow}")
    except OverwinterError as error:
        print(f"{agent.agent_name} did not come back: {error}")  # and the others fly on
    else:
        print(
            f"{agent.agent_name} ({result.loop_count} steps, {len(agent.state.tool_results)} tools): {result}"
        )


async def main() -> None:
    async with Runtime(handle_signals=True) as runtime:  # Ctrl-C saves every scout before the program ends
        async with anyio.create_task_group() as tasks:
            for meadow in MEADOWS:
                tasks.start_soon(fly, runtime, meadow)
        statistics = runtime.statistics()
        print(
            f"\n{statistics.agents} agents handled {statistics.handled} messages, {statistics.failures} failures"
        )
    print(f"Saved in {runtime.workspace.root}: {runtime.statistics().persistence}")


if __name__ == "__main__":
    asyncio.run(main())
