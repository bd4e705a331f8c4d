"""The README's table "What survives what": each cell is what came out here, in real processes, by a ledger of its own.

A run of three model calls: the first asks for ``look`` (idempotent), the second for ``charge`` (not idempotent) and
``look``, the third says "Done.". Something happens at a named point; another process goes on with ``resume()``, or with
``run()`` where nothing is left to resume. What was done how often is counted by the model and the tools themselves.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from tests.support.ledger import Entry, Ledger, read_ledger
from tests.support.processes import PROJECT, Child, memory_folder, say

from overwinter import (
    Agent,
    Message,
    ModelReply,
    NothingToResume,
    RunInterrupted,
    Runtime,
    StateNotFound,
    ToolCall,
    ToolContext,
    Usage,
    tool,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.support.hive import Level

    from overwinter import ModelRequest

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork and no kill -9")

KEPT = "finishes; nothing is done again"
UNKNOWN = "finishes; the tool is not run again, the model is told that its outcome is unknown"
REPEATED = "finishes; that tool is repeated with the same call id"
DELETED = "the run finishes; what was saved is gone, as was asked for"
ANEW = "begins again from the task: its model calls and tools are done again"
#: A row of the table: what happens, then "exit", "async", "sync".
TABLE = {
    "a tool raises an error": (KEPT, KEPT, KEPT),
    "the model fails for good": (KEPT, KEPT, KEPT),
    "Ctrl-C in the middle of a tool": (UNKNOWN, UNKNOWN, UNKNOWN),
    "SIGTERM in the middle of a tool": (UNKNOWN, UNKNOWN, UNKNOWN),
    "`kill -9` between two steps": (ANEW, KEPT, KEPT),
    "`kill -9` in the middle of a tool": (ANEW, UNKNOWN, UNKNOWN),
    "`kill -9` in the middle of an idempotent tool": (
        ANEW,
        REPEATED,
        REPEATED,
    ),
    "the agent's folder is deleted in the middle of a tool": (DELETED, DELETED, DELETED),
    "a second process runs the same agent": ("is told who holds it; nothing is done twice",) * 3,
}
LEVELS: tuple[Level, ...] = ("exit", "async", "sync")

_ledger: Ledger
_point: str
_workspace: Path
_durability: Level
_runtime: Runtime


async def what_was_sent_is_written() -> None:
    """In "async" a kill may cost the last milliseconds; they are over then, however slow the disk is.

    In "exit" it would write what is to be lost.
    """
    if _durability != "exit":
        await (await _runtime.storage()).flush()


async def reached(point: str) -> None:
    """In the program: tell the test that it is here, if that is where something happens, and wait."""
    if point == _point:
        # What happens now happens in the middle of something, and not within milliseconds of its beginning.
        await what_was_sent_is_written()
        say("at", os.getpid())
        told = asyncio.Event()
        asyncio.get_running_loop().add_reader(0, told.set)
        await told.wait()
        asyncio.get_running_loop().remove_reader(0)


class CountingModel:
    """A model that goes by how many of its replies it sees, and counts how often it is asked."""

    name = "counting"

    async def prepare(self) -> None:
        pass

    async def complete(
        self, request: ModelRequest, *, on_text: Callable[[str], None] | None = None
    ) -> ModelReply:
        messages = list(request.messages)
        step = sum(message.role == "assistant" for message in messages)
        told = [message.content for message in messages if "outcome is unknown" in message.content]
        _ledger.write(Entry("asked", "survivor", f"model {step}", f"{len(told)}"))
        if step == 0:
            # The state file that tells of the task is there before anything else is.
            while not any((_workspace / "agents").glob("*/*_state.json")):
                await asyncio.sleep(0.001)
            # And nothing newer is on its way, which would tell of more than that.
            await (await _runtime.storage()).flush()
        if _point == "the model" and step == 2:
            raise RuntimeError("no such key")
        if step == 2:
            await reached("between two steps")
        names = (("look",), ("charge", "look"), ())[step]
        calls = tuple(ToolCall(f"{step}-{name}", name, f'{{"step":{step}}}') for name in names)
        text = "Done." if step == 2 else ""
        return ModelReply(Message(role="assistant", content=text, tool_calls=calls), Usage(calls=1, cost=0.0))


@tool
async def charge(step: int, context: ToolContext) -> str:
    """Do what must not be done twice."""
    _ledger.write(Entry("began", "survivor", f"charge {step}", "", context.call_id))
    await reached("charge")
    return "charged"


@tool(idempotent=True)
async def look(step: int, context: ToolContext) -> str:
    """Do what may be repeated."""
    _ledger.write(Entry("began", "survivor", f"look {step}", "", context.call_id, repeatable=True))
    if _point == "an error" and step == 1:
        raise ValueError("there is nothing to see")
    if step == 0:
        await reached("look")
    return "seen"


def survivor(root: str, durability: Level, point: str) -> None:
    """A program: begin the run, or go on with it, up to the point."""
    global _ledger, _point, _workspace, _durability, _runtime
    _ledger, _point, _durability = Ledger(Path(root) / "ledger"), point, durability
    _workspace = workspace = Path(root) / "agent_workspace"
    _runtime = Runtime(workspace, handle_signals=True, run_grace=0.0)
    agent = Agent(
        "survivor",
        model=CountingModel(),
        tools=[look, charge],
        max_loops="auto",
        autosave=True,
        durability=durability,
        workspace_dir=workspace,
    )

    async def go_on() -> str:
        try:
            return (await agent.resume()).text
        except (NothingToResume, StateNotFound):
            return (await agent.run("work")).text

    async def main() -> None:
        async with _runtime:
            await _runtime.spawn(agent)
            say("ended", await go_on())

    try:
        asyncio.run(main())
    except (KeyboardInterrupt, RuntimeError, RunInterrupted) as error:
        say("cut off", type(error).__name__)


def goes_on(folder: Path, durability: Level) -> str:
    """Another process goes on; what came of it all."""
    with Child(survivor, str(folder), durability, "") as child:
        word = child.next_word()
        ended = child.ended()
    assert (word, ended.code) == (("ended", "Done."), 0), ended.stderr
    return outcome(folder)


def outcome(folder: Path) -> str:
    """What the ledger tells."""
    entries, _ = read_ledger(folder / "ledger", 0)
    times = Counter(entry.key for entry in entries)
    calls = Counter(entry.id for entry in entries if entry.kind == "began")
    assert times.keys() >= {"model 0", "model 1", "model 2"}
    if times["model 0"] > 1:
        return ANEW
    assert times["model 1"] == 1
    if calls["0-look"] == 2 and times["charge 1"] == 1:
        assert not any(entry.nonce == "1" for entry in entries if entry.kind == "asked")
        return REPEATED
    assert max(times["charge 1"], times["look 0"], times["look 1"]) == 1
    if any(entry.nonce == "1" for entry in entries if entry.kind == "asked"):
        return UNKNOWN
    return KEPT


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    with memory_folder(tmp_path) as chosen:
        yield chosen


def cell(row: str, durability: Level) -> str:
    return TABLE[row][LEVELS.index(durability)]


@pytest.mark.parametrize("durability", LEVELS)
@pytest.mark.parametrize(
    ("row", "point"), [("a tool raises an error", "an error"), ("the model fails for good", "the model")]
)
def test_errors(folder: Path, row: str, point: str, durability: Level) -> None:
    """F58: the cells of the README's table on errors."""
    with Child(survivor, str(folder), durability, point) as child:
        word = child.next_word()
    if point == "an error":
        assert word == ("ended", "Done.")
        assert outcome(folder) == cell(row, durability)
    else:
        assert word == ("cut off", "RuntimeError") or word == ("cut off", "ModelUnavailable")
        assert goes_on(folder, durability) == cell(row, durability)


@pytest.mark.parametrize("durability", LEVELS)
@pytest.mark.parametrize(
    ("row", "point", "number"),
    [
        ("Ctrl-C in the middle of a tool", "charge", signal.SIGINT),
        ("SIGTERM in the middle of a tool", "charge", signal.SIGTERM),
        ("`kill -9` between two steps", "between two steps", signal.SIGKILL),
        ("`kill -9` in the middle of a tool", "charge", signal.SIGKILL),
        ("`kill -9` in the middle of an idempotent tool", "look", signal.SIGKILL),
    ],
)
def test_signals(folder: Path, row: str, point: str, number: signal.Signals, durability: Level) -> None:
    """F58: ... on signals and kills."""
    with Child(survivor, str(folder), durability, point) as child:
        os.kill(child.expect("at"), number)
        child.ended()
    assert goes_on(folder, durability) == cell(row, durability)


@pytest.mark.parametrize("durability", LEVELS)
def test_a_deleted_folder(folder: Path, durability: Level) -> None:
    """F58: ... on a folder that somebody deletes."""
    with Child(survivor, str(folder), durability, "charge") as child:
        child.expect("at")
        for agent in (folder / "agent_workspace" / "agents").iterdir():
            shutil.rmtree(agent)
        child.tell("go on")
        assert child.expect("ended") == "Done."
        # It would wait for the folder until the deadline of closing.
    assert outcome(folder) == KEPT
    assert not [*(folder / "agent_workspace" / "agents").iterdir()]


@pytest.mark.parametrize("durability", LEVELS)
def test_a_second_process(folder: Path, durability: Level) -> None:
    """F58: ... on two processes."""
    with Child(survivor, str(folder), durability, "charge") as first:
        pid = first.expect("at")
        with Child(survivor, str(folder), durability, "") as second:
            ended = second.ended()
        assert ended.code != 0
        assert "AgentInUse" in ended.stderr
        assert str(pid) in ended.stderr
        first.tell("go on")
        assert first.expect("ended") == "Done."
    assert outcome(folder) == KEPT


def test_the_readme_has_the_table_that_came_out() -> None:
    """F58: the README's table says what came out here."""
    text = (PROJECT / "README.md").read_text(encoding="utf-8")
    if "`kill -9` between two steps" not in text:
        pytest.skip("the README has no such table yet")
    for row, cells in TABLE.items():
        assert f"| {row} | {' | '.join(cells)} |" in text
