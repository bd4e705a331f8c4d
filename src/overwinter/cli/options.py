"""Options that several commands have."""

from __future__ import annotations

from typing import Annotated

import typer

__all__ = [
    "FromOption",
    "JsonOption",
    "MaxLoopsOption",
    "NameArgument",
    "SessionOption",
    "WorkspaceOption",
]

NameArgument = Annotated[
    str,
    typer.Argument(metavar="NAME", help="The name of an agent or a swarm, its folder's, or how one begins."),
]
WorkspaceOption = Annotated[
    str | None,
    typer.Option(
        "--workspace",
        "-w",
        metavar="DIR",
        help="Where the folders are; by default $WORKSPACE_DIR, else ./agent_workspace.",
        show_default=False,
    ),
]
SessionOption = Annotated[
    str | None,
    typer.Option(metavar="S", help="Its session, where several share a name.", show_default=False),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON document instead.")]
FromOption = Annotated[
    str | None,
    typer.Option(
        "--from",
        metavar="MODULE:ATTRIBUTE",
        help="The program that makes the agent or swarm, with its tools: the object, a list of them, or a function "
        "that is given a name. Agents without tools of their own need none.",
        show_default=False,
    ),
]
MaxLoopsOption = Annotated[
    int | None,
    typer.Option(
        "--max-loops", metavar="N", min=1, help="A higher limit for the whole run.", show_default=False
    ),
]
