"""Signals that end a program, made into a cancellation that lets it save first."""

from __future__ import annotations

import asyncio
import signal
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

from overwinter.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Generator
    from types import FrameType

__all__ = ["SignalWatch", "run_to_end", "signals_cancel"]

T = TypeVar("T")


class SignalWatch:
    """Which signal came first, if one did."""

    __slots__ = ("received",)

    def __init__(self) -> None:
        self.received: int | None = None

    def raise_received(self) -> None:
        """End the program as the signal would have: ``KeyboardInterrupt`` or ``SystemExit(128 + number)``."""
        if self.received == signal.SIGINT:
            raise KeyboardInterrupt
        if self.received is not None:
            raise SystemExit(128 + self.received)


@contextmanager
def signals_cancel(
    cancel: Callable[[], object], numbers: tuple[int, ...] = (signal.SIGINT, signal.SIGTERM)
) -> Generator[SignalWatch]:
    """Call *cancel* on the running event loop at the first of the signals; the second ends the process at once.

    At once, because what is saved may be waiting for a disk that never answers; files survive that like any kill.
    Outside the main thread, where Python lets nobody handle signals, this does nothing.
    """
    watch = SignalWatch()
    if threading.current_thread() is not threading.main_thread():
        yield watch
        return
    loop = asyncio.get_running_loop()
    before: dict[int, Any] = {}

    def handle(received: int, _frame: FrameType | None) -> None:
        watch.received = received
        for number in before:
            signal.signal(number, signal.SIG_DFL)
        loop.call_soon_threadsafe(cancel)

    for number in numbers:
        # One that is ignored, as Ctrl-C is for a job in the background, stays so.
        if signal.getsignal(number) is not signal.SIG_IGN:
            before[number] = signal.signal(number, handle)
    try:
        yield watch
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def run_to_end(main: Callable[[], Coroutine[Any, Any, T]], *, hint: str) -> T:
    """Run *main* on an event loop of its own; Ctrl-C and SIGTERM cancel it and end the program once it has saved.

    :raises ConfigurationError: an event loop is running in this thread already; the message ends with *hint*.
    :raises KeyboardInterrupt: after Ctrl-C.
    :raises SystemExit: 143 after SIGTERM.
    """
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        pass
    else:
        raise ConfigurationError(f"an event loop is already running in this thread; {hint}")

    async def guarded() -> T:
        task = asyncio.current_task()
        assert task is not None
        with signals_cancel(task.cancel) as watch:
            try:
                result = await main()
            finally:
                # However it ended, and be it well: somebody asked for the program to end.
                watch.raise_received()
            return result

    return asyncio.run(guarded())
