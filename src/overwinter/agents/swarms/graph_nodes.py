"""Who stands in a graph of work: members and plain functions, and the names by which edges call them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, cast

from overwinter.agents.swarms.graph_plan import Condition, Link
from overwinter.errors import ConfigurationError

if TYPE_CHECKING:
    from overwinter.agents.swarms.member import Member

__all__ = ["EdgeLike", "GraphNodes", "NodeFunction", "NodeLike"]

#: A plain function as a node: of the task, and of the texts that it was sent, by the names of their nodes.
NodeFunction: TypeAlias = Callable[[str, Mapping[str, str]], str | Awaitable[str]]
NodeLike: TypeAlias = "Member | NodeFunction"
_End: TypeAlias = "str | NodeLike"
_Ends: TypeAlias = "_End | Sequence[_End]"
#: From where, to where, and on which condition. Several at an end mean an edge for each.
EdgeLike: TypeAlias = "tuple[_Ends, _Ends] | tuple[_Ends, _Ends, Condition | Literal['otherwise'] | None]"


class GraphNodes:
    """The nodes of a graph under their names: those given, or a member's ``agent_name`` and a function's own name.

    :raises ConfigurationError: two have one name, or one has none.
    """

    def __init__(self, nodes: Iterable[NodeLike] | Mapping[str, NodeLike]) -> None:
        self.members: dict[str, Member] = {}
        self.functions: dict[str, NodeFunction] = {}
        self.names: list[str] = []
        given: Any = nodes
        named: Iterable[tuple[str, NodeLike]] = (
            given.items() if isinstance(nodes, Mapping) else ((_name_of(node), node) for node in given)
        )
        for name, node in named:
            self._add(name, node)

    def links(self, edges: Iterable[EdgeLike]) -> list[Link]:
        """The links that *edges* stand for, in their order.

        :raises ConfigurationError: one has not two ends, or means a node that stands here twice.
        """
        found: list[Link] = []
        for edge in edges:
            if len(edge) not in (2, 3):
                raise ConfigurationError(f"an edge is (from, to) or (from, to, condition), not {edge!r}")
            when = edge[2] if len(edge) == 3 else None
            targets = self._ends(edge[1])
            found += [Link(source, target, when) for source in self._ends(edge[0]) for target in targets]
        return found

    def called(self, ends: Sequence[_End] | None) -> list[str] | None:
        """The names of *ends*, if there are any."""
        return None if ends is None else self._ends(ends)

    def _add(self, name: str, node: NodeLike) -> None:
        if not name.strip() or "->" in name:
            raise ConfigurationError(
                f"{name!r} cannot be the name of a node; give it one without '->', as in nodes={{'writer': agent}}"
            )
        if name in self.names:
            raise ConfigurationError(
                f"two nodes are called {name!r}; give them names, as in nodes={{'first': agent}}"
            )
        if hasattr(node, "agent_name"):
            self.members[name] = cast("Member", node)
        elif callable(node):
            self.functions[name] = node
        else:
            raise ConfigurationError(
                f"the node {name!r} is neither an agent, a swarm nor a function: {node!r}"
            )
        self.names.append(name)

    def _ends(self, ends: Any) -> list[str]:
        several = cast("Sequence[_End]", ends if isinstance(ends, (list, tuple)) else [ends])
        return [self._called(end) for end in several]

    def _called(self, end: _End) -> str:
        if isinstance(end, str):
            return end
        names = [name for name in self.names if self._node(name) is end]
        if len(names) > 1:
            raise ConfigurationError(
                f"{_name_of(end)!r} stands in the graph as {', '.join(names)}; name the one you mean"
            )
        return names[0] if names else _name_of(end)

    def _node(self, name: str) -> NodeLike:
        return self.members[name] if name in self.members else self.functions[name]


def _name_of(node: NodeLike) -> str:
    name = getattr(node, "agent_name", None) or getattr(node, "__name__", "")
    if not name or name == "<lambda>":
        raise ConfigurationError(
            f"the node {node!r} has no name; give it one, as in nodes={{'join': function}}"
        )
    return str(name)
