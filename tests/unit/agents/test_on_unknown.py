"""Calls that had begun, were cut off, and may not be repeated."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import anyio
import pytest
from tests.support.disk import HeldDisk

from overwinter import Agent, RunInterrupted, RunPaused, Runtime, tool
from overwinter.errors import OutcomeUnknown
from overwinter.testing import ScriptedModel

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from overwinter.agents.tools import OnUnknown, Tool

pytestmark = pytest.mark.anyio

call = ScriptedModel.call


class Mail:
    """A tool that is cut off the first time, and what it did."""

    def __init__(self, workspace_dir: Path, *, policy: OnUnknown, of_tool: OnUnknown | None = None) -> None:
        self.sent: list[str] = []
        self.workspace_dir = workspace_dir
        self.policy: OnUnknown = policy
        began = self.began = anyio.Event()

        @tool(on_unknown=of_tool)
        async def send(to: str) -> str:
            self.sent.append(to)
            began.set()
            if len(self.sent) == 1:
                await anyio.sleep_forever()
            return f"sent to {to}"

        self.send: Tool[..., Any] = send

    def agent(self, *replies: Any) -> Agent[str]:
        return Agent(
            "a",
            model=ScriptedModel(replies),
            tools=[self.send],
            on_unknown=self.policy,
            autosave=True,
            workspace_dir=self.workspace_dir,
        )

    async def is_cut_off(self) -> None:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self.agent([call("send", {"to": "ann"}), call("send", {"to": 3})]).run, "write")
            await self.began.wait()
            tasks.cancel_scope.cancel()


def outputs(agent: Agent[Any]) -> list[str]:
    return [entry.content for entry in agent.state.conversation if entry.role == "tool"]


@pytest.mark.parametrize(("policy", "of_tool"), [("tell_model", None), ("raise", "tell_model")])
async def test_the_model_is_told(workspace_dir: Path, policy: OnUnknown, of_tool: OnUnknown | None) -> None:
    """Q13: with tell_model, the default, the model is told that the outcome of a call is unknown."""
    mail = Mail(workspace_dir, policy=policy, of_tool=of_tool)
    await mail.is_cut_off()
    agent = mail.agent("I asked.")
    assert (await agent.resume()).output == "I asked."
    assert "outcome is unknown" in outputs(agent)[0]
    assert mail.sent == ["ann"]


@pytest.mark.parametrize(("policy", "of_tool"), [("raise", None), ("ask", "raise")])
async def test_it_is_an_error_until_somebody_says_what_happened(
    workspace_dir: Path, policy: OnUnknown, of_tool: OnUnknown | None
) -> None:
    """Q14: with raise, resume() raises OutcomeUnknown until a person says what became of the call."""
    mail = Mail(workspace_dir, policy=policy, of_tool=of_tool)
    await mail.is_cut_off()
    agent = mail.agent("Fine.")
    for _ in range(2):
        with pytest.raises(OutcomeUnknown, match=r"send.*ann.*answer.*approve.*deny") as raised:
            await agent.resume()
        assert (raised.value.call_id, raised.value.tool) == ("call_1", "send")
        assert "ann" in raised.value.arguments
        assert agent.status == "failed"
        (waiting,) = agent.pending()
        assert waiting.kind == "unknown"
        agent = mail.agent("Fine.")
    await agent.answer("it was sent", raised.value.call_id)
    assert (await mail.agent("Fine.").resume()).output == "Fine."
    assert mail.sent == ["ann"]


async def test_the_run_pauses_and_a_person_says_that_it_happened(workspace_dir: Path) -> None:
    """Q15: with ask, the run pauses until a person says what became of the call: what that is, is its result."""
    mail = Mail(workspace_dir, policy="ask")
    await mail.is_cut_off()
    agent = mail.agent("Fine.")
    paused = await agent.resume()
    assert (paused.status, paused.stop_reason) == ("paused", "unknown")
    with pytest.raises(RunPaused, match=r"what became of send.*answer.*approve.*deny"):
        _ = paused.output
    await agent.answer("it was sent")
    assert (await agent.resume()).output == "Fine."
    assert outputs(agent)[0] == "it was sent"
    assert mail.sent == ["ann"]


async def test_the_person_says_that_it_did_not_happen_and_it_runs_once_more(workspace_dir: Path) -> None:
    """Q16: a person who approves a call of unknown outcome says that it did not happen: it runs, once."""
    mail = Mail(workspace_dir, policy="ask")
    await mail.is_cut_off()
    agent = mail.agent()
    await agent.resume()
    await agent.approve()
    agent = mail.agent("Fine.")
    assert (await agent.resume()).output == "Fine."
    assert outputs(agent)[0] == "sent to ann"
    assert mail.sent == ["ann", "ann"]


async def test_the_person_gives_the_call_up(workspace_dir: Path) -> None:
    mail = Mail(workspace_dir, policy="ask")
    await mail.is_cut_off()
    agent = mail.agent("Fine.")
    await agent.resume()
    await agent.deny("nobody knows")
    assert (await agent.resume()).output == "Fine."
    assert outputs(agent)[0] == "Error: denied by a person: nobody knows"
    assert mail.sent == ["ann"]


async def test_what_was_run_again_and_cut_off_again_is_asked_about_again(workspace_dir: Path) -> None:
    """Q17: a call of unknown outcome that was run again and cut off again is asked about again."""
    mail = Mail(workspace_dir, policy="ask")
    began = anyio.Event()

    @tool
    async def send(to: str) -> str:
        mail.sent.append(to)
        mail.began.set()
        if len(mail.sent) == 2:
            began.set()
        await anyio.sleep_forever()
        return ""

    mail.send = send
    await mail.is_cut_off()
    agent = mail.agent()
    await agent.resume()
    await agent.approve()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(agent.resume)
        await began.wait()
        tasks.cancel_scope.cancel()
    agent = mail.agent()
    assert (await agent.resume()).stop_reason == "unknown"
    assert mail.sent == ["ann", "ann"]


async def test_a_new_policy_counts_for_what_was_asked_under_the_old_one(workspace_dir: Path) -> None:
    mail = Mail(workspace_dir, policy="ask")
    await mail.is_cut_off()
    await mail.agent().resume()
    mail.policy = "tell_model"
    agent = mail.agent("Fine.")
    assert (await agent.resume()).output == "Fine."
    assert "outcome is unknown" in outputs(agent)[0]
    assert not agent.pending()


async def test_a_call_that_did_not_get_to_begin_is_known_not_to_have(workspace_dir: Path) -> None:
    """Q18: a run that is cancelled while its calls wait for the disk leaves them as not begun."""
    mail = Mail(workspace_dir, policy="raise")
    mail.sent.append("so that it is not held up")
    disk = HeldDisk()
    async with Runtime(workspace_dir, files=disk) as runtime:
        agent = mail.agent(call("send", {"to": "ann"}), "Fine.")
        await runtime.spawn(agent)
        disk.hold()
        async with anyio.create_task_group() as tasks:

            async def run() -> None:
                with pytest.raises(RunInterrupted):
                    await agent.run("write")

            tasks.start_soon(run)
            await until(lambda: len(agent.state.conversation) == 2)
            await disk.until_stuck()
            tasks.start_soon(agent.cancel)
            await until(lambda: agent.state.status == "interrupted")
            disk.let_go()
        assert len(mail.sent) == 1
        assert (await agent.resume()).output == "Fine."
    assert mail.sent[1:] == ["ann"]


async def until(true: Callable[[], bool]) -> None:
    with anyio.fail_after(60):
        while not true():
            await anyio.lowlevel.checkpoint()
