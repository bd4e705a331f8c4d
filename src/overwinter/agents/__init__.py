"""The room of agents: who they are, what they do in a run, and how they are saved."""

from __future__ import annotations

from overwinter.agents.agent import Agent
from overwinter.agents.budget import Budget
from overwinter.agents.commands import AgentMessage
from overwinter.agents.events import Event
from overwinter.agents.memory import Memory
from overwinter.agents.models.protocol import (
    Message,
    Model,
    ModelReply,
    ModelRequest,
    ToolCall,
    ToolSpec,
    Usage,
)
from overwinter.agents.models.retry import RetryPolicy
from overwinter.agents.results import RunResult
from overwinter.agents.runtime import Runtime, RuntimeStatistics
from overwinter.agents.state import StateView
from overwinter.agents.tools import Tool, ToolContext, tool

__all__ = [
    "Agent",
    "AgentMessage",
    "Budget",
    "Event",
    "Memory",
    "Message",
    "Model",
    "ModelReply",
    "ModelRequest",
    "RetryPolicy",
    "RunResult",
    "Runtime",
    "RuntimeStatistics",
    "StateView",
    "Tool",
    "ToolCall",
    "ToolContext",
    "ToolSpec",
    "Usage",
    "tool",
]
