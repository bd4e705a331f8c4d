"""Waiting with an end to it: by the clock, and through cancellation."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import anyio

if TYPE_CHECKING:
    from concurrent.futures import Future

    from overwinter.runtime import Clock

__all__ = ["done_in_thread", "to_its_end", "within"]


def done_in_thread(future: Future[Any]) -> asyncio.Future[None]:
    """A future of this loop that is done when ``future``, of a thread, is.

    Unlike one of ``asyncio.wrap_future`` it does not cancel the thread's when it is cancelled, and the thread
    does not mind if the loop is gone by then.
    """
    loop = asyncio.get_running_loop()
    done = loop.create_future()

    def set_done() -> None:
        if not done.done():
            done.set_result(None)

    def tell(_: object) -> None:
        with suppress(RuntimeError):
            loop.call_soon_threadsafe(set_done)

    future.add_done_callback(tell)
    return done


async def within(clock: Clock, seconds: float, future: asyncio.Future[Any]) -> bool:
    """Wait for ``future`` at most ``seconds``; whether it is done. It is neither cancelled nor raised."""
    if not future.done():
        over = asyncio.get_running_loop().create_future()

        def end(_: object = None) -> None:
            if not over.done():
                over.set_result(None)

        timer = clock.call_later(seconds, end)
        future.add_done_callback(end)
        try:
            await over
        finally:
            timer.cancel()
            future.remove_done_callback(end)
    return future.done()


async def to_its_end(task: asyncio.Task[Any]) -> None:
    """Wait until ``task`` is done, also when cancelled meanwhile, which is then raised behind it; or raise
    its error.

    For tasks that end by themselves, soon.
    """
    cancelled: asyncio.CancelledError | None = None
    # A scope of anyio that was cancelled would cancel this again and again.
    with anyio.CancelScope(shield=True):
        while not task.done():
            try:
                await asyncio.wait({task})
            except asyncio.CancelledError as error:
                cancelled = error
    if cancelled is not None:
        raise cancelled
    task.result()
