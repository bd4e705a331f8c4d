"""What an agent's actor is told: plain data, so that it could come from anywhere."""

from __future__ import annotations

from typing import Literal, TypeAlias

import msgspec

from overwinter.agents.budget import Budget

__all__ = [
    "AgentMessage",
    "CancelRun",
    "DecideCall",
    "InterruptRun",
    "LoadState",
    "PauseRun",
    "ResumeRun",
    "RunTask",
    "SaveNow",
]


class RunTask(msgspec.Struct, frozen=True, gc=False):
    """Run *task*; answered with a ``RunResult``. With ``queue`` it waits behind a paused run.

    ``within`` names the agents whose runs wait for this one. Unless it is ``named``, nobody else can have asked for it
    before; ``caller`` tells those apart who ask for the same.
    """

    task: str
    run_id: str
    streams: bool = False
    queue: bool = False
    within: tuple[str, ...] = ()
    named: bool = True
    caller: str = ""


class ResumeRun(msgspec.Struct, frozen=True, gc=False):
    """Go on with the last run, or with that one, if it was cut off; answered with a ``RunResult``."""

    run_id: str = ""
    max_loops: int | None = None
    budget: Budget | None = None
    streams: bool = False
    within: tuple[str, ...] = ()
    caller: str = ""


class InterruptRun(msgspec.Struct, frozen=True, gc=False):
    """Interrupt that run, or withdraw it if it has not begun; answered when its state is saved.

    Where it is a ``caller`` who waits no longer, the run goes on for the others that do.
    """

    run_id: str
    reason: str = "its caller was cancelled"
    caller: str = ""


class PauseRun(msgspec.Struct, frozen=True, gc=False):
    """Pause the run under way after its step."""


class CancelRun(msgspec.Struct, frozen=True, gc=False):
    """Give up the run under way, or the one that is paused; answered when that is saved."""


class DecideCall(msgspec.Struct, frozen=True, gc=False):
    """A person decided about a call, or about the only one there is; answered when that is on disk."""

    decision: Literal["approved", "denied", "answered"]
    text: str = ""
    call_id: str = ""


class SaveNow(msgspec.Struct, frozen=True, gc=False):
    """Save everything; answered with the path of the state file."""


class LoadState(msgspec.Struct, frozen=True, gc=False):
    """Become what the state file says, the agent's own or the one at ``path``."""

    path: str = ""


AgentMessage: TypeAlias = (
    RunTask | ResumeRun | InterruptRun | PauseRun | CancelRun | DecideCall | SaveNow | LoadState
)
