"""An event loop in a thread of its own, for a library that blocks the one it runs on."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import logging
import threading
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Generic, ParamSpec, TypeVar

from anyio import move_on_after

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine

__all__ = ["Relay", "SideLoop", "SideLoopStopped"]

P = ParamSpec("P")
T = TypeVar("T")

_GRACE = 5.0  # seconds that something cancelled may take to end before it is left behind
_STOPPED = "the event loop of the models was stopped"
_VISIT = "overwinter-visit"

logger = logging.getLogger("overwinter.agents.models")

_executed: ContextVar[list[Future[Any]] | None] = ContextVar("overwinter_side_loop_executed", default=None)


class SideLoopStopped(ConnectionError):
    """The loop was stopped while something still ran on it."""


class SideLoop:
    """Runs coroutines of one library, for any number of event loops, on a loop that is nobody else's.

    What blocks there delays only its neighbours; what the library leaves running ends with this loop; and its
    clients outlive the loops of its callers. ``farewell`` runs on the loop as its last act. The thread is a
    daemon: a process that forgets to stop it can still end.
    """

    def __init__(self, name: str, *, farewell: Callable[[], Awaitable[None]]) -> None:
        self._farewell = farewell
        self._loop = asyncio.new_event_loop()
        self._loop.set_exception_handler(_log_quietly)
        self._stopping = asyncio.Event()
        self._lock = threading.Lock()
        self._closed = False
        self._thread = threading.Thread(target=self._live, name=name, daemon=True)

    def start(self) -> None:
        """Start the thread; blocks for the moment that takes."""
        self._thread.start()

    def stop(self, timeout: float = _GRACE) -> bool:
        """Cancel what runs, say farewell and end the thread; blocks. False when it takes longer."""
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._stopping.set)
        self._thread.join(timeout)
        return not self._thread.is_alive()

    async def run(
        self, function: Callable[P, Coroutine[Any, Any, T]], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Run ``function`` over there and return what it returns, or raise what it raises.

        Cancelling this cancels it there and waits, for five seconds at most, until it has ended.
        Raises ``SideLoopStopped`` when the loop is stopped before it ends.
        """
        visit = _Visit(self._loop, asyncio.get_running_loop(), lambda: function(*args, **kwargs))
        with self._lock:
            if self._closed:
                raise SideLoopStopped(_STOPPED)
            self._loop.call_soon_threadsafe(visit.begin)
        return await visit.outcome()

    def _live(self) -> None:
        with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
            runner.run(self._until_stopped())

    async def _until_stopped(self) -> None:
        executor = _Executor(thread_name_prefix=f"{self._thread.name}-worker")
        self._loop.set_default_executor(executor)
        try:
            await self._stopping.wait()
        finally:
            with self._lock:
                self._closed = True
            await asyncio.sleep(0)  # whatever was asked for before the lock has begun after this
            await _cancel_visits()
            await self._farewell()
            executor.shutdown(wait=False, cancel_futures=True)


async def _cancel_visits() -> None:
    visits = [task for task in asyncio.all_tasks() if task.get_name() == _VISIT]
    for task in visits:
        task.cancel()
    if visits:
        await asyncio.wait(visits, timeout=_GRACE / 2)


def _log_quietly(_: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """What goes wrong beside the calls is the library's business, and nothing a user could act upon."""
    logger.debug("beside a call: %s", context.get("message"), exc_info=context.get("exception"))


class Relay(Generic[T]):
    """Hands things from the side loop to a callback at home, in order; those that come together, together.

    Make it at home; ``send`` on the side loop; ``close`` at home, after which nothing is handed over.
    When the callback raises, ``error`` keeps that, and the next ``send`` raises ``SideLoopStopped``.
    """

    def __init__(self, callback: Callable[[T], None]) -> None:
        self._home = asyncio.get_running_loop()
        self._callback = callback
        self._things: deque[T] = deque()
        self._scheduled = False
        self._closed = False
        self.error: Exception | None = None

    def send(self, thing: T) -> None:
        """Have the callback called with ``thing``, soon."""
        if self._closed:
            raise SideLoopStopped("nobody listens any more")
        self._things.append(thing)
        # A hand-over that is scheduled and has not begun takes this thing along; one that has begun cleared
        # the flag before it looked, so either it sees this thing or we see the flag cleared.
        if not self._scheduled:
            self._scheduled = True
            with contextlib.suppress(RuntimeError):  # home is closed, and nobody listens there
                self._home.call_soon_threadsafe(self._hand_over)

    def close(self) -> None:
        """Hand nothing over any more."""
        self._closed = True

    def _hand_over(self) -> None:
        self._scheduled = False
        while self._things and not self._closed:
            try:
                self._callback(self._things.popleft())
            except Exception as error:  # noqa: BLE001  (it is raised where the callback's owner waits)
                self.error = error
                self._closed = True


class _Visit(Generic[T]):
    """One coroutine of a caller at home, run away from there."""

    def __init__(
        self,
        away: asyncio.AbstractEventLoop,
        home: asyncio.AbstractEventLoop,
        function: Callable[[], Coroutine[Any, Any, T]],
    ) -> None:
        self._away = away
        self._home = home
        self._function = function
        self._ended: asyncio.Future[None] = home.create_future()
        self._task: asyncio.Task[T] | None = None
        self._cancelled = False

    def begin(self) -> None:
        if self._cancelled:
            self._tell_home()
            return
        self._task = self._away.create_task(_tidy(self._function), name=_VISIT)
        self._task.add_done_callback(self._finished)

    async def outcome(self) -> T:
        try:
            await asyncio.wait({self._ended})
        except asyncio.CancelledError:
            with contextlib.suppress(RuntimeError):
                self._away.call_soon_threadsafe(self._cancel)
            with move_on_after(_GRACE, shield=True):
                await asyncio.wait({self._ended})
            raise
        if self._task is None or self._task.cancelled():
            raise SideLoopStopped(_STOPPED)
        return self._task.result()

    def _cancel(self) -> None:
        self._cancelled = True
        if self._task is not None:
            self._task.cancel()

    def _finished(self, task: asyncio.Task[T]) -> None:
        if not task.cancelled():
            task.exception()  # its caller may have left, and then nobody needs to hear of it
        self._tell_home()

    def _tell_home(self) -> None:
        with contextlib.suppress(RuntimeError):  # home is closed, and nobody waits there
            self._home.call_soon_threadsafe(self._settle)

    def _settle(self) -> None:
        if not self._ended.done():
            self._ended.set_result(None)


async def _tidy(function: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """Run it, and close the coroutines that a worker thread made for it and a cancellation left unawaited."""
    executed: list[Future[Any]] = []
    _executed.set(executed)
    try:
        return await function()
    finally:
        for future in executed:
            future.add_done_callback(_close_unstarted)


def _close_unstarted(future: Future[Any]) -> None:
    if future.cancelled() or future.exception() is not None:
        return
    result = future.result()
    if inspect.iscoroutine(result) and inspect.getcoroutinestate(result) == inspect.CORO_CREATED:
        result.close()


class _Executor(ThreadPoolExecutor):
    """The default executor of a side loop: knows whose call each piece of work belongs to."""

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        future = super().submit(fn, *args, **kwargs)
        executed = _executed.get()
        if executed is not None:
            executed.append(future)
        return future
