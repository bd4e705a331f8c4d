"""The demo's proof: what the ledger says, held against what is on record."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

import anyio
import pytest
from rich.console import Console

from overwinter import Agent, Runtime, ToolContext
from overwinter.agents.models.protocol import Message, ToolCall
from overwinter.cli.demo.ledger import Entry, Ledger, digest_of_reply, digest_of_request, read_ledger
from overwinter.cli.demo.plug import Plug
from overwinter.cli.demo.proof import Account, print_proof, prove
from overwinter.cli.demo.wire import AtThePlug, Note, decode_message
from overwinter.cli.demo.witness import Witness, WitnessedModel
from overwinter.testing import ScriptedModel

if TYPE_CHECKING:
    from pathlib import Path

    from overwinter.cli.demo.proof import Proof

pytestmark = pytest.mark.anyio

HUNG = AtThePlug("reader", "note_finding", "c2")


def entry(what: Any, part: int, **told: Any) -> Entry:
    return Entry(what=what, agent="reader", demo="d", part=part, **told)


def a_ledger(*more: Entry) -> list[Entry]:
    """Two replies and two tools before the kill, the second of which hung; then one reply more."""
    return [
        entry("asked", 1, request="q1"),
        entry("answered", 1, request="q1", reply="r1"),
        entry("did", 1, tool="read_document", call="c1"),
        entry("asked", 1, request="q2"),
        entry("answered", 1, request="q2", reply="r2"),
        entry("did", 1, tool="note_finding", call="c2"),
        *more,
        entry("asked", 2, request="q3"),
        entry("answered", 2, request="q3", reply="r3"),
    ]


BEFORE = Account({("reader", "r1"), ("reader", "r2")}, {("reader", "c1")})
AFTER = Account({("reader", "r1"), ("reader", "r2"), ("reader", "r3")}, {("reader", "c1")})


def shown(proof: Proof) -> str:
    out = io.StringIO()
    print_proof(Console(file=out, width=200), proof, "ledger.jsonl")
    return out.getvalue()


def test_what_was_neither_lost_nor_repeated_is_proven() -> None:
    """T30: the proof holds when every record is in the ledger, is still there at the end, and was not made again."""
    proof = prove(a_ledger(), BEFORE, AFTER, HUNG)
    assert proof.holds
    assert (proof.replies, proof.results, proof.times) == (2, 1, 1)
    said = shown(proof)
    assert "✓ 2 model replies on record at the kill: none lost, none asked for again" in said
    assert "✓ 1 tool result on record at the kill: none lost, none done again" in said
    assert "✓ note_finding of reader, in mid-air at the kill: done once" in said
    assert "✗" not in said


def test_a_call_under_way_may_be_made_again() -> None:
    """T30: a model call that had no recorded reply may be made again, and that is said."""
    under_way = entry("asked", 1, request="q9")
    proof = prove(a_ledger(under_way, entry("asked", 2, request="q9")), BEFORE, AFTER, HUNG)
    assert proof.holds
    assert "1 model call had no recorded reply yet" in shown(proof)


@pytest.mark.parametrize(
    ("ledger", "before", "after"),
    [
        (a_ledger(entry("asked", 2, request="q1")), BEFORE, AFTER),
        (a_ledger(entry("did", 2, tool="read_document", call="c1")), BEFORE, AFTER),
        (a_ledger(entry("did", 2, tool="note_finding", call="c2")), BEFORE, AFTER),
        (a_ledger(), BEFORE, Account(AFTER.replies - {("reader", "r1")}, AFTER.results)),
        (a_ledger(), BEFORE, Account(AFTER.replies, set())),
        (a_ledger(), Account({("reader", "r8")}, set()), Account({("reader", "r8")}, set())),
        (a_ledger(), Account(set(), set()), AFTER),
        ([], BEFORE, AFTER),
    ],
    ids=[
        "reply again",
        "tool again",
        "tool twice",
        "reply lost",
        "result lost",
        "unknown",
        "nothing",
        "empty",
    ],
)
def test_the_proof_can_fail(ledger: list[Entry], before: Account, after: Account) -> None:
    """T31: a reply asked for again, a tool run again, and a record that was lost each make the proof fail."""
    proof = prove(ledger, before, after, HUNG)
    assert not proof.holds
    assert "✗" in shown(proof)


def test_the_ledger_is_appended_to_and_read_by_demo(tmp_path: Path) -> None:
    """T32: each line of the ledger is appended whole, and a later demo reads only its own; junk is passed over."""
    path = tmp_path / "ledger.jsonl"
    Ledger(path, "one", 1).asked("reader", "q1")
    with path.open("ab") as file:
        file.write(b"junk\n\xff\n")
    ledger = Ledger(path, "two", 2)
    ledger.answered("reader", "q1", "r1")
    ledger.did("reader", "note_finding", "c1")
    assert [(line.what, line.part) for line in read_ledger(path, "two")] == [("answered", 2), ("did", 2)]
    assert [line.what for line in read_ledger(path, "one")] == ["asked"]
    assert read_ledger(tmp_path / "nothing", "one") == []
    broken = Ledger(tmp_path / "no" / "ledger.jsonl", "one", 1)
    broken.asked("reader", "q1")
    assert broken.error == "No such file or directory"


def test_requests_and_replies_are_told_apart() -> None:
    """T32: what tells one request, or reply, from another is what is said in it, with the ids of its calls."""
    calls = (ToolCall("c1", "read", "{}"),)
    told = [Message("user", "Hello."), Message("assistant", "", calls)]
    assert digest_of_request(told) == digest_of_request([*told])
    assert digest_of_request(told) != digest_of_request(told[:1])
    assert digest_of_reply(told[1]) != digest_of_reply(
        Message("assistant", "", (ToolCall("c2", "read", "{}"),))
    )
    assert digest_of_reply(Message("assistant", "Yes.")) != digest_of_reply(Message("assistant", "No."))


async def test_the_model_and_the_tools_write_the_ledger(workspace_dir: Path, tmp_path: Path) -> None:
    """T32: the model writes its lines around its answer, and a tool when it has done what it does."""
    ledger = Ledger(tmp_path / "ledger.jsonl", "d", 1)
    witness = Witness(ledger)

    async def read(context: ToolContext) -> str:
        """Read."""
        await witness.did("read", context)
        return "read"

    model = ScriptedModel([[ScriptedModel.call("read")], "Done."])
    agent = Agent("reader", model=WitnessedModel(model, "reader", ledger), tools=[read], autosave=True)
    async with Runtime(workspace_dir) as runtime:
        await runtime.spawn(agent)
        await agent.run("Read.")
    entries = await anyio.to_thread.run_sync(read_ledger, tmp_path / "ledger.jsonl", "d")
    assert [line.what for line in entries] == ["asked", "answered", "did", "asked", "answered"]
    (outcome,) = agent.state.tool_results
    assert entries[2].call == outcome.call_id
    replies = [digest_of_reply(said) for said in agent.state.conversation if said.role == "assistant"]
    assert [line.reply for line in entries if line.what == "answered"] == replies


async def test_the_plug_is_pulled_once_and_in_the_middle(workspace_dir: Path) -> None:
    """T33: the plug is offered once, in the middle of the work, at a tool that may not be repeated, on a sound disk."""
    pulled: list[tuple[str, str, str]] = []
    state = {"progress": 0.1, "saves": False}
    plug = Plug(
        lambda: float(state["progress"]),
        lambda: bool(state["saves"]),
        lambda *call: pulled.append(call),
        patience=0.0,
    )
    witness = Witness(plug=plug)

    async def use(tool: str) -> None:
        async def act(context: ToolContext) -> str:
            """Act."""
            await witness.did(tool, context)
            return "done"

        agent = Agent(
            "reader", model=ScriptedModel([[ScriptedModel.call("act")], "Done."]), tools=[act], autosave=False
        )
        await agent.run("Act.")

    await use("note_finding")
    state["progress"] = 0.5
    await use("note_finding")
    await use("read_document")
    assert pulled == []
    state["saves"] = True
    await use("note_finding")
    await use("note_finding")
    assert [call[:2] for call in pulled] == [("reader", "note_finding")]


def test_what_is_no_message_is_passed_over() -> None:
    """T34: what a library prints between the swarm's messages is no message."""
    assert decode_message(b'{"type":"note","text":"hello"}\n') == Note("hello")
    for line in (b"Give feedback!\n", b"\xff\n", b"{}\n", b'{"type":"song"}\n'):
        assert decode_message(line) is None
