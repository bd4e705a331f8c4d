"""What an agent knows: the fold of the records of everything that happened to it."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, get_args

import msgspec

from overwinter.agents.estimate import tokens_of
from overwinter.agents.journal_records import JournalRecord, Record
from overwinter.agents.memory import Memory
from overwinter.agents.models.protocol import Usage
from overwinter.agents.records import (
    AcceptedTask,
    Decision,
    Entry,
    Pending,
    Reduction,
    RunSummary,
    Sleep,
    StateBody,
    Status,
    ToolOutcome,
)
from overwinter.agents.toolwork import NO_CALLS, Toolwork

if TYPE_CHECKING:
    from collections.abc import Callable

    from overwinter.agents import journal_records as journal

__all__ = ["AgentState"]

GO_ON = "Go on with this task, which was cut off before the others: {task}"
_NO_USAGE = Usage()
DIED = "the process ended in the middle of the run"


class AgentState(Toolwork):
    """The mutable state of one agent.

    It changes only by :meth:`happened`, which folds a record in and hands it on to whoever keeps records, so that the
    state can be had again from them. Lists only grow at their end (a fresh start and a load replace them as a whole),
    so that what was saved of them never has to be encoded again.

    :ivar sequence: that of the last record that was given one.
    :ivar unsent: what happened while nobody kept records; ``None`` for an agent whose records nobody will want.
    """

    __slots__ = (
        "accepted",
        "context_tokens",
        "context_upto",
        "conversation",
        "keep",
        "key",
        "memory",
        "partial_text",
        "reductions",
        "run",
        "run_ids",
        "runs",
        "sequence",
        "status",
        "tool_results",
        "unsent",
    )

    def __init__(self) -> None:
        self.sequence = 0
        self.key = os.urandom(16).hex()
        self.memory = Memory()
        self.unsent: list[JournalRecord] | None = None
        self.keep: Callable[[JournalRecord], None] | None = None
        self._forget()

    def _forget(self) -> None:
        self.conversation: list[Entry] = []
        self.tool_results: list[ToolOutcome] = []
        self.runs: list[RunSummary] = []
        self.forget_work()
        self.accepted: list[AcceptedTask] = []
        # Mostly it is empty, and a set that is takes two hundred bytes.
        self.begun_calls = NO_CALLS
        self.pending: dict[str, Pending] = {}
        self.decisions: dict[str, Decision] = {}
        self.reductions: dict[str, Reduction] = {}
        self.sleeps: dict[tuple[str, str, int], str] = {}
        self.context_tokens = self.context_upto = 0
        self.usage = _NO_USAGE
        self.run: RunSummary | None = None
        self.status: Status = "idle"
        self.partial_text = ""
        self.run_ids: set[str] = set()

    def happened(self, record: JournalRecord) -> None:
        """Fold *record* in and have it kept."""
        self.apply(record)
        self.hand_on(record)

    def hand_on(self, record: JournalRecord) -> None:
        """Have a record kept whose effect is there already."""
        if self.keep is not None:
            self.keep(record)
        elif self.unsent is not None:
            self.unsent.append(record)

    def apply(self, record: JournalRecord) -> None:
        """Fold *record* in. What comes of it depends on nothing but the state and the record."""
        _FOLD[type(record)](self, record)

    def body(self) -> StateBody:
        """All of it as it stands in a state file; the lists are the state's own."""
        return StateBody(
            status=self.status,
            task=self.task,
            run=self.run,
            loop_count=self.loop_count,
            usage=self.usage,
            memory=dict(self.memory.encoded()),
            accepted=self.accepted,
            begun_calls=sorted(self.begun_calls),
            pending=list(self.pending.values()),
            decisions=self.decisions,
            reductions=list(self.reductions.values()),
            sleeps=[Sleep(call, number, until, key) for (call, key, number), until in self.sleeps.items()],
            context_tokens=self.context_tokens,
            context_upto=self.context_upto,
            partial_text=self.partial_text,
            conversation=self.conversation,
            tool_results=self.tool_results,
            runs=self.runs,
            begun_work=self.begun_work,
            choices=self.choices,
            works=self.works,
        )

    def restore(self, body: StateBody) -> None:
        """Become what a state file says."""
        self._forget()
        self.conversation = list(body.conversation)
        self.tool_results = list(body.tool_results)
        self.runs = list(body.runs)
        self.restore_work(body)
        self.accepted = list(body.accepted)
        self.begun_calls = frozenset(body.begun_calls)
        self.pending = {pending.call_id: pending for pending in body.pending}
        self.decisions = dict(body.decisions)
        self.reductions = {reduction.policy: reduction for reduction in body.reductions}
        self.sleeps = {(sleep.call_id, sleep.key, sleep.number): sleep.until for sleep in body.sleeps}
        self.context_tokens, self.context_upto = body.context_tokens, body.context_upto
        self.memory.replace(body.memory)
        self.usage = body.usage
        self.run = None if body.run is None else msgspec.structs.replace(body.run)
        self.status = body.status
        self.partial_text = body.partial_text
        self.run_ids = {run.run_id for run in body.runs} | {task.run_id for task in body.accepted}
        self.run_ids.add(self.run_id)

    def become(self, other: AgentState) -> None:
        """Take over everything that *other* knows, which is not used afterwards; records nobody kept are dropped."""
        for name in _KNOWN:
            setattr(self, name, getattr(other, name))
        self.memory.replace(other.memory.encoded())
        self.sequence = max(self.sequence, other.sequence)
        if self.unsent is not None:
            self.unsent.clear()

    def found_dead(self) -> None:
        """The run that was under way when the last record was written is interrupted, for its process is gone."""
        if self.status == "running" and self.run is not None:
            self.status = self.run.status = "interrupted"
            self.run.error = DIED

    def _task_accepted(self, record: journal.TaskAccepted) -> None:
        self.run_ids.add(record.run_id)
        self.accepted.append(AcceptedTask(run_id=record.run_id, task=record.task, at=record.at))

    def _task_withdrawn(self, record: journal.TaskWithdrawn) -> None:
        self.accepted[:] = [task for task in self.accepted if task.run_id != record.run_id]
        self.run_ids.discard(record.run_id)

    def _run_began(self, record: journal.RunBegan) -> None:
        task = next(task for task in self.accepted if task.run_id == record.run_id)
        self.accepted.remove(task)
        self._leave_run(record.at)
        self.run = RunSummary(run_id=record.run_id, task=task.task, began=record.at)
        self.status = "running"
        self.partial_text = ""
        self._say("user", task.task, record.at)

    def _run_resumed(self, record: journal.RunResumed) -> None:
        run = self.find_run(record.run_id) or self.run
        if run is not None:
            if run is not self.run:
                # One that others came after: the model is told what it is to go on with.
                self._leave_run(record.at)
                self.run = run = msgspec.structs.replace(run)
                self._say("user", GO_ON.format(task=run.task), record.at)
            run.status = self.status = "running"
            run.stop_reason = run.error = run.ended = ""
        self.partial_text = ""

    def _user_said(self, record: journal.UserSaid) -> None:
        self._say("user", record.text, record.at)

    def _asked_again(self, record: journal.AskedAgain) -> None:
        if self.run is not None:
            self.run.asked_again += 1
        self._say("user", record.problem, record.at)

    def _model_replied(self, record: journal.ModelReplied) -> None:
        said, usage = record.message, record.usage
        if self.run is not None:
            self.run.loop_count += 1
            self.run.seconds = max(self.run.seconds, record.seconds)
            self.run.usage += usage
            self.run.known_cost += usage.cost or 0.0
        self.usage += usage
        # A model that does not tell how much it read is taken to have read what is guessed.
        unread = self.conversation[self.context_upto :]
        self.context_tokens = usage.input_tokens or self.context_tokens + sum(map(tokens_of, unread))
        self.context_upto = len(self.conversation)
        self.partial_text = ""
        self._say("assistant", said.content, record.at, tool_calls=said.tool_calls, provider=said.provider)

    def _memory_set(self, record: journal.MemorySet) -> None:
        self.memory.put(record.key, record.value.copy())

    def _memory_deleted(self, record: journal.MemoryDeleted) -> None:
        self.memory.put(record.key, None)

    def _context_reduced(self, record: journal.ContextReduced) -> None:
        self.reductions[record.policy] = Reduction(record.policy, record.upto, record.summary)
        self.context_tokens = max(0, self.context_tokens - record.saved)
        self.usage += record.usage
        if self.run is not None:
            self.run.usage += record.usage
            self.run.known_cost += record.usage.cost or 0.0

    def _swarm_answered(self, record: journal.SwarmAnswered) -> None:
        self._say("assistant", record.text, record.at)

    def _run_ended(self, record: journal.RunEnded) -> None:
        self.status = record.status
        self.partial_text = record.partial_text
        if self.run is None:
            return
        self.run.status = record.status
        self.run.stop_reason = record.stop_reason
        self.run.error = record.error
        self.run.ended = record.at
        self.run.seconds = max(self.run.seconds, record.seconds)
        self.runs.append(msgspec.structs.replace(self.run))

    def _started_anew(self, _record: journal.StartedAnew) -> None:
        self._forget()
        self.memory.replace({})

    def _state_replaced(self, record: journal.StateReplaced) -> None:
        self.restore(record.body)

    def _leave_run(self, at: str) -> None:
        """Another run follows. The one it leaves behind is known all the same, also if it died with its process."""
        self._close_open_calls(at)
        self.found_dead()
        if self.run is not None and not self.run.ended:
            self.runs.append(self.run)


_KNOWN = (
    "accepted",
    "begun_calls",
    "begun_work",
    "choices",
    "context_tokens",
    "context_upto",
    "conversation",
    "decisions",
    "partial_text",
    "pending",
    "reductions",
    "run",
    "run_ids",
    "runs",
    "sleeps",
    "status",
    "tool_results",
    "usage",
    "works",
)


def _name(kind: type[Record]) -> str:
    return f"_{kind.__struct_config__.tag}"


#: What each kind of record does: the method of the name that it has in the journal.
_FOLD: dict[type[Record], Callable[[AgentState, Any], None]] = {
    kind: getattr(AgentState, _name(kind)) for kind in get_args(JournalRecord)
}
