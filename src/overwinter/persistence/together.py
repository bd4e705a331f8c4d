"""The same for many files, several at once."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = ["together"]

S = TypeVar("S")
T = TypeVar("T")

_AT_ONCE = 4
_FEW = 4  # up to so many, threads cost more than they save


def together(
    do: Callable[[S], T],
    each: Sequence[S],
    *,
    seconds: float = float("inf"),
    alone: Callable[[], bool] | None = None,
) -> list[T]:
    """What ``do`` makes of each, in their order, several at once. Blocking.

    A filesystem brings to disk together what is synced at the same time: four hundred new folders took ext4 two
    seconds one after another, and a fifth of a second several at once.

    :param seconds: when they are over, no more are begun; what is returned is shorter by those, the last of all.
        The first is always begun.
    :param alone: asked before each; while it says so, they are done one after another.
    :raises Exception: what ``do`` raised. No more are begun then, and those that were have ended.
    """
    work = _Work(do, each, time.monotonic() + seconds, alone)
    threads = [
        # A daemon, as its caller is one: a disk that never answers must not keep the process from ending.
        threading.Thread(target=work.help, name=f"{threading.current_thread().name}-{number}", daemon=True)
        for number in range(1, min(_AT_ONCE, len(each)) if len(each) > _FEW and not work.alone() else 1)
    ]
    for thread in threads:
        thread.start()
    work.run()
    for thread in threads:
        thread.join()
    if work.error is not None:
        raise work.error
    return [work.results[number] for number in range(len(work.results))]


class _Work(Generic[S, T]):
    """What is to be done, of which each thread takes the next until there is no more."""

    def __init__(
        self, do: Callable[[S], T], each: Sequence[S], until: float, alone: Callable[[], bool] | None
    ) -> None:
        self.results: dict[int, T] = {}
        self.error: BaseException | None = None
        self._do = do
        self._each = each
        self._until = until
        self.alone = alone if alone is not None else _never
        self._begun = 0
        self._next = threading.Lock()

    def help(self) -> None:
        """Do some of it, until it is better to let the one who began be alone."""
        while not self.alone() and self._do_one():
            pass

    def run(self) -> None:
        """Do what nobody else does."""
        while self._do_one():
            pass

    def _do_one(self) -> bool:
        number = self._take()
        if number is None:
            return False
        try:
            self.results[number] = self._do(self._each[number])
        except BaseException as error:  # noqa: BLE001  (it is raised where all of it was asked for)
            self.error = self.error or error
        return True

    def _take(self) -> int | None:
        with self._next:
            number = self._begun
            over = self.error is not None or (number > 0 and time.monotonic() > self._until)
            if over or number == len(self._each):
                return None
            self._begun += 1
            return number


def _never() -> bool:
    return False
