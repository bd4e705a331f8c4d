"""What happens while agents work, as it happens."""

from __future__ import annotations

from typing import Any, ClassVar

import msgspec

from overwinter.agents.models.protocol import Usage

__all__ = [
    "ContextReduced",
    "Event",
    "MemberFailed",
    "MemberFinished",
    "MemberStarted",
    "ModelRetrying",
    "ModelStarted",
    "ModelWaiting",
    "PersonAnswered",
    "PersonAsked",
    "Progress",
    "ReplyReceived",
    "RunEnded",
    "RunStarted",
    "SaveFailing",
    "Saved",
    "StreamRestarted",
    "TextDelta",
    "ToolFinished",
    "ToolStarted",
]


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """The root of all events; ``kind`` is the name in lower case for logs and wires."""

    kind: ClassVar[str] = "event"

    agent_name: str
    run_id: str = ""
    loop: int = 0


class RunStarted(Event, frozen=True, kw_only=True):
    """A run began, or went on (``resumed``)."""

    kind: ClassVar[str] = "run_started"

    task: str
    resumed: bool = False


class ModelStarted(Event, frozen=True, kw_only=True):
    """The model is being asked; ``loop`` is the number of the step, from 1."""

    kind: ClassVar[str] = "model_started"


class TextDelta(Event, frozen=True, kw_only=True):
    """A piece of the model's text, in order; sent only to those who stream."""

    kind: ClassVar[str] = "text_delta"

    text: str


class StreamRestarted(Event, frozen=True, kw_only=True):
    """What was streamed of this step is void: the model is asked again.

    It comes at a retry in the middle of an answer, and when a run that was cut off goes on by asking the model.
    """

    kind: ClassVar[str] = "stream_restarted"


class ModelRetrying(Event, frozen=True, kw_only=True):
    """A model call failed and is tried again after ``delay`` seconds, perhaps on another ``model``."""

    kind: ClassVar[str] = "model_retrying"

    model: str
    attempt: int
    delay: float
    error: str


class ModelWaiting(Event, frozen=True, kw_only=True):
    """A model call waits for its turn, because ``model`` is asked as much as it may be.

    ``limit`` is ``requests_per_minute``, ``tokens_per_minute`` or ``in_flight`` of the runtime's rate limits, or
    ``retry_after``: the provider wants to be left alone. ``turn`` says that it only has to let another go first.
    ``seconds`` is how long that takes at least, 0.0 where nobody knows.
    """

    kind: ClassVar[str] = "model_waiting"

    model: str
    limit: str
    seconds: float


class ContextReduced(Event, frozen=True, kw_only=True):
    """From now on requests carry about ``saved`` tokens less of the conversation, which itself stays whole.

    ``policy`` is ``keep_last``, ``drop_tool_results`` or ``summarize``, ``upto`` the index of the conversation before
    which it leaves out or shortens, and ``summary`` what stands there instead.
    """

    kind: ClassVar[str] = "context_reduced"

    policy: str
    upto: int
    saved: int
    summary: str = ""


class ReplyReceived(Event, frozen=True, kw_only=True):
    """The model answered."""

    kind: ClassVar[str] = "reply_received"

    text: str
    tool_calls: tuple[str, ...]
    usage: Usage


class ToolStarted(Event, frozen=True, kw_only=True):
    """A tool begins; ``arguments`` is the model's JSON."""

    kind: ClassVar[str] = "tool_started"

    call_id: str
    tool: str
    arguments: str


class ToolFinished(Event, frozen=True, kw_only=True):
    """A tool ended, or failed and the model is told why."""

    kind: ClassVar[str] = "tool_finished"

    call_id: str
    tool: str
    ok: bool
    output: str
    seconds: float


class PersonAsked(Event, frozen=True, kw_only=True):
    """A call waits for a person: ``waits_for`` is ``approval``, ``question``, or ``unknown`` (what became of it)."""

    kind: ClassVar[str] = "person_asked"

    call_id: str
    tool: str
    arguments: str
    waits_for: str
    question: str = ""


class PersonAnswered(Event, frozen=True, kw_only=True):
    """A person decided about a call: ``decision`` is ``approved``, ``denied`` or ``answered``."""

    kind: ClassVar[str] = "person_answered"

    call_id: str
    tool: str
    decision: str
    text: str = ""


class MemberStarted(Event, frozen=True, kw_only=True):
    """A swarm gave ``member`` work; the member's own events carry the run id ``{run_id}:{key}``."""

    kind: ClassVar[str] = "member_started"

    key: str
    member: str
    task: str


class MemberFinished(Event, frozen=True, kw_only=True):
    """A member did its work, and that is recorded; ``by`` is its fallback where that did it."""

    kind: ClassVar[str] = "member_finished"

    key: str
    member: str
    text: str
    usage: Usage
    by: str = ""


class MemberFailed(Event, frozen=True, kw_only=True):
    """A member failed for the ``attempt``-th time; ``what_next`` is ``retry``, ``fallback``, ``skip`` or ``fail``."""

    kind: ClassVar[str] = "member_failed"

    key: str
    member: str
    error: str
    attempt: int
    what_next: str


class Progress(Event, frozen=True, kw_only=True):
    """How far long work is: ``done`` of ``total`` pieces; a ``total`` of 0 is not known yet."""

    kind: ClassVar[str] = "progress"

    done: int
    total: int = 0


class Saved(Event, frozen=True, kw_only=True):
    """A file of the agent is on disk."""

    kind: ClassVar[str] = "saved"

    path: str
    bytes: int
    sequence: int


class SaveFailing(Event, frozen=True, kw_only=True):
    """A file of the agent could not be saved; the old one stays and saving is tried again."""

    kind: ClassVar[str] = "save_failing"

    path: str
    error: str


class RunEnded(Event, frozen=True, kw_only=True):
    """A run ended: ``status`` is finished, paused, failed or interrupted.

    ``result`` is the :class:`~overwinter.RunResult` of a finished or paused run, otherwise ``None``.
    """

    kind: ClassVar[str] = "run_ended"

    status: str
    stop_reason: str = ""
    error: str = ""
    result: Any = None
