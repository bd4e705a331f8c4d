"""A graph of work."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import anyio
import pytest
from tests.support.rehearsal import Rehearsal, broken, goes_on_after_every_cut, run_past_timeouts

from overwinter import Runtime
from overwinter.agents.swarms.graph_workflow import GraphWorkflow
from overwinter.agents.swarms.policy import MemberPolicy
from overwinter.agents.swarms.sequential import SequentialWorkflow
from overwinter.errors import ConfigurationError, MemberFailed, NobodyAnswered
from overwinter.testing import ScriptedModel

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

pytestmark = pytest.mark.anyio

SKIP = MemberPolicy(then="skip")
DIAMOND = [("a", ["b", "c"]), (["b", "c"], "d")]


def diamond(cast: Rehearsal, **settings: Any) -> GraphWorkflow:
    return GraphWorkflow("diamond", cast.agents("a", "b", "c", "d"), DIAMOND, **settings)


async def test_each_is_told_the_task_and_its_inputs_by_name() -> None:
    """W4: an entry node is told the task, every other one its inputs too; the end node's text is the result."""
    cast = Rehearsal()
    agents = [cast.agent(name, f"from {name}") for name in "abcd"]
    result = await GraphWorkflow("diamond", agents, DIAMOND).run("the task")
    assert str(result) == "from d"
    assert cast.told("a") == ["the task"]
    (told,) = cast.told("d")
    for part in ("the task", "## b\n\nfrom b", "## c\n\nfrom c"):
        assert part in told
    assert "from a" not in told
    assert sorted(one.key for one in result.members) == ["a", "b", "c", "d"]


async def test_a_node_runs_as_soon_as_its_inputs_are_there() -> None:
    """W5: nobody waits for work that he does not need: while one branch hangs, the other goes on to its end."""
    cast, gate = Rehearsal(), ScriptedModel.gate("slow")
    late = anyio.Event()

    def last(_: object) -> str:
        late.set()
        return "c"

    nodes = [cast.agent("slow", gate), *cast.agents("a", "b"), cast.agent("c", last)]
    workflow = GraphWorkflow("two", nodes, [("a", "b"), ("b", "c")])
    results = []

    async def run() -> None:
        results.append(await workflow.run("the task"))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(run)
        await late.wait()
        assert not results
        gate.open()
    assert str(results[0]) == "## slow\n\nslow\n\n## c\n\nc"


async def test_functions_stand_in_it_and_are_called_once(tmp_path: Path) -> None:
    """W6: what a function or a condition of a graph returned is recorded, and it is not called again on resume."""

    def make(cast: Rehearsal) -> GraphWorkflow:
        async def join(task: str, inputs: Mapping[str, str]) -> str:
            await cast.note("join", str(inputs))
            return f"{task}: {inputs['a']} and {inputs['shout']}"

        def shout(task: str, inputs: Mapping[str, str]) -> str:
            return inputs["b"].upper()

        async def is_long(text: str) -> bool:
            await cast.note("is_long", text)
            return len(text) > 10

        a, b, c, d = cast.agents("a", "b", "c", "d")
        edges: list[Any] = [(a, join), (b, shout), (shout, join), (join, c, is_long), (join, d, "otherwise")]
        return GraphWorkflow("mixed", [a, b, shout, join, c, d], edges, **cast.saved)

    result = await goes_on_after_every_cut(make, tmp_path)
    assert [one.member for one in result.members][-1] == "c"
    assert str(result).startswith("c says")


async def test_a_way_whose_condition_does_not_hold_is_not_taken_and_not_waited_for() -> None:
    """W7: where ways part and meet again, the meeting point runs with what came, once nothing more can come."""
    cast = Rehearsal()
    nodes = [cast.agent("sort", "a bill"), *cast.agents("bills", "bugs", "praise", "answer")]
    edges: list[Any] = [
        ("sort", "bills", lambda text: "bill" in text),
        ("sort", "bugs", lambda text: "bug" in text),
        ("sort", "praise", "otherwise"),
        (("bills", "bugs", "praise"), "answer"),
    ]
    result = await GraphWorkflow("mail", nodes, edges).run("A letter")
    assert cast.order == ["sort", "bills", "answer"]
    assert cast.told("answer")[0].count("##") == 0
    assert str(result) == result.member("answer").text


async def test_a_cycle_goes_round_until_its_condition_or_its_bound_ends_it(tmp_path: Path) -> None:
    """W8: a cycle runs at most max_visits times, and what comes after it runs once, in the end."""

    def make(cast: Rehearsal) -> GraphWorkflow:
        edges: list[Any] = [
            ("write", "review"),
            ("review", "write", lambda text: "fine" not in text),
            ("review", "publish", "otherwise"),
        ]
        script = ["bad", "fine"] if cast.where is not None and cast.where.name == "short" else []
        nodes = [cast.agent("write"), cast.agent("review", *script), cast.agent("publish")]
        return GraphWorkflow("loop", nodes, edges, entry_points=["write"], max_visits=3, **cast.saved)

    short = Rehearsal(tmp_path / "short")
    await make(short).run("the task")
    assert short.order == ["write", "review", "write", "review", "publish"]
    assert "bad" in short.told("write")[1]
    result = await goes_on_after_every_cut(make, tmp_path)
    assert [one.key for one in result.members] == [
        "write/1", "review/1", "write/2", "review/2", "write/3", "review/3", "publish/1",
    ]  # fmt: skip


async def test_when_no_end_was_reached_the_run_fails_and_says_so() -> None:
    cast = Rehearsal()
    with pytest.raises(ConfigurationError, match=r"none of its end nodes \('b'\).*otherwise"):
        await GraphWorkflow("g", cast.agents("a", "b"), [("a", "b", lambda _: False)]).run("the task")

    def wrong(_: str) -> bool:
        raise ValueError("no idea")

    with pytest.raises(ValueError, match="no idea") as raised:
        await GraphWorkflow("g", cast.agents("a", "b"), [("a", "b", wrong)]).run("the task")
    assert "decides 'a ->'" in raised.value.__notes__[0]


async def test_one_that_is_skipped_sends_nothing() -> None:
    """W9: others go on without the text of a node that is skipped; if no end node ran the run fails, and names it."""
    cast = Rehearsal()
    nodes = [*cast.agents("a", "b"), cast.agent("c", *broken()), cast.agent("d")]
    result = await GraphWorkflow("diamond", nodes, DIAMOND, policy=SKIP).run("the task")
    assert [one.member for one in result.failed] == ["c"]
    assert result.member("b").text in cast.told("d")[0]
    assert str(result) == result.member("d").text
    line = GraphWorkflow("line", [cast.agent("x", *broken()), cast.agent("y")], [("x", "y")], policy=SKIP)
    with pytest.raises(NobodyAnswered, match="'x' failed: RuntimeError: out of order"):
        await line.run("the task")


async def test_one_that_fails_ends_the_run_and_the_others_can_go_on() -> None:
    """W10: the first failure interrupts the nodes at work; resume() finishes those, and repeats none that had ended."""
    cast, hangs = Rehearsal(), ScriptedModel.gate()

    async def fail(_: object) -> str:
        await hangs.reached.wait()
        raise RuntimeError("out of order")

    nodes = [
        cast.agent("a"),
        cast.agent("b", fail, "b now"),
        cast.agent("c", hangs, "c now"),
        cast.agent("d", "end"),
    ]
    workflow = GraphWorkflow("diamond", nodes, DIAMOND)
    with pytest.raises(MemberFailed, match=r"'b'"):
        await workflow.run("the task")
    assert str(await workflow.resume()) == "end"
    assert sorted(cast.order) == ["a", "b", "b", "c", "c", "d"]
    assert "b now" in cast.told("d")[0]
    assert "c now" in cast.told("d")[0]


async def test_a_fallback_and_a_timeout_work_as_everywhere() -> None:
    cast = Rehearsal()
    policies = {
        "b": MemberPolicy(fallback=cast.agent("spare", "from the spare")),
        "c": MemberPolicy(timeout=5, then="skip"),
    }
    nodes = [
        cast.agent("a"),
        cast.agent("b", *broken()),
        cast.agent("c", ScriptedModel.gate()),
        cast.agent("d"),
    ]
    result = await run_past_timeouts(GraphWorkflow("diamond", nodes, DIAMOND, policies=policies), [4.9, 0.2])
    assert "from the spare" in cast.told("d")[0]
    assert "MemberTimeout" in result.member("c").error


async def test_cut_off_anywhere_it_goes_on_and_does_nothing_twice(tmp_path: Path) -> None:
    """W11: a graph that is cut off at any answer is finished by fresh objects, with nothing done twice."""
    await goes_on_after_every_cut(lambda cast: diamond(cast, **cast.saved), tmp_path)


async def test_cut_off_in_a_cycle_beside_other_work_it_goes_on_too(tmp_path: Path) -> None:
    def make(cast: Rehearsal) -> GraphWorkflow:
        edges: list[Any] = [
            ("write", "review"),
            ("review", "write", lambda text: int(text[-1], 16) < 14),
            ("review", "log"),
            ("review", "publish", "otherwise"),
            (("log", "publish", "aside"), "join"),
        ]
        nodes = cast.agents("write", "review", "log", "publish", "aside", "join")
        return GraphWorkflow("g", nodes, edges, entry_points=["write", "aside"], max_visits=3, **cast.saved)

    result = await goes_on_after_every_cut(make, tmp_path)
    keys = [one.key for one in result.members]
    assert {"review/1", "log/1", "publish/1", "aside/1"} <= set(keys)
    assert keys.count("publish/1") == 1


async def test_it_can_be_paused_and_resumed() -> None:
    """W34: a graph that is paused begins no further node; resumed, it begins those, and none that had ended."""
    cast, gate = Rehearsal(), ScriptedModel.gate("from b")
    nodes = [cast.agent("a"), cast.agent("b", gate), cast.agent("c"), cast.agent("d", "end")]
    workflow = GraphWorkflow("diamond", nodes, DIAMOND)
    results = []

    async def run() -> None:
        results.append(await workflow.run("the task"))

    async with Runtime() as runtime:
        await runtime.spawn(workflow)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(run)
            await gate.reached.wait()
            await workflow.pause()
            gate.open()
        assert results[0].status == "paused"
        assert "d" not in cast.order
        assert str(await workflow.resume()) == "end"
    assert sorted(cast.order) == ["a", "b", "c", "d"]


async def test_a_swarm_can_be_a_node(tmp_path: Path) -> None:
    def nested(cast: Rehearsal) -> GraphWorkflow:
        inner = SequentialWorkflow("inner", cast.agents("b", "c"))
        return GraphWorkflow("outer", [cast.agent("a"), inner], [("a", "inner")], **cast.saved)

    result = await goes_on_after_every_cut(nested, tmp_path)
    assert [one.member for one in result.members] == ["a", "inner"]


async def test_a_member_may_stand_at_several_nodes() -> None:
    cast = Rehearsal()
    writer, critic = cast.agents("writer", "critic")
    nodes = {"draft": writer, "criticism": critic, "final": writer}
    result = await GraphWorkflow("g", nodes, [("draft", critic), (critic, "final")]).run("the task")
    assert cast.order == ["writer", "critic", "writer"]
    assert [one.key for one in result.members] == ["draft", "criticism", "final"]
    with pytest.raises(ConfigurationError, match="'writer' stands in the graph as draft, final"):
        GraphWorkflow("g", nodes, [(writer, critic)])


def test_its_picture_shows_nodes_functions_and_conditions() -> None:
    cast = Rehearsal()

    def is_long(text: str) -> bool:
        return len(text) > 10

    def join(task: str, inputs: Mapping[str, str]) -> str:
        return task

    inner = SequentialWorkflow("inner", cast.agents("x"))
    edges: list[Any] = [("a", join, is_long), ("a", inner, "otherwise"), (inner, "end")]
    assert GraphWorkflow("g", [*cast.agents("a", "end"), inner, join], edges).to_mermaid() == (
        "flowchart TD\n"
        '    n1(["task"])\n'
        '    n2("a")\n'
        '    n3("end")\n'
        '    n4[["inner"]]\n'
        '    n5["join"]\n'
        '    n6(["result"])\n'
        "    n1 --> n2\n"
        '    n2 -.->|"is_long"| n5\n'
        '    n2 -.->|"otherwise"| n4\n'
        "    n4 --> n3\n"
        "    n3 --> n6\n"
        "    n5 --> n6\n"
    )


@pytest.mark.parametrize(
    ("edges", "settings", "message"),
    [
        ([("a", "x")], {}, "'a' -> 'x' names 'x', which is no node; the nodes are: 'a', 'b', 'c'"),
        ([("a", "b"), ("b", "a")], {"entry_points": ["a", "c"]}, "'b' -> 'a' close a cycle.*max_visits"),
        ([("a", "b"), ("b", "a")], {"max_visits": 0, "entry_points": ["a", "c"]}, "max_visits is 0"),
        ([("b", "c"), ("c", "b")], {"max_visits": 2}, r"no way leads from the entry points \('a'\) to 'b', 'c'"),
        ([("a", "b"), ("b", "c"), ("c", "a")], {"max_visits": 2}, "every node is part of a cycle; give entry_points="),
        ([("a", "b"), ("b", "c"), ("c", "a")], {"max_visits": 2, "entry_points": ["a"]}, "give end_points="),
        ([], {"entry_points": ["z"]}, "entry_points has 'z'"),
        ([], {"end_points": []}, "end_points has no node"),
        ([("a", "b"), ("a", "b")], {}, "twice"),
        ([("a", "b", "otherwise")], {}, "no other edge from there has a condition"),
        ([("a", "b", "perhaps")], {}, "the condition 'perhaps'"),
        ([("a",)], {}, r"an edge is \(from, to\)"),
    ],
)  # fmt: skip
def test_a_graph_that_cannot_work_is_refused(edges: Any, settings: dict[str, Any], message: str) -> None:
    """W12: unknown nodes, unbounded cycles and nodes to which no way leads are errors where the graph is made."""
    with pytest.raises(ConfigurationError, match=message):
        GraphWorkflow("g", Rehearsal().agents("a", "b", "c"), edges, **settings)


def test_nodes_need_names_of_their_own() -> None:
    cast = Rehearsal()
    for nodes, message in (
        ([cast.agent("a"), cast.agent("a")], "two nodes are called 'a'"),
        ([cast.agent("a -> b")], "without '->'"),
        ([lambda task, inputs: task], "has no name"),
        ({"a": 3}, "neither an agent, a swarm nor a function"),
    ):
        with pytest.raises(ConfigurationError, match=message):
            GraphWorkflow("g", nodes)  # type: ignore[arg-type]
