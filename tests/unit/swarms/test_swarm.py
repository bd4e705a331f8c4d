"""What all swarms have in common, shown with patterns that are made up for it."""

from __future__ import annotations

import gc
import json
import re
import weakref
from typing import TYPE_CHECKING, Any

import anyio
import msgspec
import pytest
from tests.support.made_swarms import Made, agent, journal_of, look, read, together

from overwinter import (
    Agent,
    MemberPolicy,
    Runtime,
    SequentialWorkflow,
    Swarm,
    errors,
    events,
    tool,
)
from overwinter.testing import ScriptedModel

if TYPE_CHECKING:
    from pathlib import Path

    from overwinter.agents.swarms.member import Member

pytestmark = pytest.mark.anyio


async def test_a_swarm_has_a_folder_like_an_agents(tmp_path: Path) -> None:
    """O1: its configuration names its members and its picture, its journal says which member did what."""
    swarm = Made("two friends", [agent("a", "one"), agent("b", "two")], autosave=True, workspace_dir=tmp_path)
    result = await swarm.run("go")
    assert str(result) == "two"
    assert swarm.workspace_dir.parent == tmp_path / "swarms"
    assert swarm.workspace_dir.name == f"two-friends-{swarm.agent_id.replace('-', '')[:12]}"
    config = json.loads(await read(swarm.config_path))
    assert config["swarm"]["pattern"] == "Made"
    assert [member["name"] for member in config["swarm"]["members"]] == ["a", "b"]
    assert config["swarm"]["graph"]["edges"] == [{"source": "a", "target": "b"}]
    kinds = [(record["type"], record.get("key", "")) for record in await journal_of(tmp_path)]
    assert kinds == [
        ("task_accepted", ""),
        ("run_began", ""),
        ("member_started", "1-a"),
        ("member_finished", "1-a"),
        ("member_started", "2-b"),
        ("member_finished", "2-b"),
        ("swarm_answered", ""),
        ("run_ended", ""),
    ]
    assert swarm.state_path.name == "two-friends_state.json"
    assert (await swarm.save()) == swarm.state_path
    assert [work["text"] for work in json.loads(await read(swarm.state_path))["works"]] == ["one", "two"]


async def test_an_agent_and_a_swarm_of_one_name_are_two(tmp_path: Path) -> None:
    member = agent("both", "one")
    swarm = Made("both", [member], autosave=True, workspace_dir=tmp_path)
    await swarm.run("go")
    assert swarm.agent_id != member.agent_id
    assert member.workspace_dir.parent.name == "agents"


async def test_the_result_tells_of_every_member(tmp_path: Path) -> None:
    """O2: the text, what each member did and spent, and what failed; the same for a run that is asked for again."""
    members = [agent("a", RuntimeError("no")), agent("b", "two")]
    swarm = Made(
        "s", members, together, policy=MemberPolicy(then="skip"), autosave=True, workspace_dir=tmp_path
    )
    result = await swarm.run("go", run_id="mine")
    assert result.text == " two"
    assert {one.member: one.ok for one in result.members} == {"a": False, "b": True}
    assert [one.member for one in result.failed] == ["a"]
    assert "no" in result.failed[0].error
    assert result.failed[0].output is None
    assert result.member("b").output == "two"
    assert result.usage == result.member("b").usage
    assert result.usage.calls == 1
    assert result.loop_count == 2
    with pytest.raises(errors.ConfigurationError, match="nothing of a member 'c'"):
        result.member("c")
    again = await Made("s", [agent("a"), agent("b")], together, autosave=True, workspace_dir=tmp_path).run(
        "go", run_id="mine"
    )
    assert (again.text, again.usage) == (result.text, result.usage)
    assert [(one.key, one.status, one.text) for one in again.members] == [
        (one.key, one.status, one.text) for one in result.members
    ]


class Report(msgspec.Struct):
    words: int


async def test_results_are_typed() -> None:
    writer: Agent[Report] = Agent("w", model=ScriptedModel(['{"words": 3}']), output_type=Report)
    swarm = Made("s", [writer], output_type=Report)
    result = await swarm.run("go")
    assert result.output == Report(3)
    assert result.member("w").output == Report(3)
    plain = Made("p", [agent("a", "three")], output_type=Report)
    with pytest.raises(errors.OutputInvalid, match="swarm 'p' is no Report"):
        await plain.run("go")


async def test_members_are_saved_with_their_swarm(tmp_path: Path) -> None:
    """O5: and as it is saved; one that says how it is saved itself is left alone."""
    plain, own = agent("plain", "one"), agent("own", "two", autosave=True, durability="exit")
    swarm = Made("s", [plain, own], autosave=True, durability="sync", workspace_dir=tmp_path)
    await swarm.run("go")
    told = {
        name: json.loads(await read(one.config_path))["durability"]
        for name, one in (("plain", plain), ("own", own))
    }
    assert told == {"plain": "sync", "own": "exit"}
    loose = agent("loose", "one")
    await Made("t", [loose], workspace_dir=tmp_path).run("go")
    assert not await anyio.Path(loose.workspace_dir).exists()


async def test_one_stream_tells_of_all_members(tmp_path: Path) -> None:
    """O10: steps, text as it comes, tools and saves, of nested swarms too, and the swarm's own end last."""
    saved = anyio.Event()

    async def see(_: Any) -> str:
        await saved.wait()
        return "well seen"

    inner = Made(
        "inner", [Agent("deep", model=ScriptedModel([ScriptedModel.call("look"), see]), tools=[look])]
    )
    swarm = Made("outer", [agent("first", "well begun"), inner], autosave=True, workspace_dir=tmp_path)
    seen: list[events.Event] = []
    async for event in swarm.stream("go"):
        seen.append(event)
        if isinstance(event, events.Saved) and event.agent_name == "first":
            saved.set()
    told = {(type(event).__name__, event.agent_name) for event in seen}
    assert {
        ("RunStarted", "outer"),
        ("MemberStarted", "outer"),
        ("RunStarted", "first"),
        ("TextDelta", "first"),
        ("Saved", "first"),
        ("MemberFinished", "outer"),
        ("RunStarted", "inner"),
        ("ToolFinished", "deep"),
        ("TextDelta", "deep"),
        ("MemberFinished", "inner"),
    } <= told
    assert (
        "".join(event.text for event in seen if isinstance(event, events.TextDelta)) == "well begunwell seen"
    )
    assert isinstance(seen[-1], events.RunEnded)
    assert seen[-1].agent_name == "outer"
    assert seen[-1].result.text == "well seen"
    runs = {event.run_id for event in seen}
    assert all(run.startswith(seen[-1].run_id) for run in runs)


async def test_who_is_brought_along_is_stopped_with_the_swarm(tmp_path: Path) -> None:
    """O16: and who was spawned by others is theirs to stop."""
    own, guest = agent("own", "one", "x", autosave=True), agent("guest", "two")
    async with Runtime(tmp_path) as runtime:
        await runtime.spawn(own)
        swarm = Made("s", [own, guest], autosave=True)
        await runtime.spawn(swarm)
        await swarm.run("go")
        assert {one.agent_name for one in runtime.agents} == {"own", "s"}
        assert guest.reference_on(runtime) is not None
        await runtime.stop(swarm)
        assert guest.reference_on(runtime) is None
        assert own.reference_on(runtime) is not None
        assert (await own.run("more")).text == "x"


async def test_a_member_cannot_wait_for_its_own_swarm() -> None:
    """O17: it would wait for ever."""
    swarm: Made

    @tool
    async def delegate() -> str:
        """Ask the swarm."""
        return (await swarm.run("again")).text

    asking = Agent(
        "asking", model=ScriptedModel([ScriptedModel.call("delegate"), "gave up"]), tools=[delegate]
    )
    swarm = Made("s", [asking])
    result = await swarm.run("go")
    assert result.text == "gave up"
    assert (
        "AskDeadlock" in asking.state.tool_results[0].output
        or "wait for itself" in asking.state.tool_results[0].output
    )


async def test_two_swarms_of_one_name_are_not_at_work_at_once(tmp_path: Path) -> None:
    """O18: the second is refused, as for agents; five of different names have five folders."""
    async with Runtime(tmp_path) as one, Runtime(tmp_path) as other:
        first = Made("s", [agent("a", "one")], autosave=True)
        await one.spawn(first)
        with pytest.raises(errors.AgentInUse):
            await other.spawn(Made("s", [agent("b", "two")], autosave=True))
        assert (await first.run("go")).text == "one"
        for number in range(5):
            await one.spawn(Made(f"s{number}", [agent(f"m{number}", "x")], autosave=True))
    assert len([one async for one in anyio.Path(tmp_path / "swarms").iterdir()]) == 6


@pytest.mark.parametrize(
    ("members", "options", "problem"),
    [
        ([], {}, "has no members"),
        (["a", "a"], {}, "two members named 'a'"),
        (["a"], {"policies": {"b": MemberPolicy()}}, "no member 'b'; it has 'a'"),
    ],
)
def test_a_swarm_that_cannot_work_is_refused_where_it_is_made(
    members: list[str], options: dict[str, Any], problem: str
) -> None:
    """O19: with a message that says what is wrong."""
    with pytest.raises(errors.ConfigurationError, match=problem):
        Made("s", [agent(name) for name in members], **options)


@pytest.mark.parametrize(
    "wrong", [{"attempts": 0}, {"backoff": -1.0}, {"timeout": 0.0}, {"then": "hope"}], ids=str
)
def test_a_policy_that_makes_no_sense_is_refused(wrong: dict[str, Any]) -> None:
    (name,) = wrong
    with pytest.raises(errors.ConfigurationError, match=name):
        MemberPolicy(**wrong)


async def test_its_history_can_be_read(tmp_path: Path) -> None:
    """O20: step by step, with what was known at each."""
    swarm = Made("s", [agent("a", "one"), agent("b", "two")], autosave=True, workspace_dir=tmp_path)
    await swarm.run("go")
    steps = await swarm.history()
    assert [step.summary for step in steps if step.kind == "member_finished"] == [
        "a finished 1-a: one",
        "b finished 2-b: two",
    ]
    number = next(step.step for step in steps if step.kind == "member_finished")
    assert (await swarm.state_at(number)).loop_count == 1


def member_names(swarm: Swarm[Any]) -> list[str]:
    members: tuple[Member, ...] = swarm.members
    return [member.agent_name for member in members]


def test_a_swarm_knows_its_members() -> None:
    swarm = Made("s", [agent("a"), agent("b")])
    assert member_names(swarm) == ["a", "b"]
    assert swarm.member("b") is swarm.members[1]
    assert "flowchart" in swarm.to_mermaid()
    assert repr(swarm) == "<Made 's' idle of a, b>"
    with pytest.raises(errors.ConfigurationError, match="no member 'c'"):
        swarm.member("c")


async def test_a_swarm_that_is_saved_refuses_a_member_that_cannot_be(tmp_path: Path) -> None:
    """O24: what would be lost in silence is refused."""
    async with Runtime(tmp_path) as runtime:
        own = agent("own", "one")
        await runtime.spawn(own)
        with pytest.raises(
            errors.ConfigurationError, match="'own' was spawned without being saved"
        ) as refused:
            await Made(
                "s", [own], autosave=True, policy=MemberPolicy(then="skip"), workspace_dir=tmp_path
            ).run("go")
        assert "member 'own' of swarm 's'" in refused.value.__notes__[0]


async def test_a_member_may_work_for_two_swarms(tmp_path: Path) -> None:
    """O25: whichever of them stops first leaves it to the other, and it can be spawned by its owner too."""
    gate = ScriptedModel.gate("from the second")
    shared = Agent("shared", model=ScriptedModel(["from the first", gate, "by itself"]))
    async with Runtime(tmp_path) as runtime:
        first, second = Made("first", [shared], autosave=True), Made("second", [shared], autosave=True)
        for swarm in (first, second):
            await runtime.spawn(swarm)
        assert (await first.run("go")).text == "from the first"
        outcome: list[Any] = []

        async def run() -> None:
            outcome.append(await second.run("go"))

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(run)
            await gate.reached.wait()
            await runtime.stop(first)
            gate.open()
        assert outcome[0].text == "from the second"
        await runtime.spawn(shared)
        await runtime.stop(second)
        assert (await shared.run("go")).text == "by itself"


async def test_a_swarm_leaves_no_trace_in_its_members() -> None:
    """O26: agents that outlive their swarms keep none of them."""
    member = agent("a", *["one"] * 3)
    gone = []
    for number in range(3):
        swarm = Made(f"s{number}", [member])
        await swarm.run("go")
        gone.append(weakref.ref(swarm))
        del swarm
    gc.collect()
    assert [one() for one in gone] == [None, None, None]


def test_what_is_saved_of_members_is_not_mixed() -> None:
    """O30: sessions of a swarm do not share a member's folder, nor do two members of one name."""
    with pytest.raises(
        errors.ConfigurationError, match="'a' has none and would be the same for all sessions"
    ):
        Made("s", [agent("a")], session="alice", autosave=True)
    assert Made("s", [agent("a", session="alice")], session="alice", autosave=True).session == "alice"
    with pytest.raises(errors.ConfigurationError, match="are saved in one folder: 'a'"):
        Made("s", [agent("a"), Made("inner", [agent("a")])], autosave=True)
    assert Made("s", [agent("a"), Made("inner", [agent("a")])]).members


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"autosav": True}, "unexpected keyword argument 'autosav'; did you mean 'autosave'?"),
        ({"timeout": 5}, "unexpected keyword argument 'timeout'"),
        ({"session": 5}, "a setting of 's' is not valid"),
        ({"durability": "fast"}, "a setting of 's' is not valid"),
        ({"policy": "skip"}, "'skip' is no policy"),
        ({"policies": {"a": "skip"}}, "'skip' is no policy"),
    ],
)
def test_no_setting_passes_unread(options: dict[str, Any], problem: str) -> None:
    """O19: a flag that is misspelt would be believed to hold."""
    with pytest.raises((errors.ConfigurationError, TypeError), match=re.escape(problem)):
        Made("s", [agent("a")], **options)
    with pytest.raises((errors.ConfigurationError, TypeError)):
        SequentialWorkflow("s", [agent("a")], **options)
