"""overwinter: an async, actor-based runtime for swarms of language-model agents whose work survives."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from overwinter import errors, events
from overwinter._version import __version__
from overwinter.agents import (
    Agent,
    Budget,
    DropToolResults,
    KeepLast,
    Memory,
    Message,
    Model,
    ModelReply,
    ModelRequest,
    Price,
    Retention,
    RetryPolicy,
    RunResult,
    Runtime,
    RuntimeStatistics,
    Summarize,
    Tool,
    ToolCall,
    ToolContext,
    ToolSpec,
    UnfinishedAgent,
    Usage,
    ask_human,
    sleep,
    sleep_until,
    tool,
)
from overwinter.errors import (
    AgentInUse,
    AgentNotDefined,
    AgentPaused,
    ConfigurationError,
    MemberFailed,
    ModelError,
    ModelUnavailable,
    NothingToResume,
    OutputInvalid,
    OverwinterError,
    RunInterrupted,
    RunPaused,
    SaveError,
    StateNotFound,
    ToolError,
    VersionConflict,
)
from overwinter.persistence import Secret, Snapshot
from overwinter.runtime import (
    Actor,
    ActorRef,
    Backoff,
    Escalate,
    Restart,
    Resume,
    Stop,
    Terminated,
)

if TYPE_CHECKING:
    from overwinter.agents.boards import Board
    from overwinter.agents.colleagues import colleagues
    from overwinter.agents.named import NamedAgent
    from overwinter.agents.swarms import (
        AgentRearrange,
        ConcurrentWorkflow,
        GraphWorkflow,
        GroupChat,
        Handoffs,
        HierarchicalSwarm,
        MajorityVoting,
        MapReduce,
        Member,
        MemberPolicy,
        MemberResult,
        MixtureOfAgents,
        RoundRobin,
        SequentialWorkflow,
        Swarm,
        SwarmResult,
        SwarmRouter,
        Team,
        handoff,
    )
    from overwinter.runtime.topics import Subscription, Topic

__all__ = [
    "Actor",
    "ActorRef",
    "Agent",
    "AgentInUse",
    "AgentNotDefined",
    "AgentPaused",
    "AgentRearrange",
    "Backoff",
    "Board",
    "Budget",
    "ConcurrentWorkflow",
    "ConfigurationError",
    "DropToolResults",
    "Escalate",
    "GraphWorkflow",
    "GroupChat",
    "Handoffs",
    "HierarchicalSwarm",
    "KeepLast",
    "MajorityVoting",
    "MapReduce",
    "Member",
    "MemberFailed",
    "MemberPolicy",
    "MemberResult",
    "Memory",
    "Message",
    "MixtureOfAgents",
    "Model",
    "ModelError",
    "ModelReply",
    "ModelRequest",
    "ModelUnavailable",
    "NamedAgent",
    "NothingToResume",
    "OutputInvalid",
    "OverwinterError",
    "Price",
    "Restart",
    "Resume",
    "Retention",
    "RetryPolicy",
    "RoundRobin",
    "RunInterrupted",
    "RunPaused",
    "RunResult",
    "Runtime",
    "RuntimeStatistics",
    "SaveError",
    "Secret",
    "SequentialWorkflow",
    "Snapshot",
    "StateNotFound",
    "Stop",
    "Subscription",
    "Summarize",
    "Swarm",
    "SwarmResult",
    "SwarmRouter",
    "Team",
    "Terminated",
    "Tool",
    "ToolCall",
    "ToolContext",
    "ToolError",
    "ToolSpec",
    "Topic",
    "UnfinishedAgent",
    "Usage",
    "VersionConflict",
    "__version__",
    "ask_human",
    "colleagues",
    "errors",
    "events",
    "handoff",
    "sleep",
    "sleep_until",
    "tool",
]


_ELSEWHERE = {
    "Board": "overwinter.agents.boards",
    "NamedAgent": "overwinter.agents.named",
    "Subscription": "overwinter.runtime.topics",
    "Topic": "overwinter.runtime.topics",
    "colleagues": "overwinter.agents.colleagues",
}


def __getattr__(name: str) -> Any:
    """Swarms, and what few programs need, are imported with the first that is used: not every program has one."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    module = import_module(_ELSEWHERE.get(name, "overwinter.agents.swarms"))
    value = globals()[name] = getattr(module, name)
    return value
