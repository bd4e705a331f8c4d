"""What is said of calls that wait for a person, and the tool that asks one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from overwinter.agents.tools import Tool
from overwinter.errors import ToolError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from overwinter.agents.records import Pending

__all__ = ["WAITS", "ask_human", "how_to_decide", "listed"]

#: The stop reasons of runs that wait for a person.
WAITS = ("approval", "question", "unknown")

_SHORT = 200


async def _ask_human(question: str) -> str:
    """Ask a person a question and wait for the answer, which may take days. Ask only what nobody else can tell."""
    raise ToolError(f"nobody can be asked here: {question}")


#: A tool with which the model asks a person: the run pauses until ``await agent.answer(text)``, over restarts too.
ask_human = Tool(_ask_human, name="ask_human")
ask_human.asks_person = True


def listed(pending: Iterable[Pending]) -> str:
    """The calls that wait for a person, as a part of a sentence."""
    return "; ".join(_described(one) for one in pending)


def how_to_decide(pending: Iterable[Pending]) -> str:
    """What to do about calls that wait for a person, as the end of a sentence."""
    ways: list[str] = []
    for one in pending:
        if one.kind == "question":
            ways.append(f"`await agent.answer(text, {one.call_id!r})`")
        elif one.kind == "approval":
            ways.append(
                f"`await agent.approve({one.call_id!r})` or `await agent.deny(reason, {one.call_id!r})`"
            )
        else:
            ways.append(
                f"`await agent.answer(result, {one.call_id!r})` if it did happen, "
                f"`await agent.approve({one.call_id!r})` to run it now, or `await agent.deny(reason, {one.call_id!r})`"
            )
    return f"decide with {', '.join(ways)}, and then go on with `await agent.resume()`"


def _described(one: Pending) -> str:
    call = f"{one.tool}({_cut(one.arguments)}), call {one.call_id}"
    if one.kind == "question":
        return f"{_cut(one.question)!r} is to be answered (call {one.call_id})"
    if one.kind == "approval":
        return f"{call}, is to be approved"
    return f"what became of {call}, is to be found out"


def _cut(text: str) -> str:
    return text if len(text) <= _SHORT else text[: _SHORT - 1] + "…"
