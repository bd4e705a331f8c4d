"""Swarms that fail, pause, run out of money and wait for people, and how they go on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import anyio
import pytest
from tests.support.made_swarms import Made, agent, journal_of, look, together

from overwinter import (
    Agent,
    Budget,
    MemberFailed,
    NothingToResume,
    Price,
    Runtime,
    ask_human,
    errors,
    events,
)
from overwinter.testing import ScriptedModel

if TYPE_CHECKING:
    from pathlib import Path

    from overwinter.agents.swarms.team import Team

pytestmark = pytest.mark.anyio


async def test_a_failure_is_recorded_as_one_and_tried_again_by_a_resume(tmp_path: Path) -> None:
    """O3: never as a result; and what others finished is not done again."""
    script: list[Any] = [RuntimeError("broken"), "mended"]
    members = [agent("a", "one"), agent("b", *script)]
    swarm = Made("s", members, autosave=True, workspace_dir=tmp_path)
    with pytest.raises(MemberFailed, match="member 'b' of swarm 's' failed at '2-b'") as failed:
        await swarm.run("go")
    assert str(failed.value.__cause__) == "broken"
    assert swarm.status == "failed"
    assert [record["type"] for record in await journal_of(tmp_path)][-2:] == ["member_failed", "run_ended"]
    result = await swarm.resume()
    assert result.text == "mended"
    assert result.member("b").attempts == 2
    with pytest.raises(NothingToResume):
        await swarm.resume()


async def test_a_fresh_object_goes_on_and_its_members_remember(tmp_path: Path) -> None:
    """O4: in another process members go on in the conversations they had."""
    heard: list[int] = []

    async def there_and_back(swarm: Made, task: str, team: Team) -> str:
        one, other = swarm.members
        first = await team.ask(one, task, key="1")
        second = await team.ask(other, first.text, key="2")
        return (await team.ask(one, second.text, key="3")).text

    def make(*script: Any) -> Made:
        async def count(request: Any) -> str:
            heard.append(len(request.messages))
            return f"after {len(request.messages)}"

        one = Agent("one", model=ScriptedModel([count], loop=True))
        return Made(
            "s", [one, agent("other", *script)], there_and_back, autosave=True, workspace_dir=tmp_path
        )

    with pytest.raises(MemberFailed):
        await make(RuntimeError("broken")).run("go")
    result = await make("back").resume()
    assert result.text == "after 3"
    assert heard == [1, 3]


async def test_a_member_that_had_not_begun_begins_as_it_would_have(tmp_path: Path) -> None:
    """O4: what it said for the swarm on another day is not what it goes on with."""
    heard: list[int] = []

    def make(*script: Any) -> Made:
        async def count(request: Any) -> str:
            heard.append(len(request.messages))
            return "counted"

        second = Agent("second", model=ScriptedModel([count], loop=True))
        return Made("s", [agent("first", *script), second], autosave=True, workspace_dir=tmp_path)

    await make("yesterday").run("go")
    with pytest.raises(MemberFailed):
        await make(RuntimeError("broken")).run("go again")
    await make("today").resume()
    assert heard == [1, 1]


async def test_a_member_at_its_limit_pauses_the_swarm_when_the_others_are_done() -> None:
    """O6: and resuming goes on with it."""
    gate = ScriptedModel.gate("slow")
    short = Agent("short", model=ScriptedModel([ScriptedModel.call("look"), "b"]), tools=[look], max_loops=1)
    slow = Agent("slow", model=ScriptedModel([gate]))
    swarm = Made("s", [short, slow], together)
    outcome: list[Any] = []

    async def run() -> None:
        outcome.append(await swarm.run("go"))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(run)
        await gate.reached.wait()
        assert not outcome
        gate.open()
    (result,) = outcome
    assert (result.status, result.stop_reason) == ("paused", "member_max_loops")
    assert [one.member for one in result.members] == ["slow"]
    with pytest.raises(errors.RunPaused):
        _ = result.output
    await short.resume(max_loops=5)
    finished = await swarm.resume()
    assert finished.text.endswith("slow")


async def test_a_swarm_can_be_paused(tmp_path: Path) -> None:
    """O7: the work under way is finished, and nothing further begins."""
    gate = ScriptedModel.gate("one")
    second = ScriptedModel(["two"])
    members = [Agent("a", model=ScriptedModel([gate])), Agent("b", model=second)]
    async with Runtime(tmp_path) as runtime:
        swarm = Made("s", members, autosave=True)
        await runtime.spawn(swarm)
        async with anyio.create_task_group() as tasks:
            outcome: list[Any] = []

            async def run() -> None:
                outcome.append(await swarm.run("go"))

            tasks.start_soon(run)
            await gate.reached.wait()
            await swarm.pause()
            gate.open()
        assert (outcome[0].status, outcome[0].stop_reason) == ("paused", "pause")
        assert second.remaining == 1
        assert (await swarm.resume()).text == "two"


async def test_a_person_decides_about_the_calls_of_members(tmp_path: Path) -> None:
    """O8: through the swarm, in another process too; the run goes on with what was decided."""

    def make(*script: Any) -> Made:
        asking = Agent("asking", model=ScriptedModel(script), tools=[ask_human])
        return Made("s", [asking, agent("b", "done")], autosave=True, workspace_dir=tmp_path)

    first = make(ScriptedModel.call("ask_human", {"question": "May I?"}, call_id="c1"))
    result = await first.run("go")
    assert (result.status, result.stop_reason) == ("paused", "question")
    assert [call.call_id for call in result.pending] == ["c1"]
    assert [call.question for call in first.pending()] == ["May I?"]
    second = make("thanks")
    with pytest.raises(errors.NothingPending, match="c2"):
        await second.answer("Yes.", "c2")
    await second.answer("Yes.")
    assert (await second.resume()).text == "done"


async def test_a_team_shares_a_budget(tmp_path: Path) -> None:
    """O9: all members draw on it, in another process what was spent still counts, and a higher one lets it go on."""

    def make(*script: Any) -> Made:
        price = Price(input=1.0, output=1.0)
        members = [Agent(f"m{n}", model=ScriptedModel(["word " * 20], price=price)) for n in range(4)]
        return Made("s", members, autosave=True, budget=Budget(tokens=60), workspace_dir=tmp_path)

    swarm = make()
    paused = await swarm.run("go")
    assert (paused.status, paused.stop_reason) == ("paused", "tokens")
    done = len(paused.members)
    assert 0 < done < 4
    again = await make().resume()
    assert (again.status, len(again.members)) == ("paused", done)
    finished = await make().resume(budget=Budget(tokens=5000))
    assert finished.status == "finished"
    assert [one.member for one in finished.members] == [f"m{n}" for n in range(4)]
    assert finished.usage.calls == 4


async def test_a_limit_of_loops_is_refused() -> None:
    swarm = Made("s", [agent("a", RuntimeError("no"), "yes")])
    with pytest.raises(MemberFailed):
        await swarm.run("go")
    with pytest.raises(errors.ConfigurationError, match="no limit of swarm 's'"):
        await swarm.resume(max_loops=3)
    assert (await swarm.resume()).text == "yes"


async def test_a_run_that_is_given_up_is_given_up_by_its_members(tmp_path: Path) -> None:
    """O21: what was paused in them does not stand in the way of the next."""
    asking = Agent(
        "asking",
        model=ScriptedModel([ScriptedModel.call("ask_human", {"question": "?"}), "new"]),
        tools=[ask_human],
    )
    async with Runtime(tmp_path) as runtime:
        swarm = Made("s", [asking], autosave=True)
        await runtime.spawn(swarm)
        assert (await swarm.run("go")).status == "paused"
        await swarm.cancel()
        assert (swarm.status, asking.status) == ("interrupted", "interrupted")
        assert (await swarm.run("anew")).text == "new"


async def test_members_shared_with_a_nested_swarm_remember(tmp_path: Path) -> None:
    """O4: a member goes on in its conversation in whichever of the swarms of a run it is asked next."""

    def make(*script: Any) -> Made:
        async def count(request: Any) -> str:
            return f"after {len(request.messages)}"

        shared = Agent("shared", model=ScriptedModel([count], loop=True))
        inner = Made("inner", [agent("other", *script), shared])
        return Made("outer", [shared, inner], autosave=True, workspace_dir=tmp_path)

    with pytest.raises(MemberFailed):
        await make(RuntimeError("broken")).run("go")
    assert (await make("fine").resume()).text == "after 3"


async def test_what_waits_in_a_member_is_not_lost_when_another_fails(tmp_path: Path) -> None:
    """O8: a person can decide about it in another process, and a new run of the swarm is not kept from beginning."""

    def make(failing: Any, *script: Any) -> Made:
        asking = Agent("asking", model=ScriptedModel(script), tools=[ask_human])
        return Made("s", [asking, agent("b", failing)], together, autosave=True, workspace_dir=tmp_path)

    call = ScriptedModel.call("ask_human", {"question": "?"}, call_id="c1")
    gate = ScriptedModel.gate(RuntimeError("broken"))
    first = make(gate, call, "never mind")
    async with Runtime(tmp_path) as runtime:
        await runtime.spawn(first)
        asked = anyio.Event()
        first.watch(lambda event: asked.set() if isinstance(event, events.RunEnded) else None)
        async with anyio.create_task_group() as tasks:

            async def run() -> None:
                with pytest.raises(MemberFailed, match="'b'"):
                    await first.run("go")

            tasks.start_soon(run)
            await gate.reached.wait()
            await asked.wait()
            gate.open()
    second = make("fine", "thanks")
    await second.load()
    assert [pending.call_id for pending in second.pending()] == ["c1"]
    await second.answer("yes")
    assert (await second.resume()).text == "thanks fine"


async def test_a_new_run_gives_up_what_an_older_one_left_waiting(tmp_path: Path) -> None:
    """O21: a member that waits in a run nobody goes on with does the new one."""
    call = ScriptedModel.call("ask_human", {"question": "?"})
    gate = ScriptedModel.gate(RuntimeError("broken"))
    asking = Agent("asking", model=ScriptedModel([call, "new"]), tools=[ask_human])
    other = agent("other", gate, "new too")
    async with Runtime(tmp_path) as runtime:
        swarm = Made("s", [asking, other], together, autosave=True)
        await runtime.spawn(swarm)
        asked = anyio.Event()
        swarm.watch(lambda event: asked.set() if isinstance(event, events.RunEnded) else None)
        async with anyio.create_task_group() as tasks:

            async def run() -> None:
                with pytest.raises(MemberFailed):
                    await swarm.run("go")

            tasks.start_soon(run)
            await asked.wait()
            gate.open()
        assert asking.status == "paused"
        assert (await swarm.run("anew")).text == "new new too"


async def test_a_pause_reaches_the_swarms_within(tmp_path: Path) -> None:
    """O7: and those within these."""
    gate = ScriptedModel.gate("one")
    second = ScriptedModel(["two"])
    inner = Made("inner", [Agent("a", model=ScriptedModel([gate])), Agent("b", model=second)])
    async with Runtime(tmp_path) as runtime:
        swarm = Made("outer", [inner], autosave=True)
        await runtime.spawn(swarm)
        outcome: list[Any] = []

        async def run() -> None:
            outcome.append(await swarm.run("go"))

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(run)
            await gate.reached.wait()
            await swarm.pause()
            gate.open()
        assert (outcome[0].status, outcome[0].stop_reason, second.remaining) == ("paused", "pause", 1)
        assert (await swarm.resume()).text == "two"
