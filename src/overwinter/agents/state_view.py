"""An agent's state, to read."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

if TYPE_CHECKING:
    from overwinter.agents.models.protocol import Usage
    from overwinter.agents.records import AcceptedTask, Entry, RunSummary, Status, ToolOutcome, Work
    from overwinter.agents.state import AgentState

__all__ = ["StateView"]


class StateView:
    """A read-only view of an agent's state; what it returns are copies, and it follows the agent."""

    __slots__ = ("_state",)

    def __init__(self, state: AgentState) -> None:
        self._state = state

    @property
    def key(self) -> str:
        """Tells this agent from all others of the process, those of its name included; another one in each process."""
        return self._state.key

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
    def works(self) -> tuple[Work, ...]:
        """Of a swarm: the work of its members that ended, in the order in which it did."""
        return tuple(self._state.works)

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
