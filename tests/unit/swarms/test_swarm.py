"""What all swarms have in common, shown with patterns that are made up for it."""

from __future__ import annotations

import errno
import gc
import json
import weakref
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import anyio
import msgspec
import pytest

from overwinter import (
    Agent,
    Budget,
    MemberFailed,
    MemberPolicy,
    NothingToResume,
    Price,
    Runtime,
    Swarm,
    ask_human,
    errors,
    events,
    tool,
)
from overwinter.agents.swarms.graph import Edge, Graph, Node
from overwinter.persistence.files import FileOperations
from overwinter.testing import FakeClock, ScriptedModel

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable
    from pathlib import Path

    from overwinter.agents.swarms.member import Member
    from overwinter.agents.swarms.team import Team

pytestmark = pytest.mark.anyio


class Made(Swarm[Any]):
    """A swarm whose pattern is a function; without one, its members work one after the other."""

    def __init__(
        self,
        name: str,
        members: list[Any],
        work: Callable[[Made, str, Team], Awaitable[str]] | None = None,
        **options: Any,
    ) -> None:
        self._in_turn = list(members)
        self._work = work
        super().__init__(name, members, **options)

    async def orchestrate(self, task: str, team: Team) -> str:
        if self._work is not None:
            return await self._work(self, task, team)
        for number, member in enumerate(self._in_turn, 1):
            task = (await team.ask(member, task, key=f"{number}-{member.agent_name}")).text
        return task

    def graph(self) -> Graph:
        nodes = tuple(Node(member.agent_name, member.agent_name) for member in self._in_turn)
        pairs = pairwise(nodes)
        return Graph(nodes, tuple(Edge(one.id, other.id) for one, other in pairs))


async def together(swarm: Made, task: str, team: Team) -> str:
    asked = [(member, task, member.agent_name) for member in swarm.members]
    return " ".join(result.text for result in await team.ask_all(asked))


def agent(name: str, *script: Any, **settings: Any) -> Agent[str]:
    return Agent(name, model=ScriptedModel(script), **settings)


async def read(path: Path) -> str:
    return await anyio.Path(path).read_text()


async def journal_of(workspace: Path) -> list[dict[str, Any]]:
    (journal,) = [path async for path in anyio.Path(workspace / "swarms").glob("*/journal/*.jsonl")]
    return [json.loads(line)["record"] for line in (await journal.read_text()).splitlines()]


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


@tool
async def look() -> str:
    """Look."""
    return "seen"


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


async def test_what_is_decided_is_decided_once(tmp_path: Path) -> None:
    """O11: a resumed run sees what the first one saw."""
    asked: list[str] = []

    async def decide(swarm: Made, task: str, team: Team) -> str:
        def choose() -> list[str]:
            asked.append("choose")
            return ["a", "b"]

        async def later() -> dict[str, int]:
            asked.append("later")
            return {"n": 1}

        chosen = await team.decide("choose", choose, list[str])
        more = await team.decide("later", later, dict[str, int])
        third = await team.decide("thread", lambda: 7, int, thread=True)
        text = (await team.ask(swarm.members[0], task, key="1")).text
        return f"{chosen} {more} {third} {text}"

    def make(*script: Any) -> Made:
        return Made("s", [agent("a", *script)], decide, autosave=True, workspace_dir=tmp_path)

    with pytest.raises(MemberFailed):
        await make(RuntimeError("no")).run("go")
    result = await make("yes").resume()
    assert result.text == "['a', 'b'] {'n': 1} 7 yes"
    assert asked == ["choose", "later"]


async def test_a_decision_that_cannot_be_recorded_is_refused() -> None:
    async def wrong(_: Made, __: str, team: Team) -> str:
        return str(await team.decide("which", lambda: "x", int))  # type: ignore[arg-type, return-value]

    with pytest.raises(errors.ConfigurationError, match="'which' in swarm 's' is 'x', which is no int"):
        await Made("s", [agent("a")], wrong).run("go")

    async def raising(_: Made, __: str, team: Team) -> str:
        def fail() -> int:
            raise KeyError("k")

        return str(await team.decide("which", fail, int))

    with pytest.raises(KeyError) as raised:
        await Made("s", [agent("a")], raising).run("go")
    assert "decides 'which'" in raised.value.__notes__[0]


async def test_a_swarm_that_was_changed_is_not_gone_on_with(tmp_path: Path) -> None:
    """O12: work of one member is never taken for another's."""
    swarm = Made(
        "s",
        [agent("a", "one"), agent("b", RuntimeError("no"))],
        together_by_number,
        autosave=True,
        workspace_dir=tmp_path,
    )
    with pytest.raises(MemberFailed):
        await swarm.run("go")
    changed = Made(
        "s", [agent("b", "x"), agent("a", "y")], together_by_number, autosave=True, workspace_dir=tmp_path
    )
    with pytest.raises(errors.SwarmChanged, match="asks member 'b' for '0', which 'a' did"):
        await changed.resume()


async def together_by_number(swarm: Made, task: str, team: Team) -> str:
    for number, member in enumerate(swarm.members):
        task = (await team.ask(member, task, key=str(number))).text
    return task


async def test_a_key_names_one_piece_of_work() -> None:
    async def twice(swarm: Made, task: str, team: Team) -> str:
        await team.ask_all([(member, task, "same") for member in swarm.members])
        return task

    with pytest.raises(errors.ConfigurationError, match="have the key 'same'"):
        await Made("s", [agent("a", "one"), agent("b", "two")], twice).run("go")


async def test_only_so_many_are_at_work_at_once() -> None:
    """O13: and a long list of work is gone through no faster than it is done."""
    at_work = most = pulled = 0

    class Counting:
        def __init__(self, name: str) -> None:
            self.agent_name = name

        async def run(self, task: str) -> str:
            nonlocal at_work, most
            at_work += 1
            most = max(most, at_work)
            assert pulled <= int(task) + 3
            for _ in range(5):
                await anyio.lowlevel.checkpoint()
            at_work -= 1
            return task

        async def stream(self, task: str) -> AsyncGenerator[Any, None]:
            yield await self.run(task)

        async def resume(self) -> str:
            raise NothingToResume("nothing")

        async def save(self) -> None:
            return None

    async def many(swarm: Made, _: str, team: Team) -> str:
        def work() -> Any:
            nonlocal pulled
            for pulled in range(20):
                yield swarm.members[pulled], str(pulled), str(pulled)

        return " ".join(one.text for one in await team.ask_all(work(), at_once=3))

    result = await Made("s", [Counting(f"c{number}") for number in range(20)], many).run("go")
    assert result.text == " ".join(map(str, range(20)))
    assert most == 3


class Foreign:
    """A member that is none of ours: it can be cut off, and finishes what it was at."""

    def __init__(self, name: str, *answers: Any) -> None:
        self.agent_name = name
        self.asked: list[str] = []
        self._answers = list(answers)

    async def run(self, task: str) -> str:
        self.asked.append(f"run {task}")
        return self._next()

    async def stream(self, task: str) -> AsyncGenerator[Any, None]:
        yield await self.run(task)

    async def resume(self) -> str:
        self.asked.append("resume")
        return self._next()

    async def save(self) -> None:
        return None

    def _next(self) -> str:
        answer = self._answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return str(answer)


class ById(Foreign):
    async def run(self, task: str, *, run_id: str = "") -> str:
        self.asked.append(run_id.partition(":")[2])
        return self._next()


async def test_anything_that_has_the_shape_of_an_agent_can_be_a_member() -> None:
    """O14: what was cut off of it is resumed, or asked for again under the same id."""
    foreign = Foreign("foreign", RuntimeError("down"), NothingToResume("never began"), "answered")
    by_id = ById("by id", RuntimeError("down"), "answered too")
    swarm = Made("s", [foreign, by_id], policy=MemberPolicy(attempts=2, backoff=0.0))
    result = await swarm.run("go")
    assert result.text == "answered too"
    assert foreign.asked == ["run go", "resume", "run go"]
    assert by_id.asked == ["2-by id", "2-by id"]
    with pytest.raises(errors.ConfigurationError, match="no run, stream, resume, save, agent_name"):
        Made("t", [object()])


async def test_attempts_wait_longer_and_longer_by_the_clock() -> None:
    """O15: then the fallback does the task, and the result says who did it."""
    clock = FakeClock()
    failing = Foreign("failing", *[RuntimeError(f"down {n}") for n in range(3)])
    policy = MemberPolicy(attempts=3, backoff=2.0, fallback=agent("other", "saved the day"))
    seen: list[tuple[str, int, str, float]] = []
    swarm = Made("s", [failing], policy=policy)

    def note(event: events.Event) -> None:
        if isinstance(event, events.MemberFailed):
            seen.append((event.error, event.attempt, event.what_next, clock.monotonic() - began))

    async with Runtime(clock=clock) as runtime:
        await runtime.spawn(swarm)
        swarm.watch(note)
        began = clock.monotonic()
        outcome: list[Any] = []

        async def run() -> None:
            outcome.append(await swarm.run("go"))

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(run)
            for seconds in (2.0, 4.0):
                await clock.advance(seconds)
    (result,) = outcome
    assert seen == [
        ("RuntimeError: down 0", 1, "retry", 0.0),
        ("RuntimeError: down 1", 2, "retry", 2.0),
        ("RuntimeError: down 2", 3, "fallback", 6.0),
    ]
    assert result.text == "saved the day"
    (work,) = result.members
    assert (work.member, work.by, work.attempts) == ("failing", "other", 4)


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


async def test_a_limit_of_loops_is_refused() -> None:
    swarm = Made("s", [agent("a", RuntimeError("no"), "yes")])
    with pytest.raises(MemberFailed):
        await swarm.run("go")
    with pytest.raises(errors.ConfigurationError, match="no limit of swarm 's'"):
        await swarm.resume(max_loops=3)
    assert (await swarm.resume()).text == "yes"


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


async def test_who_was_skipped_for_nothing_is_asked_again(tmp_path: Path) -> None:
    """O22: a run without an answer, because too many were skipped, asks them again when it goes on."""

    async def anybody(swarm: Made, task: str, team: Team) -> str:
        asked = [(member, task, member.agent_name) for member in swarm.members]
        results = await team.ask_all(asked)
        if not results[0].ok:
            raise errors.NobodyAnswered(swarm.agent_name, {"a": results[0].error})
        return " ".join(one.text for one in results)

    def make(*script: Any) -> Made:
        members = [agent("a", *script), agent("b", "fine")]
        return Made(
            "s", members, anybody, policy=MemberPolicy(then="skip"), autosave=True, workspace_dir=tmp_path
        )

    with pytest.raises(errors.NobodyAnswered, match="'a' failed: RuntimeError: away"):
        await make(RuntimeError("away")).run("go", run_id="mine")
    swarm = make("back")
    result = await swarm.run("go", run_id="mine")
    assert result.text == "back fine"
    assert [(one.member, one.ok, one.attempts) for one in result.members] == [("b", True, 1), ("a", True, 1)]
    assert (result.usage.calls, result.loop_count) == (2, 3)
    of_a = [work.status for work in swarm.state.works if work.member == "a"]
    assert of_a == ["skipped", "reopened", "finished"]


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


async def test_one_member_does_one_piece_of_work_after_the_other(tmp_path: Path) -> None:
    """O27: the time of an attempt begins when the member does, and one that pauses leaves the rest for later."""
    asking = Agent(
        "a",
        model=ScriptedModel([ScriptedModel.call("ask_human", {"question": "?"}), "first", "second"]),
        tools=[ask_human],
    )

    async def twice(swarm: Made, task: str, team: Team) -> str:
        results = await team.ask_all([(swarm.members[0], task, "1"), (swarm.members[0], task, "2")])
        return " ".join(result.text for result in results)

    swarm = Made(
        "s", [asking], twice, autosave=True, workspace_dir=tmp_path, policy=MemberPolicy(then="skip")
    )
    paused = await swarm.run("go")
    assert (paused.status, paused.stop_reason, paused.members) == ("paused", "question", ())
    await swarm.answer("yes")
    assert (await swarm.resume()).text == "first second"


async def test_an_older_run_goes_on_with_its_own_work(tmp_path: Path) -> None:
    """O28: what began in one run of a swarm is not taken for what began in another."""
    foreign = Foreign("foreign", RuntimeError("down"), "second", "first")
    swarm = Made("s", [foreign], autosave=True, workspace_dir=tmp_path)
    with pytest.raises(MemberFailed):
        await swarm.run("one", run_id="one")
    assert (await swarm.run("two", run_id="two")).text == "second"
    assert (await swarm.resume("one")).text == "first"
    assert foreign.asked == ["run one", "run two", "resume"]


async def test_a_pattern_must_answer_with_a_text() -> None:
    async def forgetful(_: Made, __: str, ___: Team) -> str:
        return None  # type: ignore[return-value]

    with pytest.raises(errors.ConfigurationError, match=r"orchestrate\(\) of Made returned None"):
        await Made("s", [agent("a")], forgetful).run("go")


@pytest.mark.parametrize("key", ["", "x" * 2001, 5])
async def test_a_key_is_a_text(key: Any) -> None:
    async def ask(swarm: Made, task: str, team: Team) -> str:
        return (await team.ask(swarm.members[0], task, key=key)).text

    with pytest.raises(errors.ConfigurationError, match="is no key for the work of swarm 's'"):
        await Made("s", [agent("a", "one")], ask).run("go")


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


async def test_reopened_work_may_be_another_task(tmp_path: Path) -> None:
    """O22: who is asked again may be told something else, for those before it answer now."""

    async def line(swarm: Made, task: str, team: Team) -> str:
        results = []
        for member in swarm.members:
            results.append(await team.ask(member, task, key=member.agent_name))
            task = results[-1].text or task
        if not any(result.ok for result in results):
            raise errors.NobodyAnswered(swarm.agent_name, {one.member: one.error for one in results})
        return task

    def make(a: Any, b: Any) -> Made:
        members = [agent("a", a), agent("b", b)]
        return Made(
            "s", members, line, policy=MemberPolicy(then="skip"), autosave=True, workspace_dir=tmp_path
        )

    with pytest.raises(errors.NobodyAnswered):
        await make(RuntimeError("away"), RuntimeError("away")).run("go")
    assert (await make("from a", "from b").resume()).text == "from b"


async def test_a_task_that_changed_is_not_taken_for_the_one_that_began(tmp_path: Path) -> None:
    """O12: nor is it a failure of the member, that could be skipped."""

    def make(script: Any, told: str) -> Made:
        async def ask(swarm: Made, _: str, team: Team) -> str:
            return (await team.ask(swarm.members[0], told, key="1")).text

        return Made("s", [agent("a", script)], ask, autosave=True, workspace_dir=tmp_path)

    with pytest.raises(MemberFailed):
        await make(RuntimeError("broken"), "told so").run("go")
    with pytest.raises(errors.SwarmChanged, match="'1' of swarm 's' was begun by 'a', with another task"):
        await make("x", "told otherwise").resume()


async def test_a_key_is_asked_for_once(tmp_path: Path) -> None:
    """O29: a second time it would be answered with what the first one asked for."""

    async def again(swarm: Made, task: str, team: Team) -> str:
        for _ in range(2):
            task = (await team.ask(swarm.members[0], task, key="work")).text
        return task

    with pytest.raises(errors.ConfigurationError, match="have the key 'work'; give each its own"):
        await Made("s", [agent("a", "one", "two")], again).run("go")


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


async def test_a_disk_that_fails_is_no_fault_of_a_member(tmp_path: Path) -> None:
    """O31: it is waited for, and nobody is skipped."""
    clock = FakeClock()
    full = FailingClaims(fail=2)
    async with Runtime(tmp_path, clock=clock, files=full) as runtime:
        swarm = Made("s", [agent("a", "one")], autosave=True, policy=MemberPolicy(then="skip"))
        await runtime.spawn(swarm)
        full.armed = True
        outcome: list[Any] = []
        failing = anyio.Event()
        swarm.watch(lambda event: failing.set() if isinstance(event, events.SaveFailing) else None)

        async def run() -> None:
            outcome.append(await swarm.run("go"))

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(run)
            await failing.wait()
            while not outcome:
                await clock.advance(1.0)
                await anyio.lowlevel.checkpoint()
    assert (outcome[0].text, outcome[0].failed) == ("one", ())


class FailingClaims(FileOperations):
    """Folders cannot be made for want of room, so many times."""

    def __init__(self, fail: int) -> None:
        super().__init__()
        self.armed = False
        self._left = fail

    def mkdir(self, path: Path) -> None:
        if self.armed and self._left:
            self._left -= 1
            raise OSError(errno.ENOSPC, "No space left on device")
        super().mkdir(path)
