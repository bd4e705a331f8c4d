"""What an agent knows: its conversation, its memory, what it was asked and what came of it."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any

import msgspec

from overwinter.agents.memory import Memory
from overwinter.agents.models.protocol import ToolCall, Usage
from overwinter.agents.records import AcceptedTask, Entry, RunSummary, StateBody, Status, ToolOutcome

if TYPE_CHECKING:
    from collections.abc import Iterable

    from overwinter.agents.models.protocol import ModelReply
    from overwinter.persistence import Metadata

__all__ = ["AgentState", "StateView"]

UNKNOWN_OUTCOME = (
    "Error: this call was interrupted and its outcome is unknown: it may or may not have taken effect. "
    "Check before you repeat it."
)
NOT_RUN = "Error: this call was interrupted before it began; it did not run."


class AgentState:
    """The mutable state of one agent; each method is one thing that can happen to it.

    Lists only grow at their end, so that what was saved of them never has to be encoded again.
    """

    __slots__ = (
        "accepted",
        "begun_calls",
        "conversation",
        "key",
        "memory",
        "partial_text",
        "run",
        "run_ids",
        "runs",
        "sequence",
        "status",
        "tool_results",
        "usage",
    )

    def __init__(self) -> None:
        self.conversation: list[Entry] = []
        self.tool_results: list[ToolOutcome] = []
        self.runs: list[RunSummary] = []
        self.accepted: list[AcceptedTask] = []
        self.begun_calls: set[str] = set()
        self.memory = Memory()
        self.usage = Usage()
        self.run: RunSummary | None = None
        self.status: Status = "idle"
        self.partial_text = ""
        self.sequence = 0
        self.key = uuid.uuid4().hex
        self.run_ids: set[str] = set()

    @property
    def loop_count(self) -> int:
        """Model calls of the current or last run."""
        return self.run.loop_count if self.run is not None else 0

    @property
    def run_id(self) -> str:
        """The current or last run, or an empty string."""
        return self.run.run_id if self.run is not None else ""

    @property
    def task(self) -> str:
        """The task of the current or last run, or an empty string."""
        return self.run.task if self.run is not None else ""

    @property
    def last_text(self) -> str:
        """What the model said last, or an empty string."""
        for entry in reversed(self.conversation):
            if entry.role == "assistant":
                return entry.content
        return ""

    @property
    def open_calls(self) -> tuple[ToolCall, ...]:
        """The tool calls at the end of the conversation that have no answer yet, in the model's order."""
        answered: set[str] = set()
        for entry in reversed(self.conversation):
            if entry.role == "tool":
                answered.add(entry.tool_call_id)
            elif entry.role == "assistant":
                return tuple(call for call in entry.tool_calls if call.id not in answered)
            else:
                break
        return ()

    def accept(self, task: AcceptedTask) -> None:
        """A task was accepted; it waits for its turn."""
        self.run_ids.add(task.run_id)
        self.accepted.append(task)

    def withdraw(self, run_id: str) -> bool:
        """An accepted task was taken back before it began; false when it was not waiting."""
        kept = [task for task in self.accepted if task.run_id != run_id]
        withdrawn = len(kept) < len(self.accepted)
        self.accepted[:] = kept
        return withdrawn

    def begin(self, run_id: str, at: str) -> None:
        """The accepted task *run_id* begins. Calls that an earlier run left open are answered first."""
        task = next(task for task in self.accepted if task.run_id == run_id)
        self.accepted.remove(task)
        self.close_open_calls(at)
        self.run = RunSummary(run_id=run_id, task=task.task, began=at)
        self.status = "running"
        self.partial_text = ""
        self.say("user", task.task, at)

    def go_on(self) -> None:
        """The last run goes on where it stopped."""
        if self.run is not None:
            self.run.status = self.status = "running"
            self.run.stop_reason = self.run.error = self.run.ended = ""
        self.partial_text = ""

    def say(self, role: Any, text: str, at: str) -> None:
        """The user, or overwinter in the user's place, says something."""
        self.conversation.append(
            Entry(role=role, content=text, at=at, run_id=self.run_id, loop=self.loop_count)
        )

    def ask_again(self, problem: str, at: str) -> None:
        """The answer had not the shape asked for; the model is told, and gets a step beyond the limit."""
        assert self.run is not None
        self.run.asked_again += 1
        self.say("user", problem, at)

    def reply(self, reply: ModelReply, at: str) -> None:
        """The model answered."""
        assert self.run is not None
        self.run.loop_count += 1
        self.run.usage += reply.usage
        self.run.known_cost += reply.usage.cost or 0.0
        self.usage += reply.usage
        self.partial_text = ""
        said = reply.message
        self.conversation.append(
            Entry(
                role="assistant",
                content=said.content,
                tool_calls=said.tool_calls,
                provider=said.provider,
                at=at,
                run_id=self.run_id,
                loop=self.loop_count,
            )
        )

    def calls_begin(self, call_ids: Iterable[str]) -> None:
        """Tools are about to run."""
        self.begun_calls.update(call_ids)

    def tool_ended(self, outcome: ToolOutcome) -> None:
        """A tool ended; its answer enters the conversation with :meth:`answer`."""
        self.tool_results.append(outcome)

    def answer(self, calls: Iterable[ToolCall], at: str) -> None:
        """Put the answers of those of *calls* that ended into the conversation, in the model's order."""
        ended = self._outputs_of_this_step()
        for call in calls:
            if call.id in ended:
                self._answer(call, ended[call.id], at)

    def _outputs_of_this_step(self) -> dict[str, str]:
        # A provider may use a call id again in a later step, so only this one's count; they stand last.
        outputs: dict[str, str] = {}
        for one in reversed(self.tool_results):
            if (one.run_id, one.loop) != (self.run_id, self.loop_count):
                break
            outputs.setdefault(one.call_id, one.output)
        return outputs

    def close_open_calls(self, at: str) -> None:
        """Answer every open call with what is known of it, so that no provider refuses the conversation."""
        for call in self.open_calls:
            self._answer(call, UNKNOWN_OUTCOME if call.id in self.begun_calls else NOT_RUN, at)

    def end(self, status: Status, at: str, *, stop_reason: str = "", error: str = "") -> None:
        """The run ended, for good or for now."""
        assert self.run is not None
        self.status = self.run.status = status
        self.run.stop_reason = stop_reason
        self.run.error = error
        self.run.ended = at
        self.runs.append(msgspec.structs.replace(self.run))

    def restore(self, body: StateBody, metadata: Metadata) -> None:
        """Become what a state file says. A run that was under way when it was written is interrupted now."""
        self.conversation = body.conversation
        self.tool_results = body.tool_results
        self.runs = body.runs
        self.accepted = body.accepted
        self.begun_calls = set(body.begun_calls)
        self.memory.replace(body.memory)
        self.usage = body.usage
        self.run = body.run
        self.status = body.status
        self.partial_text = body.partial_text
        self.sequence = max(self.sequence, metadata.sequence)
        self.run_ids = {run.run_id for run in body.runs} | {task.run_id for task in body.accepted}
        self.run_ids.add(self.run_id)
        if self.status == "running" and self.run is not None:
            self.status = self.run.status = "interrupted"
            self.run.error = "the process ended in the middle of the run"

    def _answer(self, call: ToolCall, text: str, at: str) -> None:
        self.begun_calls.discard(call.id)
        self.conversation.append(
            Entry(
                role="tool",
                content=text,
                tool_call_id=call.id,
                name=call.name,
                at=at,
                run_id=self.run_id,
                loop=self.loop_count,
            )
        )


class StateView:
    """A read-only view of an agent's state; what it returns are copies, and it follows the agent."""

    __slots__ = ("_state",)

    def __init__(self, state: AgentState) -> None:
        self._state = state

    @property
    def status(self) -> Status:
        """``idle``, ``running``, ``paused``, ``interrupted``, ``failed`` or ``finished``."""
        return self._state.status

    @property
    def conversation(self) -> tuple[Entry, ...]:
        """Everything said so far, in order."""
        return tuple(self._state.conversation)

    @property
    def tool_results(self) -> tuple[ToolOutcome, ...]:
        """Every tool call that ended, in the order in which they did."""
        return tuple(self._state.tool_results)

    @property
    def memory(self) -> dict[str, Any]:
        """What the agent keeps in its memory."""
        return self._state.memory.as_dict()

    @property
    def task(self) -> str:
        """The task of the current or last run."""
        return self._state.task

    @property
    def accepted(self) -> tuple[AcceptedTask, ...]:
        """Tasks accepted and not yet begun."""
        return tuple(self._state.accepted)

    @property
    def runs(self) -> tuple[RunSummary, ...]:
        """Every run that ended, in order."""
        return tuple(msgspec.structs.replace(run) for run in self._state.runs)

    @property
    def run_id(self) -> str:
        """The current or last run."""
        return self._state.run_id

    @property
    def loop_count(self) -> int:
        """Model calls of the current or last run."""
        return self._state.loop_count

    @property
    def usage(self) -> Usage:
        """What all runs together used."""
        return self._state.usage

    @property
    def error(self) -> str:
        """Why the last run failed or was interrupted, or an empty string."""
        return self._state.run.error if self._state.run is not None else ""

    @property
    def partial_text(self) -> str:
        """What had been streamed of a reply that was cut off, or an empty string."""
        return self._state.partial_text

    def __repr__(self) -> str:
        state = self._state
        return f"<StateView {state.status}, {len(state.conversation)} messages, loop {state.loop_count}>"
