"""Who belongs to which swarm, as the swarms' configurations tell it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

import msgspec
from msgspec import Struct

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from overwinter.persistence import AgentFolder

__all__ = [
    "LINES",
    "PLAIN_LINES",
    "Branch",
    "Known",
    "branch_lines",
    "forest",
    "members_of",
]

#: What stands before a member and before what is within it, and the same for the last one.
LINES = ("├── ", "│   ", "└── ", "    ")
#: The same for terminals without these.
PLAIN_LINES = ("|-- ", "|   ", "`-- ", "    ")


class Known(Protocol):
    """An agent or a swarm that has a folder."""

    @property
    def folder(self) -> AgentFolder:
        """Where it stands, and whose it is."""
        ...

    @property
    def is_swarm(self) -> bool:
        """Whether it is a swarm."""
        ...

    @property
    def what(self) -> str:
        """``agent`` or ``swarm``."""
        ...

    @property
    def swarm(self) -> Mapping[str, Any]:
        """What its configuration says of it as a swarm."""
        ...


KnownT = TypeVar("KnownT", bound=Known)


class _Member(Struct):
    name: str
    kind: str = "other"
    session: str = ""
    agent_id: str = ""


class Branch(Generic[KnownT]):
    """One who takes part in a swarm, with those who take part in him.

    :ivar kind: ``agent``, ``swarm``, or ``other`` for what has no folder here.
    :ivar one: what is known of it, or None where it has no folder yet.
    """

    def __init__(self, name: str, kind: str, one: KnownT | None = None) -> None:
        self.name = name
        self.kind = kind
        self.one = one
        self.members: list[Branch[KnownT]] = []

    def everybody(self) -> Iterable[Branch[KnownT]]:
        """It, and all within it."""
        yield self
        for member in self.members:
            yield from member.everybody()


def branch_lines(tree: Branch[KnownT], *, lines: bool = True) -> Iterator[tuple[str, Branch[KnownT]]]:
    """Each who is in the tree, in its order, with what stands before its name.

    :param lines: whether the terminal can show the characters that draw lines.
    """
    yield "", tree
    yield from _lines_within(tree, "", LINES if lines else PLAIN_LINES)


def members_of(one: Known) -> list[dict[str, str]]:
    """The members of a swarm as plain data: name, kind, session and agent_id of each; none where that is damaged."""
    return [msgspec.structs.asdict(member) for member in _members(one)]


def forest(found: Sequence[KnownT]) -> tuple[list[Branch[KnownT]], list[KnownT]]:
    """The swarms that are members of no other, each with all that is in it, and the agents that are in no swarm."""
    by_id = {one.folder.agent_id: one for one in found if one.folder.agent_id}
    swarms = [one for one in found if one.is_swarm]
    inside = {member.agent_id for one in swarms for member in _members(one)}
    trees = [_branch(one, by_id, ()) for one in swarms if one.folder.agent_id not in inside]
    # Configurations that were edited may name each other in a ring, which then has no outermost.
    shown = {id(branch.one) for tree in trees for branch in tree.everybody()}
    for one in swarms:
        if id(one) not in shown:
            trees.append(_branch(one, by_id, ()))
            shown |= {id(branch.one) for branch in trees[-1].everybody()}
    return trees, [one for one in found if not one.is_swarm and id(one) not in shown]


def _branch(one: KnownT, by_id: Mapping[str, KnownT], within: tuple[str, ...]) -> Branch[KnownT]:
    within = (*within, one.folder.agent_id)
    branch = Branch(one.folder.name, one.what, one)
    for member in _members(one):
        there = by_id.get(member.agent_id)
        if there is not None and there.is_swarm and member.agent_id not in within:
            branch.members.append(_branch(there, by_id, within))
        else:
            branch.members.append(Branch(member.name, member.kind, there))
    return branch


def _members(one: Known) -> list[_Member]:
    told: Any = one.swarm.get("members") or []
    try:
        return msgspec.convert(told, list[_Member])
    except msgspec.ValidationError:
        return []


def _lines_within(
    tree: Branch[KnownT], before: str, marks: tuple[str, str, str, str]
) -> Iterator[tuple[str, Branch[KnownT]]]:
    fork, past, last, beyond = marks
    for index, member in enumerate(tree.members, 1):
        is_last = index == len(tree.members)
        yield before + (last if is_last else fork), member
        yield from _lines_within(member, before + (beyond if is_last else past), marks)
