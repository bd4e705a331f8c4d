"""``overwinter pending``, ``approve``, ``deny`` and ``answer``; ``history``, ``diff`` and ``fork``."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import types
from typing import TYPE_CHECKING, Any

import pytest
from tests.support.commands import agent_of, folder_of, look, run_once

from overwinter import Agent, Runtime, tool
from overwinter.agents.asking import ask_human
from overwinter.testing import ScriptedModel

if TYPE_CHECKING:
    from pathlib import Path

    from typer.testing import Result

call = ScriptedModel.call


@tool(requires_approval=True)
def pay(amount: int) -> str:
    """Pay an amount."""
    return f"paid {amount}"


def note(amount: int) -> str:
    """Note an amount."""
    return f"noted {amount}"


def payer(*replies: Any) -> Agent[str]:
    return agent_of("payer", *replies, tools=[pay])


def asker(*replies: Any) -> Agent[str]:
    return agent_of("asker", *replies, tools=[ask_human])


@pytest.fixture
def workspace(workspace_dir: Path) -> Path:
    """One agent that wants to pay, twice, one that asks, and one that wants nothing."""
    wants = [call("pay", {"amount": 3}), call("pay", {"amount": 5})]
    question = call("ask_human", {"question": "Which \x1b[31mcolour?"})
    asyncio.run(run_once(workspace_dir, payer(wants), asker([question]), agent_of("idler")))
    return workspace_dir


def say(workspace: Path, *arguments: str, code: int = 0) -> Result:
    return look(*arguments, "-w", str(workspace), code=code)


def pending(workspace: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(say(workspace, "pending", "--json").stdout)["pending"]
    return found


def resumed(workspace: Path, agent: Agent[str]) -> Agent[str]:
    async def work() -> None:
        async with Runtime(workspace) as runtime:
            await runtime.spawn(agent)
            await agent.resume()

    asyncio.run(work())
    return agent


def test_pending_lists_what_waits(workspace: Path) -> None:
    """T13: pending lists every call of a workspace that waits for a person, and the command that decides it."""
    said = say(workspace, "pending").stdout
    assert 'pay({"amount":3}) (to be approved or denied)' in said
    assert "overwinter approve payer " in said
    assert "overwinter deny payer " in said
    assert "overwinter answer asker TEXT " in said
    assert "(to be answered)" in said
    assert "\x1b" not in said
    assert [(one["agent_name"], one["kind"]) for one in pending(workspace)] == [
        ("asker", "question"),
        ("payer", "approval"),
        ("payer", "approval"),
    ]


def test_show_tells_what_an_agent_waits_for(workspace: Path) -> None:
    """T13: show tells what the agent waits for, and at which limit it is paused."""
    shown = " ".join(say(workspace, "show", "payer").stdout.split())
    assert 'waits for pay({"amount":3}) (to be approved or denied), call ' in shown
    assert len(json.loads(say(workspace, "show", "payer", "--json").stdout)["pending"]) == 2
    limited = agent_of("limited", [call("note", {"amount": 1})], tools=[note], max_loops=1)
    asyncio.run(run_once(workspace, limited))
    assert "paused at max_loops" in " ".join(say(workspace, "show", "limited").stdout.split())


def test_nothing_pending_is_no_error(workspace_dir: Path) -> None:
    """T13: where nobody waits that is said."""
    asyncio.run(run_once(workspace_dir, agent_of("idler")))
    assert "Nobody in " in say(workspace_dir, "pending").stdout
    assert pending(workspace_dir) == []


def test_what_a_person_says_is_heard_in_another_process(workspace: Path) -> None:
    """T14: approve and deny are on record at once; the run goes on with them, and each call is decided once."""
    first, second = (one["call_id"] for one in pending(workspace) if one["agent_name"] == "payer")
    assert "1 call more waits for you" in say(workspace, "approve", "payer", first).stdout
    assert "resume payer" in say(workspace, "deny", "payer", second, "--reason", "too much").stdout
    assert say(workspace, "approve", "payer", first, code=1).stderr.startswith(
        "error: no call of agent 'payer'"
    )
    agent = resumed(workspace, payer("Paid."))
    outputs = {outcome.call_id: outcome.output for outcome in agent.state.tool_results}
    assert outputs[first] == "paid 3"
    assert "too much" in outputs[second]
    assert agent.status == "finished"


def test_an_answer_is_heard(workspace: Path) -> None:
    """T14: an answer becomes the result of the call that asked."""
    assert "answered" in say(workspace, "answer", "asker", "blue").stdout
    agent = resumed(workspace, asker("Painted."))
    assert [outcome.output for outcome in agent.state.tool_results] == ["blue"]


def test_text_and_call_may_change_places(workspace: Path) -> None:
    """T14: `answer NAME CALL_ID TEXT` is understood as well as `answer NAME TEXT CALL_ID`."""
    (call_id,) = (one["call_id"] for one in pending(workspace) if one["agent_name"] == "asker")
    say(workspace, "answer", "asker", call_id, "blue")
    agent = resumed(workspace, asker("Painted."))
    assert [outcome.output for outcome in agent.state.tool_results] == ["blue"]


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (["approve", "payer"], 2, "several calls of agent 'payer' wait for a person, name one; "),
        (["approve", "payer", "call_99"], 1, "no call 'call_99' of agent 'payer' waits for a person; "),
        (["approve", "asker"], 1, "approve does not fit what agent 'asker' waits for; "),
        (["answer", "payer", "yes"], 1, "answer does not fit what agent 'payer' waits for; "),
        (["deny", "idler"], 1, "no call of agent 'idler' waits for a person"),
        (["deny", "nobody"], 2, "there is no agent 'nobody' in "),
    ],
)
def test_what_cannot_be_decided_is_refused(
    workspace: Path, arguments: list[str], code: int, told: str
) -> None:
    """T15: what is not waited for is refused in one line that lists what is, and nothing is written."""
    journal = folder_of(workspace, "payer") / "journal" / "000001.jsonl"
    before = journal.read_bytes()
    refused = say(workspace, *arguments, code=code)
    assert refused.stderr.startswith(f"error: {told}")
    assert refused.stderr.count("\n") == 1
    assert journal.read_bytes() == before


def test_an_agent_at_work_is_answered_where_it_works(workspace: Path) -> None:
    """T15: while a process holds the agent the command writes nothing, and says which process it is."""
    agent = asker("Painted.")

    async def work() -> Result:
        async with Runtime(workspace) as runtime:
            await runtime.spawn(agent)
            await agent.load()
            return await asyncio.to_thread(say, workspace, "answer", "asker", "blue", code=1)

    assert f"is at work in process {os.getpid()} on " in asyncio.run(work()).stderr
    assert len(pending(workspace)) == 3


def test_with_resume_it_goes_on_at_once(workspace_dir: Path) -> None:
    """T14: with --resume the run goes on at once, or it is said why it cannot from here."""
    asyncio.run(run_once(workspace_dir, payer([call("pay", {"amount": 3})])))
    refused = say(workspace_dir, "approve", "payer", "--resume", code=2)
    assert "name the program that makes it with --from module:attribute" in refused.stderr
    assert pending(workspace_dir) == []


def test_with_resume_and_a_program_the_call_runs(
    workspace_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """T14: with --resume and the program, the call that was approved runs, and the run ends."""
    asyncio.run(run_once(workspace_dir, payer([call("pay", {"amount": 3})])))
    program = types.ModuleType("the_payers_program")
    program.make = lambda name: payer("Paid.")  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "the_payers_program", program)
    done = say(workspace_dir, "approve", "payer", "--resume", "--from", "the_payers_program:make")
    assert done.stdout == "payer: pay approved\nPaid.\n"


def test_history_tells_every_step(workspace: Path) -> None:
    """T16: history tells each step with its number, time and what happened; --json has them all."""
    lines = say(workspace, "history", "payer").stdout.splitlines()
    assert lines[0].split() == ["step", "at", "loop", "what", "told"]
    assert [line.split()[0] for line in lines[1:]] == [str(number) for number in range(1, len(lines))]
    assert "model replied" in "\n".join(lines)
    assert all(len(line) <= 80 for line in lines)
    steps = json.loads(say(workspace, "history", "payer", "--json").stdout)["steps"]
    assert [step["step"] for step in steps] == [*range(1, len(lines))]
    short = say(workspace, "history", "payer", "--last", "2").stdout
    assert "earlier steps not shown; --all shows them" in short
    assert len(short.splitlines()) == 5


def test_diff_tells_what_changed(workspace: Path) -> None:
    """T17: diff tells what changed between two steps; a step that is not there is refused with those there are."""
    said = say(workspace, "diff", "asker", "1", "3").stdout
    assert said.splitlines()[0] == "step 1 -> step 3"
    assert "+ user" in said
    assert "\x1b" not in said
    assert json.loads(say(workspace, "diff", "asker", "1", "3", "--json").stdout)["before"] == 1
    refused = say(workspace, "diff", "asker", "1", "99", code=2)
    assert (
        "agent 'asker' has no step 99, or it is not kept any more; it has the steps 1 to " in refused.stderr
    )


def test_a_fork_is_an_agent_of_its_own(workspace: Path) -> None:
    """T18: fork makes a new agent that knows what the other knew at a step, and leaves the other as it was."""
    before = say(workspace, "history", "payer", "--json").stdout
    said = say(workspace, "fork", "payer", "--at", "3", "--name", "copy").stdout
    assert said.startswith("copy begins where payer, step 3 was: interrupted")
    assert say(workspace, "history", "payer", "--json").stdout == before
    copy = json.loads(say(workspace, "show", "copy", "--json").stdout)
    assert copy["conversation"][0]["content"] == "Do it."
    assert copy["configuration"]["tools"][0]["name"] == "pay"
    assert copy["agent_id"] != json.loads(say(workspace, "show", "payer", "--json").stdout)["agent_id"]
    assert "sound" in say(workspace, "verify").stdout
    agent = resumed(workspace, agent_of("copy", "Better not.", tools=[pay]))
    assert agent.state.conversation[-1].content == "Better not."


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (["payer", "--name", "asker"], 1, "there is an agent 'asker' already, in "),
        (["payer", "--name", " "], 2, "--name is empty"),
        (["payer", "--name", "copy", "--at", "99"], 2, "has no step 99"),
    ],
)
def test_a_fork_that_cannot_be_is_refused(
    workspace: Path, arguments: list[str], code: int, told: str
) -> None:
    """T18: a name that is taken, and a step that is not there, are refused, and no folder is made."""
    assert told in say(workspace, "fork", *arguments, code=code).stderr
    assert not list((workspace / "agents").glob("copy-*"))
