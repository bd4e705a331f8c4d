"""``overwinter ls``."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from rich.text import Text

from overwinter.cli.inspection import inspect_workspace, open_workspace
from overwinter.cli.rendering import ago, console, plural, say, size, styled_status, visible, warn
from overwinter.cli.tables import print_table

if TYPE_CHECKING:
    from collections.abc import Sequence

    from overwinter.cli.inspection import Inspected
    from overwinter.persistence import Workspace

__all__ = ["as_json", "list_agents", "summarised"]


def list_agents(chosen: str | None, *, as_data: bool) -> None:
    """Print the agents of a workspace, as a table or as JSON.

    :raises Refusal: there is no workspace.
    """
    workspace = open_workspace(chosen)
    found = inspect_workspace(workspace, warn)
    if as_data:
        document = {"workspace": str(workspace.root), "agents": [summarised(one) for one in found]}
        console().file.write(as_json(document))
    else:
        _print(workspace, found)


def summarised(one: Inspected) -> dict[str, Any]:
    """What is told of one agent, as plain data."""
    metadata, holder = one.metadata, one.held_by
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
    }


def as_json(document: dict[str, Any]) -> str:
    """*document* as pretty JSON in ASCII, so that nothing in it can act on a terminal."""
    return json.dumps(document, indent=2) + "\n"


def _print(workspace: Workspace, found: Sequence[Inspected]) -> None:
    to, now = console(), datetime.now(UTC)
    if not found:
        say(to, f"There are no agents in {visible(str(workspace.root))}")
        return
    sessions = any(one.folder.session for one in found)
    headings = (
        "agent",
        *(["session"] if sessions else []),
        "status",
        ">loop",
        "last save",
        ">state",
        "held by",
    )
    print_table(to, headings, [_row(one, now, sessions=sessions) for one in found], gives_way="agent")
    to.print()
    for one in found:
        for problem in one.problems:
            say(
                to,
                Text.assemble(
                    (f"{visible(one.folder.path.name)}: ", "yellow"), visible(problem, lines=False)
                ),
            )
    say(to, Text(f"{plural(len(found), 'agent')} in {visible(str(workspace.agents_dir))}", "dim"))


def _row(one: Inspected, now: datetime, *, sessions: bool) -> tuple[str | Text, ...]:
    metadata, holder = one.metadata, one.held_by
    return (
        visible(one.folder.name, lines=False),
        *([visible(one.folder.session, lines=False) or "-"] if sessions else []),
        styled_status(one.status),
        str(metadata.loop_count) if metadata else "-",
        ago(metadata.timestamp, now) if metadata else "-",
        size(one.state_bytes),
        f"pid {holder.pid}" if holder else "-",
    )
