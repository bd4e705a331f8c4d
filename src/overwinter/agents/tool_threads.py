"""The threads that tools run in: one that hangs keeps neither the event loop nor the process."""

from __future__ import annotations

import asyncio
import inspect
import sys
import threading
from collections import deque
from concurrent.futures import Future
from contextvars import copy_context
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

    from anyio import CapacityLimiter

__all__ = ["ThreadCall", "ToolThreads"]

T = TypeVar("T")

_Work = tuple["Callable[[], Any]", "Future[Any]"]

_IDLE_SECONDS = 10.0


class ThreadCall(Generic[T]):
    """A call that a thread is making, or has made. It belongs to no event loop and may outlive the one it began on."""

    __slots__ = ("_future",)

    def __init__(self, future: Future[T]) -> None:
        self._future = future

    @property
    def done(self) -> bool:
        """Whether it has ended."""
        return self._future.done()

    async def wait(self) -> T:
        """What the call returned; what it raised is raised here, of whatever class.

        Cancelling it leaves the call going on, and it can be waited for again, from another loop too.
        """
        waiter = asyncio.get_running_loop().create_future()

        def wake() -> None:
            if not waiter.done():
                waiter.set_result(None)

        self.when_done(wake)
        await waiter
        return self._future.result()

    def when_done(self, callback: Callable[[], object]) -> None:
        """Have the running loop call *callback* soon after the call has ended; never, if that loop is closed by then.

        Callbacks are called in the order in which they were given.
        """
        loop = asyncio.get_running_loop()

        def tell(_: Future[T]) -> None:
            try:
                loop.call_soon_threadsafe(callback)
            except RuntimeError:
                # The loop is closed: whoever waited there is gone.
                pass

        self._future.add_done_callback(tell)

    def abandon(self) -> None:
        """Nobody goes on with what it returns: should that be a coroutine, it is closed, whenever it comes."""
        self._future.add_done_callback(_close_coroutine)


class ToolThreads:
    """Threads that are started when they are needed and kept for the next call for a while.

    They are daemons, which those of anyio and of the standard library's pools are not: the interpreter would
    wait for a tool that hangs before it ends.
    """

    __slots__ = ("_idle", "_idle_seconds")

    def __init__(self, *, idle_seconds: float = _IDLE_SECONDS) -> None:
        self._idle: deque[_Worker] = deque()
        self._idle_seconds = idle_seconds

    async def start(self, function: Callable[[], T], *, limiter: CapacityLimiter) -> ThreadCall[T]:
        """Call *function* in a thread, with the context variables of the caller, once *limiter* has room.

        The room is given back when the call has really ended, whether or not anyone still waits for it.
        Cancelled while it waits for room, the function is never called.

        :raises RuntimeError: the system has no thread to give.
        """
        room = object()
        await limiter.acquire_on_behalf_of(room)
        future: Future[T] = Future()
        call = ThreadCall(future)
        try:
            self._submit(_in_context(function), future)
        except BaseException:
            limiter.release_on_behalf_of(room)
            raise
        call.when_done(lambda: limiter.release_on_behalf_of(room))
        return call

    def _submit(self, function: Callable[[], T], future: Future[T]) -> None:
        # Taking one from a deque is atomic, so a worker is had by one call, or has taken itself away.
        while self._idle:
            worker = self._idle.pop()
            # It is not alive in a process that was forked from the one it was started in.
            if worker.is_alive():
                worker.work.put((function, future))
                return
        worker = _Worker(self._idle, self._idle_seconds)
        worker.work.put((function, future))
        worker.start()


class _Worker(threading.Thread):
    def __init__(self, idle: deque[_Worker], idle_seconds: float) -> None:
        super().__init__(name="overwinter tool", daemon=True)
        self.work: SimpleQueue[_Work] = SimpleQueue()
        self._idle = idle
        self._idle_seconds = idle_seconds

    def run(self) -> None:
        work: _Work | None = self.work.get()
        while work is not None:
            self._do(*work)
            # Held until the next one comes, it would keep what the call was given alive.
            del work
            work = self._next()

    def _do(self, function: Callable[[], Any], future: Future[Any]) -> None:
        result: Any = None
        failure: BaseException | None = None
        try:
            result = function()
        except BaseException as error:  # noqa: BLE001  (it belongs to whoever waits for the call)
            failure = error
        # Before the outcome is known, so that whoever waited for it finds this thread idle.
        self._idle.append(self)
        if failure is None:
            future.set_result(result)
        else:
            future.set_exception(failure)
            # An error knows the frames it came through, this one too: they would keep each other.
            failure = None

    def _next(self) -> _Work | None:
        """The next call, or ``None`` when none came for so long that this thread may end."""
        try:
            return self.work.get(timeout=self._idle_seconds)
        except Empty:
            try:
                self._idle.remove(self)
            except ValueError:
                # Somebody has just taken it, and gives it a call.
                return self.work.get()
            return None


def _close_coroutine(future: Future[Any]) -> None:
    if future.exception() is None and inspect.iscoroutine(result := future.result()):
        result.close()


def _in_context(function: Callable[[], T]) -> Callable[[], T]:
    context = copy_context()
    # anyio.run() refuses to run where this says that a loop runs already; in the thread none does.
    sniffio = sys.modules.get("sniffio")
    if sniffio is not None:
        context.run(sniffio.current_async_library_cvar.set, None)
    return lambda: context.run(function)
