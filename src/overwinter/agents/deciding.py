"""Which call a person means, and whether that can be said of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from overwinter.agents.asking import listed
from overwinter.errors import NothingPending

if TYPE_CHECKING:
    from collections.abc import Mapping

    from overwinter.agents.commands import DecideCall
    from overwinter.agents.records import Pending

__all__ = ["call_meant"]

_FITTING = {
    "approved": ("approval", "unknown"),
    "denied": ("approval", "question", "unknown"),
    "answered": ("question", "unknown"),
}
_METHOD = {"approved": "approve()", "denied": "deny()", "answered": "answer()"}


def call_meant(message: DecideCall, pending: Mapping[str, Pending], agent_name: str) -> Pending:
    """The waiting call that *message* is about.

    :raises NothingPending: there is none, or not exactly one that could be meant.
    """
    method = _METHOD[message.decision]
    if not pending:
        raise NothingPending(
            f"no call of agent {agent_name!r} waits for a person; {method} has nothing to decide"
        )
    waiting = listed(pending.values())
    if message.call_id:
        candidates = [one for one in pending.values() if one.call_id == message.call_id]
        if not candidates:
            raise NothingPending(
                f"no call {message.call_id!r} of agent {agent_name!r} waits for a person. What waits: {waiting}"
            )
    else:
        candidates = list(pending.values())
    fitting = [one for one in candidates if one.kind in _FITTING[message.decision]]
    if not fitting:
        raise NothingPending(f"{method} is not what agent {agent_name!r} waits for. What waits: {waiting}")
    if len(fitting) > 1:
        raise NothingPending(
            f"several calls of agent {agent_name!r} wait for a person; name one with call_id=. What waits: {waiting}"
        )
    return fitting[0]
