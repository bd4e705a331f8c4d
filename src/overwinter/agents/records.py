"""The parts of an agent's state as they stand in its file."""

from __future__ import annotations

from typing import Any, Literal

from msgspec import Struct

from overwinter.agents.models.protocol import Message, Usage

# What is kept by the thousand is no business of the garbage collection (``gc=False``): it can be part of no circle.
__all__ = [
    "AcceptedTask",
    "Begun",
    "Choice",
    "Decision",
    "Entry",
    "Pending",
    "Reduction",
    "RunSummary",
    "Sleep",
    "StateBody",
    "Status",
    "ToolOutcome",
    "Work",
]

Status = Literal["idle", "running", "paused", "interrupted", "failed", "finished"]


class Entry(Message, frozen=True, omit_defaults=True, kw_only=True):
    """A message of the conversation, with when (ISO 8601, UTC), in which run and at which loop it was said."""

    at: str = ""
    run_id: str = ""
    loop: int = 0


class ToolOutcome(Struct, frozen=True, gc=False):
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


class AcceptedTask(Struct, frozen=True, gc=False):
    """A task that was accepted and has not begun."""

    run_id: str
    task: str
    at: str


class Pending(Struct, frozen=True, gc=False):
    """A tool call that waits for a person: for leave to run, for an answer, or for word of what became of it."""

    call_id: str
    kind: Literal["approval", "question", "unknown"]
    tool: str
    arguments: str
    question: str
    at: str


class Decision(Struct, frozen=True, gc=False):
    """What a person decided about a call; ``text`` is the reason of a denial, or the answer."""

    decision: Literal["approved", "denied", "answered"]
    text: str
    at: str


class Reduction(Struct, frozen=True, gc=False):
    """How requests are kept short: what stands before index ``upto`` is left out or shortened by ``policy``."""

    policy: str
    upto: int
    summary: str = ""


class Sleep(Struct, frozen=True, gc=False):
    """Until when a call sleeps, for the ``number``-th time under ``key``."""

    call_id: str
    number: int
    until: str
    key: str = ""


class Work(Struct, frozen=True, kw_only=True, gc=False):
    """What a member of a swarm did, or failed to do for good.

    :ivar key: which work of the run it is.
    :ivar member: who was asked; ``by`` is who did it, where that is another.
    :ivar status: ``skipped`` for work that failed and is done without, ``reopened`` where that came to nothing and the
        same work is asked for again.
    :ivar stop_reason: why the member's run ended, as its result says.
    :ivar seconds: how long it took, over all attempts since the swarm last began.
    """

    run_id: str
    key: str
    member: str
    status: Literal["finished", "skipped", "reopened"] = "finished"
    by: str = ""
    text: str = ""
    stop_reason: str = ""
    usage: Usage = Usage()
    error: str = ""
    attempts: int = 1
    seconds: float = 0.0
    at: str = ""


class Choice(Struct, frozen=True, gc=False):
    """What was decided in a run of a swarm, under a key of its own; ``value`` is any JSON."""

    run_id: str
    key: str
    value: Any


class Begun(Struct, frozen=True, gc=False):
    """Work of a member that began and has not ended.

    :ivar failures: its attempts that failed.
    :ivar checksum: the CRC-32 of the task.
    """

    run_id: str
    key: str
    member: str
    failures: int = 0
    checksum: int = 0


class RunSummary(Struct, kw_only=True, gc=False):
    """One run. A run that was resumed stands in the list once for each time it ended.

    ``asked_again`` counts the steps beyond the limit that asked for an answer of the right shape; ``known_cost`` is the
    part of the cost, in US dollars, that is known where the usage's is not; ``seconds`` is how long the run has been at
    work, over all its resumptions.
    """

    run_id: str
    task: str
    status: Status = "running"
    stop_reason: str = ""
    loop_count: int = 0
    asked_again: int = 0
    known_cost: float = 0.0
    seconds: float = 0.0
    usage: Usage = Usage()
    began: str = ""
    ended: str = ""
    error: str = ""


class StateBody(Struct, kw_only=True):
    """The members of a state file that a load reads; the configuration stands beside them as ``agent``.

    ``context_tokens`` is how many tokens a request has that carries the conversation up to index ``context_upto``, as
    far as the policies for the context leave it.
    """

    agent: dict[str, Any] = {}
    status: Status = "idle"
    task: str = ""
    run: RunSummary | None = None
    loop_count: int = 0
    usage: Usage = Usage()
    memory: dict[str, Any] = {}
    accepted: list[AcceptedTask] = []
    begun_calls: list[str] = []
    pending: list[Pending] = []
    decisions: dict[str, Decision] = {}
    reductions: list[Reduction] = []
    sleeps: list[Sleep] = []
    context_tokens: int = 0
    context_upto: int = 0
    partial_text: str = ""
    conversation: list[Entry] = []
    tool_results: list[ToolOutcome] = []
    runs: list[RunSummary] = []
    begun_work: dict[str, Begun] = {}
    choices: list[Choice] = []
    works: list[Work] = []
