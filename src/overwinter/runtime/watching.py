"""Who is told when an actor has stopped."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from overwinter.runtime.cell import Cell
    from overwinter.runtime.messages import Terminated

__all__ = ["tell_watchers", "unwatch", "watch"]


def watch(watcher: Cell, cell: Cell) -> None:
    """Have ``watcher`` told when ``cell`` has stopped."""
    if watcher.watching is None:
        watcher.watching = {}
    if cell.watchers is None:
        cell.watchers = {}
    watcher.watching[cell] = cell.watchers[watcher] = None


def unwatch(watcher: Cell, cell: Cell) -> None:
    """Call :func:`watch` off."""
    if watcher.watching is not None and cell in watcher.watching:
        del watcher.watching[cell]
        if cell.watchers is not None:
            cell.watchers.pop(watcher, None)


def tell_watchers(cell: Cell, farewell: Terminated) -> None:
    """Tell those who watch a cell that has stopped, and watch no more oneself."""
    for watcher in tuple(cell.watchers or ()):
        unwatch(watcher, cell)
        watcher.accept_system(farewell)
    for watched in tuple(cell.watching or ()):
        unwatch(cell, watched)
