"""The events of a run, under the name by which users import them; see :mod:`overwinter.agents.events`."""

from __future__ import annotations

from overwinter.agents.events import (
    Event,
    ModelRetrying,
    ModelStarted,
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
    "Event",
    "ModelRetrying",
    "ModelStarted",
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
