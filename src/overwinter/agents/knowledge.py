"""What follows from what an agent knows."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from overwinter.agents.models.protocol import ToolCall
    from overwinter.agents.records import AcceptedTask, Entry, RunSummary, ToolOutcome

__all__ = ["BY_TOOL", "Knowledge"]

#: How the ``stop_reason`` of a run begins that a tool ended; the tool's name follows.
BY_TOOL = "tool:"


class Knowledge:
    """The questions that an agent's state answers; what it is made of stands at ``AgentState``."""

    __slots__ = ()

    conversation: list[Entry]
    tool_results: list[ToolOutcome]
    runs: list[RunSummary]
    accepted: list[AcceptedTask]
    run: RunSummary | None

    @property
    def is_new(self) -> bool:
        """Whether nothing was ever asked of the agent, as far as this state knows."""
        return self.run is None and not self.accepted and not self.conversation and not self.runs

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

    def answer_of(self, run: RunSummary) -> str:
        """With what *run* ended: what the model said last in it, or what the tool returned that ended it."""
        name = run.stop_reason.removeprefix(BY_TOOL)
        if name != run.stop_reason:
            calls = (
                one for one in self.tool_results if (one.run_id, one.loop) == (run.run_id, run.loop_count)
            )
            return next((one.output for one in calls if one.tool == name and one.ok), "")
        said = (entry for entry in reversed(self.conversation) if entry.role == "assistant")
        return next((entry.content for entry in said if entry.run_id == run.run_id), "")

    def went_well(self, call_id: str) -> bool:
        """Whether that call of the model's last reply has ended, and ended well."""
        return any(one.call_id == call_id and one.ok for one in self._outcomes_of_this_step())

    def output_of(self, call_id: str) -> str:
        """What that call of the model's last reply returned, or an empty string."""
        return self._outputs_of_this_step().get(call_id, "")

    def find_run(self, run_id: str) -> RunSummary | None:
        """The run of that id as it stands now; None for one that has not begun, or is none of this conversation."""
        if self.run is not None and self.run.run_id == run_id:
            return self.run
        return next((run for run in reversed(self.runs) if run.run_id == run_id), None)

    @property
    def open_calls(self) -> tuple[ToolCall, ...]:
        """The tool calls at the end of the conversation that have no answer there yet, in the model's order."""
        answered: set[str] = set()
        for entry in reversed(self.conversation):
            if entry.role == "tool":
                answered.add(entry.tool_call_id)
                continue
            if entry.role == "assistant" and entry.tool_calls:
                calls = entry.tool_calls
                return tuple(call for call in calls if call.id not in answered) if answered else calls
            break
        return ()

    @property
    def unfinished_calls(self) -> tuple[ToolCall, ...]:
        """Those of the open calls that have not ended."""
        calls = self.open_calls
        ended = self._outputs_of_this_step() if calls else None
        return tuple(call for call in calls if call.id not in ended) if ended else calls

    def _outputs_of_this_step(self) -> dict[str, str]:
        # A provider may use a call id again in a later step, so only this one's count; they stand last.
        outputs: dict[str, str] = {}
        for one in self._outcomes_of_this_step():
            outputs.setdefault(one.call_id, one.output)
        return outputs

    def _outcomes_of_this_step(self) -> Iterator[ToolOutcome]:
        run_id, loop = self.run_id, self.loop_count
        for one in reversed(self.tool_results):
            if one.loop != loop or one.run_id != run_id:
                return
            yield one
