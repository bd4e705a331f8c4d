"""Tasks that belong to no caller, and end with their runtime."""

from __future__ import annotations

import asyncio
from contextvars import copy_context
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Coroutine

__all__ = ["Background"]

_LAST_WORDS = 1.0  # seconds for what is left to do when all actors have stopped


class Background:
    """Runs them in the context in which it was made: who happens to be the first to want something is no part of it."""

    def __init__(self) -> None:
        self._context = copy_context()
        self._tasks: set[asyncio.Task[Any]] = set()

    def __len__(self) -> int:
        return len(self._tasks)

    def start(self, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        """Do *work*; what it raises is for whoever waits for it, and otherwise lost."""
        task = asyncio.Task(work, loop=asyncio.get_running_loop(), context=self._context.copy())
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    async def aclose(self) -> None:
        """Return when all have ended; those that do not end by themselves are cancelled."""
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=_LAST_WORDS)
        while self._tasks:
            for task in self._tasks:
                task.cancel()
            await asyncio.wait(self._tasks)

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            # If nobody waits for it any more, asyncio need not complain.
            task.exception()
