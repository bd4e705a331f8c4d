"""A picture of a swarm: who takes part, and whose work goes to whom."""

from __future__ import annotations

from typing import Literal

import msgspec

from overwinter.errors import ConfigurationError

__all__ = ["Edge", "Graph", "Node", "NodeKind", "to_mermaid"]

NodeKind = Literal["agent", "swarm", "function", "start", "end", "decision"]


class Node(msgspec.Struct, frozen=True, omit_defaults=True):
    """One who takes part, or the start, the end or a decision of a swarm.

    :ivar id: what edges call it; any text, one of its kind in its graph.
    :ivar label: what people read; any text, line breaks are kept.
    """

    id: str
    label: str
    kind: NodeKind = "agent"


class Edge(msgspec.Struct, frozen=True, omit_defaults=True):
    """What *source* did goes to *target*.

    :ivar label: when, or what of it; empty for always and everything.
    :ivar dashed: it goes there only sometimes, or only to be looked at.
    """

    source: str
    target: str
    label: str = ""
    dashed: bool = False


class Graph(msgspec.Struct, frozen=True):
    """The picture as plain data, as it stands in ``config.json``."""

    nodes: tuple[Node, ...]
    edges: tuple[Edge, ...] = ()


_SHAPES: dict[NodeKind, tuple[str, str]] = {
    "agent": ("(", ")"),
    "swarm": ("[[", "]]"),
    "function": ("[", "]"),
    "start": ("([", "])"),
    "end": ("([", "])"),
    "decision": ("{", "}"),
}

# "#" goes first, for it begins every escape. A backtick at its beginning would make a label Markdown.
_ESCAPES = (
    ("#", "#35;"),
    ("&", "#amp;"),
    ('"', "#quot;"),
    ("<", "#lt;"),
    (">", "#gt;"),
    ("`", "#96;"),
    ("\\", "#92;"),
)


def to_mermaid(graph: Graph, *, direction: Literal["TD", "LR"] = "TD") -> str:
    """*graph* as the text of a Mermaid flowchart (https://mermaid.js.org/syntax/flowchart.html).

    Nodes are called ``n1``, ``n2``, ... in the order of the graph, because names such as ``end`` mean something there.
    The text ends with a line break.

    :raises ConfigurationError: two nodes have one id, or an edge names a node that is not there.
    """
    names = {node.id: f"n{number}" for number, node in enumerate(graph.nodes, 1)}
    if len(names) < len(graph.nodes):
        raise ConfigurationError("two nodes of the graph have the same id")
    lines = [f"flowchart {direction}"]
    lines += [f"    {names[node.id]}{_drawn(node)}" for node in graph.nodes]
    lines += [f"    {_arrow(edge, names)}" for edge in graph.edges]
    return "\n".join(lines) + "\n"


def _drawn(node: Node) -> str:
    left, right = _SHAPES[node.kind]
    return f'{left}"{_escaped(node.label) or " "}"{right}'


def _arrow(edge: Edge, names: dict[str, str]) -> str:
    for end in (edge.source, edge.target):
        if end not in names:
            raise ConfigurationError(
                f"the edge {edge.source!r} -> {edge.target!r} names no node of the graph: {end!r}"
            )
    arrow = "-.->" if edge.dashed else "-->"
    label = f'|"{_escaped(edge.label)}"|' if edge.label else ""
    return f"{names[edge.source]} {arrow}{label} {names[edge.target]}"


def _escaped(text: str) -> str:
    for character, escape in _ESCAPES:
        text = text.replace(character, escape)
    return "<br/>".join(line.strip() for line in text.strip().splitlines())
