"""kill -9 between a summary and the request that carries it: what was paid for is carried, and not asked for again."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Any

import anyio
import pytest
from tests.support.ledger import Entry, Ledger, read_ledger
from tests.support.processes import Child, say

from overwinter import (
    Agent,
    Message,
    ModelReply,
    ModelRequest,
    StateNotFound,
    Summarize,
    ToolCall,
    Usage,
    tool,
)

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork and no kill -9")

STEPS = 6


@tool(idempotent=True)
async def look(at: int) -> str:
    """Look at something."""
    return f"{at}: " + "seen " * 60


class LedgerModel:
    """Writes down what it is asked; with ``stops`` it never answers the first request that carries a summary."""

    name = "ledger"

    def __init__(self, ledger: Ledger, *, stops: bool) -> None:
        self._ledger = ledger
        self._stops = stops

    async def prepare(self) -> None: ...

    async def complete(self, request: ModelRequest, *, on_text: Any = None) -> ModelReply:
        told = [(one.role, one.content, [call.id for call in one.tool_calls]) for one in request.messages]
        digest = hashlib.sha256(repr(told).encode()).hexdigest()
        summing_up = "sum up" in request.messages[0].content
        self._ledger.write(
            Entry("asked", "teller", digest, str(os.getpid()), id="summary" if summing_up else "")
        )
        if summing_up:
            return ModelReply(Message("assistant", "What was seen so far."), Usage(50, 10, cost=1.0, calls=1))
        if self._stops and any("What was seen so far." in one.content for one in request.messages):
            say("carried", digest)
            await anyio.sleep_forever()
        seen = max(
            (int(one.content.split(":")[0]) for one in request.messages if one.role == "tool"), default=0
        )
        calls = (ToolCall(f"call {seen + 1}", "look", f'{{"at":{seen + 1}}}'),) if seen < STEPS else ()
        words = sum(len(content) for _, content, _ in told) // 4
        return ModelReply(Message("assistant", "So.", calls), Usage(words, 5, cost=1.0, calls=1))


def tell(workspace: str, ledger: str, stops: bool) -> None:
    """Run or resume an agent whose conversation has to be summed up."""

    async def main() -> None:
        agent = Agent(
            "teller",
            model=LedgerModel(Ledger(Path(ledger)), stops=stops),
            tools=[look],
            context=Summarize(above=200, keep=3),
            autosave=True,
            durability="sync",
            workspace_dir=workspace,
        )
        try:
            result = await agent.resume()
        except StateNotFound:
            result = await agent.run("Look around.")
        say("finished", [result.usage.calls, result.usage.cost, len(agent.state.conversation)])

    anyio.run(main)


def test_a_summary_is_asked_for_once_although_the_process_is_killed_before_it_is_used(tmp_path: Path) -> None:
    """X6: the request after the kill is the one before it, word for word, and the summary is in the usage once."""
    workspace, ledger = str(tmp_path / "workspace"), str(tmp_path / "ledger")
    with Child(tell, workspace, ledger, True) as child:
        carried = child.expect("carried")
        child.kill()
        child.ended()
    before, end = read_ledger(Path(ledger), 0)
    assert [entry.id for entry in before].count("summary") == 1
    with Child(tell, workspace, ledger, False) as child:
        calls, cost, length = child.expect("finished")
        assert child.ended().code == 0
    after, _ = read_ledger(Path(ledger), end)
    assert after[0].key == carried
    # One request was cut off and made again; every other was made, and is counted, once.
    assert calls == cost == len(before) + len(after) - 1
    assert len({entry.key for entry in before + after}) == len(before) + len(after) - 1
    assert length == 2 + 2 * STEPS
