"""A time limit by the runtime's clock, so that tests need not wait for it."""

from __future__ import annotations

from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TYPE_CHECKING, Protocol

from anyio import CancelScope

if TYPE_CHECKING:
    from collections.abc import Generator

    from overwinter.runtime.clock import Clock

__all__ = ["Limit", "deadline"]


class Limit(Protocol):
    """What tells whether a block was cut off."""

    @property
    def cancelled_caught(self) -> bool:
        """Whether the time was over before the block was."""
        ...


class _NoLimit:
    cancelled_caught = False


# Most tools have no limit, and a scope would cost more than the call of a small one.
_no_limit: nullcontext[Limit] = nullcontext(_NoLimit())


def deadline(clock: Clock, seconds: float | None, *, shield: bool = False) -> AbstractContextManager[Limit]:
    """Cancel the block after *seconds* by *clock*; ``limit.cancelled_caught`` tells whether it was.

    With ``seconds=None`` there is no limit. ``shield`` keeps cancellation from outside away from the block.
    """
    return _no_limit if seconds is None and not shield else _within(clock, seconds, shield)


@contextmanager
def _within(clock: Clock, seconds: float | None, shield: bool) -> Generator[Limit]:
    with CancelScope(shield=shield) as scope:
        timer = None if seconds is None else clock.call_later(seconds, scope.cancel)
        try:
            yield scope
        finally:
            if timer is not None:
                timer.cancel()
