"""Code whose context variables are its own, without a task of its own."""

from __future__ import annotations

from contextvars import copy_context
from typing import TYPE_CHECKING, Any, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Coroutine, Generator

__all__ = ["InOwnContext"]

T = TypeVar("T")


class InOwnContext(Generic[T]):
    """Await it to have *coroutine* run, in a copy of the context: what it sets there is gone when it has ended.

    It runs in the task that awaits it, and within that one's cancel scopes. A task of its own, in a group, costs five
    times as much.
    """

    __slots__ = ("_coroutine",)

    def __init__(self, coroutine: Coroutine[Any, Any, T]) -> None:
        self._coroutine = coroutine

    def __await__(self) -> Generator[Any, Any, T]:
        within, coroutine = copy_context().run, self._coroutine
        error: BaseException | None = None
        try:
            while True:
                # Outside of the except clause: what the coroutine raises next has nothing to do with that error.
                waits_for = within(coroutine.send, None) if error is None else within(coroutine.throw, error)
                error = None
                try:
                    yield waits_for
                except BaseException as thrown:  # noqa: BLE001 - it is the coroutine's to deal with
                    error = thrown
        except StopIteration as end:
            value: T = end.value
            return value
        finally:
            # It knows this frame, and they would keep each other.
            error = None
