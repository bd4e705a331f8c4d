"""The commands that look: ``ls``, ``show``, ``history``, ``diff``."""

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


def _ls(workspace: WorkspaceOption = None, as_json: JsonOption = False) -> None:
    """List the agents of a workspace: status, loop, last save, size, and who holds them.

    Agents may be at work meanwhile. What a dead process had logged is moved into its agents' journals, as the next to
    open them would; nothing else is changed.
    """
    from overwinter.cli.listing import list_agents

    with told_plainly():
        list_agents(workspace, as_data=as_json)


def _show(
    name: NameArgument,
    workspace: WorkspaceOption = None,
    session: SessionOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show one agent: configuration, memory, runs and conversation.

    The agent may be at work meanwhile.
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
    """Tell what happened to an agent, step by step.

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
    """Tell what changed in an agent between the steps A and B."""
    from overwinter.cli.history import diff_agent

    with told_plainly():
        diff_agent(name, a, b, workspace, session=session, as_data=as_json)
