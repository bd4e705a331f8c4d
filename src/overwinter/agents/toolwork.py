"""What an agent knows of the tool calls of its model: those that are open, and what became of the others."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from overwinter.agents.records import Decision, Entry, Pending, ToolOutcome
from overwinter.agents.teamwork import Teamwork
from overwinter.agents.unanswered import without_result

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from overwinter.agents import journal_records as journal
    from overwinter.agents.models.protocol import ToolCall

__all__ = ["NO_CALLS", "Toolwork"]

NO_CALLS: frozenset[str] = frozenset()


class Toolwork(Teamwork):
    """Which calls began, wait for a person, were decided about or sleep, and the answers that ended ones have.

    :ivar begun_calls: the open calls that began; it is replaced and never changed.
    :ivar sleeps: until when a call sleeps, by its id, the key of the sleep and its number.
    """

    __slots__ = ("begun_calls", "decisions", "pending", "sleeps")

    begun_calls: frozenset[str]
    pending: dict[str, Pending]
    decisions: dict[str, Decision]
    sleeps: dict[tuple[str, str, int], str]

    def word_of(self, call_id: str) -> str:
        """What is known of an open call that has not ended, as the model is told when it is given up."""
        return without_result(
            begun=call_id in self.begun_calls,
            pending=self.pending.get(call_id),
            decision=self.decisions.get(call_id),
        )

    def _tools_started(self, record: journal.ToolsStarted) -> None:
        self.begun_calls |= frozenset(record.call_ids)

    def _tools_withdrawn(self, record: journal.ToolsWithdrawn) -> None:
        self._not_begun(record.call_ids)

    def _not_begun(self, call_ids: Iterable[str]) -> None:
        if self.begun_calls:
            self.begun_calls = self.begun_calls.difference(call_ids) or NO_CALLS

    def _tool_finished(self, record: journal.ToolFinished) -> None:
        open_calls = self.open_calls
        call = next((one for one in open_calls if one.id == record.call_id), None)
        if call is None:
            return
        self.tool_results.append(
            ToolOutcome(
                call_id=call.id,
                tool=call.name,
                arguments=call.arguments,
                output=record.output,
                ok=record.ok,
                seconds=record.seconds,
                run_id=self.run_id,
                loop=self.loop_count,
                at=record.at,
            )
        )
        self._settle_call(call.id)
        ended = self._outputs_of_this_step()
        if all(one.id in ended for one in open_calls):
            self._answer(open_calls, ended, record.at)

    def _calls_closed(self, record: journal.CallsClosed) -> None:
        self._close_open_calls(record.at)

    def _person_asked(self, record: journal.PersonAsked) -> None:
        call = self._open_call(record.call_id)
        if call is not None:
            self.decisions.pop(call.id, None)
            self.pending[call.id] = Pending(
                call.id, record.kind, call.name, call.arguments, record.question, record.at
            )

    def _person_answered(self, record: journal.PersonAnswered) -> None:
        self.pending.pop(record.call_id, None)
        self.decisions[record.call_id] = Decision(record.decision, record.text, record.at)
        if record.decision == "approved":
            # About a call of unknown outcome it says that it did not happen: it runs as if it never had begun.
            self._not_begun((record.call_id,))

    def _sleep_began(self, record: journal.SleepBegan) -> None:
        self.sleeps[record.call_id, record.key, record.number] = record.until

    def _close_open_calls(self, at: str) -> None:
        """Answer every open call, so that no provider refuses the conversation."""
        self._answer(self.open_calls, self._outputs_of_this_step(), at)

    def _answer(self, calls: Iterable[ToolCall], ended: Mapping[str, str], at: str) -> None:
        # In the model's order, which is not that in which they ended.
        for call in calls:
            output = ended[call.id] if call.id in ended else self.word_of(call.id)
            self._say("tool", output, at, tool_call_id=call.id, name=call.name)
            self._settle_call(call.id)

    def _open_call(self, call_id: str) -> ToolCall | None:
        return next((call for call in self.open_calls if call.id == call_id), None)

    def _settle_call(self, call_id: str) -> None:
        self._not_begun((call_id,))
        self.pending.pop(call_id, None)
        self.decisions.pop(call_id, None)
        for key in [key for key in self.sleeps if key[0] == call_id]:
            del self.sleeps[key]

    def _say(self, role: Any, text: str, at: str, **fields: Any) -> None:
        self.conversation.append(
            Entry(role=role, content=text, at=at, run_id=self.run_id, loop=self.loop_count, **fields)
        )
