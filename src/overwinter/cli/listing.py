"""``overwinter ls``."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import msgspec
from rich.text import Text

from overwinter.cli.finding import counted
from overwinter.cli.inspection import inspect_workspace, open_workspace
from overwinter.cli.members import members_of
from overwinter.cli.rendering import ago, console, say, size, styled_status, visible, warn
from overwinter.cli.tables import print_table

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import Console

    from overwinter.cli.inspection import Inspected
    from overwinter.persistence import Workspace

__all__ = ["as_json", "list_agents", "print_problems", "steps_of", "summarised"]


def list_agents(chosen: str | None, *, as_data: bool) -> None:
    """Print the agents and swarms of a workspace, as tables or as JSON.

    :raises Refusal: there is no workspace.
    """
    workspace = open_workspace(chosen)
    found = inspect_workspace(workspace, warn)
    if as_data:
        document = {
            "workspace": str(workspace.root),
            "agents": [summarised(one) for one in found if not one.is_swarm],
            "swarms": [summarised(one) for one in found if one.is_swarm],
        }
        console().file.write(as_json(document))
    else:
        _print(workspace, found)


def summarised(one: Inspected) -> dict[str, Any]:
    """What is told of one agent or swarm, as plain data."""
    metadata, holder = one.metadata, one.held_by
    of_swarm = {"pattern": one.swarm.get("pattern"), "members": members_of(one)} if one.is_swarm else {}
    return {
        "agent_name": one.folder.name,
        "session": one.folder.session,
        "agent_id": one.folder.agent_id,
        "status": one.status,
        "saved_status": metadata.status if metadata else None,
        "run_id": metadata.run_id if metadata else None,
        "loop_count": metadata.loop_count if metadata else None,
        "last_save": metadata.timestamp if metadata else None,
        "state_bytes": one.state_bytes,
        "folder": str(one.folder.path),
        "held_by": {"pid": holder.pid, "host": holder.host, "runtime_id": holder.runtime_id}
        if holder
        else None,
        "problems": list(one.problems),
        **of_swarm,
    }


def as_json(document: dict[str, Any]) -> str:
    """*document* as pretty JSON in ASCII, so that nothing in it can act on a terminal."""
    # Python's encoder is written in C only where it does not indent.
    compact = json.dumps(document)
    try:
        return msgspec.json.format(compact, indent=2) + "\n"
    except msgspec.DecodeError:  # half of a surrogate pair, which a name may hold and JSON should not
        return json.dumps(document, indent=2) + "\n"


def _print(workspace: Workspace, found: Sequence[Inspected]) -> None:
    to, now = console(), datetime.now(UTC)
    if not found:
        say(to, f"There are no agents in {visible(str(workspace.root))}")
        return
    sessions = any(one.folder.session for one in found)
    for what, count in (("swarm", ">done"), ("agent", ">loop")):
        rows = [_row(one, now, sessions=sessions) for one in found if one.what == what]
        if rows:
            session = ["session"] if sessions else []
            headings = (what, *session, "status", count, "last save", ">state", "held by")
            print_table(to, headings, rows, gives_way=what)
            to.print()
    print_problems(to, found)
    swarms = any(one.is_swarm for one in found)
    place = workspace.root if swarms else workspace.agents_dir
    say(to, Text(f"{counted(found)} in {visible(str(place))}", "dim"))


def print_problems(to: Console, found: Sequence[Inspected]) -> None:
    """What could not be read of these, and why."""
    for one in found:
        for problem in one.problems:
            folder = visible(one.folder.path.name)
            say(to, Text.assemble((f"{folder}: ", "yellow"), visible(problem, lines=False)))


def _row(one: Inspected, now: datetime, *, sessions: bool) -> tuple[str | Text, ...]:
    metadata, holder = one.metadata, one.held_by
    return (
        visible(one.folder.name, lines=False),
        *([visible(one.folder.session, lines=False) or "-"] if sessions else []),
        styled_status(one.status),
        str(steps_of(one)) if metadata else "-",
        ago(metadata.timestamp, now) if metadata else "-",
        size(one.state_bytes),
        f"pid {holder.pid}" if holder else "-",
    )


def steps_of(one: Inspected) -> int:
    """How far its run is: an agent's loops, or how much work of its members a swarm has back."""
    body = one.state[1] if one.state is not None else None
    if one.is_swarm:
        run_id = body.run.run_id if body is not None and body.run is not None else ""
        return sum(work.run_id == run_id for work in body.works) if body is not None else 0
    return one.metadata.loop_count if one.metadata is not None else 0
