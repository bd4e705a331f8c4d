"""When which node of a graph runs."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable

    from overwinter.agents.swarms.graph_plan import GraphPlan, Link

__all__ = ["Schedule", "Visit"]


class Visit(NamedTuple):
    """A node is to run.

    :ivar number: for the how-manieth time, from 1.
    :ivar inputs: the texts it was sent, by the names of those who sent them: of each the newest that it may know.
    """

    node: str
    number: int
    inputs: dict[str, str]


class Schedule:
    """Says which nodes run, given which have ended and which links they took. It waits for nobody.

    A node runs as soon as every link into it has brought a text or can bring none any more. "Can bring none" means
    that no node that runs or is about to could still lead to it, except through the node itself: so the head of a
    cycle does not wait for its own echo, and where branches meet again nobody waits for the one not taken. Nodes that
    wait for each other run in the order of the plan, once nothing else does.

    Each link is a queue. The visits and their inputs are therefore the same whatever order the nodes end in, as with
    the blocking reads of a process network (Kahn, 1974); a run that is replayed asks for the same again.
    """

    def __init__(self, plan: GraphPlan) -> None:
        self._plan = plan
        self._order = {node: number for number, node in enumerate(plan.nodes)}
        self._visits = dict.fromkeys(plan.nodes, 0)
        self._running: set[str] = set()
        self._called = set(plan.entry_points)
        self._sent: dict[Link, deque[str]] = {link: deque() for link in plan.links}
        self._silent = {node: dict.fromkeys(plan.into[node]) for node in plan.nodes}
        self._known: dict[Link, str] = {}
        self._taken = dict.fromkeys(plan.links, 0)

    def begin(self) -> list[Visit]:
        """The visits with which it all begins."""
        return self._next()

    def links_of(self, node: str) -> list[Link]:
        """The links out of *node* that can still be taken."""
        return [link for link in self._plan.out_of[node] if not self._is_spent(link)]

    def ended(self, node: str, text: str = "", taken: Iterable[Link] = ()) -> list[Visit]:
        """A visit of *node* ended with *text*, which goes over the links *taken*: the visits that begin now."""
        self._running.discard(node)
        for link in taken:
            self._taken[link] += 1
            self._sent[link].append(text)
            self._silent[link.target].pop(link, None)
            self._called.add(link.target)
        return self._next()

    def _next(self) -> list[Visit]:
        waiting = sorted(filter(self._waits, self._called), key=self._order.__getitem__)
        # Decided for all before one begins, so that it does not matter in which order they are looked at.
        ready = [node for node in waiting if not self._may_get_more(node)]
        if not ready and not self._running:
            ready = waiting[:1]
        return [self._visit(node) for node in ready]

    def _waits(self, node: str) -> bool:
        return (
            node in self._called and node not in self._running and self._visits[node] < self._plan.max_visits
        )

    def _may_get_more(self, node: str) -> bool:
        """Whether a link into *node* that has nothing to read yet may still bring something before *node* runs."""
        silent = self._silent[node]
        if any(link.source in self._running and not self._is_spent(link) for link in silent):
            return True
        seen = {node}
        todo = [link.source for link in silent if not self._is_spent(link)]
        while todo:
            source = todo.pop()
            if source in seen:
                continue
            seen.add(source)
            if source in self._running or self._waits(source):
                return True
            if self._visits[source] < self._plan.max_visits:
                todo.extend(link.source for link in self._plan.into[source] if not self._is_spent(link))
        return False

    def _is_spent(self, link: Link) -> bool:
        return link.back and self._taken[link] >= self._plan.max_visits - 1

    def _visit(self, node: str) -> Visit:
        self._visits[node] += 1
        self._running.add(node)
        self._called.discard(node)
        links = self._plan.into[node]
        for link in links:
            if self._sent[link]:
                self._known[link] = self._sent[link].popleft()
                if self._sent[link]:
                    self._called.add(node)
                else:
                    self._silent[node][link] = None
        inputs = {link.source: self._known[link] for link in links if link in self._known}
        return Visit(node, self._visits[node], inputs)
