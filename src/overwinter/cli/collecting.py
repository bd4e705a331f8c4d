"""The garbage collection, held off while a command that soon ends builds what it prints."""

from __future__ import annotations

import gc
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Generator

__all__ = ["uncollected"]


@contextmanager
def uncollected() -> Generator[None]:
    """Let nothing be collected within the block.

    What is read of ten thousand agents is all kept until it is printed: there is nothing to free before.
    """
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()
