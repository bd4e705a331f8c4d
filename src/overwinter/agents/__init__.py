"""The room of agents: who they are, what they do in a run, and how they are saved."""

from __future__ import annotations

from overwinter.agents.agent import Agent
from overwinter.agents.allowance import Spent
from overwinter.agents.asking import ask_human
from overwinter.agents.budget import Budget
from overwinter.agents.commands import AgentMessage
from overwinter.agents.context import ContextPolicy, DropToolResults, KeepLast, Summarize
from overwinter.agents.diff import MemoryChange, StateDiff
from overwinter.agents.events import Event
from overwinter.agents.history import HistoryStep
from overwinter.agents.memory import Memory
from overwinter.agents.models.price import Price
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
from overwinter.agents.rates import RateLimit, RateStatistics
from overwinter.agents.results import RunResult
from overwinter.agents.retention import Retention
from overwinter.agents.runtime import Runtime
from overwinter.agents.runtime_statistics import RuntimeStatistics
from overwinter.agents.sleeping import sleep, sleep_until
from overwinter.agents.state_view import StateView
from overwinter.agents.tools import Tool, ToolContext, tool
from overwinter.agents.unfinished import UnfinishedAgent

__all__ = [
    "Agent",
    "AgentMessage",
    "Budget",
    "ContextPolicy",
    "DropToolResults",
    "Event",
    "HistoryStep",
    "KeepLast",
    "Memory",
    "MemoryChange",
    "Message",
    "Model",
    "ModelReply",
    "ModelRequest",
    "Price",
    "RateLimit",
    "RateStatistics",
    "Retention",
    "RetryPolicy",
    "RunResult",
    "Runtime",
    "RuntimeStatistics",
    "Spent",
    "StateDiff",
    "StateView",
    "Summarize",
    "Tool",
    "ToolCall",
    "ToolContext",
    "ToolSpec",
    "UnfinishedAgent",
    "Usage",
    "ask_human",
    "sleep",
    "sleep_until",
    "tool",
]
