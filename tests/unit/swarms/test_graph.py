"""The picture of a swarm, and when which node of a graph of work runs."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise
from random import Random
from typing import TYPE_CHECKING

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from overwinter import ConfigurationError
from overwinter.agents.swarms.graph import Edge, Graph, Node, to_mermaid
from overwinter.agents.swarms.graph_plan import OTHERWISE, GraphPlan, Link
from overwinter.agents.swarms.graph_schedule import Schedule, Visit

if TYPE_CHECKING:
    from collections.abc import Callable

SHAPES = Graph(
    (
        Node("start", "task", "start"),
        Node("a", "writer"),
        Node("b", "panel", "swarm"),
        Node("c", "join", "function"),
        Node("d", "which?", "decision"),
        Node("end", "result", "end"),
    ),
    (Edge("start", "a"), Edge("a", "d", "when done", dashed=True), Edge("d", "b", "yes"), Edge("c", "end")),
)


def test_a_graph_is_drawn_as_a_mermaid_flowchart() -> None:
    """W1: the picture of a swarm is valid Mermaid, whatever its members are called, and plain data in config.json."""
    assert to_mermaid(SHAPES) == (
        "flowchart TD\n"
        '    n1(["task"])\n'
        '    n2("writer")\n'
        '    n3[["panel"]]\n'
        '    n4["join"]\n'
        '    n5{"which?"}\n'
        '    n6(["result"])\n'
        "    n1 --> n2\n"
        '    n2 -.->|"when done"| n5\n'
        '    n5 -->|"yes"| n3\n'
        "    n4 --> n6\n"
    )
    assert to_mermaid(Graph(()), direction="LR") == "flowchart LR\n"


@given(st.text(), st.text())
def test_no_label_ends_its_quotes_or_its_line(name: str, label: str) -> None:
    drawn = to_mermaid(Graph((Node("a", name), Node("b", "b")), (Edge("a", "b", label),)))
    first, second, third, fourth, *rest = drawn.split("\n")
    assert (first, third, rest) == ("flowchart TD", '    n2("b")', [""])
    assert second.count('"') == 2
    assert fourth.count('"') in (0, 2)
    for line in (second, fourth.replace("-->", "")):
        assert not set("<>`\\&").intersection(line.replace("<br/>", ""))
    assert not any(line != line.strip("\r\x0b\x0c\x1c\x1d\x1e\x85\u2028\u2029") for line in (second, fourth))


def test_a_graph_is_plain_data() -> None:
    assert msgspec.json.decode(msgspec.json.encode(SHAPES), type=Graph) == SHAPES
    assert msgspec.convert(msgspec.to_builtins(SHAPES), Graph) == SHAPES


def test_a_picture_of_what_is_not_there_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="names no node of the graph: 'b'"):
        to_mermaid(Graph((Node("a", "a"),), (Edge("a", "b"),)))
    with pytest.raises(ConfigurationError, match="the same id"):
        to_mermaid(Graph((Node("a", "a"), Node("a", "b"))))


def played(
    plan: GraphPlan, random: Random, take: Callable[[Visit, Link], bool]
) -> tuple[list[Visit], list[Visit]]:
    """Run a schedule whose nodes end in a random order: the visits as they began, and as they ended."""
    schedule = Schedule(plan)
    began = schedule.begin()
    running, ended = list(began), list[Visit]()
    while running:
        assert len({visit.node for visit in running}) == len(running)
        visit = running.pop(random.randrange(len(running)))
        ended.append(visit)
        links = schedule.links_of(visit.node)
        taken = [link for link in links if not link.otherwise and take(visit, link)]
        taken = taken or [link for link in links if link.otherwise]
        new = schedule.ended(visit.node, f"{visit.node}/{visit.number}", taken)
        texts = {text for each in new for text in each.inputs.values()}
        assert texts <= {f"{one.node}/{one.number}" for one in ended} if texts else True
        began += new
        running += new
    return began, ended


@st.composite
def dags(draw: st.DrawFn) -> GraphPlan:
    size = draw(st.integers(1, 9))
    names = draw(st.permutations([f"n{number}" for number in range(size)]))
    pairs = [(one, two) for place, one in enumerate(names) for two in names[place + 1 :]]
    chosen = draw(st.lists(st.sampled_from(pairs), unique=True)) if pairs else []
    return GraphPlan(sorted(names), [Link(one, two) for one, two in chosen])


@given(dags(), st.randoms(use_true_random=False))
def test_in_a_random_dag_each_node_runs_once_and_after_all_its_inputs(
    plan: GraphPlan, random: Random
) -> None:
    """W2: every node of a graph runs exactly once, as soon as all its inputs are there and with all of them."""
    schedule = Schedule(plan)
    running = {visit.node: visit for visit in schedule.begin()}
    done: set[str] = set()
    began = list(running)
    while running:
        sources = {node: {link.source for link in plan.into[node]} for node in plan.nodes}
        # As soon as: whatever could run does.
        assert {node for node in plan.nodes if sources[node] <= done} == done | running.keys()
        node = random.choice(sorted(running))
        visit = running.pop(node)
        assert visit.inputs == {source: f"text of {source}" for source in sources[node]}
        done.add(node)
        for new in schedule.ended(node, f"text of {node}", schedule.links_of(node)):
            assert new.node not in began
            began.append(new.node)
            running[new.node] = new
    assert done == set(plan.nodes)


@given(dags(), st.integers(), st.randoms(use_true_random=False))
def test_where_ways_are_not_taken_each_node_that_was_reached_runs_once_and_waits_for_all_that_come(
    plan: GraphPlan, seed: int, random: Random
) -> None:
    def take(visit: Visit, link: Link) -> bool:
        return Random(f"{seed}{link}").random() < 0.6

    _, ended = played(plan, random, take)
    first = {visit.node: visit for visit in ended}
    expected = set(plan.entry_points)
    for _ in plan.nodes:
        expected |= {
            link.target for link in plan.links if link.source in expected and take(first[link.source], link)
        }
    assert Counter(visit.node for visit in ended) == Counter(expected)
    for visit in ended:
        came = {
            link.source for link in plan.into[visit.node] if link.source in expected and take(visit, link)
        }
        assert visit.inputs.keys() == came


@st.composite
def cyclic(draw: st.DrawFn) -> GraphPlan:
    size = draw(st.integers(1, 6))
    names = [f"n{number}" for number in range(size)]
    pairs = [(one, two) for one in names for two in names]
    chosen = draw(st.lists(st.sampled_from(pairs), unique=True, max_size=14))
    links = [Link(one, two) for one, two in [*pairwise(names), *chosen]]
    unique = {(link.source, link.target): link for link in links}
    return GraphPlan(
        names,
        unique.values(),
        entry_points=sorted({"n0", *draw(st.lists(st.sampled_from(names), max_size=2))}),
        end_points=[names[-1]],
        max_visits=draw(st.integers(1, 4)),
    )


@given(cyclic(), st.integers(), st.randoms(use_true_random=False))
def test_with_cycles_the_visits_do_not_depend_on_who_is_faster(
    plan: GraphPlan, seed: int, random: Random
) -> None:
    """W3: which nodes of a graph run, how often, and on which inputs does not depend on who is faster."""

    def take(visit: Visit, link: Link) -> bool:
        return Random(f"{seed}{link}{visit.number}{sorted(visit.inputs.items())}").random() < 0.7

    one, _ = played(plan, Random(0), take)
    for _ in range(3):
        other, ended = played(plan, random, take)
        assert sorted(map(repr, one)) == sorted(map(repr, other))
        assert max(Counter(visit.node for visit in ended).values()) <= plan.max_visits


def test_a_loop_goes_round_until_its_condition_or_its_bound_ends_it() -> None:
    links = [
        Link("write", "review"),
        Link("review", "write", lambda _: True),
        Link("review", "publish", OTHERWISE),
        Link("other", "join"),
        Link("publish", "join"),
    ]
    plan = GraphPlan(
        ["write", "review", "publish", "other", "join"], links, entry_points=["write", "other"], max_visits=3
    )
    for until, visits in ((1, 1), (2, 2), (9, 3)):
        ended = played(plan, Random(1), lambda visit, link, u=until: not link.back or visit.number < u)[1]  # type: ignore[misc]
        counts = Counter(visit.node for visit in ended)
        assert counts == {"write": visits, "review": visits, "publish": 1, "other": 1, "join": 1}
        assert ended[-1].node == "join"
        assert ended[-1].inputs == {"other": "other/1", "publish": "publish/1"}


def test_a_thousand_nodes_are_no_work() -> None:
    layers = [[f"{layer}-{number}" for number in range(30)] for layer in range(33)]
    links = [Link(one, two) for left, right in pairwise(layers) for one in left for two in right]
    plan = GraphPlan([name for layer in layers for name in layer], links)
    began, _ = played(plan, Random(2), lambda *_: True)
    assert len(began) == 990
