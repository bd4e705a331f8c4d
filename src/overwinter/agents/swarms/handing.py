"""The tool by which an agent passes the conversation on to another."""

from __future__ import annotations

import re
from typing import Annotated, Any

import msgspec

from overwinter.agents.knowledge import BY_TOOL
from overwinter.agents.tools import Tool

__all__ = ["HandoffTool", "handoff", "handoff_name"]

_PREFIX = "handoff_to_"
_LONGEST = 64 - len(_PREFIX)


class HandoffTool(Tool[..., Any]):
    """What :func:`handoff` makes.

    :ivar target: the ``agent_name`` of the one who goes on.
    :ivar when: when that one is to go on.
    """

    def __init__(self, target: str, when: str) -> None:
        async def hand_on(
            reason: Annotated[
                str,
                msgspec.Meta(description="Why, and what the other one has to know to go on.", min_length=1),
            ],
        ) -> str:
            return f"Handed on to {target}: {reason}"

        description = f"Hand this conversation on to {target!r}, who then goes on with it in your place."
        super().__init__(
            hand_on,
            name=handoff_name(target),
            description=f"{description} Use it {when}" if when else description,
            idempotent=True,
            ends_run=True,
        )
        self.target = target
        self.when = when


def handoff(agent_name: str, when: str = "") -> HandoffTool:
    """A tool that passes the conversation on to *agent_name*, for an agent of :class:`~overwinter.Handoffs`.

    Calling it ends the agent's run, without another model call.

    :param when: when it is to be used, as the model is told: ``"when it is about an invoice"``.
    """
    return HandoffTool(agent_name, when)


def handoff_name(agent_name: str, *, stop_reason: bool = False) -> str:
    """What the tool is called that hands on to *agent_name*; or the ``stop_reason`` of a run that it ended."""
    name = _PREFIX + re.sub(r"[^A-Za-z0-9_-]+", "_", agent_name)[:_LONGEST]
    return BY_TOOL + name if stop_reason else name
