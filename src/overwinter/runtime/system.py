"""The house the actors live in."""

from __future__ import annotations

import asyncio
import logging
import os
from contextvars import copy_context
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec
from anyio import CancelScope

from overwinter.errors import ConfigurationError, RuntimeClosed
from overwinter.runtime.clock import SystemClock
from overwinter.runtime.dead_letters import DeadLetters
from overwinter.runtime.exchange import Exchange
from overwinter.runtime.family import stop_all
from overwinter.runtime.reference import ActorRef
from overwinter.runtime.scope import is_inside_system, owner
from overwinter.runtime.supervision import Restart

if TYPE_CHECKING:
    from collections.abc import Callable
    from random import Random
    from types import TracebackType
    from typing import Self

    from overwinter.runtime.actor import Actor
    from overwinter.runtime.clock import Clock
    from overwinter.runtime.supervision import Supervision
    from overwinter.runtime.topics import Topic, Topics

__all__ = ["ActorSystem", "SystemStatistics"]

_logger = logging.getLogger("overwinter.runtime")

M = TypeVar("M")

_DEFAULT_SUPERVISION = Restart()


class SystemStatistics(msgspec.Struct, frozen=True, kw_only=True):
    """What a system holds now (``actors``, ``pending`` messages, ``jobs``) and has counted (the others)."""

    actors: int
    pending: int
    handled: int
    failures: int
    restarts: int
    dead_letters: int
    jobs: int


class ActorSystem:
    """A set of actors that start, run and stop together, on one event loop.

    Use it as an async context manager, or call :meth:`open` and :meth:`aclose`, which may be done by
    different tasks. ``shutdown_timeout`` is how many seconds :meth:`aclose` leaves the actors before it
    cancels what they do; after that each still has ``patience`` seconds for its ``on_stop``.
    ``mailbox_capacity`` holds for actors that do not say otherwise, ``random`` spreads the backoffs.

    When a failure is escalated beyond the last parent, the system has failed: the body of ``async with`` is
    cancelled and the error is raised at its end; without a body the system closes, and :attr:`failure` has
    the error.
    """

    def __init__(
        self,
        *,
        clock: Clock | None = None,
        shutdown_timeout: float = 10.0,
        patience: float = 1.0,
        mailbox_capacity: int | None = 1024,
        random: Random | None = None,
    ) -> None:
        if shutdown_timeout < 0 or patience < 0:
            raise ConfigurationError("shutdown_timeout and patience are seconds and must not be negative")
        if random is None:
            from random import Random as _Random

            random = _Random()
        self._id = os.urandom(8).hex()
        self._random = random
        self._clock = SystemClock() if clock is None else clock
        self._shutdown_timeout = shutdown_timeout
        self._dead_letters = DeadLetters()
        self._exchange = Exchange(
            self,
            clock=self._clock,
            random=random,
            dead_letters=self._dead_letters,
            grace=patience,
            capacity=mailbox_capacity,
        )
        self._opened = False
        self._closing: asyncio.Task[None] | None = None
        self._close_alone: asyncio.Task[None] | None = None
        self._body: CancelScope | None = None
        self._failure: Exception | None = None
        self._awaited = False
        self._topics: Topics | None = None

    @property
    def id(self) -> str:
        """16 hex digits, different for every system."""
        return self._id

    @property
    def clock(self) -> Clock:
        """Where it takes the time from."""
        return self._clock

    @property
    def random(self) -> Random:
        """Where it takes chance from, for the spread of backoffs."""
        return self._random

    @property
    def dead_letters(self) -> DeadLetters:
        """The messages that could not be handled."""
        return self._dead_letters

    @property
    def failure(self) -> Exception | None:
        """The error that was escalated beyond the last parent, if one was."""
        return self._failure

    @property
    def running(self) -> bool:
        """Whether actors can be spawned."""
        return self._exchange.accepting

    async def open(self) -> None:
        """Begin to take actors. Raises ``RuntimeClosed`` when it was opened before: a system lives once."""
        if self._opened:
            raise RuntimeClosed("a runtime can be opened only once; make a new one")
        self._opened = True
        self._exchange.accepting = True

    async def aclose(self) -> None:
        """Stop all actors, the youngest first, and return when all have stopped; may be called again.

        Actors of one class that were spawned one after the other stop together. Each has the time that is
        left of ``shutdown_timeout``, then ``patience`` for its ``on_stop``. Whoever still waits for an answer
        gets ``ActorStopped``. Cancelling this call does not cut it short; the cancellation is raised when all
        have stopped. Called from inside an actor it cannot wait: it returns at once, and the system closes
        beside it.
        """
        if not self._opened:
            return
        if self._closing is None:
            self._exchange.accepting = False
            context = copy_context()
            # The closing is nobody's message: an actor that called for it is one of those to be stopped.
            context.run(owner.set, None)
            self._closing = asyncio.Task(
                self._aclose(), loop=asyncio.get_running_loop(), name=f"closing {self._id}", context=context
            )
            self._closing.add_done_callback(self._closed)
        if not is_inside_system(self._id):
            self._awaited = True
            await _outlast(self._closing)

    async def _aclose(self) -> None:
        """What :meth:`aclose` does, once, in a task of its own. A subclass may do more before and after."""
        deadline = self._clock.monotonic() + self._shutdown_timeout
        cells = self._exchange.cells
        await stop_all({path: cell for path, cell in cells.items() if cell.parent is None}, lambda: deadline)

    async def __aenter__(self) -> Self:
        await self.open()
        self._body = CancelScope()
        self._body.__enter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool | None:
        scope, self._body = self._body, None
        try:
            await self.aclose()
        finally:
            swallowed = scope is not None and bool(scope.__exit__(kind, error, traceback))
        if self._failure is not None and (swallowed or error is None or isinstance(error, Exception)):
            raise self._failure
        return swallowed

    async def spawn(
        self,
        actor: Actor[M] | Callable[[], Actor[M]],
        *,
        name: str | None = None,
        supervision: Supervision = _DEFAULT_SUPERVISION,
        mailbox_capacity: int | None = 0,
    ) -> ActorRef[M]:
        """Start an actor; return the reference to it when its ``on_start`` has returned.

        ``actor`` is an object, or a class or another callable that makes one, anew for every restart.
        ``name`` must not contain ``/`` or ``#``; without it one is made up. ``mailbox_capacity`` of 0 leaves
        that to the actor's class and the system; None is no bound. Raises what the callable or ``on_start``
        raises (and then there is no actor), ``NameTaken``, ``RuntimeClosed``, and ``ConfigurationError`` for
        an object that already runs. Cancelled while ``on_start`` runs, it stops the actor first.
        """
        return await self._exchange.spawn(
            actor, parent=None, name=name, supervision=supervision, capacity=mailbox_capacity
        )

    def find(self, path: str) -> ActorRef[Any] | None:
        """The reference to the live actor of a path (``"/team/editor"``) or of a root's name, else None."""
        cell = self._exchange.cells.get(path if path.startswith("/") else f"/{path}")
        return None if cell is None else ActorRef(cell)

    def topic(self, name: str) -> Topic[Any]:
        """The topic of that name, to publish on and to subscribe to; the same one for all who ask for it."""
        if self._topics is None:
            from overwinter.runtime.topics import Topics  # which few programs need

            self._topics = Topics(self._exchange, self._adapted)
        return self._topics.topic(name)

    def _adapted(self, subscriber: Any) -> Any:
        """What is told in the place of what was subscribed to a topic; for subclasses."""
        return subscriber

    async def stop(
        self,
        ref: ActorRef[Any] | None = None,
        *,
        drain: bool = False,
        timeout: float | None = None,  # noqa: ASYNC109
    ) -> None:
        """Stop one actor (:meth:`ActorRef.stop`); without ``ref`` all, and the system (:meth:`aclose`)."""
        if ref is None:
            await self.aclose()
        else:
            await ref.stop(drain=drain, timeout=timeout)

    def statistics(self) -> SystemStatistics:
        """A snapshot of the counters; it goes through all actors."""
        exchange = self._exchange
        cells = exchange.cells.values()
        return SystemStatistics(
            actors=len(cells),
            pending=sum(len(cell) + cell.waiting for cell in cells),
            handled=exchange.handled + sum(cell.handled for cell in cells),
            failures=exchange.failures + sum(cell.failures for cell in cells),
            restarts=exchange.restarts + sum(cell.restarts for cell in cells),
            dead_letters=self._dead_letters.count,
            jobs=sum(cell.jobs for cell in cells),
        )

    def fail(self, error: Exception) -> None:
        """Let the whole system have failed by ``error``; the first such error counts."""
        if self._failure is not None or self._closing is not None:
            return
        self._failure = error
        self._exchange.accepting = False
        if self._body is not None:
            self._body.cancel()
        else:
            self._close_alone = asyncio.get_running_loop().create_task(self.aclose())

    def _closed(self, task: asyncio.Task[None]) -> None:
        error = None if task.cancelled() else task.exception()
        if error is not None and not self._awaited:
            _logger.error("closing the runtime failed", exc_info=error)


async def _outlast(task: asyncio.Task[None]) -> None:
    """Wait for a task whatever happens; a cancellation meanwhile is raised afterwards."""
    cancelled: asyncio.CancelledError | None = None
    with CancelScope(shield=True):
        while not task.done():
            try:
                await asyncio.wait({task})
            except asyncio.CancelledError as error:
                cancelled = error
    if cancelled is not None:
        raise cancelled
    await task
