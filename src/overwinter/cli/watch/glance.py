"""How far an agent or a swarm is: a fold over those few records that tell of it."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, TypeAlias

import msgspec
from msgspec import Struct, field

from overwinter.agents import journal_records as journal
from overwinter.agents.models.protocol import Usage
from overwinter.agents.records import Status
from overwinter.cli.watch.tail import JournalTail
from overwinter.persistence.document import METADATA_KEY, SCHEMA_VERSION

if TYPE_CHECKING:
    from collections.abc import Iterable

    from overwinter.persistence import AgentFolder

__all__ = ["Glance"]


class _Run(Struct):
    run_id: str
    loop_count: int = 0
    stop_reason: str = ""


class _Accepted(Struct):
    run_id: str


class _Work(Struct):
    run_id: str


class _Begun(Struct):
    run_id: str
    key: str


class _Versions(Struct):
    sequence: int
    schema_version: int


class _Body(Struct):
    """What of a state is looked at."""

    status: Status = "idle"
    run: _Run | None = None
    usage: Usage = Usage()
    accepted: list[_Accepted] = []
    works: list[_Work] = []
    begun_work: dict[str, _Begun] = {}


class _Head(_Body):
    metadata: _Versions | None = field(name=METADATA_KEY, default=None)


class _Call(Struct, frozen=True):
    name: str = ""


class _Message(Struct, frozen=True):
    tool_calls: tuple[_Call, ...] = ()


class _Replied(Struct, tag_field="type", tag="model_replied"):
    message: _Message = _Message()
    usage: Usage = Usage()


class _Finished(Struct, tag_field="type", tag="member_finished"):
    key: str
    usage: Usage = Usage()


class _Replaced(Struct, tag_field="type", tag="state_replaced"):
    body: _Body


_Telling: TypeAlias = (
    journal.TaskAccepted
    | journal.TaskWithdrawn
    | journal.RunBegan
    | journal.RunResumed
    | journal.RunEnded
    | journal.MemberStarted
    | journal.MemberFailed
    | journal.ToolFinished
    | journal.PersonAsked
    | journal.ContextReduced
    | journal.StartedAnew
    | _Replied
    | _Finished
    | _Replaced
)

_head_decoder = msgspec.json.Decoder(_Head)
_decoder: msgspec.json.Decoder[_Telling] = msgspec.json.Decoder(_Telling)


class Glance:
    """What is told of one folder: it is read whole once, and after that only what is new in its journal.

    :ivar steps: of the last run: an agent's replies, or how much work of its members a swarm has back.
    :ivar usage: of all runs since the agent began anew.
    :ivar doing: what it is at, in a few words.
    """

    def __init__(self, folder: AgentFolder) -> None:
        self.status: Status = "idle"
        self.run_id = ""
        self.steps = 0
        self.usage = Usage()
        self.stop_reason = ""
        self._accepted: set[str] = set()
        self._at_work: dict[str, None] = {}
        self._doing = ""
        self._folder = folder
        self._is_swarm = folder.path.parent.name == "swarms"
        self._tail = self._begin()

    @property
    def waiting(self) -> int:
        """How many tasks were accepted and have not begun."""
        return len(self._accepted)

    @property
    def doing(self) -> str:
        """What it is at; of a swarm, which of its work."""
        if self.status == "paused":
            return self.stop_reason
        if self.status != "running":
            return ""
        if len(self._at_work) > 1:
            return f"{len(self._at_work)} at work"
        return next(iter(self._at_work), self._doing or ("" if self._is_swarm else "asks the model"))

    def look(self) -> None:
        """Take in what is new. Blocking, and short while nothing is."""
        records = self._tail.new_records()
        if records is None:
            self._tail = self._begin()
            records = self._tail.new_records() or []
        self.take(records)

    def take(self, records: Iterable[bytes]) -> None:
        """Take in some records, in their order."""
        for record in records:
            with suppress(msgspec.MsgspecError):  # one that tells of nothing here, or of a later version
                self._apply(_decoder.decode(record))

    def _begin(self) -> JournalTail:
        for path in (self._folder.state_path, self._folder.previous_path):
            with suppress(OSError, msgspec.MsgspecError):
                head = _head_decoder.decode(path.read_bytes())
                if head.metadata is not None and head.metadata.schema_version <= SCHEMA_VERSION:
                    self._restore(head)
                    return JournalTail(self._folder.journal_dir, head.metadata.sequence)
        self._restore(_Body())
        return JournalTail(self._folder.journal_dir, 0)

    def _restore(self, body: _Body) -> None:
        run = body.run
        self.status, self.usage = body.status, body.usage
        self.run_id = run.run_id if run is not None else ""
        self.stop_reason = run.stop_reason if run is not None else ""
        works = sum(work.run_id == self.run_id for work in body.works)
        self.steps = works or (run.loop_count if run is not None else 0)
        self._accepted = {task.run_id for task in body.accepted}
        self._at_work = dict.fromkeys(
            begun.key for begun in body.begun_work.values() if begun.run_id == self.run_id
        )
        self._doing = ""

    def _apply(self, record: _Telling) -> None:
        match record:
            case journal.TaskAccepted():
                self._accepted.add(record.run_id)
            case journal.TaskWithdrawn():
                self._accepted.discard(record.run_id)
            case journal.RunBegan():
                self._accepted.discard(record.run_id)
                self.status, self.run_id, self.steps, self._doing = "running", record.run_id, 0, ""
                self._at_work.clear()
            case journal.RunResumed():
                self.status, self.run_id, self._doing = "running", record.run_id, ""
            case journal.RunEnded():
                self.status, self.stop_reason = record.status, record.stop_reason
            case _Replied():
                self.steps += 1
                self.usage += record.usage
                self._doing = ", ".join(call.name for call in record.message.tool_calls)
            case journal.ToolFinished():
                self._doing = ""
            case journal.PersonAsked():
                self._doing = "waits for a person"
            case journal.ContextReduced():
                self.usage += record.usage
            case journal.MemberStarted():
                self._at_work[record.key] = None
            case _Finished():
                self._ended(record.key, record.usage)
            case journal.MemberFailed():
                if record.skipped:
                    self._ended(record.key, record.usage)
            case journal.StartedAnew():
                self._restore(_Body())
            case _Replaced():
                self._restore(record.body)

    def _ended(self, key: str, usage: Usage) -> None:
        self._at_work.pop(key, None)
        self.steps += 1
        self.usage += usage
