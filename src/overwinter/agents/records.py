"""The parts of an agent's state as they stand in its file."""

from __future__ import annotations

from typing import Any, Literal

from msgspec import Struct

from overwinter.agents.models.protocol import Message, Usage

__all__ = ["AcceptedTask", "Entry", "RunSummary", "StateBody", "Status", "ToolOutcome"]

Status = Literal["idle", "running", "paused", "interrupted", "failed", "finished"]


class Entry(Message, frozen=True, omit_defaults=True, kw_only=True):
    """A message of the conversation, with when (ISO 8601, UTC), in which run and at which loop it was said."""

    at: str = ""
    run_id: str = ""
    loop: int = 0


class ToolOutcome(Struct, frozen=True):
    """A tool call that ended: ``output`` is the text the model reads, ``seconds`` how long it took."""

    call_id: str
    tool: str
    arguments: str
    output: str
    ok: bool
    seconds: float
    run_id: str
    loop: int
    at: str


class AcceptedTask(Struct, frozen=True):
    """A task that was accepted and has not begun."""

    run_id: str
    task: str
    at: str


class RunSummary(Struct, kw_only=True):
    """One run. A run that was resumed stands in the list once for each time it ended.

    ``asked_again`` counts the steps beyond the limit that asked for an answer of the right shape; ``known_cost`` is the
    part of the cost, in US dollars, that is known where the usage's is not.
    """

    run_id: str
    task: str
    status: Status = "running"
    stop_reason: str = ""
    loop_count: int = 0
    asked_again: int = 0
    known_cost: float = 0.0
    usage: Usage = Usage()
    began: str = ""
    ended: str = ""
    error: str = ""


class StateBody(Struct, kw_only=True):
    """The members of a state file that a load reads; the configuration stands beside them as ``agent``."""

    agent: dict[str, Any] = {}
    status: Status = "idle"
    task: str = ""
    run: RunSummary | None = None
    loop_count: int = 0
    usage: Usage = Usage()
    memory: dict[str, Any] = {}
    accepted: list[AcceptedTask] = []
    begun_calls: list[str] = []
    partial_text: str = ""
    conversation: list[Entry] = []
    tool_results: list[ToolOutcome] = []
    runs: list[RunSummary] = []
