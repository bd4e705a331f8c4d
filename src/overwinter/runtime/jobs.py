"""What an actor does beside its mailbox."""

from __future__ import annotations

import asyncio
from contextvars import copy_context
from typing import TYPE_CHECKING, Any

from overwinter.runtime.envelope import JobEnvelope
from overwinter.runtime.scope import current

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from overwinter.runtime.envelope import Receiver

__all__ = ["Crew", "Job"]


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
    """The jobs of one actor. ``failed(job, error)`` is called for each that raises."""

    __slots__ = ("_failed", "_jobs", "_owner")

    def __init__(self, owner: Receiver, failed: Callable[[Job, BaseException], object]) -> None:
        self._owner = owner
        self._failed = failed
        self._jobs: dict[asyncio.Task[object], tuple[Job, JobEnvelope]] = {}

    def __len__(self) -> int:
        return len(self._jobs)

    def start(
        self, function: Callable[..., Coroutine[Any, Any, object]], args: tuple[Any, ...], name: str
    ) -> Job:
        """Start a job in a copy of the current context."""
        context = copy_context()
        scope = JobEnvelope(None, self._owner)
        context.run(current.set, scope)
        # Task and not create_task: under an eager task factory the job would begin inside this call.
        task: asyncio.Task[object] = asyncio.Task(
            function(*args), loop=asyncio.get_running_loop(), name=name, context=context
        )
        job = Job(name, task)
        self._jobs[task] = (job, scope)
        task.add_done_callback(self._ended)
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
        job, scope = self._jobs.pop(task)
        scope.ended = True
        if not task.cancelled():
            error = task.exception()
            if error is not None:
                self._failed(job, error)
