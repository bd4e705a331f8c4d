"""The inner life of one actor: its state, its task, and the messages it handles."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from contextvars import Context, copy_context
from typing import TYPE_CHECKING, Any

from overwinter.errors import ActorError, ActorStopped
from overwinter.runtime.actor import Actor
from overwinter.runtime.context import ActorContext
from overwinter.runtime.ending import abandon, interrupted, shut_down
from overwinter.runtime.envelope import Envelope
from overwinter.runtime.failing import failed
from overwinter.runtime.hooks import run_hook
from overwinter.runtime.jobs import Crew
from overwinter.runtime.mailbox import Mailbox
from overwinter.runtime.refusal import refuse, stopped
from overwinter.runtime.reply import Reply
from overwinter.runtime.scope import current
from overwinter.runtime.serving import handle_messages
from overwinter.runtime.state import State
from overwinter.runtime.stopping import Step, Stopping

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from overwinter.runtime.address import Address
    from overwinter.runtime.exchange import Exchange
    from overwinter.runtime.jobs import Job
    from overwinter.runtime.supervision import RestartLog, Supervision

__all__ = ["Cell"]

_logger = logging.getLogger("overwinter.runtime")

#: What a cell has that has stopped.
_NOBODY: Actor[Any] = Actor()
_NO_CONTEXT = Context()


class Cell:
    """One actor: its mailbox, its children and jobs, and the one task that runs its code.

    The task is there only while there is something to do. It handles messages one at a time, and between two
    of them whatever is urgent: a stop, the failure of a job, an escalation of a child. How messages are
    handled is in :mod:`serving`, what a failure leads to in :mod:`failing`, how it stops in :mod:`ending`.
    """

    __slots__ = (
        "_active",
        "_context",
        "_ended",
        "_parent",
        "_started",
        "actor",
        "address",
        "children",
        "crew",
        "deferred",
        "envelope",
        "exchange",
        "factory",
        "failures",
        "handled",
        "mailbox",
        "named",
        "owes_goodbye",
        "pause",
        "restart_log",
        "restarts",
        "signals",
        "state",
        "stopping",
        "supervision",
        "task",
        "urgent",
        "watchers",
        "watching",
    )

    def __init__(
        self,
        exchange: Exchange,
        address: Address,
        parent: Cell | None,
        actor: Actor[Any],
        factory: Callable[[], Actor[Any]] | None,
        supervision: Supervision,
        capacity: int | None,
    ) -> None:
        weighed = actor.mailbox_weight is not None
        self.mailbox = Mailbox(capacity, self._weigh if weighed else None, actor.mailbox_weight)
        self.exchange = exchange
        self.address = address
        self._parent = parent
        self.actor = actor
        self.factory = factory
        self.supervision = supervision
        self.state = State.STARTING
        self.stopping: Stopping | None = None
        self.envelope: Envelope | None = None
        self.children: dict[str, Cell] = {}
        self.watchers: dict[str, Cell] = {}
        self.watching: dict[str, Cell] = {}
        self.crew: Crew | None = None
        self.deferred: set[Reply] | None = None
        self.signals: deque[Exception] | None = None
        self.restart_log: RestartLog | None = None
        self.pause: asyncio.Future[None] | None = None
        self.task: asyncio.Task[None] | None = None
        self.handled = 0
        self.failures = 0
        self.restarts = 0
        self.urgent = False
        # Whether its name was chosen, and will be the same in another process.
        self.named = True
        self.owes_goodbye = False
        self._active = False
        self._context = copy_context()
        self._started: asyncio.Future[None] | None = None
        self._ended: asyncio.Event | None = None
        actor.context = ActorContext(self)

    @property
    def parent(self) -> Cell | None:
        """The cell of the actor that spawned it; None at the root."""
        return self._parent

    def _weigh(self, message: Any) -> int:
        # Not the actor's own method: a restart may replace the actor.
        return self.actor.weigh(message)

    # What others ask of it.

    async def start(self) -> None:
        """Run ``on_start`` and return when it has; its error is raised here. Cancelled, it goes on."""
        self._started = asyncio.get_running_loop().create_future()
        self._wake()
        await self._started

    def accept(self, envelope: Envelope) -> bool:
        """Take a message; False if it has to wait for room. Raises :class:`ActorStopped`."""
        accepted = self.mailbox.offer(envelope)
        if not self._active:
            self._wake()
        return accepted

    def accept_system(self, message: Any) -> None:
        """Take a message of the system's, which overtakes the others."""
        if self.stopping is None:
            self.mailbox.put_system(Envelope(message, self))
            if not self._active:
                self._wake()

    def signal(self, error: Exception) -> None:
        """Let the actor have failed by ``error``, which a job or a child brought up."""
        if self.stopping is None:
            if self.signals is None:
                self.signals = deque()
            self.signals.append(error)
            self.hurry()

    def request_stop(
        self,
        *,
        drain: bool = False,
        deadline: float | None = None,
        reason: str = "stopped",
        error: BaseException | None = None,
    ) -> None:
        """Let the stop begin, or hurry the one under way: without draining, or by an earlier deadline.

        ``deadline`` is in the clock's monotonic seconds.
        """
        if self.state is State.STOPPED:
            return
        stopping = self.stopping
        if stopping is None:
            self.stopping = stopping = Stopping(
                self.exchange.clock, self.exchange.grace, drain=drain, reason=reason, error=error
            )
            refuse(self, self.mailbox.close(admit=drain))
        stopping.drain = stopping.drain and drain
        if not stopping.drain:
            refuse(self, self.mailbox.discard())
        if stopping.tighten(deadline):
            for child in self.children.values():
                if child.stopping is not None:
                    child.request_stop(deadline=deadline)
            stopping.arm(self.lose_patience)
        self.hurry()

    async def ended(self) -> None:
        """Return when it has stopped."""
        if self.state is not State.STOPPED:
            if self._ended is None:
                self._ended = asyncio.Event()
            await self._ended.wait()

    @property
    def may_have_children(self) -> bool:
        """Whether a child may be started."""
        return self.state not in (State.STOPPING, State.STOPPED)

    @property
    def jobs(self) -> int:
        """How many jobs run."""
        return 0 if self.crew is None else len(self.crew)

    # What its actor asks of it, through the context.

    def defer_reply(self) -> Reply:
        """Hand out the reply of the message in hand."""
        envelope = self.envelope
        if envelope is None:
            raise RuntimeError("defer_reply() is for receive(): there is no message in hand")
        reply = envelope.reply
        if reply is None:
            return envelope.deferred or Reply()
        envelope.reply, envelope.deferred = None, reply
        if self.deferred is None:
            self.deferred = set()
        self.deferred.add(reply)
        reply.on_settled(self.deferred.discard)
        return reply

    def start_job(
        self, function: Callable[..., Coroutine[Any, Any, object]], args: tuple[Any, ...], name: str | None
    ) -> Job:
        """Start a job; raises :class:`ActorStopped` once the jobs were ended."""
        if self.state is State.STOPPED or (self.stopping is not None and self.stopping.step >= Step.JOBS):
            raise ActorStopped(f"{self.address.path} has stopped and starts no jobs any more")
        if self.crew is None:
            self.crew = Crew(self, self._job_failed)
        label = name or getattr(function, "__name__", "job")
        return self.crew.start(function, args, f"{self.address.path} {label}")

    def _job_failed(self, job: Job, error: BaseException) -> None:
        if not isinstance(error, Exception):
            cause, error = error, ActorError(f"job {job.name} was torn down by {type(error).__name__}")
            error.__cause__ = cause
        if job.cancelled or self.stopping is not None:
            _logger.warning("job %s failed while it was being ended", job.name, exc_info=error)
        else:
            self.signal(error)

    # Its task.

    def run(self, coroutine: Coroutine[Any, Any, None]) -> None:
        """Let ``coroutine`` be what its task does from now on."""
        self._active = True
        # Task and not create_task: under an eager task factory the actor would run inside its sender's tell.
        self.task = asyncio.Task(
            coroutine, loop=asyncio.get_running_loop(), name=self.address.path, context=self._context
        )
        self.task.add_done_callback(self._left)

    def _wake(self) -> None:
        self.run(self._live())

    def hurry(self) -> None:
        """Have it look up from its messages: at the next one, or now when it waits out a backoff to stop."""
        self.urgent = True
        if self.stopping is not None and self.pause is not None and not self.pause.done():
            self.pause.set_result(None)
        if not self._active:
            self._wake()

    async def _live(self) -> None:
        try:
            if self.state is State.STARTING and self.stopping is None:
                await self._begin()
            while self.stopping is None:
                self.urgent = False
                if self.signals:
                    await failed(self, self.signals.popleft())
                elif await handle_messages(self):
                    self._rest()
                    return
        except asyncio.CancelledError:
            if self.superseded():
                raise
            interrupted(self)
        await shut_down(self)

    def _rest(self) -> None:
        self.envelope = None
        current.set(None)
        self.mailbox.rest()
        self.task = None
        self._active = False

    async def _begin(self) -> None:
        try:
            await run_hook(self, self.actor.on_start)
        except Exception as error:
            # spawn raises it, as soon as the cell has stopped and the name is free again.
            if self._started is None or self._started.done():
                _logger.exception("%s failed to start", self.address.path)
            self.request_stop()
            if self.stopping is not None:
                self.stopping.reason = "failed"
                self.stopping.error = error
        else:
            self.state = State.RUNNING
            self.owes_goodbye = True
            if self._started is not None and not self._started.done():
                self._started.set_result(None)
            self._started = None

    def superseded(self) -> bool:
        """Whether the code that runs is of a task that was given up."""
        return self.task is not asyncio.current_task()

    def lose_patience(self) -> None:
        """Cut the step of the stop that runs; abandon it when it was cut before."""
        stopping = self.stopping
        if stopping is None or self.task is None or self.state is State.STOPPED:
            return
        if stopping.cut:
            abandon(self, stopping)
        else:
            stopping.cut = True
            self.task.cancel()
            stopping.arm(self.lose_patience)

    def forget(self) -> None:
        """Let go of the actor, so that it is gone with its last user and does not wait for the garbage collection."""
        self.actor = _NOBODY
        self.envelope = None
        self._context = _NO_CONTEXT
        if self.crew is not None and not len(self.crew):
            self.crew = None

    def finished(self) -> None:
        """Tell those who wait for its start or its end."""
        if self._started is not None and not self._started.done():
            error = None if self.stopping is None else self.stopping.error
            self._started.set_exception(
                stopped(self, "was stopped before it had started") if error is None else error
            )
        if self._ended is not None:
            self._ended.set()

    def _left(self, task: asyncio.Task[None]) -> None:
        # Most tasks end because there was nothing left to do. One that was cancelled before its first step,
        # though, never ran at all, and what it was to do would be left undone for ever.
        if self.state is State.STOPPED and task is self.task:
            self.task = None
        if task is not self.task or not self._active or self.state is State.STOPPED:
            return
        error = None if task.cancelled() else task.exception()
        if self.stopping is not None and self.stopping.cut:
            _logger.debug("%s was cut before it began", self.address.path)
        elif error is None:
            _logger.warning("the task of %s was cancelled from outside; the actor stops", self.address.path)
        else:
            _logger.error("the task of %s was torn down; the actor stops", self.address.path, exc_info=error)
        reason = "cancelled" if error is None else "failed"
        self.request_stop(deadline=self.exchange.clock.monotonic(), reason=reason, error=error)
        self.run(shut_down(self))
