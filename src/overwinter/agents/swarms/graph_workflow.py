"""Members and functions in a graph: each runs as soon as what it needs is there."""

from __future__ import annotations

from inspect import isawaitable
from typing import TYPE_CHECKING, Unpack

from anyio import create_task_group

from overwinter.agents.swarms.answers import handed_on, under_names
from overwinter.agents.swarms.base import Swarm
from overwinter.agents.swarms.drawing import node_of
from overwinter.agents.swarms.graph import Edge, Graph, Node
from overwinter.agents.swarms.graph_nodes import GraphNodes
from overwinter.agents.swarms.graph_plan import OTHERWISE, GraphPlan
from overwinter.agents.swarms.graph_schedule import Schedule
from overwinter.agents.swarms.options import OutputT
from overwinter.errors import ConfigurationError, NobodyAnswered

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from overwinter.agents.swarms.graph_nodes import EdgeLike, NodeLike
    from overwinter.agents.swarms.graph_plan import Link
    from overwinter.agents.swarms.graph_schedule import Visit
    from overwinter.agents.swarms.options import SwarmOptions
    from overwinter.agents.swarms.results import MemberResult
    from overwinter.agents.swarms.team import Team

__all__ = ["GraphWorkflow"]

# No node's name has an arrow in it.
_START = Node("-> task", "task", "start")
_END = Node("result ->", "result", "end")


class GraphWorkflow(Swarm[OutputT]):
    """The ``nodes`` work along the ``edges`` between them, each as soon as all its inputs are there.

    An entry node is told the task as it is, every other one the task and the texts of those from whom an edge leads to
    it, under their names. Edges may have conditions; where one is not taken, nodes further on do not wait for it, and a
    node to which no edge was taken does not run. The result is the text of the end node that ran, or where several
    did their texts under their names. One that is skipped sends nothing; when no end node has run the run fails, and
    says why.

    ::

        GraphWorkflow(
            "report",
            [researcher, writer, reviewer, publisher],
            [
                ("researcher", "writer"),
                ("writer", "reviewer"),
                ("reviewer", "writer", lambda text: "REVISE" in text),
                ("reviewer", "publisher", "otherwise"),
            ],
            max_visits=3,
        )

    :param name: any text; the swarm's, as an ``agent_name`` is an agent's.
    :param nodes: agents, swarms, other members, and functions of ``(task, inputs)``, sync or async, where ``inputs``
        are texts by the names of nodes. What a function returned is recorded, and it is not called again; what it
        raises ends the run. A mapping gives them other names than their own.
    :param edges: ``(from, to)``, or ``(from, to, condition)``: names, or the nodes themselves, or a list of them for an
        edge each. A condition is a function of the text of the node it comes from, sync or async; what it returned is
        recorded. ``"otherwise"`` in its place means: when no condition of that node holds.
    :param entry_points: the nodes that begin; unless given, those to which no edge leads.
    :param end_points: the nodes whose texts are the result; unless given, those from which no edge leads.
    :param max_visits: how often a node may run; needed where edges form a cycle. An edge that closes one is taken once
        less, after which it counts as one whose condition does not hold.
    :raises ConfigurationError: an edge names no node, a cycle has no bound, or no way leads to a node.
    """

    def __init__(
        self,
        name: str,
        nodes: Iterable[NodeLike] | Mapping[str, NodeLike],
        edges: Iterable[EdgeLike] = (),
        *,
        entry_points: Sequence[str | NodeLike] | None = None,
        end_points: Sequence[str | NodeLike] | None = None,
        max_visits: int | None = None,
        **options: Unpack[SwarmOptions[OutputT]],
    ) -> None:
        self._nodes = GraphNodes(nodes)
        self._plan = GraphPlan(
            self._nodes.names,
            self._nodes.links(edges),
            entry_points=self._nodes.called(entry_points),
            end_points=self._nodes.called(end_points),
            max_visits=max_visits,
        )
        members = {id(member): member for member in self._nodes.members.values()}
        super().__init__(name, members.values(), described={"max_visits": max_visits}, **options)

    async def orchestrate(self, task: str, team: Team) -> str:
        """Run each node when its turn has come."""
        return await _GraphRun(self.agent_name, self._nodes, self._plan, task, team).run()

    def graph(self) -> Graph:
        """The nodes and the edges, those with a condition dashed."""
        nodes = [self._drawn(name) for name in self._nodes.names]
        edges = [Edge(_START.id, name) for name in self._plan.entry_points]
        edges += [
            Edge(link.source, link.target, _label(link), bool(_label(link))) for link in self._plan.links
        ]
        edges += [Edge(name, _END.id) for name in self._plan.end_points]
        return Graph((_START, *nodes, _END), tuple(edges))

    def _drawn(self, name: str) -> Node:
        if name in self._nodes.functions:
            return Node(name, name, "function")
        return Node(name, name, node_of(self._nodes.members[name]).kind)


class _GraphRun:
    """One run through the graph."""

    def __init__(self, swarm: str, nodes: GraphNodes, plan: GraphPlan, task: str, team: Team) -> None:
        self._swarm = swarm
        self._nodes = nodes
        self._plan = plan
        self._task = task
        self._team = team
        self._schedule = Schedule(plan)
        self._texts: dict[str, str] = {}
        self._skipped: list[MemberResult] = []
        self._error: Exception | None = None

    async def run(self) -> str:
        """Visit nodes until none is left to visit; the first error ends all that are at work."""
        async with create_task_group() as tasks:
            self._tasks = tasks
            self._begin(self._schedule.begin())
        if self._error is not None:
            raise self._error
        return self._result()

    def _begin(self, visits: Iterable[Visit]) -> None:
        for visit in visits:
            self._tasks.start_soon(self._visit, visit, name=f"{self._swarm}: {visit.node}")

    async def _visit(self, visit: Visit) -> None:
        try:
            key = f"{visit.node}/{visit.number}" if self._plan.is_cyclic else visit.node
            text = await self._work(visit, key)
            taken = [] if text is None else await self._take(visit.node, text, key)
            self._begin(self._schedule.ended(visit.node, text or "", taken))
        except Exception as error:  # noqa: BLE001 - it is raised where all have come to rest
            if self._error is None:
                self._error = error
            else:
                self._error.add_note(f"and at the same time: {type(error).__name__}: {error}")
            self._tasks.cancel_scope.cancel()

    async def _work(self, visit: Visit, key: str) -> str | None:
        """The text of the node, or None where it was skipped."""
        function = self._nodes.functions.get(visit.node)
        if function is not None:
            self._texts[visit.node] = text = await self._team.decide(
                key, lambda: function(self._task, visit.inputs), str, thread=True
            )
            return text
        told = handed_on(self._task, list(visit.inputs.items())) if visit.inputs else self._task
        result = await self._team.ask(self._nodes.members[visit.node], told, key=key)
        if not result.ok:
            self._skipped.append(result)
            return None
        self._texts[visit.node] = result.text
        return result.text

    async def _take(self, node: str, text: str, key: str) -> list[Link]:
        """The links out of *node* that its text goes over. Conditions are asked once, and what they say is recorded."""
        links = self._schedule.links_of(node)
        asked = [link for link in links if link.when is not None]
        holds = (
            await self._team.decide(f"{key} ->", lambda: _holding(asked, text), list[str]) if asked else []
        )
        taken = [link for link in links if link.target in holds or (link.when is None and not link.otherwise)]
        return taken + [link for link in links if link.otherwise and not holds]

    def _result(self) -> str:
        texts = [(name, self._texts[name]) for name in self._plan.end_points if name in self._texts]
        if not texts:
            ends = ", ".join(map(repr, self._plan.end_points))
            if self._skipped:
                raise NobodyAnswered(self._swarm, {result.member: result.error for result in self._skipped})
            raise ConfigurationError(
                f"swarm {self._swarm!r} came to none of its end nodes ({ends}): no condition of an edge that leads "
                f"there held. Give a node before it an edge with {OTHERWISE!r}"
            )
        return texts[0][1] if len(texts) == 1 else under_names(texts)


async def _holding(links: Iterable[Link], text: str) -> list[str]:
    holds: list[str] = []
    for link in links:
        held = link.when(text) if link.when is not None else True
        if await held if isawaitable(held) else held:
            holds.append(link.target)
    return holds


def _label(link: Link) -> str:
    if link.otherwise:
        return OTHERWISE
    name = getattr(link.when, "__name__", "if") if link.when is not None else ""
    return "if" if name == "<lambda>" else name
