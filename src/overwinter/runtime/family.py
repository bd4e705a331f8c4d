"""Stopping many actors."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from overwinter.runtime.cell import Cell

__all__ = ["end_children", "stop_all"]


async def end_children(cell: Cell) -> None:
    """Stop the children of a cell and return when the last has stopped."""
    if cell.children:
        await stop_all(cell.children, lambda: None if cell.stopping is None else cell.stopping.deadline)


async def stop_all(family: dict[str, Cell], deadline: Callable[[], float | None]) -> None:
    """Stop all in ``family`` (by path), the youngest first, and return when it is empty.

    Those spawned one after the other from one class stop together, so that a thousand of a kind do not take a
    thousand times as long as one. ``deadline`` is asked anew for each of these groups.
    """
    while family:
        group: list[Cell] = []
        for cell in reversed(family.values()):
            if group and type(cell.actor) is not type(group[0].actor):
                break
            group.append(cell)
        for cell in group:
            cell.request_stop(deadline=deadline())
        for cell in group:
            await cell.ended()
            if family.get(cell.path) is cell:
                del family[cell.path]
