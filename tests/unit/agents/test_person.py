"""A person in the loop: calls that wait for a word, over pauses and restarts."""

from __future__ import annotations

import json
import shutil
from functools import partial
from typing import TYPE_CHECKING, Any

import anyio
import pytest

from overwinter import Agent, AgentPaused, RunInterrupted, RunPaused, Runtime, Tool, ask_human, tool
from overwinter.errors import ConfigurationError, NothingPending, StateNotFound, ToolDefinitionError
from overwinter.events import Event, PersonAnswered, PersonAsked, RunEnded
from overwinter.testing import ScriptedModel

if TYPE_CHECKING:
    from pathlib import Path

    from overwinter.agents.profile import Durability

pytestmark = pytest.mark.anyio

call = ScriptedModel.call


class Effects:
    """Tools, and what they did."""

    def __init__(self) -> None:
        self.done: list[str] = []
        self.began = anyio.Event()
        self.may_end = anyio.Event()

        @tool(requires_approval=True)
        async def deploy(to: str) -> str:
            self.done.append(to)
            return f"deployed to {to}"

        @tool
        async def look() -> str:
            self.done.append("look")
            return "all green"

        @tool
        async def slow() -> str:
            self.began.set()
            await self.may_end.wait()
            return "at last"

        self.tools: list[Tool[..., Any]] = [deploy, look, slow, ask_human]


def outputs(agent: Agent[Any]) -> list[str]:
    return [entry.content for entry in agent.state.conversation if entry.role == "tool"]


def copied(workspace_dir: Path) -> Path:
    """The workspace as a process that dies now would leave it; the logs first, as their records move."""
    copy = workspace_dir.with_name(f"{workspace_dir.name}-copy")
    shutil.copytree(workspace_dir / ".runtimes", copy / ".runtimes")
    shutil.copytree(
        workspace_dir, copy, dirs_exist_ok=True, ignore=shutil.ignore_patterns(".runtimes", "*.tmp")
    )
    return copy


async def test_a_call_that_needs_approval_waits_and_the_others_run(workspace_dir: Path) -> None:
    """Q1: a call that needs approval waits, the others of its reply run at once, and the run pauses."""
    effects = Effects()
    model = ScriptedModel([[call("deploy", {"to": "prod"}), call("look")], "It is out."])
    agent = Agent("a", model=model, tools=effects.tools, autosave=True, workspace_dir=workspace_dir)
    paused = await agent.run("ship it")
    assert (paused.status, paused.stop_reason) == ("paused", "approval")
    assert effects.done == ["look"]
    (waiting,) = agent.pending()
    assert (waiting.call_id, waiting.kind, waiting.tool) == ("call_1", "approval", "deploy")
    assert json.loads(waiting.arguments) == {"to": "prod"}
    assert paused.pending == (waiting,)
    with pytest.raises(RunPaused, match=r"deploy.*call_1.*approve.*deny.*resume") as raised:
        _ = paused.output
    assert raised.value.limit == "approval"
    with pytest.raises(AgentPaused, match=r"waits for a person.*approve"):
        await agent.run("something else")

    await agent.approve()
    assert effects.done == ["look"]
    assert not agent.pending()
    result = await agent.resume()
    assert (result.status, result.output, effects.done) == ("finished", "It is out.", ["look", "prod"])
    assert outputs(agent) == ["deployed to prod", "all green"]


async def test_a_denied_call_does_not_run_and_the_model_is_told_why() -> None:
    """Q2: a denied call never runs, and the model is told who denied it, and why."""
    effects = Effects()
    model = ScriptedModel([call("deploy", {"to": "prod"}), "Then not."])
    agent = Agent("a", model=model, tools=effects.tools)
    await agent.run("ship it")
    await agent.deny("it is Friday")
    assert (await agent.resume()).output == "Then not."
    assert not effects.done
    assert outputs(agent) == ["Error: denied by a person: it is Friday"]
    (outcome,) = agent.state.tool_results
    assert not outcome.ok


async def test_a_question_is_answered_by_a_person_days_later(workspace_dir: Path) -> None:
    """Q3: ask_human pauses the run with its question, and the answer, given to a fresh object, is the call's result."""
    model = ScriptedModel([call("ask_human", {"question": "Which colour?"})])
    agent = Agent("a", model=model, tools=[ask_human], autosave=True, workspace_dir=workspace_dir)
    paused = await agent.run("paint")
    assert paused.stop_reason == "question"
    with pytest.raises(RunPaused, match=r"Which colour\?.*answer"):
        _ = paused.output

    days_later = Agent(
        "a",
        model=ScriptedModel(["Blue it is."]),
        tools=[ask_human],
        autosave=True,
        workspace_dir=workspace_dir,
    )
    assert not days_later.pending()
    await days_later.answer("Blue.")
    later_still = Agent(
        "a",
        model=ScriptedModel(["Blue it is."]),
        tools=[ask_human],
        autosave=True,
        workspace_dir=workspace_dir,
    )
    assert (await later_still.resume()).output == "Blue it is."
    assert outputs(later_still) == ["Blue."]


@pytest.mark.parametrize("durability", ["exit", "async", "sync"])
async def test_what_was_asked_and_decided_is_on_disk_at_once(
    workspace_dir: Path, durability: Durability
) -> None:
    """Q4: that a call waits is on disk when the run says that it is paused, and a decision when it returns."""
    effects = Effects()

    def agent_in(where: Path, *replies: Any) -> Agent[str]:
        return Agent(
            "a",
            model=ScriptedModel(replies),
            tools=effects.tools,
            autosave=True,
            durability=durability,
            workspace_dir=where,
        )

    asks = agent_in(workspace_dir, call("deploy", {"to": "prod"}))
    async with Runtime(workspace_dir) as runtime:
        await runtime.spawn(asks)
        await asks.run("ship it")
        after_pause = await anyio.to_thread.run_sync(copied, workspace_dir)
        waits = agent_in(after_pause)
        await waits.load()
        assert [one.call_id for one in waits.pending()] == ["call_1"]
        await anyio.to_thread.run_sync(shutil.rmtree, after_pause)
        await asks.approve()
        after_decision = await anyio.to_thread.run_sync(copied, workspace_dir)
    survivor = agent_in(after_decision, "It is out.")
    assert (await survivor.resume()).output == "It is out."
    assert effects.done == ["prod"]


async def test_a_resume_while_something_waits_does_what_was_decided_and_pauses_again() -> None:
    """Q5: a resume while a call still waits does what was decided and pauses again, for the same reason."""
    effects = Effects()
    model = ScriptedModel([[call("deploy", {"to": "x"}), call("deploy", {"to": "y"})], "Done."])
    agent = Agent("a", model=model, tools=effects.tools)
    await agent.run("ship both")
    assert (await agent.resume()).stop_reason == "approval"
    await agent.approve("call_2")
    paused = await agent.resume()
    assert (paused.status, paused.stop_reason, effects.done) == ("paused", "approval", ["y"])
    assert [one.call_id for one in paused.pending] == ["call_1"]
    await agent.deny()
    assert (await agent.resume()).output == "Done."
    assert effects.done == ["y"]
    assert outputs(agent) == ["Error: denied by a person", "deployed to y"]
    assert len(model.requests) == 2


async def test_a_call_approved_while_others_run_starts_at_once() -> None:
    """Q6: a call that is approved while others still run starts at once, and the run need not pause."""
    effects = Effects()
    asked = anyio.Event()
    calls = [call("slow"), call("deploy", {"to": "prod"}), call("ask_human", {"question": "?"})]
    model = ScriptedModel([calls, "Done."])
    agent = Agent("a", model=model, tools=effects.tools)
    async with Runtime() as runtime, anyio.create_task_group() as tasks:
        runtime.watch(lambda event: asked.set() if isinstance(event, PersonAsked) else None)
        await runtime.spawn(agent)
        results: list[Any] = []

        async def run() -> None:
            results.append(await agent.run("ship it"))

        tasks.start_soon(run)
        await effects.began.wait()
        await asked.wait()
        await agent.approve()
        await agent.answer("yes")
        with anyio.fail_after(60):
            while effects.done != ["prod"]:
                await anyio.lowlevel.checkpoint()
        effects.may_end.set()
    assert results[0].output == "Done."
    assert outputs(agent) == ["at last", "deployed to prod", "yes"]


async def test_what_can_not_be_meant_is_refused() -> None:
    """Q7: who decides about nothing, about several at once, or about a call that does not wait, is told what waits."""
    effects = Effects()
    calls = [
        call("deploy", {"to": "x"}),
        call("deploy", {"to": "y"}),
        call("ask_human", {"question": "Why?"}),
    ]
    agent = Agent("a", model=ScriptedModel([calls, "ok"]), tools=effects.tools)
    with pytest.raises(StateNotFound):
        await agent.approve()
    await agent.run("ship it")
    with pytest.raises(NothingPending, match=r"several.*call_1.*call_2"):
        await agent.approve()
    with pytest.raises(NothingPending, match=r"call_9.*call_1"):
        await agent.approve("call_9")
    with pytest.raises(NothingPending, match=r"answer\(\).*Why"):
        await agent.answer("because", "call_1")
    with pytest.raises(NothingPending, match=r"approve\(\).*Why"):
        await agent.approve("call_3")
    with pytest.raises(ConfigurationError, match="string"):
        await agent.answer(3)  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match="stored"):
        await agent.answer("\ud800")
    await agent.answer("Because.")
    await agent.approve("call_1")
    await agent.approve()
    with pytest.raises(NothingPending, match="no call"):
        await agent.deny()
    assert (await agent.resume()).output == "ok"


async def test_an_approved_call_runs_once_even_when_its_process_dies(workspace_dir: Path) -> None:
    """Q8: an approval is for one run of the call: cut off in the middle, it is not run again."""
    effects = Effects()
    began = anyio.Event()

    @tool(requires_approval=True)
    async def launch() -> str:
        effects.done.append("launch")
        began.set()
        await anyio.sleep_forever()
        return ""

    def agent(*replies: Any) -> Agent[str]:
        return Agent(
            "a", model=ScriptedModel(replies), tools=[launch], autosave=True, workspace_dir=workspace_dir
        )

    first = agent(call("launch"))
    await first.run("go")
    await first.approve()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(first.resume)
        await began.wait()
        tasks.cancel_scope.cancel()
    second = agent("Who knows.")
    assert (await second.resume()).output == "Who knows."
    assert effects.done == ["launch"]
    assert "outcome is unknown" in outputs(second)[0]


async def test_an_idempotent_call_is_approved_once_and_may_be_repeated(workspace_dir: Path) -> None:
    began = anyio.Event()
    ran: list[str] = []

    @tool(requires_approval=True, idempotent=True)
    async def launch() -> str:
        ran.append("launch")
        began.set()
        if len(ran) == 1:
            await anyio.sleep_forever()
        return "up"

    agent = Agent(
        "a",
        model=ScriptedModel([call("launch"), "Up."]),
        tools=[launch],
        autosave=True,
        workspace_dir=workspace_dir,
    )
    await agent.run("go")
    await agent.approve()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(agent.resume)
        await began.wait()
        tasks.cancel_scope.cancel()
    assert (await agent.resume()).output == "Up."
    assert ran == ["launch", "launch"]


async def test_a_call_that_could_never_run_bothers_nobody() -> None:
    """Q9: a call whose arguments are not valid is answered with an error, and no person is asked."""
    effects = Effects()
    calls = [call("deploy", {"to": 3}), call("ask_human", {"quest": ""})]
    agent = Agent("a", model=ScriptedModel([calls, "ok"]), tools=effects.tools)
    assert (await agent.run("go")).output == "ok"
    assert all("not valid" in output for output in outputs(agent))


async def test_a_new_run_supersedes_what_waited(workspace_dir: Path) -> None:
    """Q10: a new run answers what still waited with what is known: decided as it was decided, or not run."""
    effects = Effects()
    calls = [
        call("deploy", {"to": "x"}),
        call("deploy", {"to": "y"}),
        call("ask_human", {"question": "Why?"}),
        call("ask_human", {"question": "How?"}),
    ]
    model = ScriptedModel([calls, "New."])
    agent = Agent("a", model=model, tools=effects.tools, autosave=True, workspace_dir=workspace_dir)
    await agent.run("ship it")
    await agent.deny("no", "call_1")
    await agent.answer("Because.", "call_3")
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(partial(agent.run, "another", queue=True))
        while not agent.state.accepted:
            await anyio.lowlevel.checkpoint()
        await agent.cancel()
    denied, left, answered, unanswered = outputs(agent)
    assert "denied by a person: no" in denied
    assert "it did not run" in left
    assert answered == "Because."
    assert "had not decided" in unanswered
    assert not agent.pending()
    assert not effects.done


async def test_a_tool_that_is_gone_is_not_waited_for(workspace_dir: Path) -> None:
    effects = Effects()
    first = Agent(
        "a",
        model=ScriptedModel([call("deploy", {"to": "x"})]),
        tools=effects.tools,
        autosave=True,
        workspace_dir=workspace_dir,
    )
    await first.run("ship it")
    second = Agent(
        "a", model=ScriptedModel(["ok"]), autosave=True, workspace_dir=workspace_dir, max_loops="auto"
    )
    await second.resume()
    assert "there is no tool 'deploy'" in outputs(second)[0]


async def test_a_fork_or_a_foreign_file_keeps_waiting(workspace_dir: Path) -> None:
    """Q11: a conversation that was loaded elsewhere keeps waiting for its person there."""
    effects = Effects()
    first = Agent(
        "a",
        model=ScriptedModel([call("deploy", {"to": "x"})]),
        tools=effects.tools,
        autosave=True,
        workspace_dir=workspace_dir,
    )
    await first.run("ship it")
    await first.save()
    second = Agent(
        "b", model=ScriptedModel(["ok"]), tools=effects.tools, autosave=True, workspace_dir=workspace_dir
    )
    await second.load(first.state_path)
    assert [one.call_id for one in second.pending()] == ["call_1"]
    await second.approve()
    assert (await second.resume()).output == "ok"
    assert effects.done == ["x"]
    assert [one.call_id for one in first.pending()] == ["call_1"]


async def test_a_fork_waits_too_and_what_had_no_person_to_wait_for_is_closed(workspace_dir: Path) -> None:
    """Q11: a fork of a conversation keeps waiting for its person, and nothing else that was open runs there."""
    effects = Effects()
    calls = [call("slow"), call("deploy", {"to": "x"}), call("look")]
    agent = Agent(
        "a",
        model=ScriptedModel([calls]),
        tools=effects.tools,
        autosave=True,
        workspace_dir=workspace_dir,
    )
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(agent.run, "ship it")
        await effects.began.wait()
        while not agent.state.tool_results:
            await anyio.lowlevel.checkpoint()
        tasks.cancel_scope.cancel()
    fork = await agent.fork(agent_name="b", model=ScriptedModel(["Done."]))
    assert [one.call_id for one in fork.pending()] == ["call_2"]
    assert (await fork.resume()).stop_reason == "approval"
    await fork.deny("not from here")
    assert (await fork.resume()).output == "Done."
    unknown, denied, green = outputs(fork)
    assert "outcome is unknown" in unknown
    assert "not from here" in denied
    assert green == "all green"
    assert effects.done == ["look"]
    assert [one.call_id for one in agent.pending()] == ["call_2"]


async def test_the_events_say_who_is_asked_and_what_was_decided() -> None:
    """Q12: that a person is asked, and what was decided, are events of the run."""
    effects = Effects()
    agent = Agent(
        "a",
        model=ScriptedModel([call("ask_human", {"question": "Why?"}), "ok"]),
        tools=effects.tools,
        verbose=True,
    )
    seen: list[Event] = [event async for event in agent.stream("go")]
    (asked,) = [event for event in seen if isinstance(event, PersonAsked)]
    assert (asked.kind, asked.waits_for, asked.question, asked.call_id, asked.tool) == (
        "person_asked",
        "question",
        "Why?",
        "call_1",
        "ask_human",
    )
    assert isinstance(seen[-1], RunEnded)
    assert (seen[-1].status, seen[-1].stop_reason) == ("paused", "question")
    answered: list[Event] = []
    async with Runtime() as runtime:
        runtime.watch(answered.append)
        await runtime.spawn(agent)
        await agent.answer("So.")
    (said,) = [event for event in answered if isinstance(event, PersonAnswered)]
    assert (said.kind, said.decision, said.text, said.tool) == (
        "person_answered",
        "answered",
        "So.",
        "ask_human",
    )


async def test_config_json_says_which_tools_need_approval(workspace_dir: Path) -> None:
    effects = Effects()
    agent = Agent(
        "a", model=ScriptedModel(["ok"]), tools=effects.tools, autosave=True, workspace_dir=workspace_dir
    )
    await agent.save()
    config = json.loads(await anyio.Path(agent.config_path).read_text())
    told = {described["name"]: described["requires_approval"] for described in config["tools"]}
    assert told == {"deploy": True, "look": False, "slow": False, "ask_human": False}
    assert config["on_unknown"] == "tell_model"


async def test_a_cancelled_run_that_waits_stays_resumable() -> None:
    effects = Effects()
    model = ScriptedModel([[call("slow"), call("deploy", {"to": "x"})], "ok"])
    agent = Agent("a", model=model, tools=effects.tools)
    async with Runtime() as runtime:
        await runtime.spawn(agent)
        async with anyio.create_task_group() as tasks:

            async def run() -> None:
                with pytest.raises(RunInterrupted):
                    await agent.run("go")

            tasks.start_soon(run)
            await effects.began.wait()
            await agent.cancel()
        assert [one.call_id for one in agent.pending()] == ["call_2"]
        assert (await agent.resume()).stop_reason == "approval"
        await agent.approve()
        assert (await agent.resume()).output == "ok"
    assert effects.done == ["x"]


def test_ask_human_can_not_be_called_as_a_function_and_a_policy_is_one_of_three() -> None:
    assert ask_human.asks_person
    with pytest.raises(ToolDefinitionError, match="on_unknown"):
        tool(name="t", on_unknown="perhaps")(lambda: None)  # type: ignore[call-overload]
    with pytest.raises(ConfigurationError, match="on_unknown"):
        Agent("a", model=ScriptedModel(), on_unknown="perhaps")  # type: ignore[call-overload]
