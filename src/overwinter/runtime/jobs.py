"""What an actor does beside its mailbox."""

from __future__ import annotations

import asyncio
import logging
from contextvars import copy_context
from typing import TYPE_CHECKING, Any

from overwinter.errors import ActorError, ActorStopped
from overwinter.runtime.scope import JobMark, in_hand, owner
from overwinter.runtime.state import State
from overwinter.runtime.stopping import Step

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from overwinter.runtime.cell import Cell

__all__ = ["Crew", "Job", "start_job"]

_logger = logging.getLogger("overwinter.runtime")


class Job:
    """A task in the background that belongs to an actor (see :meth:`ActorContext.start_soon`)."""

    __slots__ = ("_cancelled", "_task", "name")

    def __init__(self, name: str, task: asyncio.Task[object]) -> None:
        self.name = name
        self._task = task
        self._cancelled = False

    @property
    def done(self) -> bool:
        """Whether it has ended, whichever way."""
        return self._task.done()

    @property
    def cancelled(self) -> bool:
        """Whether :meth:`cancel` was called before it ended."""
        return self._cancelled

    def cancel(self) -> None:
        """Cancel it, if it still runs. What it raises from now on is logged and no failure."""
        if not self._task.done():
            self._cancelled = True
            self._task.cancel()

    async def wait(self) -> None:
        """Return when it has ended, whichever way. Cancelling the wait leaves the job alone."""
        if not self._task.done():
            await asyncio.wait({self._task})

    def __repr__(self) -> str:
        return f"<Job {self.name} {'done' if self.done else 'running'}>"


class Crew:
    """The jobs of one actor, which fails by what they raise."""

    __slots__ = ("_cell", "_jobs")

    def __init__(self, cell: Cell) -> None:
        self._cell = cell
        self._jobs: dict[asyncio.Task[object], tuple[Job, JobMark]] = {}

    def __len__(self) -> int:
        return len(self._jobs)

    def start(
        self, function: Callable[..., Coroutine[Any, Any, object]], args: tuple[Any, ...], name: str
    ) -> Job:
        """Start a job in a copy of the current context."""
        context = copy_context()
        mark = JobMark()
        context.run(owner.set, self._cell)
        context.run(in_hand.set, mark)
        # Task and not create_task: under an eager task factory the job would begin inside this call.
        task: asyncio.Task[object] = asyncio.Task(
            function(*args), loop=asyncio.get_running_loop(), name=name, context=context
        )
        job = Job(name, task)
        self._jobs[task] = (job, mark)
        task.add_done_callback(self._ended, context=context)
        return job

    async def end(self) -> None:
        """Cancel all and return when the last has ended, those started meanwhile included."""
        while self._jobs:
            for job, _ in tuple(self._jobs.values()):
                job.cancel()
            await asyncio.wait(tuple(self._jobs))

    def names(self) -> list[str]:
        """The names of those that run."""
        return [job.name for job, _ in self._jobs.values()]

    def _ended(self, task: asyncio.Task[object]) -> None:
        job, mark = self._jobs.pop(task)
        if not self._jobs:
            # An emptied dictionary keeps its table, which actors at rest would hold by the thousand.
            self._jobs.clear()
        mark.ended = True
        if not task.cancelled():
            error = task.exception()
            if error is not None:
                self._failed(job, error)

    def _failed(self, job: Job, error: BaseException) -> None:
        if not isinstance(error, Exception):
            cause, error = error, ActorError(f"job {job.name} was torn down by {type(error).__name__}")
            error.__cause__ = cause
        if job.cancelled or self._cell.stopping is not None:
            _logger.warning("job %s failed while it was being ended", job.name, exc_info=error)
        else:
            self._cell.signal(error)


def start_job(
    cell: Cell, function: Callable[..., Coroutine[Any, Any, object]], args: tuple[Any, ...], name: str | None
) -> Job:
    """Start a job of ``cell``; raises :class:`ActorStopped` once its jobs were ended."""
    if cell.state is State.STOPPED or (cell.stopping is not None and cell.stopping.step >= Step.JOBS):
        raise ActorStopped(f"{cell.path} has stopped and starts no jobs any more")
    if cell.crew is None:
        cell.crew = Crew(cell)
    label = name or getattr(function, "__name__", "job")
    return cell.crew.start(function, args, f"{cell.path} {label}")
