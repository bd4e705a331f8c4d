"""One agent of the swarm as a person sees it, and the views that show it."""

from __future__ import annotations

from typing import Protocol, Self

from msgspec import Struct

from overwinter import Usage

__all__ = ["Progress", "View"]


class Progress(Struct, kw_only=True):
    """What an agent does at present, and what it has done so far, ``done`` steps of ``total``.

    ``unsaved`` says of each file that could not be saved why not. ``state_path`` is its state file's.
    """

    name: str
    status: str = "waiting"
    activity: str = "waiting"
    done: int = 0
    total: int = 1
    loops: int = 0
    tools: int = 0
    usage: Usage = Usage()
    saves: int = 0
    unsaved: dict[str, str] = {}
    state_path: str = ""


class View(Protocol):
    """Shows the swarm to a person while it works."""

    def __enter__(self) -> Self: ...

    def __exit__(self, *exception: object) -> None: ...

    def changed(self, progress: Progress, event: str) -> None:
        """Something of the kind *event* happened to an agent; an empty one is none, and only its state is told."""
        ...

    def note(self, text: str, style: str = "yellow") -> None:
        """Say something that concerns nobody's progress."""
        ...
