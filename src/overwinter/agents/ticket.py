"""A run that somebody asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from anyio import CancelScope

from overwinter.agents.callers import Callers

if TYPE_CHECKING:
    from overwinter.agents.budget import Budget
    from overwinter.agents.loop import RunLoop
    from overwinter.agents.recall import KnownRun
    from overwinter.runtime import Reply

__all__ = ["Ticket"]


class Ticket:
    """One run from its acceptance to its end: who waits for it, its limits, and the handle to cut it off.

    :ivar known: it was asked for before; its task is not taken back when it has to wait.
    :ivar recalled: where it stands, if in another conversation than the present one.
    """

    __slots__ = (
        "budget",
        "known",
        "loop",
        "max_loops",
        "pause_asked",
        "queue",
        "reason",
        "recalled",
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
        run_id: str,
        *,
        streams: bool,
        resumed: bool = False,
        max_loops: int | None = None,
        budget: Budget | None = None,
        within: tuple[str, ...] = (),
        queue: bool = False,
        known: bool = False,
        recalled: KnownRun | None = None,
    ) -> None:
        self.reply = Callers()
        self.run_id = run_id
        self.streams = streams
        self.resumed = resumed
        self.max_loops = max_loops
        self.budget = budget
        self.within = within
        self.queue = queue
        self.known = known
        self.recalled = recalled
        self.loop: RunLoop | None = None
        self.pause_asked = False
        self.scope = CancelScope()
        self.reason = ""
        self.waiting: tuple[Reply, ...] = ()

    @property
    def seconds(self) -> float:
        """How long the run has been at work, over all its resumptions; 0.0 before it begins."""
        return 0.0 if self.loop is None else self.loop.seconds

    def pause(self) -> None:
        """Pause the run after its step, or before its first one."""
        self.pause_asked = True
        if self.loop is not None:
            self.loop.pause()

    def interrupt(self, reason: str) -> None:
        """Cut the run off, or keep it from beginning; the first reason counts."""
        self.reason = self.reason or reason
        self.scope.cancel()
