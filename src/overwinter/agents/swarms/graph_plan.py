"""What a graph of work is made of, and whether it can work at all."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Literal, TypeAlias

from overwinter.errors import ConfigurationError

__all__ = ["OTHERWISE", "Condition", "GraphPlan", "Link"]

Condition: TypeAlias = Callable[[str], bool | Awaitable[bool]]

#: In the place of a condition: the edge is taken when none of its source's conditions holds.
OTHERWISE: Literal["otherwise"] = "otherwise"


class Link:
    """An edge of a plan: *source*'s text goes to *target*.

    :ivar when: asked with the source's text whether it does; None for always, or for ``otherwise``.
    :ivar otherwise: it does when none of the source's conditions holds.
    :ivar back: it closes a cycle, and is taken at most ``max_visits - 1`` times.
    """

    __slots__ = ("back", "otherwise", "source", "target", "when")

    def __init__(
        self, source: str, target: str, when: Condition | Literal["otherwise"] | None = None
    ) -> None:
        self.source = source
        self.target = target
        self.otherwise = when == OTHERWISE
        self.when: Condition | None = None if isinstance(when, str) else when
        self.back = False
        if isinstance(when, str) and not self.otherwise:
            raise ConfigurationError(
                f"the edge {self} has the condition {when!r}; give a function of the source's text, or {OTHERWISE!r}"
            )

    def __str__(self) -> str:
        return f"{self.source!r} -> {self.target!r}"


class GraphPlan:
    """Nodes and links, checked: all are known, all can be reached, every cycle is bounded, and there is an end.

    :param nodes: their names, each once; among equals the first goes first.
    :param entry_points: the nodes that are given the task at once; unless given, those into which no link leads.
    :param end_points: the nodes whose texts are the result; unless given, those from which no link leads.
    :param max_visits: how often a node of a cycle may run; None where there are no cycles.
    :raises ConfigurationError: it cannot work; the message names the nodes.
    """

    def __init__(
        self,
        nodes: Iterable[str],
        links: Iterable[Link],
        *,
        entry_points: Sequence[str] | None = None,
        end_points: Sequence[str] | None = None,
        max_visits: int | None = None,
    ) -> None:
        self.nodes = tuple(nodes)
        self.links = tuple(links)
        self.into: dict[str, list[Link]] = {node: [] for node in self.nodes}
        self.out_of: dict[str, list[Link]] = {node: [] for node in self.nodes}
        self._connect()
        self.entry_points = self._points("entry_points", entry_points, self.into)
        self.end_points = self._points("end_points", end_points, self.out_of)
        self._check_reach()
        self.is_cyclic = self._find_back_links()
        if max_visits is not None and max_visits < 1:
            raise ConfigurationError(f"max_visits is {max_visits}; give at least 1")
        if self.is_cyclic and max_visits is None:
            raise ConfigurationError(
                f"the edges {', '.join(str(link) for link in self.links if link.back)} close a cycle, which has no "
                "bound; give max_visits=, how often a node may run"
            )
        self.max_visits = max_visits if self.is_cyclic and max_visits is not None else 1

    def _connect(self) -> None:
        seen: set[tuple[str, str]] = set()
        for link in self.links:
            for node in (link.source, link.target):
                if node not in self.into:
                    raise ConfigurationError(
                        f"the edge {link} names {node!r}, which is no node; the nodes are: {_listed(self.nodes)}"
                    )
            if (link.source, link.target) in seen:
                raise ConfigurationError(f"the edge {link} is there twice; one condition can say both")
            seen.add((link.source, link.target))
            self.into[link.target].append(link)
            self.out_of[link.source].append(link)
        for links in self.out_of.values():
            if any(link.otherwise for link in links) and all(link.when is None for link in links):
                raise ConfigurationError(
                    f"an edge from {links[0].source!r} is for {OTHERWISE!r}, but no other edge from there has a "
                    "condition; leave it out"
                )

    def _points(
        self, what: str, given: Sequence[str] | None, links: dict[str, list[Link]]
    ) -> tuple[str, ...]:
        if given is None:
            found = tuple(node for node in self.nodes if not links[node])
            if found:
                return found
            raise ConfigurationError(
                f"every node is part of a cycle; give {what}=, the names of one or more nodes"
            )
        unknown = [node for node in given if node not in links]
        if unknown or not given:
            raise ConfigurationError(
                f"{what} has {_listed(unknown) or 'no node'}; the nodes are: {_listed(self.nodes)}"
            )
        return tuple(node for node in self.nodes if node in given)

    def _check_reach(self) -> None:
        reached = set(self.entry_points)
        todo = list(reached)
        while todo:
            for link in self.out_of[todo.pop()]:
                if link.target not in reached:
                    reached.add(link.target)
                    todo.append(link.target)
        lost = [node for node in self.nodes if node not in reached]
        if lost:
            raise ConfigurationError(
                f"no way leads from the entry points ({_listed(self.entry_points)}) to {_listed(lost)}; add an edge "
                "to it, or leave it out"
            )

    def _find_back_links(self) -> bool:
        """Mark the links that lead back to a node from which their source was reached, depth first."""
        found, done, on_path = False, set[str](), set[str]()
        for entry in self.entry_points:
            stack = [(entry, iter(self.out_of[entry]))] if entry not in done else []
            on_path.update(node for node, _ in stack)
            while stack:
                node, links = stack[-1]
                link = next(links, None)
                if link is None:
                    stack.pop()
                    on_path.discard(node)
                    done.add(node)
                elif link.target in on_path:
                    link.back = found = True
                elif link.target not in done:
                    on_path.add(link.target)
                    stack.append((link.target, iter(self.out_of[link.target])))
        return found


def _listed(nodes: Iterable[str]) -> str:
    return ", ".join(map(repr, nodes))
