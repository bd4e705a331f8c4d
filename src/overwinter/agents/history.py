"""What happened to an agent, step by step, in words."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from overwinter.agents import journal_records as journal
from overwinter.agents.journal_records import decode_record
from overwinter.agents.state import AgentState

if TYPE_CHECKING:
    from collections.abc import Callable

    from overwinter.agents.journal_records import JournalRecord
    from overwinter.agents.models.protocol import ToolCall
    from overwinter.persistence.lines import JournalLine

__all__ = ["GAP", "KEPT", "HistoryStep", "Teller"]

_WIDTH = 120

GAP = "gap"
"""The kind of a step that stands for those that are not kept any more, or cannot be read."""

KEPT = "kept"
"""The kind of a step of which only the state is kept, in ``history/``, and not what led to it."""


class HistoryStep(msgspec.Struct, frozen=True):
    """One thing that happened.

    ``step`` is its number, for ``state_at``, ``fork`` and ``diff``; ``at`` is when, ISO 8601 in UTC; ``run_id`` the run
    in which it happened, empty between runs; ``loop`` the model calls of that run so far. ``kind`` is the type of the
    record in the journal, and the run's new status (``finished``, ``paused``, ``failed``, ``interrupted``) where a run
    ended. ``summary`` is one short line.

    Two kinds are no records: ``gap`` is the last of some steps that are not there any more, and ``kept`` one of which
    the state is kept, but not what led to it.
    """

    step: int
    at: str
    run_id: str
    loop: int
    kind: str
    summary: str


class Teller:
    """Tells records in their order; what one does not say itself, it knows from those before.

    :param state: what the agent knew before the first of them.
    """

    def __init__(self, state: AgentState | None = None) -> None:
        self._known = _Known(AgentState() if state is None else state)

    def tell(self, line: JournalLine) -> HistoryStep:
        """The step that *line* records; one that this overwinter does not understand is told as such."""
        known = self._known
        try:
            record = decode_record(line.record)
        except msgspec.MsgspecError as error:
            return HistoryStep(
                line.sequence, "", known.run_id, known.loop, GAP, _short(f"not readable: {error}")
            )
        known.note(record)
        run_id: str = getattr(record, "run_id", known.run_id)
        if isinstance(record, (journal.StateReplaced, journal.StartedAnew)):
            self._known = known = _Known.of(record)
        kind: str = record.status if isinstance(record, journal.RunEnded) else _tag(record)
        step = HistoryStep(
            line.sequence, record.at, run_id, known.loop, kind, _short(_summary(known, record))
        )
        if isinstance(record, journal.RunEnded):
            known.run_id = ""
        return step


class _Known:
    """What records refer to: the tasks of runs, how often the model was called in each, and its last calls."""

    def __init__(self, state: AgentState) -> None:
        self.tasks = {task.run_id: task.task for task in state.accepted} | {state.run_id: state.task}
        self.loops = {run.run_id: run.loop_count for run in state.runs} | {state.run_id: state.loop_count}
        self.calls = {call.id: call for call in state.open_calls}
        self.loop = state.loop_count
        self.run_id = state.run_id if state.status == "running" else ""

    @classmethod
    def of(cls, record: journal.StateReplaced | journal.StartedAnew) -> _Known:
        state = AgentState()
        state.apply(record)
        return cls(state)

    def note(self, record: JournalRecord) -> None:
        match record:
            case journal.TaskAccepted():
                self.tasks[record.run_id] = record.task
            case journal.RunBegan() | journal.RunResumed():
                self.run_id = record.run_id
                self.loop = self.loops.get(record.run_id, 0)
            case journal.ModelReplied():
                self.loop += 1
                self.loops[self.run_id] = self.loop
                self.calls = {call.id: call for call in record.message.tool_calls}
            case journal.MemberFinished() | journal.MemberFailed(skipped=True):
                self.loop += 1
                self.loops[self.run_id] = self.loop
            case _:
                pass

    def task(self, run_id: str) -> str:
        return self.tasks.get(run_id, "")

    def tool(self, call_id: str) -> str:
        call = self.calls.get(call_id)
        return call_id if call is None else call.name

    def call(self, call_id: str) -> str:
        call = self.calls.get(call_id)
        return call_id if call is None else _call(call)


def _tag(record: JournalRecord) -> str:
    return str(type(record).__struct_config__.tag)


def _summary(known: _Known, record: JournalRecord) -> str:
    tell = _SUMMARIES.get(type(record))
    return "" if tell is None else tell(known, record)


def _short(text: str) -> str:
    line = " ".join(text[: 4 * _WIDTH].split())
    if len(line) <= _WIDTH:
        return line
    return f"{line[: _WIDTH - 2].rsplit(' ', 1)[0]} …"


def _call(call: ToolCall) -> str:
    return f"{call.name}({call.arguments})"


def _reply(_: _Known, record: journal.ModelReplied) -> str:
    message = record.message
    said = _short(message.content)
    calls = f"calls {', '.join(map(_call, message.tool_calls))}" if message.tool_calls else ""
    return f"{said}{' ' if said and calls else ''}{calls}" or "(an empty answer)"


def _ended(known: _Known, record: journal.ToolFinished) -> str:
    return f"{known.tool(record.call_id)} {'answered' if record.ok else 'failed'}: {record.output}"


def _asked(known: _Known, record: journal.PersonAsked) -> str:
    wanted = {"approval": "may it run?", "question": "asks:", "unknown": "what became of it?"}[record.kind]
    return f"{known.tool(record.call_id)}: {wanted} {record.question}".rstrip()


def _answered(known: _Known, record: journal.PersonAnswered) -> str:
    return f"{known.tool(record.call_id)} {record.decision}{f': {record.text}' if record.text else ''}"


def _remembered(_: _Known, record: journal.MemorySet) -> str:
    return f"{record.key} = {_text(record.value)}"


def _text(value: msgspec.Raw) -> str:
    return bytes(value)[: 4 * _WIDTH].decode("utf-8", "replace")


def _reduced(_: _Known, record: journal.ContextReduced) -> str:
    summary = f": {record.summary}" if record.summary else ""
    return f"{record.policy}: what was said before message {record.upto} is left out or shortened{summary}"


def _replaced(_: _Known, record: journal.StateReplaced) -> str:
    body = record.body
    source = f" of {record.source}" if record.source else ""
    return f"the state{source} was taken over: {len(body.conversation)} messages, {body.status}"


#: What is said of each kind of record.
_SUMMARIES: dict[type[journal.Record], Callable[[_Known, Any], str]] = {
    journal.TaskAccepted: lambda _, record: record.task,
    journal.TaskWithdrawn: lambda known, record: known.task(record.run_id),
    journal.RunBegan: lambda known, record: known.task(record.run_id),
    journal.RunResumed: lambda known, record: known.task(record.run_id),
    journal.UserSaid: lambda _, record: record.text,
    journal.AskedAgain: lambda _, record: record.problem,
    journal.ModelReplied: _reply,
    journal.ToolsStarted: lambda known, record: ", ".join(map(known.call, record.call_ids)),
    journal.ToolsWithdrawn: lambda known, record: ", ".join(map(known.call, record.call_ids)),
    journal.ToolFinished: _ended,
    journal.CallsClosed: lambda _known, _record: "what was open is answered with what is known of it",
    journal.PersonAsked: _asked,
    journal.PersonAnswered: _answered,
    journal.MemorySet: _remembered,
    journal.MemoryDeleted: lambda _, record: record.key,
    journal.ContextReduced: _reduced,
    journal.SleepBegan: lambda known, record: f"{known.tool(record.call_id)} sleeps until {record.until}",
    journal.MemberStarted: lambda _, record: f"{record.member} begins {record.key}: {record.task}",
    journal.MemberFinished: lambda _, record: (
        f"{record.by or record.member} finished {record.key}: {record.text}"
    ),
    journal.MemberFailed: lambda _, record: f"{record.member} failed at {record.key}: {record.error}",
    journal.WorkReopened: lambda _, record: f"to be asked for again: {', '.join(record.keys)}",
    journal.Decided: lambda _, record: f"{record.key} = {_text(record.value)}",
    journal.SwarmAnswered: lambda _, record: record.text,
    journal.RunEnded: lambda _, record: record.error or record.stop_reason,
    journal.StartedAnew: lambda _known, _record: "a fresh agent began a new conversation",
    journal.StateReplaced: _replaced,
}
