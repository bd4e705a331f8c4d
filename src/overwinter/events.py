"""The events of a run, under the name by which users import them; see :mod:`overwinter.agents.events`."""

from __future__ import annotations

from overwinter.agents.events import (
    ContextReduced,
    Event,
    MemberFailed,
    MemberFinished,
    MemberStarted,
    ModelRetrying,
    ModelStarted,
    ModelWaiting,
    PersonAnswered,
    PersonAsked,
    Progress,
    ReplyReceived,
    RunEnded,
    RunStarted,
    Saved,
    SaveFailing,
    StreamRestarted,
    TextDelta,
    ToolFinished,
    ToolStarted,
)

__all__ = [
    "ContextReduced",
    "Event",
    "MemberFailed",
    "MemberFinished",
    "MemberStarted",
    "ModelRetrying",
    "ModelStarted",
    "ModelWaiting",
    "PersonAnswered",
    "PersonAsked",
    "Progress",
    "ReplyReceived",
    "RunEnded",
    "RunStarted",
    "SaveFailing",
    "Saved",
    "StreamRestarted",
    "TextDelta",
    "ToolFinished",
    "ToolStarted",
]
