"""A request in litellm's terms."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from overwinter.agents.models.chat_request import ORIGIN, chat_settings

if TYPE_CHECKING:
    from collections.abc import Mapping

    from overwinter.agents.models.protocol import ModelRequest

__all__ = ["ORIGIN", "settings_for"]


def settings_for(
    request: ModelRequest, args: Mapping[str, Any], *, provider: str, schema_supported: bool
) -> dict[str, Any]:
    """What ``litellm.acompletion`` is to be called with, save for model, streaming and retries."""
    settings = chat_settings(request, args, provider=provider, schema_supported=schema_supported)
    tools: list[dict[str, Any]] = settings.get("tools", [])
    if tools and not any(tool.get("type") == "mcp" for tool in tools):
        # Else litellm looks whether its MCP gateway is meant, and fails where ``mcp`` is not installed.
        settings["_skip_mcp_handler"] = True
    return settings
