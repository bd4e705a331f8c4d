"""``overwinter ls --tree``."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from rich.text import Text

from overwinter.cli.finding import counted
from overwinter.cli.inspection import inspect_workspace, open_workspace
from overwinter.cli.listing import as_json, print_problems, steps_of, summarised
from overwinter.cli.members import LINES, branch_lines, forest
from overwinter.cli.rendering import ago, console, money, number, say, styled_status, visible, warn
from overwinter.cli.tables import print_table

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import Console

    from overwinter.cli.inspection import Inspected
    from overwinter.cli.members import Branch

__all__ = ["draws_lines", "print_tree"]


def print_tree(chosen: str | None, *, as_data: bool) -> None:
    """Print the swarms of a workspace with their members, and the agents that are in none.

    :raises Refusal: there is no workspace.
    """
    workspace = open_workspace(chosen)
    found = inspect_workspace(workspace, warn)
    trees, alone = forest(found)
    if as_data:
        document = {
            "workspace": str(workspace.root),
            "swarms": [_as_data(tree) for tree in trees],
            "agents": [summarised(one) for one in alone],
        }
        console().file.write(as_json(document))
        return
    to = console()
    if not found:
        say(to, f"There are no agents in {visible(str(workspace.root))}")
        return
    _print(to, trees, alone)
    to.print()
    print_problems(to, found)
    say(to, Text(f"{counted(found)} in {visible(str(workspace.root))}", "dim"))


def draws_lines(to: Console) -> bool:
    """Whether what reads this console knows the characters that draw lines."""
    try:
        "".join(LINES).encode(to.encoding)
    except (UnicodeEncodeError, LookupError):
        return False
    return True


def _print(to: Console, trees: Sequence[Branch[Inspected]], alone: Sequence[Inspected]) -> None:
    now, drawn = datetime.now(UTC), draws_lines(to)
    rows: list[tuple[str | Text, ...]] = []
    for tree in trees:
        for lead, branch in branch_lines(tree, lines=drawn):
            rows.append(_row(lead, branch.name, branch.kind, branch.one, now))
    rows += [_row("", one.folder.name, one.what, one, now) for one in alone]
    headings = ("name", "status", ">steps", ">tokens", ">cost", "last save")
    print_table(to, headings, rows, gives_way="name")


def _row(lead: str, name: str, kind: str, one: Inspected | None, now: datetime) -> tuple[str | Text, ...]:
    told = Text.assemble((lead, "dim"), (visible(name, lines=False), "bold" if kind == "swarm" else ""))
    if one is None:
        return (told, Text("not saved", "dim"), "-", "-", "-", "-")
    pattern = one.swarm.get("pattern")
    if isinstance(pattern, str):
        told.append(f"  {visible(pattern, lines=False)}", "dim")
    if one.folder.session:
        told.append(f"  session {visible(one.folder.session, lines=False)}", "dim")
    usage = one.state[1].usage if one.state is not None else None
    return (
        told,
        styled_status(one.status),
        str(steps_of(one)) if one.metadata is not None else "-",
        number(usage.total_tokens) if usage is not None else "-",
        money(usage.cost if usage.calls else 0.0) if usage is not None else "-",
        ago(one.metadata.timestamp, now) if one.metadata is not None else "-",
    )


def _as_data(branch: Branch[Inspected]) -> dict[str, Any]:
    told = summarised(branch.one) if branch.one is not None else {"agent_name": branch.name}
    return {**told, "kind": branch.kind, "members": [_as_data(member) for member in branch.members]}
