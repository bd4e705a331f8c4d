"""Makes ``tests/golden/v1``: a small workspace of the first format, and what is to be read of it.

It was run once, with the overwinter that wrote version 1, and what it made must load for ever::

    python -m tests.golden.make_v1

Run again, by a later overwinter, it would make another version's files: copy it to ``make_v2.py`` for these.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from overwinter import Agent, Runtime, tool
from overwinter.agents import journal_records as journal
from overwinter.agents.copying import copy_of
from overwinter.agents.documents import Documents, EncodedLists
from overwinter.agents.earlier import Earlier, keep_earlier
from overwinter.agents.journal_records import encode_record
from overwinter.agents.models.protocol import Message, ToolCall, Usage
from overwinter.agents.restore import Restored
from overwinter.agents.state import AgentState
from overwinter.persistence.journal_writer import JournalWriter
from overwinter.runtime.fake_clock import FakeClock
from overwinter.testing import ScriptedModel

if TYPE_CHECKING:
    from overwinter.agents.journal_records import JournalRecord
    from overwinter.persistence import Claim, Storage

GOLDEN = Path(__file__).parent / "v1"


@tool
async def look(where: str) -> str:
    """Look somewhere."""
    return f"nothing in {where}"


@tool(idempotent=True)
async def count(what: str) -> int:
    """Count something."""
    return len(what)


def keeper(workspace_dir: Path, *replies: Any) -> Agent[str]:
    """The agent in whose journal stands every kind of record."""
    return Agent(
        "keeper of bees",
        session="golden",
        model=ScriptedModel(replies, name="scripted"),
        system_prompt="Keep them.",
        tools=[look, count],
        autosave=True,
        workspace_dir=workspace_dir,
    )


def orphan(workspace_dir: Path, *replies: Any) -> Agent[str]:
    """The agent whose process died, and left what happened in its runtime's log."""
    return Agent(
        "orphan",
        model=ScriptedModel(replies, name="scripted"),
        tools=[count],
        autosave=True,
        workspace_dir=workspace_dir,
    )


class Writer:
    """Writes one agent's files, a record after another."""

    def __init__(self, agent: Agent[str], storage: Storage, claim: Claim) -> None:
        self.profile = agent._profile
        self.storage = storage
        self.claim = claim
        self.state = AgentState()
        self.writer = JournalWriter(storage, claim, 0)
        self.documents = self.new_documents()

    @classmethod
    async def open(cls, agent: Agent[str], storage: Storage) -> Writer:
        return cls(agent, storage, await storage.claim(agent._member.folder))

    def new_documents(self) -> Documents:
        return Documents(self.profile, self.state, self.claim.folder, self.storage.clock, EncodedLists())

    def write(self, *records: JournalRecord) -> None:
        for record in records:
            self.state.apply(record)
            base = isinstance(record, (journal.StartedAnew, journal.StateReplaced))
            if base:
                self.documents = self.new_documents()
            self.state.sequence = self.writer.append(encode_record(record), base=base)

    async def save(self) -> None:
        await self.storage.replace(self.documents.config())
        await self.storage.replace(self.documents.state())

    async def keep(self) -> None:
        earlier = Earlier(Restored(copy_of(self.state), None, 1, (), {"agent_name": "keeper of bees"}))
        await self.storage.call(
            keep_earlier,
            self.claim.folder,
            earlier,
            files=self.storage.files,
            now=self.storage.clock.now(),
        )


LOOKED_AT = (1, 9, 10, 15, 19, 23, 31, 33, 38)
AT = "2026-11-23T08:20:00+00:00"
USAGE = Usage(input_tokens=20, output_tokens=5, cached_tokens=8, reasoning_tokens=1, cost=0.25, calls=1)
UNKNOWN_COST = Usage(input_tokens=20, output_tokens=5, calls=1)


def replied(text: str, *calls: ToolCall, usage: Usage = USAGE) -> JournalRecord:
    message = Message(
        role="assistant", content=text, tool_calls=calls, provider={"thinking": [{"signature": "s"}]}
    )
    return journal.ModelReplied(at=AT, message=message, usage=usage, model="scripted", seconds=0.5)


def called(call_id: str, name: str = "look", **arguments: Any) -> ToolCall:
    return ToolCall(id=call_id, name=name, arguments=json.dumps(arguments), provider={"mark": call_id})


FIRST_CONVERSATION: list[JournalRecord] = [
    journal.TaskAccepted(at=AT, run_id="r0", task="Never mind."),
    journal.TaskAccepted(at=AT, run_id="r1", task="Where are the bees? 🐝"),
    journal.TaskWithdrawn(at=AT, run_id="r0"),
    journal.RunBegan(at=AT, run_id="r1"),
    replied("", called("c1", where="hive"), called("c2", where="wood")),
    journal.ToolsStarted(at=AT, call_ids=("c1", "c2")),
    journal.ToolsWithdrawn(at=AT, call_ids=("c2",)),
    journal.ToolFinished(at=AT, call_id="c1", output="three\nbees", seconds=0.25),
    journal.PersonAsked(at=AT, call_id="c2", kind="approval"),
    journal.RunEnded(at=AT, status="paused", stop_reason="approval", seconds=1.0),
    journal.PersonAnswered(at=AT, call_id="c2", decision="approved"),
    journal.RunResumed(at=AT, run_id="r1"),
    journal.ToolsStarted(at=AT, call_ids=("c2",)),
    journal.SleepBegan(at=AT, call_id="c2", number=1, until="2026-11-23T08:30:00+00:00", key="nap"),
    journal.ToolFinished(at=AT, call_id="c2", output="Error: no wood", ok=False, seconds=600.0),
    journal.MemorySet(at=AT, key="bees", value=msgspec.Raw(b'{"count":3,"names":["\xc3\x84nne"]}')),
    journal.MemorySet(at=AT, key="wood", value=msgspec.Raw(b"null")),
    journal.MemoryDeleted(at=AT, key="wood"),
    journal.ContextReduced(at=AT, policy="summarize", upto=3, summary="Three bees.", saved=9, usage=USAGE),
    replied("3", usage=UNKNOWN_COST),
    journal.AskedAgain(at=AT, problem="That is no sentence."),
    replied("Three are in the hive."),
    journal.RunEnded(at=AT, status="finished", stop_reason="answered", seconds=2.0),
]

SECOND_CONVERSATION: list[JournalRecord] = [
    journal.StartedAnew(at=AT),
    journal.TaskAccepted(at=AT, run_id="r2", task="Count them."),
    journal.RunBegan(at=AT, run_id="r2"),
    replied("One, two,"),
    journal.UserSaid(at=AT, text="Continue."),
    replied("", called("c1", "count", what="bees"), called("c2", where="there")),
    journal.ToolsStarted(at=AT, call_ids=("c1", "c2")),
    journal.RunEnded(at=AT, status="interrupted", error="it was cancelled", partial_text="thr", seconds=1.0),
    journal.CallsClosed(at=AT),
]

BEHIND_THE_STATE: list[JournalRecord] = [
    journal.TaskAccepted(at=AT, run_id="r3", task="And the wasps?"),
    journal.RunBegan(at=AT, run_id="r3"),
    replied("", called("c9", "count", what="wasps")),
    journal.ToolsStarted(at=AT, call_ids=("c9",)),
    journal.TaskAccepted(at=AT, run_id="r4", task="Good night."),
]

LEFT_IN_THE_LOG: list[JournalRecord] = [
    journal.TaskAccepted(at=AT, run_id="o1", task="Wait for me."),
    journal.RunBegan(at=AT, run_id="o1"),
    replied("", called("c1", "count", what="days")),
    journal.ToolsStarted(at=AT, call_ids=("c1",)),
    journal.ToolFinished(at=AT, call_id="c1", output="4", seconds=0.1),
]


async def write_keeper(root: Path) -> None:
    async with Runtime(root, clock=FakeClock(datetime(2026, 11, 23, 8, 20, tzinfo=UTC))) as runtime:
        writer = await Writer.open(keeper(root), await runtime.storage())
        writer.write(*FIRST_CONVERSATION)
        await writer.save()
        await writer.keep()
        writer.write(*SECOND_CONVERSATION)
        taken_over = copy_of(writer.state).body()
        writer.write(journal.StateReplaced(at=AT, body=taken_over, source="copy.json"))
        await writer.save()
        writer.write(*BEHIND_THE_STATE)
        await writer.storage.release(writer.claim, writer.state.sequence)


async def write_orphan_and_die(root: Path) -> None:
    runtime = await Runtime(root, clock=FakeClock(datetime(2026, 11, 23, 8, 20, tzinfo=UTC))).__aenter__()
    writer = await Writer.open(orphan(root), await runtime.storage())
    writer.write(*LEFT_IN_THE_LOG)
    await writer.writer.settle(sync=True)
    os._exit(0)


async def expected(root: Path) -> dict[str, Any]:
    """What is to be read of the keeper's files."""
    agent = keeper(root)
    steps = await agent.history()
    states = {step: (await agent._state_at(step)).body() for step in LOOKED_AT}
    return {
        "steps": [[step.step, step.kind, step.run_id, step.loop] for step in steps],
        "states": json.loads(msgspec.json.encode(states)),
    }


def forget_this_machine(root: Path) -> None:
    """The lease says by which process on which host it was held; that is nobody's business."""
    for path in [*root.glob("agents/*/.lease.json"), *root.glob(".runtimes/*/lock")]:
        try:
            said = json.loads(path.read_text())
        except ValueError:
            continue
        said |= {"pid": 4711, "host": "golden"}
        path.write_text(json.dumps(said, separators=(",", ":")))


def main() -> None:
    if GOLDEN.exists():
        raise SystemExit(f"{GOLDEN} is there, and stays as it is for ever.")
    root = GOLDEN / "workspace"
    asyncio.run(write_keeper(root))
    subprocess.run([sys.executable, "-m", "tests.golden.make_v1", "--die", str(root)], check=True)
    scratch = GOLDEN / "scratch"
    shutil.copytree(root, scratch)
    try:
        told = asyncio.run(expected(scratch))
    finally:
        shutil.rmtree(scratch)
    (GOLDEN / "expected.json").write_text(json.dumps(told, indent=1, ensure_ascii=False) + "\n", "utf-8")
    forget_this_machine(root)


if __name__ == "__main__":
    if "--die" in sys.argv:
        asyncio.run(write_orphan_and_die(Path(sys.argv[-1])))
    main()
