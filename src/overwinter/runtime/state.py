"""Where an actor is in its life."""

from __future__ import annotations

import enum

__all__ = ["State"]


class State(enum.Enum):
    """Where an actor is in its life."""

    STARTING = "starting"
    RUNNING = "running"
    RESTARTING = "restarting"
    STOPPING = "stopping"
    STOPPED = "stopped"
