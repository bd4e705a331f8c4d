"""Running an actor's own code outside of ``receive``, and reading its cancellations."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from overwinter.errors import ActorError
from overwinter.runtime.scope import in_hand

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from overwinter.runtime.cell import Cell

__all__ = ["awaited_cancelled", "being_cancelled", "run_hook"]


async def run_hook(cell: Cell, hook: Callable[..., Coroutine[Any, Any, None]], *args: Any) -> None:
    """Run ``on_start``, ``on_stop`` or ``on_restart``.

    Raises what it raises; ``CancelledError`` only when the task itself is being cancelled.
    """
    mark = object()
    cell.in_hand = mark
    in_hand.set(mark)
    try:
        await hook(*args)
    except asyncio.CancelledError as cancelled:
        if being_cancelled():
            raise
        raise awaited_cancelled(hook.__name__, cancelled) from cancelled
    finally:
        if cell.in_hand is mark:
            cell.in_hand = None


def being_cancelled() -> bool:
    """Whether it is the task itself that is being cancelled, and not something it awaited that was."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


def awaited_cancelled(where: str, cancelled: asyncio.CancelledError) -> ActorError:
    """The error that stands for a ``CancelledError`` which did not cancel the actor."""
    error = ActorError(f"{where}() awaited something that was cancelled")
    error.__cause__ = cancelled
    return error
