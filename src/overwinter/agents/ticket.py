"""A run that somebody asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from anyio import CancelScope

if TYPE_CHECKING:
    from overwinter.agents.budget import Budget
    from overwinter.agents.loop import Loop
    from overwinter.runtime import Reply

__all__ = ["Ticket"]


class Ticket:
    """One run from its acceptance to its end: who waits for it, its limits, and the handle to cut it off."""

    __slots__ = (
        "budget",
        "loop",
        "max_loops",
        "queue",
        "reason",
        "reply",
        "resumed",
        "run_id",
        "scope",
        "streams",
        "waiting",
        "within",
    )

    def __init__(
        self,
        reply: Reply,
        run_id: str,
        *,
        streams: bool,
        resumed: bool = False,
        max_loops: int | None = None,
        budget: Budget | None = None,
        within: tuple[str, ...] = (),
        queue: bool = False,
    ) -> None:
        self.reply = reply
        self.run_id = run_id
        self.streams = streams
        self.resumed = resumed
        self.max_loops = max_loops
        self.budget = budget
        self.within = within
        self.queue = queue
        self.loop: Loop | None = None
        self.scope = CancelScope()
        self.reason = ""
        self.waiting: list[Reply] = []

    def interrupt(self, reason: str) -> None:
        """Cut the run off, or keep it from beginning; the first reason counts."""
        self.reason = self.reason or reason
        self.scope.cancel()
