"""``overwinter pending``, ``approve``, ``deny`` and ``answer`` where those who wait are members of swarms."""

from __future__ import annotations

import asyncio
import json
import shlex
from typing import TYPE_CHECKING, Any

import pytest
from tests.support.commands import agent_of, look

from overwinter import Runtime, tool
from overwinter.agents.asking import ask_human
from overwinter.agents.swarms import ConcurrentWorkflow, SequentialWorkflow
from overwinter.testing import ScriptedModel

if TYPE_CHECKING:
    from pathlib import Path

    from typer.testing import Result

call = ScriptedModel.call


@tool(requires_approval=True)
def pay(amount: int) -> str:
    """Pay an amount."""
    return f"paid {amount}"


def desk(session: str, *replies: Any) -> SequentialWorkflow[str]:
    """A swarm whose payer, a member of a member, wants to pay unless it replies otherwise."""
    payer = agent_of("payer", *(replies or [[call("pay", {"amount": 3})]]), tools=[pay], session=session)
    cases = SequentialWorkflow("cases", [payer], session=session)
    front = agent_of("front", "To the cases.", session=session)
    return SequentialWorkflow("desk", [front, cases], session=session, autosave=True)


def pair() -> ConcurrentWorkflow[str]:
    """A swarm of which two members wait, with calls of the same id."""
    wants = [call("pay", {"amount": 3})]
    one, other = (agent_of(name, wants, "Paid.", tools=[pay]) for name in ("one", "other"))
    return ConcurrentWorkflow("pair", [one, other], autosave=True)


async def work(workspace: Path, *swarms: Any) -> None:
    async with Runtime(workspace) as runtime:
        for swarm in swarms:
            await runtime.spawn(swarm)
            await swarm.run("Pay them.", run_id="monday")  # the same id in all of them


@pytest.fixture
def workspace(workspace_dir: Path) -> Path:
    """Two desks, of ann and of bob, in each of which the payer waits."""
    asyncio.run(work(workspace_dir, desk("ann"), desk("bob")))
    return workspace_dir


def say(workspace: Path, *arguments: str, code: int = 0) -> Result:
    return look(*arguments, "-w", str(workspace), code=code)


def commands(told: str) -> list[list[str]]:
    """The commands that were printed, without their first word."""
    lines = [line.strip() for line in told.splitlines()]
    return [shlex.split(line)[1:] for line in lines if line.startswith("overwinter ")]


def pending(workspace: Path) -> list[tuple[str, str, str | None]]:
    found = json.loads(say(workspace, "pending", "--json").stdout)["pending"]
    return [(one["agent_name"], one["session"], one["swarm"]) for one in found]


class TestPending:
    def test_the_commands_that_it_prints_work_as_they_are_printed(self, workspace: Path) -> None:
        """Y49: each command that pending prints names its session and its workspace, and works as it is printed."""
        assert pending(workspace) == [("payer", "ann", "desk"), ("payer", "bob", "desk")]
        printed = commands(say(workspace, "pending").stdout)
        assert [words[:3] for words in printed] == [
            ["approve", "payer", "call_1"],
            ["deny", "payer", "call_1"],
        ] * 2
        look(*printed[0])
        look(*printed[3])
        assert pending(workspace) == []

    def test_names_are_quoted_for_a_shell(self, workspace_dir: Path) -> None:
        """Y49: a name with a blank or a quote is quoted, and one that cannot be shown is named by its folder."""
        for name in ("the payer's", "pay\x1b[31mer"):
            agent = agent_of(name, [call("ask_human", {"question": "Why?"})], tools=[ask_human])
            asyncio.run(work(workspace_dir, agent))
        printed = commands(say(workspace_dir, "pending").stdout)
        assert [words[0] for words in printed] == ["deny", "answer"] * 2
        look(*printed[1])
        look(*printed[2])
        assert pending(workspace_dir) == []


class TestDeciding:
    def test_a_decision_about_a_swarm_reaches_its_members(self, workspace: Path) -> None:
        """Y50: approve, deny and answer of a swarm reach the member that waits in its run, however deep it is."""
        told = say(workspace, "approve", "desk", "--session", "bob").stdout
        assert told.startswith("payer: pay approved\n")
        assert pending(workspace) == [("payer", "ann", "desk")]
        assert "may be any of 2 swarms" in say(workspace, "approve", "desk", code=2).stderr
        again = say(workspace, "approve", "desk", "--session", "bob", code=1).stderr
        assert "no call of swarm 'desk' waits for a person, and none of its members'" in again

    def test_what_goes_on_is_the_outermost_swarm(self, workspace: Path) -> None:
        """Y51: once all is decided, the command that goes on with the outermost swarm is told, with its session."""
        told = say(workspace, "approve", "payer", "--session", "bob").stdout
        goes_on = "overwinter resume desk --session bob --from MODULE:ATTRIBUTE --workspace "
        assert f"Go on with:  {goes_on}" in told
        asked = say(workspace, "resume", "payer", "--session", "bob", code=2).stderr
        assert goes_on in " ".join(asked.split())

    def test_what_goes_on_at_once_is_the_outermost_swarm(
        self, workspace: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Y51: with --resume it is the outermost swarm that goes on at once."""
        monkeypatch.chdir(tmp_path)
        (tmp_path / "desks_of_a_program.py").write_text(
            "from tests.unit.cli.test_people_of_swarms import desk\nbob = desk('bob', 'Paid.')\n"
        )
        made_by = ("--resume", "--from", "desks_of_a_program:bob")
        assert "Paid." in say(workspace, "approve", "desk", "--session", "bob", *made_by).stdout
        assert (
            json.loads(say(workspace, "show", "desk", "--session", "bob", "--json").stdout)["status"]
            == "finished"
        )

    def test_where_several_wait_the_commands_that_name_one_are_told(self, workspace_dir: Path) -> None:
        """Y50: where several members wait, the commands that mean one of them are told; nothing is decided."""
        asyncio.run(work(workspace_dir, pair()))
        told = say(workspace_dir, "deny", "pair", "call_1", code=2).stderr
        assert "several members of swarm 'pair' wait for a person; name one:" in told
        ways = [line for line in told.splitlines() if "overwinter deny" in line]
        assert ["deny one call_1" in ways[0], "deny other call_1" in ways[1]] == [True, True]
        left = say(workspace_dir, "approve", "one").stdout
        assert "1 call more waits for you" in left
        look(*commands(left)[0])
        assert pending(workspace_dir) == []
