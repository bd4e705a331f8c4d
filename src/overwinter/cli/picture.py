"""``overwinter graph``: a swarm as a Mermaid flowchart."""

from __future__ import annotations

from pathlib import Path

import msgspec

from overwinter.agents.swarms.graph import Graph, to_mermaid
from overwinter.cli.finding import look_up
from overwinter.cli.refusal import FAILED, Refusal
from overwinter.cli.rendering import console, visible
from overwinter.errors import ConfigurationError

__all__ = ["draw"]


def draw(named: str, chosen: str | None, *, session: str | None, direction: str = "TD") -> None:
    """Print the picture of a swarm: of a file that describes one, or of one in the workspace.

    :raises Refusal: the file describes none, there is no such swarm, or its configuration has no picture.
    """
    if direction not in ("TD", "LR"):
        raise Refusal(f"--direction {direction}: give TD (from the top down) or LR (from left to right)")
    if named.endswith(".toml"):
        from overwinter.cli.scripts.building import build
        from overwinter.cli.scripts.reading import read_script

        picture = build(read_script(Path(named))).graph()
    else:
        picture = _of_workspace(named, chosen, session)
    try:
        console().file.write(visible(to_mermaid(picture, direction="LR" if direction == "LR" else "TD")))
    except ConfigurationError as error:
        raise Refusal(f"the picture of {named!r} is damaged: {error}", code=FAILED) from error


def _of_workspace(name: str, chosen: str | None, session: str | None) -> Graph:
    _, one = look_up(name, chosen, session)
    if not one.is_swarm:
        raise Refusal(f"{one.folder.name!r} is an agent, and has nobody within it to draw")
    try:
        return msgspec.convert(one.swarm.get("graph"), Graph)
    except msgspec.ValidationError as error:
        raise Refusal(
            f"the configuration of swarm {one.folder.name!r} has no picture that can be read: {error}",
            code=FAILED,
        ) from error
