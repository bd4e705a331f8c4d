"""The commands and their options."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from overwinter import __version__
from overwinter.cli.refusal import told_plainly

__all__ = ["app", "main"]

app = typer.Typer(
    name="overwinter",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

WorkspaceOption = Annotated[
    str | None,
    typer.Option(
        "--workspace",
        "-w",
        metavar="DIR",
        help="Where the agents' folders are; by default $WORKSPACE_DIR, else ./agent_workspace.",
        show_default=False,
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON document instead.")]


def _print_version(asked: bool) -> None:
    if asked:
        typer.echo(f"overwinter {__version__}")
        raise typer.Exit


@app.callback()
def _overwinter(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """An async, actor-based runtime for swarms of agents whose work survives."""


@app.command()
def demo(
    files: Annotated[
        list[Path] | None,
        typer.Argument(metavar="FILES", help="Text files to read; by default six essays that come with it."),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="A model by its litellm name, such as gpt-4o-mini; by default the offline one, which is built in.",
            show_default=False,
        ),
    ] = None,
    workspace: WorkspaceOption = None,
    out: Annotated[Path, typer.Option("--out", "-o", metavar="FILE", help="Where the report goes.")] = Path(
        "overwinter_report.md"
    ),
    concurrency: Annotated[int, typer.Option(metavar="N", min=1, help="How many readers work at once.")] = 4,
) -> None:
    """A swarm reads documents, writes a report, and saves itself.

    One agent reads each document, and an editor writes of them all. Everyone autosaves: interrupt it when you like.
    """
    from overwinter.cli.demo.command import run_demo

    with told_plainly():
        code = run_demo(files or [], model=model, workspace=workspace, out=out, concurrency=concurrency)
    raise typer.Exit(code)


@app.command("ls")
def list_(workspace: WorkspaceOption = None, as_json: JsonOption = False) -> None:
    """List the agents of a workspace: status, loop, last save, size, and who holds them.

    It only reads, so agents may be at work meanwhile.
    """
    from overwinter.cli.listing import list_agents

    with told_plainly():
        list_agents(workspace, as_data=as_json)


@app.command()
def show(
    name: Annotated[
        str, typer.Argument(metavar="NAME", help="The agent's name, its folder's, or how one begins.")
    ],
    workspace: WorkspaceOption = None,
    session: Annotated[
        str | None,
        typer.Option(metavar="S", help="Its session, where several share a name.", show_default=False),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Show one agent: configuration, memory, runs and conversation.

    It only reads, so the agent may be at work meanwhile.
    """
    from overwinter.cli.show import show_agent

    with told_plainly():
        show_agent(name, workspace, session=session, as_data=as_json)


def main() -> None:
    """Run the command; what a terminal's encoding cannot show is written out."""
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(errors="backslashreplace")
    app()
