"""What the model is told of a tool call that has no result of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from overwinter.agents.records import Decision, Pending

__all__ = ["NOT_RUN", "UNANSWERED", "UNKNOWN_OUTCOME", "decided", "without_result"]

UNKNOWN_OUTCOME = (
    "Error: this call was interrupted and its outcome is unknown: it may or may not have taken effect. "
    "Check before you repeat it."
)
NOT_RUN = "Error: this call was interrupted before it began; it did not run."
UNANSWERED = (
    "Error: this call waited for a person, who had not decided when the run was left; it did not run."
)


def decided(decision: Decision) -> str:
    """The result of a call about which a person decided otherwise than that it may run."""
    if decision.decision == "answered":
        return decision.text
    return f"Error: denied by a person: {decision.text}" if decision.text else "Error: denied by a person"


def without_result(*, begun: bool, pending: Pending | None, decision: Decision | None) -> str:
    """The result of a call that is given up as it stands."""
    if decision is not None and decision.decision != "approved":
        return decided(decision)
    if begun:
        return UNKNOWN_OUTCOME
    return NOT_RUN if pending is None else UNANSWERED
