"""The commands that keep a workspace in order: ``verify``, ``clean``."""

# ruff: noqa: TC001  (typer looks at the annotations when the command is called)
from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from overwinter.cli.options import JsonOption, WorkspaceOption
from overwinter.cli.refusal import told_plainly

if TYPE_CHECKING:
    from typer import Typer

__all__ = ["add_to"]

NamesArgument = Annotated[
    list[str] | None,
    typer.Argument(metavar="[NAMES]...", help="Some agents and swarms; by default all.", show_default=False),
]


def add_to(app: Typer) -> None:
    """Make these commands of *app*."""
    app.command("verify")(_verify)
    app.command("clean")(_clean)


def _verify(
    names: NamesArgument = None,
    repair: Annotated[bool, typer.Option("--repair", help="Mend what can be mended.")] = False,
    verbose: Annotated[
        bool, typer.Option("--verbose", "-v", help="Tell what needs no mending, too.")
    ] = False,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Check a workspace file by file: is everything what was written, and would everybody load?

    It looks at configurations, at states, their checksums and the generations before them, at journals line by line, at
    identities, leases and earlier conversations, at boards and other values actors keep, and at what dead processes
    left behind. Agents may be at work.

    With --repair, damaged files are set aside (as *.corrupt-<time>, never deleted), a state is made anew of the
    generation before it and the journal, torn ends are cut off, leftovers removed, and a state that was edited by hand
    and is otherwise sound is accepted. An agent that a live process holds is left alone.

    Exit code: 0 when everything is sound (what a death leaves behind and the next opening clears away is no damage), 1
    when something is damaged, 3 when all damage was repaired, 2 for wrong usage.
    """
    from overwinter.cli.verify.command import verify_workspace

    with told_plainly():
        code = verify_workspace(workspace, names or [], repair=repair, as_data=as_json, verbose=verbose)
    raise typer.Exit(code)


def _clean(
    older_than: Annotated[
        str | None,
        typer.Option(metavar="AGE", help="Drop only what is older, as 30d, 12h or 2w.", show_default=False),
    ] = None,
    keep_runs: Annotated[
        int | None,
        typer.Option(metavar="N", min=1, help="Keep the newest runs of each agent.", show_default=False),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only tell what would go.")] = False,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Drop what is not needed to go on: old journal records and conversations, and what dead processes left behind.

    With both options, what goes is both older and not of the newest runs; with neither, only what dead processes left
    behind goes. What an agent knows is never touched, and neither is an agent in use or with an unfinished run.
    """
    from overwinter.cli.cleaning import clean_workspace

    with told_plainly():
        code = clean_workspace(
            workspace, older_than=older_than, keep_runs=keep_runs, dry_run=dry_run, as_data=as_json
        )
    raise typer.Exit(code)
