"""An agent that saves itself at each step: the first program of the autosave tutorial, in its async form.

With a key for any provider that litellm knows::

    export OPENAI_API_KEY="..." WORKSPACE_DIR="agent_workspace"     # or: set -a; . ./.env; set +a
    python examples/autosave.py
    python examples/recovery.py        # a new process goes on from where this one left off

Without one, a stand-in answers that says always the same::

    OVERWINTER_MODEL=scripted python examples/autosave.py
"""

from __future__ import annotations

import asyncio
import json
import os

from overwinter import Agent
from overwinter.testing import ScriptedModel

MODEL = os.environ.get("OVERWINTER_MODEL", "gpt-4o-mini")
STAND_IN = ScriptedModel("Explicit is better than implicit.", loop=True) if MODEL == "scripted" else None


async def main() -> None:
    agent = Agent(
        agent_name="autosave-demo",
        model_name=MODEL,
        model=STAND_IN,
        max_loops=5,
        autosave=True,
        verbose=True,  # tells of each step and each save, on standard error
    )
    print(f"Agent workspace: {agent.workspace_dir}")

    # The configuration is saved at each of the five steps.
    response = await agent.run("Write a comprehensive guide on Python best practices. Include 5 sections.")

    metadata = json.loads(agent.config_path.read_text("utf-8"))["_autosave_metadata"]
    print("\n=== Autosave Metadata ===")
    print(f"Timestamp: {metadata['timestamp']}")
    print(f"Loop Count: {metadata['loop_count']}")
    print(f"Agent ID: {metadata['agent_id']}")
    print(f"Agent Name: {metadata['agent_name']}")

    # The state is there already; before something important one may ask for it, and wait until it is on disk.
    await agent.save()

    state_files = [path.name for path in agent.workspace_dir.glob("*_state.json")]
    print("\n=== State Files ===")
    print(f"Found {len(state_files)} state file(s): {state_files}")

    print("\n=== Final Response ===")
    print(response)


if __name__ == "__main__":
    asyncio.run(main())
