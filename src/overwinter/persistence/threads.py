"""The threads that do the blocking work of a storage."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import Executor, Future
from queue import SimpleQueue
from typing import TYPE_CHECKING, ParamSpec, TypeVar

from overwinter.errors import RuntimeClosed

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["DiskThread", "DiskThreads"]

P = ParamSpec("P")
T = TypeVar("T")


class DiskThread(Executor):
    """An executor of one thread, which is started when it is first needed.

    Unlike those of the standard library's pool its thread is a daemon: a disk that never answers must not
    keep the process from ending. What it does must therefore be safe to cut off anywhere, as it must be for
    ``kill -9``.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._queue: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._thread: threading.Thread | None = None
        self._closed = False

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Queue a call, which its future can withdraw until it begins. ``RuntimeClosed`` when shut down."""
        if self._closed:
            raise RuntimeClosed("the storage is closed")
        future: Future[T] = Future()

        def work() -> None:
            if future.set_running_or_notify_cancel():
                try:
                    result = fn(*args, **kwargs)
                except BaseException as error:  # noqa: BLE001  (it belongs to whoever waits for the future)
                    future.set_exception(error)
                else:
                    future.set_result(result)

        self._queue.put(work)
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name=self._name, daemon=True)
            self._thread.start()
        return future

    def shutdown(self, wait: bool = False, *, cancel_futures: bool = False) -> None:
        """Take no more calls, and end the thread after those that were queued. It is never waited for."""
        del wait, cancel_futures
        if not self._closed:
            self._closed = True
            self._queue.put(None)

    def _run(self) -> None:
        while (work := self._queue.get()) is not None:
            work()
            # Held until the next one comes, it would keep what the call was given alive.
            del work


class DiskThreads:
    """The threads of a storage: ``log`` appends to the log, ``writer`` writes documents and journals,
    ``opener`` does everything else, each in its order.

    So the log waits for nobody, and neither do opening and loading wait for a long batch, nor the batches
    for them.
    """

    def __init__(self) -> None:
        self.opener = DiskThread("overwinter-opener")
        self.writer = DiskThread("overwinter-writer")
        self.log = DiskThread("overwinter-log")

    async def call(self, function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Run ``function`` in the opener's thread. Cancelled, it is withdrawn, or goes on unseen."""
        return await asyncio.wrap_future(self.opener.submit(function, *args, **kwargs))

    def end(
        self, last: Callable[[], object], *, last_logged: Callable[[], object] | None = None
    ) -> Future[None]:
        """Take no more calls; when all threads have done what they had, ``last`` runs.

        ``last_logged`` is the last that the log's thread does.
        """
        logged = self.log.submit(last_logged) if last_logged is not None else None
        written = self.writer.submit(_nothing)

        def finish() -> None:
            if logged is not None:
                logged.exception()
            written.result()
            last()

        ended = self.opener.submit(finish)
        self.log.shutdown()
        self.writer.shutdown()
        self.opener.shutdown()
        return ended


def _nothing() -> None:
    """What a thread does last."""
