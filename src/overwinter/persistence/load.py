"""How busy the event loop is, as seen from the threads that share the interpreter with it."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["LoopLoad"]

_BUSY = 0.5
_LOOK_EVERY = 0.005


class LoopLoad:
    """Tells whether the thread it was made in, that of the event loop, computes more than half of the time.

    Beside such a loop several threads are slower than one: each waits for the GIL after every call of the system, takes
    it from the loop and from the others, and the loop waits for it as often. 100 agents that made 20 steps each took
    1.5 times as long while four threads wrote their documents as while one did. Beside a loop that waits, four
    write a thousand documents in half the time.

    :param clock: processor and real time of that thread, in seconds. Where the system does not tell, it is never busy.
    """

    def __init__(self, clock: Callable[[], tuple[float, float]] | None = None) -> None:
        self._clock = clock if clock is not None else _clock_of_this_thread()
        self._cpu, self._at = self._clock()
        self._busy = False

    def busy(self) -> bool:
        """Whether it is, by the last few milliseconds. For any thread; two at once may share an answer."""
        cpu, at = self._clock()
        if at - self._at >= _LOOK_EVERY:
            self._busy = cpu - self._cpu > _BUSY * (at - self._at)
            self._cpu, self._at = cpu, at
        return self._busy


def _clock_of_this_thread() -> Callable[[], tuple[float, float]]:
    # On Unix, but not on macOS, says the manual.
    if not hasattr(time, "pthread_getcpuclockid"):
        return lambda: (0.0, time.perf_counter())
    clock = time.pthread_getcpuclockid(threading.get_ident())

    def read() -> tuple[float, float]:
        try:
            return time.clock_gettime(clock), time.perf_counter()
        except OSError:  # that thread has ended
            return 0.0, time.perf_counter()

    return read
