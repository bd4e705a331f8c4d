"""A time limit by the runtime's clock, so that tests need not wait for it."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from anyio import CancelScope

if TYPE_CHECKING:
    from collections.abc import Generator

    from overwinter.runtime.clock import Clock

__all__ = ["deadline"]


@contextmanager
def deadline(clock: Clock, seconds: float | None, *, shield: bool = False) -> Generator[CancelScope]:
    """Cancel the block after *seconds* by *clock*; ``scope.cancelled_caught`` tells whether it was.

    With ``seconds=None`` there is no limit. ``shield`` keeps cancellation from outside away from the block.
    """
    with CancelScope(shield=shield) as scope:
        timer = None if seconds is None else clock.call_later(seconds, scope.cancel)
        try:
            yield scope
        finally:
            if timer is not None:
                timer.cancel()
