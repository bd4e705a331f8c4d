"""A second state that knows what a first one does, and goes its own way."""

from __future__ import annotations

import msgspec

from overwinter.agents.state import AgentState

__all__ = ["copy_of"]


def copy_of(state: AgentState) -> AgentState:
    """A state of its own with everything that *state* knows now. What was said is shared, for it never changes."""
    body = state.body()
    body.runs = [msgspec.structs.replace(run) for run in body.runs]
    copy = AgentState()
    copy.restore(body)
    copy.sequence = state.sequence
    return copy
