"""Models: what an agent asks, through litellm or any object that satisfies ``Model``."""

from __future__ import annotations

from overwinter.agents.models.litellm_library import aclose_litellm
from overwinter.agents.models.litellm_model import LiteLLMModel
from overwinter.agents.models.protocol import (
    Message,
    Model,
    ModelReply,
    ModelRequest,
    Role,
    ToolCall,
    ToolSpec,
    Usage,
)
from overwinter.agents.models.retry import (
    ModelEvent,
    ModelFellBack,
    ModelRetried,
    RetryPolicy,
    complete_with_fallbacks,
)
from overwinter.agents.models.scripted import ScriptedCall, ScriptedModel, ScriptGate

__all__ = [
    "LiteLLMModel",
    "Message",
    "Model",
    "ModelEvent",
    "ModelFellBack",
    "ModelReply",
    "ModelRequest",
    "ModelRetried",
    "RetryPolicy",
    "Role",
    "ScriptGate",
    "ScriptedCall",
    "ScriptedModel",
    "ToolCall",
    "ToolSpec",
    "Usage",
    "aclose_litellm",
    "complete_with_fallbacks",
]
