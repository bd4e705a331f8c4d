"""Agents that pass a conversation on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import anyio
import pytest
from tests.support.rehearsal import Rehearsal, broken, goes_on_after_every_cut, run_past_timeouts

from overwinter import Agent, tool
from overwinter.agents.swarms.handing import handoff
from overwinter.agents.swarms.handoffs import Handoffs
from overwinter.agents.swarms.policy import MemberPolicy
from overwinter.agents.swarms.sequential import SequentialWorkflow
from overwinter.errors import ConfigurationError, MemberFailed, NobodyAnswered, TooManyHandoffs
from overwinter.testing import ScriptedModel

if TYPE_CHECKING:
    from pathlib import Path

    from overwinter import ModelRequest

pytestmark = pytest.mark.anyio

call = ScriptedModel.call
SKIP = MemberPolicy(then="skip")


def to(name: str, reason: str = "not mine") -> Any:
    return call(f"handoff_to_{name}", {"reason": reason})


def desk(cast: Rehearsal, triage: Any = (), billing: Any = (), repair: Any = (), **settings: Any) -> Handoffs:
    agents = [
        cast.agent(
            "triage", *triage, tools=[handoff("billing", "when it is about money"), handoff("repair")]
        ),
        cast.agent("billing", *billing, tools=[handoff("triage")]),
        cast.agent("repair", *repair, tools=[handoff("triage"), handoff("billing")]),
    ]
    return Handoffs("desk", agents, **settings)


async def test_the_next_agent_is_told_the_conversation_and_why() -> None:
    """W18: a handoff ends an agent's run, and the next one is told what was said so far and why."""
    cast = Rehearsal()
    swarm = desk(cast, [["Moment.", to("billing", "invoice 12 is wrong")]], ["It is 3 euros less."])
    result = await swarm.run("My invoice is wrong.")
    assert str(result) == "It is 3 euros less."
    assert cast.order == ["triage", "billing"]
    assert cast.told("triage") == ["My invoice is wrong."]
    (told,) = cast.told("billing")
    for part in (
        "triage handed",
        "## user\n\nMy invoice is wrong.",
        "Handed on to billing: invoice 12 is wrong",
    ):
        assert part in told
    first, second = result.members
    assert (first.key, first.stop_reason) == ("1-triage", "tool:handoff_to_billing")
    assert (second.key, second.stop_reason) == ("2-billing", "answered")


async def test_the_one_who_spoke_last_has_the_conversation_in_the_next_run(tmp_path: Path) -> None:
    """W19: a conversation stays with who spoke last, over restarts too; anyone else is told what was said before."""
    cast = Rehearsal(tmp_path)
    await desk(cast, [to("billing")], ["3 euros less."], **cast.saved).run("My invoice is wrong.")
    cast = Rehearsal(tmp_path)
    swarm = desk(cast, [], ["Gladly.", to("triage", "a fault")], **cast.saved)
    await swarm.load()
    assert str(await swarm.run("Thank you.")) == "Gladly."
    assert cast.told("billing") == ["Thank you."]
    await swarm.run("It does not work either.")
    (told,) = cast.told("triage")
    said = [
        "My invoice is wrong.",
        "3 euros less.",
        "Thank you.",
        "Gladly.",
        "It does not work either.",
        "a fault",
    ]
    places = [told.index(part) for part in said]
    assert places == sorted(places)


async def test_without_stay_the_first_begins_and_is_told_what_it_missed() -> None:
    cast = Rehearsal()
    swarm = desk(cast, [to("billing"), "Good morning."], ["3 euros less."], stay=False)
    await swarm.run("My invoice is wrong.")
    assert str(await swarm.run("Thank you.")) == "Good morning."
    told = cast.told("triage")[1]
    assert "## answer\n\n3 euros less." in told
    assert told.endswith("Thank you.")


async def test_a_conversation_that_goes_round_and_round_is_ended(tmp_path: Path) -> None:
    """W20: the number of handoffs in a run is bounded; a swarm with a higher bound goes on with the run."""
    cast = Rehearsal(tmp_path)
    round_and_round = {"triage": [to("billing")] * 9, "billing": [to("triage")] * 9}
    with pytest.raises(
        TooManyHandoffs, match=r"more than 2 times \(triage -> billing -> triage -> billing\)"
    ):
        await desk(cast, **round_and_round, max_handoffs=2, **cast.saved).run("Hello")
    assert cast.order == ["triage", "billing", "triage"]
    again = Rehearsal(tmp_path)
    result = await desk(again, [], ["Here I am."], max_handoffs=3, **again.saved).resume()
    assert (str(result), again.order) == ("Here I am.", ["billing"])


async def test_nobody_hands_on_by_words_alone() -> None:
    cast = Rehearsal()
    words = '{"name": "handoff_to_billing", "arguments": {"reason": "x"}}'
    assert str(await desk(cast, [words]).run("Hello")) == words
    assert cast.order == ["triage"]


async def test_a_call_that_is_not_valid_hands_nothing_on() -> None:
    cast = Rehearsal()
    result = await desk(cast, [call("handoff_to_billing"), to("repair")], [], ["Repaired."]).run("Hello")
    assert (str(result), cast.order) == ("Repaired.", ["triage", "triage", "repair"])


async def test_of_two_calls_in_one_reply_the_first_counts() -> None:
    cast = Rehearsal()
    result = await desk(cast, [[to("repair"), to("billing")], "Triage again."], [], ["Repaired."]).run(
        "Hello"
    )
    assert (str(result), cast.order) == ("Repaired.", ["triage", "repair"])


async def test_when_one_is_skipped_the_one_before_goes_on() -> None:
    """W21: who handed on to an agent that is skipped goes on and is told so; when there is nobody the run fails."""
    cast = Rehearsal()
    result = await desk(cast, [to("billing"), "We will call you."], broken(), policy=SKIP).run("Hello")
    assert str(result) == "We will call you."
    assert "billing cannot be reached" in cast.told("triage")[1]
    assert [one.member for one in result.failed] == ["billing"]
    with pytest.raises(NobodyAnswered, match="'triage' failed: RuntimeError: out of order"):
        await desk(Rehearsal(), broken(), policy=SKIP).run("Hello")


async def test_one_that_fails_ends_the_run_and_is_tried_again_by_resume() -> None:
    cast = Rehearsal()
    swarm = desk(cast, [to("billing")], [*broken(1), "at last"])
    with pytest.raises(MemberFailed, match=r"'billing'.*2-billing"):
        await swarm.run("Hello")
    assert str(await swarm.resume()) == "at last"
    assert cast.order == ["triage", "billing", "billing"]


async def test_a_fallback_and_a_timeout_work_as_everywhere() -> None:
    cast = Rehearsal()
    policies = {
        "billing": MemberPolicy(fallback=cast.agent("spare", to("repair"), tools=[handoff("repair")])),
        "repair": MemberPolicy(timeout=5, then="skip"),
    }
    swarm = desk(
        cast, [to("billing")], [*broken(1), "back at billing"], [ScriptedModel.gate()], policies=policies
    )
    result = await run_past_timeouts(swarm, [4.9, 0.2])
    assert result.text == "back at billing"
    assert result.members[1].by == "spare"
    assert "MemberTimeout" in result.member("repair").error


async def test_cut_off_anywhere_it_goes_on_and_does_nothing_twice(tmp_path: Path) -> None:
    """W22: a conversation that is cut off at any answer is finished by fresh objects, with nothing done twice."""

    def make(cast: Rehearsal) -> Handoffs:
        def triage(request: ModelRequest) -> Any:
            said = sum(message.role == "assistant" for message in request.messages)
            return [to("billing"), to("repair"), "Good."][said]

        return desk(cast, [triage] * 9, [to("triage")] * 9, [to("triage")] * 9, **cast.saved)

    result = await goes_on_after_every_cut(make, tmp_path)
    assert [one.member for one in result.members] == ["triage", "billing", "triage", "repair", "triage"]


async def test_a_swarm_can_stand_in_it() -> None:
    cast = Rehearsal()
    inner = SequentialWorkflow("experts", [cast.agent("a"), cast.agent("b", "As they say.")])
    swarm = Handoffs("desk", [cast.agent("triage", to("experts"), tools=[handoff("experts")]), inner])
    assert str(await swarm.run("Hello")) == "As they say."


def test_its_picture_and_what_is_refused() -> None:
    cast = Rehearsal()
    assert desk(cast).to_mermaid() == (
        "flowchart TD\n"
        '    n1(["task"])\n'
        '    n2("triage")\n'
        '    n3("billing")\n'
        '    n4("repair")\n'
        '    n5(["result"])\n'
        "    n1 --> n2\n"
        '    n2 -.->|"when it is about money"| n3\n'
        "    n2 -.-> n4\n"
        "    n3 -.-> n2\n"
        "    n4 -.-> n2\n"
        "    n4 -.-> n3\n"
        "    n2 --> n5\n"
        "    n3 --> n5\n"
        "    n4 --> n5\n"
    )
    with pytest.raises(ConfigurationError, match="'a' hands on to 'nobody', who is not there; there is 'a'"):
        Handoffs("desk", [cast.agent("a", tools=[handoff("nobody")])])
    with pytest.raises(ConfigurationError, match="would have one name, 'handoff_to_a_b'; rename"):
        Handoffs("desk", [cast.agent("a b"), cast.agent("a.b")])
    with pytest.raises(ConfigurationError, match="max_handoffs"):
        desk(cast, max_handoffs=0)


async def test_a_fallback_that_hands_on_to_a_stranger_is_an_error() -> None:
    cast = Rehearsal()
    policy = MemberPolicy(fallback=cast.agent("spare", to("nobody"), tools=[handoff("nobody")]))
    with pytest.raises(
        ConfigurationError, match="'spare' hands on with 'handoff_to_nobody' to somebody who is not"
    ):
        await Handoffs("desk", [cast.agent("a", *broken())], policy=policy).run("Hello")


async def test_a_tool_can_end_the_run_of_any_agent(tmp_path: Path) -> None:
    """W23: a tool with ends_run ends the run with its result, without another model call; resumed or recalled too."""
    ran: list[str] = []

    @tool(ends_run=True)
    async def submit(answer: str) -> str:
        ran.append(answer)
        return f"submitted {answer}"

    @tool
    async def look() -> str:
        ran.append("look")
        return "seen"

    def agent(*replies: Any, **settings: Any) -> Agent[str]:
        return Agent(
            "a",
            model=ScriptedModel(replies),
            tools=[submit, look],
            autosave=True,
            workspace_dir=tmp_path,
            **settings,
        )

    one = agent([call("look"), call("submit", {})], ["Fine.", call("submit", {"answer": "42"}), call("look")])
    result = await one.run("go", run_id="one")
    assert (result.text, result.output) == ("submitted 42", "submitted 42")
    assert (result.stop_reason, result.loop_count) == ("tool:submit", 2)
    assert sorted(ran) == ["42", "look", "look"]
    again = await agent().run("go", run_id="one")
    assert (again.text, again.output, again.stop_reason) == (result.text, result.output, result.stop_reason)
    hanging = anyio.Event()

    @tool(idempotent=True)
    async def wait() -> str:
        if not hanging.is_set():
            hanging.set()
            await anyio.sleep_forever()
        return "waited"

    def other(*replies: Any) -> Agent[str]:
        return Agent(
            "c", model=ScriptedModel(replies), tools=[submit, wait], autosave=True, workspace_dir=tmp_path
        )

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(other([call("submit", {"answer": "7"}), call("wait")]).run, "go")
        await hanging.wait()
        tasks.cancel_scope.cancel()
    resumed = await other().resume()
    assert (resumed.text, resumed.stop_reason, ran.count("7")) == ("submitted 7", "tool:submit", 1)
    typed = Agent(
        "b", model=ScriptedModel([call("submit", {"answer": "42"})]), tools=[submit], output_type=int
    )
    assert (await typed.run("go")).output is None
    assert [told["name"] for told in one._profile.toolbox.describe() if told.get("ends_run")] == ["submit"]
