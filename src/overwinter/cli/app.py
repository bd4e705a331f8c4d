"""The command: its parts, and what all of them have in common."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from overwinter import __version__
from overwinter.cli import deciding, looking, mending, working

__all__ = ["app", "main"]

app = typer.Typer(
    name="overwinter",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


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


for _part in (working, looking, deciding, mending):
    _part.add_to(app)


def main() -> None:
    """Run the command; what a terminal's encoding cannot show is written out."""
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(errors="backslashreplace")
    app()
