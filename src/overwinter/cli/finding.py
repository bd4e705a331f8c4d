"""Which agent a name on the command line means."""

from __future__ import annotations

from typing import TYPE_CHECKING

from overwinter.cli.inspection import inspect_workspace, open_workspace
from overwinter.cli.refusal import Refusal
from overwinter.cli.rendering import plural, warn

if TYPE_CHECKING:
    from collections.abc import Sequence

    from overwinter.cli.inspection import Inspected
    from overwinter.persistence import Workspace

__all__ = ["find_agent", "look_up"]


def look_up(name: str, chosen: str | None, session: str | None) -> tuple[Workspace, Inspected]:
    """The workspace, and in it the agent that *name* means.

    :raises Refusal: there is no workspace, or no agent of that name, or more than one.
    """
    workspace = open_workspace(chosen)
    return workspace, find_agent(inspect_workspace(workspace, warn), name, session, str(workspace.root))


def find_agent(found: Sequence[Inspected], name: str, session: str | None, where: str) -> Inspected:
    """The agent of this name, of this folder, or the only one whose name or folder begins like this.

    :param where: the workspace, for the refusal.
    :raises Refusal: there is none, or more than one; the candidates are listed.
    """
    if session is not None:
        found = [one for one in found if one.folder.session == session]
    exact = [one for one in found if name in (one.folder.name, one.folder.path.name)]
    matching = exact or [
        one for one in found if one.folder.name.startswith(name) or one.folder.path.name.startswith(name)
    ]
    if len(matching) == 1:
        return matching[0]
    asked = f"{name!r}" if session is None else f"{name!r} with session {session!r}"
    if not matching:
        known = f"the agents there are: {_names(found)}" if found else "there are none"
        raise Refusal(f"there is no agent {asked} in {where}; {known}")
    hint = "; choose one with --session" if len({one.folder.name for one in matching}) == 1 else ""
    raise Refusal(f"{asked} may be any of {plural(len(matching), 'agent')}: {_names(matching)}{hint}")


def _names(found: Sequence[Inspected], most: int = 12) -> str:
    told = [
        f"{one.folder.name} (session {one.folder.session!r})" if one.folder.session else one.folder.name
        for one in found[:most]
    ]
    if len(found) > most:
        told.append(f"and {len(found) - most} more (see overwinter ls)")
    return ", ".join(told)
