"""An agent that goes on where an earlier process left off: the second program of the autosave tutorial.

Run it after ``autosave.py``, with the same ``WORKSPACE_DIR``: the same name in the same workspace is the same agent::

    python examples/autosave.py
    python examples/recovery.py

As there, ``OVERWINTER_MODEL`` names another model, and ``OVERWINTER_MODEL=scripted`` needs no key.
"""

from __future__ import annotations

import asyncio
import os

from overwinter import Agent
from overwinter.testing import ScriptedModel

MODEL = os.environ.get("OVERWINTER_MODEL", "gpt-4o-mini")
STAND_IN = ScriptedModel("Simple is better than complex.", loop=True) if MODEL == "scripted" else None


async def main() -> None:
    agent = Agent(agent_name="autosave-demo", model_name=MODEL, model=STAND_IN, autosave=True)

    if agent.state_path.exists():
        await agent.load()
        print("Resumed from saved state")
        print(f"Messages in the conversation: {len(agent.state.conversation)}")
        response = await agent.run("Continue from where you left off")
    else:
        print("No previous state found, starting fresh")
        response = await agent.run("Start a new task")

    print("\n=== Final Response ===")
    print(response)


if __name__ == "__main__":
    asyncio.run(main())
