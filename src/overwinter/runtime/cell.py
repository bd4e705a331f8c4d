"""The inner life of one actor: its state, its task, and the messages it handles."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from contextvars import Context, copy_context
from typing import TYPE_CHECKING, Any

from overwinter.runtime.actor import Actor
from overwinter.runtime.address import Address
from overwinter.runtime.ending import abandon, interrupted, shut_down
from overwinter.runtime.envelope import Envelope
from overwinter.runtime.failing import failed
from overwinter.runtime.hooks import run_hook
from overwinter.runtime.mailbox import Mailbox
from overwinter.runtime.refusal import refuse, stopped
from overwinter.runtime.scope import in_hand, owner
from overwinter.runtime.serving import handle_messages
from overwinter.runtime.state import State
from overwinter.runtime.stopping import Stopping

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from overwinter.runtime.exchange import Exchange
    from overwinter.runtime.jobs import Crew
    from overwinter.runtime.reply import Reply
    from overwinter.runtime.supervision import RestartLog, Supervision

__all__ = ["Cell"]

_logger = logging.getLogger("overwinter.runtime")

#: What a cell has that has stopped.
_NOBODY: Actor[Any] = Actor()
#: The ``on_start`` of an actor that has none.
_NO_START = Actor[Any].on_start


class Cell(Mailbox):
    """One actor: a mailbox with its children and jobs, and the one task that runs its code.

    The task is there only while there is something to do. It handles messages one at a time, and between two
    of them whatever is urgent: a stop, the failure of a job, an escalation of a child. How messages are
    handled is in :mod:`serving`, what a failure leads to in :mod:`failing`, how it stops in :mod:`ending`.
    """

    __slots__ = (
        "_active",
        "_address",
        "_context",
        "_ended",
        "_handled",
        "_started",
        "actor",
        "children",
        "crew",
        "deferred",
        "envelope",
        "exchange",
        "factory",
        "failures",
        "in_hand",
        "named",
        "owes_goodbye",
        "parent",
        "path",
        "pause",
        "restart_log",
        "restarts",
        "signals",
        "state",
        "stopping",
        "supervision",
        "task",
        "watchers",
        "watching",
    )

    def __init__(
        self,
        exchange: Exchange,
        path: str,
        parent: Cell | None,
        actor: Actor[Any],
        factory: Callable[[], Actor[Any]] | None,
        supervision: Supervision,
        capacity: int | None,
    ) -> None:
        # It is its mailbox, and has none: an object less for each actor, and for the garbage collector.
        weighed = actor.mailbox_weight is not None
        Mailbox.__init__(self, capacity, self._weigh if weighed else None, actor.mailbox_weight)
        self.exchange = exchange
        self.path = path
        self.parent = parent
        self.actor = actor
        self.factory = factory
        self.supervision = supervision
        self.state = State.STARTING
        self.stopping: Stopping | None = None
        # What it is at: the number of a message or the mark of a hook; and the envelope of that message, if it has one.
        self.in_hand: Any = None
        self.envelope: Envelope | None = None
        # All that few actors have is made when it is needed.
        self.children: dict[str, Cell] | None = None
        self.watchers: dict[Cell, None] | None = None
        self.watching: dict[Cell, None] | None = None
        self.crew: Crew | None = None
        self.deferred: set[Reply] | None = None
        self.signals: deque[Exception] | None = None
        self.restart_log: RestartLog | None = None
        self.pause: asyncio.Future[None] | None = None
        self.task: asyncio.Task[None] | None = None
        self._handled = 0
        self.failures = 0
        self.restarts = 0
        # Whether its name was chosen, and will be the same in another process.
        self.named = True
        self.owes_goodbye = False
        self._active = False
        self._address: Address | None = None
        self._context = _unless_empty(copy_context())
        self._started: asyncio.Future[None] | None = None
        self._ended: asyncio.Event | None = None
        actor.overwinter_cell = self

    @property
    def address(self) -> Address:
        """Where it is found."""
        if self._address is None:
            self._address = Address(self.exchange.system_id, self.path, self.exchange.next_uid())
        return self._address

    def _weigh(self, message: Any) -> int:
        # Not the actor's own method: a restart may replace the actor.
        return self.actor.weigh(message)

    # What others ask of it.

    def start(self) -> asyncio.Future[None] | None:
        """Run ``on_start``; what is returned is done when it has, with its error. None: there is nothing to run."""
        # Most actors have none, and a task for nothing is ten times the rest of what an actor costs.
        if getattr(self.actor.on_start, "__func__", None) is _NO_START:
            self._begun()
            return None
        self._started = asyncio.get_running_loop().create_future()
        self.wake()
        return self._started

    def accept(self, envelope: Envelope) -> bool:
        """Take a message; False if it has to wait for room. Raises :class:`ActorStopped`."""
        accepted = self.offer(envelope)
        if not self._active:
            self.wake()
        return accepted

    def accept_bare(self, message: Any) -> bool:
        """Take a message that needs no envelope; False if it needs one all the same."""
        accepted = self.append(message)
        if accepted and not self._active:
            self.wake()
        return accepted

    def accept_system(self, message: Any) -> None:
        """Take a message of the system's, which overtakes the others."""
        if self.stopping is None:
            self.put_system(Envelope(message))
            if not self._active:
                self.wake()

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
            refuse(self, self.close(admit=drain))
        stopping.drain = stopping.drain and drain
        if not stopping.drain:
            refuse(self, self.discard())
        if stopping.tighten(deadline):
            for child in tuple((self.children or {}).values()):
                if child.stopping is not None:
                    child.request_stop(deadline=deadline)
            if self.task is not None:
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
    def handled(self) -> int:
        """How many messages it has handled, without the one in hand."""
        return self.in_hand - 1 if isinstance(self.in_hand, int) else self._handled

    def put_down(self, handled: int) -> None:
        """Have nothing in hand, and have handled so many messages."""
        self._handled = handled
        self.in_hand = self.envelope = None

    @property
    def jobs(self) -> int:
        """How many jobs run."""
        return 0 if self.crew is None else len(self.crew)

    # Its task.

    def wake(self) -> None:
        """Have a task, now or when those woken before it have begun; there is something to do."""
        self._active = True
        if self.exchange.shift.may_begin(self):
            self.begin()

    def begin(self) -> None:
        """Have a task now."""
        self.run(self._live())

    def run(self, coroutine: Coroutine[Any, Any, None]) -> None:
        """Let ``coroutine`` be what its task does from now on."""
        self._active = True
        if self._context is None:
            self._context = Context()
        # Task and not create_task: under an eager task factory the actor would run inside its sender's tell.
        self.task = asyncio.Task(
            coroutine, loop=asyncio.get_running_loop(), name=self.path, context=self._context
        )
        self.task.add_done_callback(self._left, context=self._context)

    def hurry(self) -> None:
        """Have it look up from its messages: at the next one, or now when it waits out a backoff to stop."""
        self.interrupt()
        if self.stopping is not None and self.pause is not None and not self.pause.done():
            self.pause.set_result(None)
        if not self._active:
            self.wake()

    async def _live(self) -> None:
        was = owner.set(self), in_hand.set(None)
        self.exchange.shift.begun(self)
        try:
            if self.state is State.STARTING and self.stopping is None:
                await self._begin()
            while self.stopping is None:
                if self.interrupted:
                    self.resume()
                if self.signals:
                    await failed(self, self.signals.popleft())
                elif await handle_messages(self):
                    # What an idle actor's context held besides would be two objects more for each of them.
                    owner.reset(was[0])
                    in_hand.reset(was[1])
                    self._rest()
                    return
        except asyncio.CancelledError:
            if self.superseded():
                raise
            interrupted(self)
        await shut_down(self)

    def _rest(self) -> None:
        self.rest()
        if self.task is not None:
            # All went well; a callback that has nothing to do would cost a turn of the loop.
            self.task.remove_done_callback(self._left)
        self.task = None
        self._context = _unless_empty(self._context)
        self._active = False

    def _begun(self) -> None:
        self.state = State.RUNNING
        self.owes_goodbye = True

    async def _begin(self) -> None:
        try:
            await run_hook(self, self.actor.on_start)
        except Exception as error:
            # spawn raises it, as soon as the cell has stopped and the name is free again.
            if self._started is None or self._started.done():
                _logger.exception("%s failed to start", self.path)
            self.request_stop()
            if self.stopping is not None:
                self.stopping.reason = "failed"
                self.stopping.error = error
        else:
            self._begun()
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
        self.factory = self.envelope = self._context = None
        self.children = self.watchers = self.watching = self.restart_log = None
        if self.stopping is not None:
            self.stopping.error = None  # whose traceback holds frames
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
        self.exchange.shift.begun(self)
        if self.state is State.STOPPED and task is self.task:
            self.task = None
        if task is not self.task or not self._active or self.state is State.STOPPED:
            return
        error = None if task.cancelled() else task.exception()
        if self.stopping is not None and self.stopping.cut:
            _logger.debug("%s was cut before it began", self.path)
        elif error is None:
            _logger.warning("the task of %s was cancelled from outside; the actor stops", self.path)
        else:
            _logger.error("the task of %s was torn down; the actor stops", self.path, exc_info=error)
        reason = "cancelled" if error is None else "failed"
        self.request_stop(deadline=self.exchange.clock.monotonic(), reason=reason, error=error)
        self.run(shut_down(self))


def _unless_empty(context: Context | None) -> Context | None:
    """The context, or None for one that holds nothing: an idle actor need not keep that."""
    return context if context is not None and len(context) else None
