"""The patterns that can be made of nothing but a name and agents, by their own names."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from overwinter.agents.swarms.concurrent import ConcurrentWorkflow
from overwinter.agents.swarms.group_chat import GroupChat
from overwinter.agents.swarms.round_robin import RoundRobin
from overwinter.agents.swarms.sequential import SequentialWorkflow
from overwinter.agents.swarms.voting import MajorityVoting
from overwinter.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Callable

    from overwinter.agents.swarms.base import Swarm

__all__ = ["PATTERNS", "pattern_named"]

_MADE_OF_AGENTS: tuple[Callable[..., Swarm[Any]], ...] = (
    SequentialWorkflow,
    ConcurrentWorkflow,
    MajorityVoting,
    RoundRobin,
    GroupChat,
)

#: Each is called with a name and agents.
PATTERNS = {pattern.__name__: pattern for pattern in _MADE_OF_AGENTS}


def pattern_named(name: str) -> Callable[..., Swarm[Any]]:
    """The pattern *name*, to be called with a name and agents.

    :raises ConfigurationError: there is none of that name, or it needs more than agents.
    """
    if name not in PATTERNS:
        raise ConfigurationError(
            f"no pattern {name!r} can be made of agents alone; there is {', '.join(PATTERNS)}. Make any other "
            "yourself, and give it to the router as one of its agents"
        )
    return PATTERNS[name]
