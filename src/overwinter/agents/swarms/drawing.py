"""The parts that the pictures of most swarms are made of."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

from overwinter.agents.swarms.base import Swarm
from overwinter.agents.swarms.graph import Edge, Graph, Node, NodeKind

if TYPE_CHECKING:
    from collections.abc import Sequence

    from overwinter.agents.swarms.member import Member

__all__ = ["END", "START", "graph_of_steps", "node_of"]

START = Node("start", "task", "start")
END = Node("end", "result", "end")

_CROSSINGS = 16  # edges between two steps above which they meet in a node of its own


def node_of(member: Member, id: str | None = None) -> Node:  # noqa: A002 - as Node calls it
    """The node that stands for *member*."""
    kind: NodeKind = "swarm" if isinstance(member, Swarm) else "agent"
    return Node(member.agent_name if id is None else id, member.agent_name, kind)


def graph_of_steps(steps: Sequence[Sequence[Node]], *, again: int = 1) -> Graph:
    """From the task through all nodes of each step to all of the next one, and to the result.

    :param again: how many times it goes through them all.
    """
    whole: list[Sequence[Node]] = [[START]]
    for step in (*steps, [END]):
        if len(whole[-1]) > 1 and len(step) > 1 and len(whole[-1]) * len(step) > _CROSSINGS:
            whole.append([Node(f"all-{len(whole)}", "all", "function")])
        whole.append(step)
    edges = [Edge(left.id, right.id) for one, two in pairwise(whole) for left in one for right in two]
    if again > 1:
        label = f"{again} times in all"
        edges += [Edge(last.id, first.id, label, True) for last in steps[-1] for first in steps[0]]
    return Graph(tuple(node for step in whole for node in step), tuple(edges))
