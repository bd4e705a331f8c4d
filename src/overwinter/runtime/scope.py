"""Whose code is running: the actor, and what it has in hand."""

from __future__ import annotations

from contextvars import ContextVar
from typing import TYPE_CHECKING

from overwinter.runtime.envelope import JobEnvelope

if TYPE_CHECKING:
    from overwinter.runtime.envelope import Envelope, Receiver

__all__ = ["current", "is_handling", "is_inside", "is_inside_system"]

#: The envelope in hand of the code that runs; set for each message, inherited by the tasks it starts.
current: ContextVar[Envelope | None] = ContextVar("overwinter_envelope", default=None)


def is_handling(receiver: Receiver) -> bool:
    """Whether the code that runs is part of what ``receiver`` has in hand right now."""
    scope = current.get()
    return scope is not None and scope.receiver is receiver and receiver.envelope is scope


def is_inside(receiver: Receiver) -> bool:
    """Whether ``receiver`` could not stop before the code that runs has ended or is cancelled.

    So it is in handlers, hooks and jobs of the receiver itself and of its descendants. A task that outlived
    the handler that started it is outside.
    """
    inner = _owner()
    while inner is not None and inner is not receiver:
        inner = inner.parent
    return inner is not None


def is_inside_system(system: str) -> bool:
    """Whether the code that runs is a handler, a hook or a job of an actor of that system."""
    inner = _owner()
    return inner is not None and inner.address.system == system


def _owner() -> Receiver | None:
    scope = current.get()
    if scope is None:
        return None
    owner: Receiver = scope.receiver
    if owner.envelope is scope or (isinstance(scope, JobEnvelope) and not scope.ended):
        return owner
    return None
