"""kill -9 while a tool or an actor sleeps: what goes on goes on to the same deadline."""

from __future__ import annotations

import os
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import anyio
import pytest
from tests.support.ledger import Entry, Ledger, read_ledger
from tests.support.processes import Child, say

from overwinter import Actor, Agent, Runtime, StateNotFound, sleep, tool
from overwinter.runtime import SystemClock
from overwinter.testing import ScriptedModel

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork and no kill -9")

HOUR = 3600.0


class LaterClock(SystemClock):
    """The system's clock, so many seconds later; of a long sleep it tells, and never returns from it."""

    def __init__(self, later: float) -> None:
        self._later = timedelta(seconds=later)

    def now(self) -> datetime:
        return super().now() + self._later

    async def sleep(self, seconds: float) -> None:
        if seconds > 20:
            say("asleep", self.now().timestamp())
            await anyio.sleep_forever()
        await super().sleep(seconds)


def nap(workspace: str, ledger: str, later: float, durability: Any) -> None:
    """Run, or resume, an agent whose tool sleeps for an hour."""
    book = Ledger(Path(ledger))

    @tool(idempotent=True)
    async def rest() -> str:
        """Rest for an hour."""
        book.write(Entry("began", "sleeper", "rest", str(os.getpid())))
        await sleep(HOUR)
        book.write(Entry("ended", "sleeper", "rest", str(os.getpid())))
        return "rested"

    def answer(request: Any) -> Any:
        steps = sum(message.role == "assistant" for message in request.messages)
        book.write(Entry("asked", "sleeper", f"step {steps}", str(os.getpid())))
        return ScriptedModel.call("rest", call_id="the-call") if not steps else "Good morning."

    async def main() -> None:
        async with Runtime(workspace, clock=LaterClock(later)) as runtime:
            agent = Agent(
                "sleeper",
                model=ScriptedModel(answer, loop=True),
                tools=[rest],
                autosave=True,
                durability=durability,
            )
            await runtime.spawn(agent)
            try:
                result = await agent.resume()
            except StateNotFound:
                result = await agent.run("Sleep.")
            say("finished", [str(result), list(agent._state.sleeps.values())])

    anyio.run(main)


class Bell(Actor[str]):
    async def receive(self, message: str) -> str:
        await sleep(HOUR, key=message)
        return "ding"


def ring(workspace: str, later: float) -> None:
    """Have an actor sleep for an hour."""

    async def main() -> None:
        async with Runtime(workspace, clock=LaterClock(later)) as runtime:
            ref = await runtime.spawn(Bell, name="bell")
            say("rang", await ref.ask("noon"))

    anyio.run(main)


def slept_and_killed(program: Any, *arguments: Any) -> float:
    """When it fell asleep, by its own clock, before it was killed."""
    with Child(program, *arguments) as child:
        at = child.expect("asleep")
        child.kill()
        child.ended()
    return float(at)


@pytest.mark.parametrize("durability", ["async", "sync"])
def test_a_tool_killed_in_its_sleep_goes_on_to_the_same_deadline(durability: str, tmp_path: Path) -> None:
    """X21: kill -9 twice; it wakes when the hour of its first call is over, and the model is asked nothing twice."""
    workspace, ledger = str(tmp_path / "workspace"), str(tmp_path / "ledger")
    first = slept_and_killed(nap, workspace, ledger, 0.0, durability)
    second = slept_and_killed(nap, workspace, ledger, HOUR / 2, durability)
    assert second < first + HOUR
    # A deadline computed anew would be half an hour further away than this.
    with Child(nap, workspace, ledger, HOUR + 1, durability) as child:
        assert child.expect("finished") == ["Good morning.", []]
        assert child.ended().code == 0
    entries, _ = read_ledger(Path(ledger), 0)
    assert [(entry.kind, entry.key) for entry in entries] == [
        ("asked", "step 0"),
        ("began", "rest"),
        ("began", "rest"),
        ("began", "rest"),
        ("ended", "rest"),
        ("asked", "step 1"),
    ]


def test_an_actor_killed_in_its_sleep_goes_on_to_the_same_deadline(tmp_path: Path) -> None:
    """X22"""
    workspace = str(tmp_path / "workspace")
    slept_and_killed(ring, workspace, 0.0)
    slept_and_killed(ring, workspace, HOUR / 2)
    with Child(ring, workspace, HOUR + 1) as child:
        assert child.expect("rang") == "ding"
        assert child.ended().code == 0
    # The key is free again: the next sleep of that name is a new one.
    slept_and_killed(ring, workspace, HOUR + 2)
