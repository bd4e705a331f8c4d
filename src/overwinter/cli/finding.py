"""Which agent or swarm a name on the command line means."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from overwinter.cli.inspection import inspect_workspace, open_workspace
from overwinter.cli.refusal import Refusal
from overwinter.cli.rendering import plural, warn

if TYPE_CHECKING:
    from collections.abc import Sequence

    from overwinter.cli.inspection import Inspected
    from overwinter.cli.members import Known
    from overwinter.persistence import Workspace

__all__ = ["counted", "find_agent", "look_up"]

KnownT = TypeVar("KnownT", bound="Known")


def look_up(name: str, chosen: str | None, session: str | None) -> tuple[Workspace, Inspected]:
    """The workspace, and in it the agent or the swarm that *name* means.

    :raises Refusal: there is no workspace, or nobody of that name, or more than one.
    """
    workspace = open_workspace(chosen)
    return workspace, find_agent(inspect_workspace(workspace, warn), name, session, str(workspace.root))


def find_agent(found: Sequence[KnownT], name: str, session: str | None, where: str) -> KnownT:
    """The agent or swarm of this name, of this folder, or the only one whose name or folder begins like this.

    ``agents/NAME`` means an agent, and ``swarms/NAME`` a swarm.

    :param where: the workspace, for the refusal.
    :raises Refusal: there is none, or more than one; the candidates are listed.
    """
    asked = f"{name!r}" if session is None else f"{name!r} with session {session!r}"
    matching = _matching(found, name, session)
    kind, _, rest = name.partition("/")
    if not matching and kind in ("agents", "swarms") and rest:
        found = [one for one in found if one.folder.path.parent.name == kind]
        matching = _matching(found, rest, session)
    if len(matching) == 1:
        return matching[0]
    if not matching:
        known = f"{_kinds(found)} there are: {_names(found)}" if found else "there are none"
        raise Refusal(f"there is no {_kind_asked(kind, rest)} {asked} in {where}; {known}")
    if len({one.is_swarm for one in matching}) == 2 and len({one.folder.name for one in matching}) == 1:
        name = matching[0].folder.name
        raise Refusal(f"{asked} is both an agent and a swarm: say agents/{name} or swarms/{name}")
    hint = "; choose one with --session" if len({one.folder.name for one in matching}) == 1 else ""
    raise Refusal(f"{asked} may be any of {counted(matching)}: {_names(matching)}{hint}")


def counted(found: Sequence[Known]) -> str:
    """``3 agents``, ``2 swarms``, or ``3 agents and 2 swarms``."""
    swarms = sum(one.is_swarm for one in found)
    agents = len(found) - swarms
    told = [plural(agents, "agent")] if agents or not swarms else []
    return " and ".join([*told, *([plural(swarms, "swarm")] if swarms else [])])


def _matching(found: Sequence[KnownT], name: str, session: str | None) -> list[KnownT]:
    if session is not None:
        found = [one for one in found if one.folder.session == session]
    exact = [one for one in found if name in (one.folder.name, one.folder.path.name)]
    return exact or [
        one for one in found if one.folder.name.startswith(name) or one.folder.path.name.startswith(name)
    ]


def _kind_asked(kind: str, rest: str) -> str:
    return "swarm" if kind == "swarms" and rest else "agent"


def _kinds(found: Sequence[Known]) -> str:
    kinds = {one.what for one in found}
    return "the agents and swarms" if len(kinds) == 2 else f"the {kinds.pop()}s"


def _names(found: Sequence[Known], most: int = 12) -> str:
    told = [
        f"{one.folder.name} (session {one.folder.session!r})" if one.folder.session else one.folder.name
        for one in found[:most]
    ]
    if len(found) > most:
        told.append(f"and {len(found) - most} more (see overwinter ls)")
    return ", ".join(told)
