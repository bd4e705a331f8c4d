"""A refund that waits for a person, for as long as that takes, over as many restarts as there are.

The first time it asks, and ends; a later time it goes on, in whatever process, with what the person said::

    python examples/approval.py            # what waits is shown
    python examples/approval.py yes        # or: no "the parcel was never sent back"
    python examples/approval.py            # it is over, and said again; nothing is refunded twice

``overwinter pending`` and ``overwinter approve refunds`` do the same from the command line. ``OVERWINTER_MODEL`` names
another model than gpt-4o-mini, and ``OVERWINTER_MODEL=scripted`` needs no key.
"""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

from overwinter import Agent, ToolContext, tool
from overwinter.testing import ScriptedModel

MODEL = os.environ.get("OVERWINTER_MODEL", "gpt-4o-mini")
REFUND = {"order": "A-17", "euros": 49}
STAND_IN = (
    ScriptedModel(
        lambda request: (
            "That is settled."
            if request.messages[-1].role == "tool"
            else ScriptedModel.call("refund", REFUND)
        ),
        loop=True,
    )
    if MODEL == "scripted"
    else None
)


@tool(requires_approval=True)
def refund(order: str, euros: int, context: ToolContext) -> str:
    """Pay back an order."""
    with Path(context.workspace_dir, "refunds.txt").open("a") as paid:
        # The call's id is the same however often the process is killed: the payment provider's idempotency key.
        paid.write(f"{context.call_id} {order} {euros}\n")
    return f"{euros} euros were paid back for order {order}."


async def main(words: list[str]) -> None:
    agent = Agent("refunds", model_name=MODEL, model=STAND_IN, tools=[refund], autosave=True)
    if agent.state_path.exists():
        await agent.load()
    if words and words[0] == "yes":
        await agent.approve()
    elif words:
        await agent.deny(" ".join(words[1:]) or "no")
    # The same run_id is the same run: begun once, gone on with while it waits, and its answer kept.
    result = await agent.run("The customer of order A-17 wants the 49 euros back.", run_id="order-A-17")
    if result.status == "paused":
        for waiting in agent.pending():
            print(f"{waiting.tool} {waiting.arguments} waits for a person: yes, or no and why?")
    else:
        print(result)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1:]))
