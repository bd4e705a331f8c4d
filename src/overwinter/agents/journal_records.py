"""What can happen to an agent: the records of its journal, of which its state is the fold."""

from __future__ import annotations

from functools import cache
from typing import Any, Literal, TypeAlias

import msgspec
from msgspec import Struct

from overwinter.agents.models.protocol import Message, Usage
from overwinter.agents.records import StateBody, Status

__all__ = [
    "AskedAgain",
    "CallsClosed",
    "ContextReduced",
    "Decided",
    "JournalRecord",
    "MemberFailed",
    "MemberFinished",
    "MemberStarted",
    "MemoryDeleted",
    "MemorySet",
    "ModelReplied",
    "PersonAnswered",
    "PersonAsked",
    "Record",
    "RunBegan",
    "RunEnded",
    "RunResumed",
    "SleepBegan",
    "StartedAnew",
    "StateReplaced",
    "SwarmAnswered",
    "TaskAccepted",
    "TaskWithdrawn",
    "ToolFinished",
    "ToolsStarted",
    "ToolsWithdrawn",
    "UserSaid",
    "WorkReopened",
    "decode_record",
    "encode_record",
]


class Record(Struct, frozen=True, kw_only=True, omit_defaults=True, tag_field="type", gc=False):
    """The root of all records; ``at`` is when it happened, ISO 8601 in UTC."""

    at: str = ""


class TaskAccepted(Record, frozen=True, kw_only=True, tag="task_accepted"):
    """A task was accepted; it waits for its turn."""

    run_id: str
    task: str


class TaskWithdrawn(Record, frozen=True, kw_only=True, tag="task_withdrawn"):
    """An accepted task was taken back before it began."""

    run_id: str


class RunBegan(Record, frozen=True, kw_only=True, tag="run_began"):
    """An accepted task began. Calls that an earlier run left open are answered first."""

    run_id: str


class RunResumed(Record, frozen=True, kw_only=True, tag="run_resumed"):
    """The last run goes on where it stopped."""

    run_id: str


class UserSaid(Record, frozen=True, kw_only=True, tag="user_said"):
    """overwinter spoke in the user's place, as in "Continue."."""

    text: str


class AskedAgain(Record, frozen=True, kw_only=True, tag="asked_again"):
    """The answer had not the shape asked for, and the model was told why."""

    problem: str


class ModelReplied(Record, frozen=True, kw_only=True, tag="model_replied"):
    """The model answered; ``model`` is the one that did, ``seconds`` how long the run had been at work by then."""

    message: Message
    usage: Usage
    model: str = ""
    seconds: float = 0.0


class ToolsStarted(Record, frozen=True, kw_only=True, tag="tools_started"):
    """These calls of the model's last reply are about to run."""

    call_ids: tuple[str, ...]


class ToolsWithdrawn(Record, frozen=True, kw_only=True, tag="tools_withdrawn"):
    """These calls were about to run, and the run was cut off before they did."""

    call_ids: tuple[str, ...]


class ToolFinished(Record, frozen=True, kw_only=True, tag="tool_finished"):
    """A call of the model's last reply ended; ``output`` is the text the model reads, ``seconds`` how long it took.

    When all calls of the reply have ended, their answers enter the conversation, in the model's order.
    """

    call_id: str
    output: str
    ok: bool = True
    seconds: float = 0.0


class CallsClosed(Record, frozen=True, kw_only=True, tag="calls_closed"):
    """Every open call was answered with what is known of it, so that the conversation can go on."""


class PersonAsked(Record, frozen=True, kw_only=True, tag="person_asked"):
    """A call waits for a person: to approve it, to answer its question, or to say what became of it."""

    call_id: str
    kind: Literal["approval", "question", "unknown"]
    question: str = ""


class PersonAnswered(Record, frozen=True, kw_only=True, tag="person_answered"):
    """A person decided about a call; ``text`` is the reason of a denial, or the answer."""

    call_id: str
    decision: Literal["approved", "denied", "answered"]
    text: str = ""


class MemorySet(Record, frozen=True, kw_only=True, tag="memory_set"):
    """The agent keeps *value*, checked JSON, under *key*."""

    key: str
    value: msgspec.Raw


class MemoryDeleted(Record, frozen=True, kw_only=True, tag="memory_deleted"):
    """The agent forgot *key*."""

    key: str


class ContextReduced(Record, frozen=True, kw_only=True, tag="context_reduced"):
    """From now on requests carry less of the conversation: what stands before index ``upto`` is left out or shortened.

    ``summary`` stands in its place, and ``usage`` is what the model that wrote it used. ``saved`` is by how many tokens
    a request became smaller, about.
    """

    policy: str
    upto: int
    summary: str = ""
    saved: int = 0
    usage: Usage = Usage()


class SleepBegan(Record, frozen=True, kw_only=True, tag="sleep_began"):
    """The call sleeps, for the ``number``-th time under ``key``, until the time ``until``, ISO 8601 in UTC."""

    call_id: str
    number: int
    until: str
    key: str = ""


class MemberStarted(Record, frozen=True, kw_only=True, tag="member_started"):
    """A member of a swarm was given work; its own run has the id ``{run id of the swarm}:{key}``."""

    key: str
    member: str
    task: str


class MemberFinished(Record, frozen=True, kw_only=True, tag="member_finished"):
    """A member did its work, or ``by``, its fallback, did; ``seconds`` is how long that took."""

    key: str
    member: str
    text: str
    stop_reason: str = ""
    usage: Usage = Usage()
    by: str = ""
    attempts: int = 1
    seconds: float = 0.0


class MemberFailed(Record, frozen=True, kw_only=True, tag="member_failed"):
    """A member failed. With ``skipped`` the swarm goes on without its work; otherwise the work is still to be done."""

    key: str
    member: str
    error: str
    skipped: bool = False
    usage: Usage = Usage()
    attempts: int = 1
    seconds: float = 0.0


class WorkReopened(Record, frozen=True, kw_only=True, tag="work_reopened"):
    """Too much was skipped for an answer: when the run goes on, the work of these keys is asked for again."""

    keys: tuple[str, ...]


class Decided(Record, frozen=True, kw_only=True, tag="decided"):
    """Something was decided in a swarm's run, and is not decided again; ``value`` is any JSON."""

    key: str
    value: msgspec.Raw


class SwarmAnswered(Record, frozen=True, kw_only=True, tag="swarm_answered"):
    """A swarm's run came to its answer."""

    text: str


class RunEnded(Record, frozen=True, kw_only=True, tag="run_ended"):
    """The run ended, for good (``finished``) or for now.

    ``partial_text`` is what had been streamed of a reply, ``seconds`` how long the run has been at work in all.
    """

    status: Status
    stop_reason: str = ""
    error: str = ""
    partial_text: str = ""
    seconds: float = 0.0


class StartedAnew(Record, frozen=True, kw_only=True, tag="started_anew"):
    """A fresh agent began; what was there before is in the records before this one, and in ``history/``."""


class StateReplaced(Record, frozen=True, kw_only=True, tag="state_replaced"):
    """The state became ``body`` as a whole: it was loaded from another file, or forked from another agent.

    ``source`` says which.
    """

    body: StateBody
    source: str = ""


JournalRecord: TypeAlias = (
    TaskAccepted
    | TaskWithdrawn
    | RunBegan
    | RunResumed
    | UserSaid
    | AskedAgain
    | ModelReplied
    | ToolsStarted
    | ToolsWithdrawn
    | ToolFinished
    | CallsClosed
    | PersonAsked
    | PersonAnswered
    | MemorySet
    | MemoryDeleted
    | ContextReduced
    | SleepBegan
    | MemberStarted
    | MemberFinished
    | MemberFailed
    | WorkReopened
    | Decided
    | SwarmAnswered
    | RunEnded
    | StartedAnew
    | StateReplaced
)

_encoder = msgspec.json.Encoder()


def encode_record(record: JournalRecord) -> bytes:
    """The record as one line of JSON, without a newline."""
    return _encoder.encode(record)


def decode_record(data: bytes | msgspec.Raw) -> JournalRecord:
    """The record that *data* is.

    :raises msgspec.MsgspecError: it is none that this overwinter knows.
    """
    record: JournalRecord = _decoder().decode(data)
    return record


@cache
def _decoder() -> msgspec.json.Decoder[Any]:
    # Made with the first record that is read: it is dear, and whoever imports overwinter may read none.
    return msgspec.json.Decoder(JournalRecord)
