"""The commands that look: ``ls``, ``show``, ``history``, ``diff``, ``watch``, ``graph``."""

# ruff: noqa: TC001  (typer looks at the annotations when the command is called)
from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from overwinter.cli.options import JsonOption, NameArgument, SessionOption, WorkspaceOption
from overwinter.cli.refusal import told_plainly

if TYPE_CHECKING:
    from typer import Typer

__all__ = ["add_to"]

StepArgument = Annotated[int, typer.Argument(min=1, help="A step, as `overwinter history` numbers them.")]


def add_to(app: Typer) -> None:
    """Make these commands of *app*."""
    app.command("ls")(_ls)
    app.command("show")(_show)
    app.command("history")(_history)
    app.command("diff")(_diff)
    app.command("watch")(_watch)
    app.command("graph")(_graph)


def _ls(
    tree: Annotated[bool, typer.Option("--tree", help="Show swarms with their members.")] = False,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """List the agents and swarms of a workspace: status, steps, last save, size, and who holds them.

    They may be at work meanwhile. What a dead process had logged is moved into its agents' journals, as the next to
    open them would; nothing else is changed.
    """
    from overwinter.cli.collecting import uncollected
    from overwinter.cli.listing import list_agents
    from overwinter.cli.tree import print_tree

    with told_plainly(), uncollected():
        (print_tree if tree else list_agents)(workspace, as_data=as_json)


def _show(
    name: NameArgument,
    workspace: WorkspaceOption = None,
    session: SessionOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show one agent or swarm: configuration, memory, runs, what members did, and conversation.

    It may be at work meanwhile.
    """
    from overwinter.cli.show import show_agent

    with told_plainly():
        show_agent(name, workspace, session=session, as_data=as_json)


def _history(
    name: NameArgument,
    workspace: WorkspaceOption = None,
    session: SessionOption = None,
    last: Annotated[int, typer.Option("--last", "-n", metavar="N", min=1, help="How many steps.")] = 40,
    everything: Annotated[bool, typer.Option("--all", help="All steps that are kept.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Tell what happened to an agent or a swarm, step by step.

    The numbers of the steps are what `diff` and `fork` take.
    """
    from overwinter.cli.history import history_of

    with told_plainly():
        history_of(name, workspace, session=session, last=0 if everything else last, as_data=as_json)


def _diff(
    name: NameArgument,
    a: StepArgument,
    b: StepArgument,
    workspace: WorkspaceOption = None,
    session: SessionOption = None,
    as_json: JsonOption = False,
) -> None:
    """Tell what changed in an agent or a swarm between the steps A and B."""
    from overwinter.cli.history import diff_agent

    with told_plainly():
        diff_agent(name, a, b, workspace, session=session, as_data=as_json)


def _watch(
    name: Annotated[
        str | None,
        typer.Argument(metavar="NAME", help="A swarm or an agent; by default everybody.", show_default=False),
    ] = None,
    once: Annotated[bool, typer.Option("--once", help="Print the table once.")] = False,
    interval: Annotated[
        float, typer.Option(metavar="S", min=0.1, help="Seconds from one look to the next.")
    ] = 1.0,
    workspace: WorkspaceOption = None,
    session: SessionOption = None,
    as_json: JsonOption = False,
) -> None:
    """Watch agents and swarms at work: members, status, steps, tokens, cost, mailbox depth, saves.

    It reads the workspace's files, from another terminal or while nobody is at work, takes no lock that anybody waits
    for, and shows what was written until about a second ago. Ctrl-C ends it.
    """
    from overwinter.cli.watching import watch

    with told_plainly():
        watch(name, workspace, session=session, once=once, interval=interval, as_data=as_json)


def _graph(
    name: Annotated[
        str, typer.Argument(metavar="NAME", help="A swarm, or a file in TOML that describes one.")
    ],
    direction: Annotated[
        str, typer.Option(metavar="TD|LR", help="From the top down, or from left to right.")
    ] = "TD",
    workspace: WorkspaceOption = None,
    session: SessionOption = None,
) -> None:
    """Draw who gives work to whom in a swarm, as a Mermaid flowchart.

    What it prints is text, which GitHub, many editors and https://mermaid.live show as a picture.
    """
    from overwinter.cli.picture import draw

    with told_plainly():
        draw(name, workspace, session=session, direction=direction)
