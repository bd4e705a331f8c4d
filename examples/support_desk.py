"""A support desk: triage, questions, technical help, billing, and a person who allows refunds; one for each
customer.

    export OPENAI_API_KEY="..."
    python examples/support_desk.py ann "Order A-17 came broken. I want my 49 euros back."
    python examples/support_desk.py ann yes           # the person's word; or: no "it was sent a year ago"
    python examples/support_desk.py ann "Thank you! When are you open?"

It shows a router whose choice a model makes, agents that hand a conversation on to each other, a refund
that waits for a person over as many restarts as there are, and a session for each customer, so that all of
them can be served at the same time. Kill it in the middle and start it again with the customer's name
alone: it goes on from the last step, and nothing is paid back twice. ``overwinter pending`` lists what
waits for a person.

``OVERWINTER_MODEL`` names another model (any litellm name); ``OVERWINTER_MODEL=scripted`` needs no key.
"""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from overwinter import Agent, Handoffs, ModelRequest, SwarmRouter, Tool, ToolContext, handoff, tool
from overwinter.errors import OverwinterError
from overwinter.testing import ScriptedModel

if TYPE_CHECKING:
    from collections.abc import Callable

MODEL = os.environ.get("OVERWINTER_MODEL", "gpt-4o-mini")

QUESTIONS = (
    "You answer customers of a hive shop, briefly. It is open from 9 to 17, and delivers within three days."
)
TECHNICAL = (
    "You help customers of a hive shop with things that do not work. Hand on to billing what is about money."
)
BILLING = "You look after what customers of a hive shop paid. Refund what came broken; say what was refused, and why."


@tool(requires_approval=True)
def refund(order: str, euros: int, context: ToolContext) -> str:
    """Pay back an order."""
    with Path(context.workspace_dir, "refunds.txt").open("a") as paid:
        # The call's id is the same however often the process is killed: the payment provider's idempotency key.
        paid.write(f"{context.call_id} {order} {euros}\n")
    return f"{euros} euros were paid back for order {order}."


def stand_in(name: str) -> Callable[[ModelRequest], Any]:
    """What a good model might do, to try the example without one."""

    def answer(request: ModelRequest) -> Any:
        last = request.messages[-1]
        if name == "triage":
            return "cases" if "A-17" in last.content else "questions"
        if name == "technical":
            return ScriptedModel.call("handoff_to_billing", {"reason": "A-17 came broken: 49 euros back."})
        if name == "billing" and last.role != "tool":
            return ScriptedModel.call("refund", {"order": "A-17", "euros": 49})
        return f"{name}: {last.content if last.role == 'tool' else 'We are open from 9 to 17.'}"

    return answer


def support_desk(customer: str) -> SwarmRouter[str]:
    def agent(name: str, prompt: str, *tools: Tool[..., Any], does: str = "") -> Agent[str]:
        model = ScriptedModel(stand_in(name), loop=True) if MODEL == "scripted" else None
        return Agent(
            name,
            MODEL,
            model=model,
            agent_description=does,
            system_prompt=prompt,
            tools=tools,
            session=customer,
        )

    questions = agent("questions", QUESTIONS, does="questions that anybody may ask: opening hours, delivery")
    technical = agent("technical", TECHNICAL, handoff("billing", "when it is about money"))
    billing = agent("billing", BILLING, refund, handoff("technical", "when something does not work"))
    cases = Handoffs(
        "cases",
        [technical, billing],
        description="whatever is about an order: what came, what is broken, what was paid",
        session=customer,
    )
    triage = agent("triage", "You send customers of a hive shop to the right desk.")
    return SwarmRouter("support-desk", [questions, cases], choose=triage, session=customer, autosave=True)


async def main(customer: str = "ann", *words: str) -> None:
    desk = support_desk(customer)
    if desk.state_path.exists():
        await desk.load()  # a customer who was here before
    if words and words[0] not in ("yes", "no"):
        # A service gives it the id of the customer's message as run_id: what is sent twice is then done once.
        result = await desk.run(" ".join(words))
    else:
        if words and words[0] == "yes":
            await desk.approve()
        elif words:
            await desk.deny(" ".join(words[1:]) or "no")
        result = await desk.resume()
    if result.status == "paused":
        for waiting in desk.pending():
            print(f"{waiting.tool} {waiting.arguments} waits for a person: yes, or no and why?")
    else:
        print(result)


if __name__ == "__main__":
    try:
        asyncio.run(main(*sys.argv[1:]))
    except OverwinterError as error:
        sys.exit(str(error))
