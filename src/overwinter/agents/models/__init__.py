"""Models: what an agent asks, through litellm or any object that satisfies ``Model``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from overwinter.agents.models.price import Price
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

if TYPE_CHECKING:
    from overwinter.agents.models.litellm_library import aclose_litellm
    from overwinter.agents.models.litellm_model import LiteLLMModel
    from overwinter.agents.models.openai_compatible import OpenAICompatible
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
    "OpenAICompatible",
    "Price",
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

# The adapters are loaded when they are first asked for: who brings a model of his own needs none of them.
_LATER = {
    "LiteLLMModel": "litellm_model",
    "OpenAICompatible": "openai_compatible",
    "aclose_litellm": "litellm_library",
    "ScriptGate": "scripted",
    "ScriptedCall": "scripted",
    "ScriptedModel": "scripted",
}


def __getattr__(name: str) -> Any:
    if name not in _LATER:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{_LATER[name]}"), name)
