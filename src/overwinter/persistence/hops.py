"""Many small calls in one hop to a thread."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from overwinter.errors import RuntimeClosed

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from overwinter.persistence.threads import DiskThread

__all__ = ["Hops"]

T = TypeVar("T")

_LONGEST = 0.1  # seconds after which those that are done are told, and others have their turn in the thread


class Hops(Generic[T]):
    """Runs blocking calls in a thread, those that wait one after another in one hop. For the event loop.

    Each result that is told wakes the loop, and while it is awake the thread waits for the GIL after every
    system call; a thousand claims, told one by one, took three times as long.

    :param on_orphan: called in the thread with the result of a call whose caller has gone.
    :param ahead: called in the thread with what the calls of a hop are about, before the first of them. It returns how
        many of them, the first ones, have their turn in this hop; the others wait for the next.
    """

    def __init__(
        self,
        thread: DiskThread,
        *,
        on_orphan: Callable[[T], object],
        ahead: Callable[[Sequence[Any]], int] = len,
    ) -> None:
        self._thread = thread
        self._on_orphan = on_orphan
        self._ahead = ahead
        self._loop = asyncio.get_running_loop()
        self._waiting: list[_Call[T]] = []
        self._out = False

    async def call(self, function: Callable[[], T], about: object = None) -> T:
        """Run ``function`` in the thread. Cancelled, it is withdrawn, or its result is an orphan."""
        call = _Call(function, about, self._loop.create_future())
        self._waiting.append(call)
        if not self._out:
            self._begin()
        try:
            result: T = await call.future
        except asyncio.CancelledError:
            call.withdrawn = True
            if call.done:
                # It was done, and the cancellation overtook the news of it.
                with suppress(RuntimeClosed):
                    self._thread.submit(self._orphan, call)
            raise
        return result

    def _begin(self) -> None:
        batch, self._waiting = self._waiting, []
        try:
            work = self._thread.submit(self._work, batch)
        except RuntimeClosed as error:
            self._tell(batch, error)
            return
        self._out = True
        work.add_done_callback(lambda _: self._from_thread(batch))

    def _from_thread(self, batch: list[_Call[T]]) -> None:
        with suppress(RuntimeError):  # the loop is closed
            self._loop.call_soon_threadsafe(self._done, batch)

    def _work(self, batch: list[_Call[T]]) -> None:
        wanted = [call for call in batch if not call.withdrawn]
        try:
            wanted = wanted[: self._ahead([call.about for call in wanted])]
        except BaseException as error:  # noqa: BLE001  (it belongs to all of them)
            for call in wanted:
                call.error, call.done = error, True
            return
        until = time.monotonic() + _LONGEST
        for call in wanted:
            if call.withdrawn:
                continue
            try:
                call.result = call.function()
            except BaseException as error:  # noqa: BLE001  (it belongs to whoever waits for it)
                call.error = error
            call.done = True
            if call.withdrawn:
                self._orphan(call)
            if time.monotonic() > until:
                break

    def _orphan(self, call: _Call[T]) -> None:
        if call.error is None and not call.orphaned:
            call.orphaned = True
            self._on_orphan(call.result)

    def _done(self, batch: list[_Call[T]]) -> None:
        self._out = False
        self._waiting[:0] = [call for call in batch if not call.done and not call.withdrawn]
        self._tell([call for call in batch if call.done])
        if self._waiting:
            self._begin()

    @staticmethod
    def _tell(calls: list[_Call[T]], error: BaseException | None = None) -> None:
        for call in calls:
            if call.future.done():
                continue
            failed = error or call.error
            if failed is not None:
                call.future.set_exception(failed)
            else:
                call.future.set_result(call.result)


class _Call(Generic[T]):
    __slots__ = ("about", "done", "error", "function", "future", "orphaned", "result", "withdrawn")

    def __init__(self, function: Callable[[], T], about: object, future: asyncio.Future[T]) -> None:
        self.function = function
        self.about = about
        self.future = future
        self.withdrawn = self.done = self.orphaned = False
        self.error: BaseException | None = None
        self.result: Any = None
