"""A request in the terms of OpenAI's chat completions, which litellm and most servers speak."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, cast

import msgspec

from overwinter.agents.models.text import storable_text
from overwinter.persistence.secrets import reveal

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from overwinter.agents.models.protocol import Message, ModelRequest, ToolCall

__all__ = ["ORIGIN", "chat_settings"]

ORIGIN = "litellm_provider"
"""The key in ``Message.provider`` that names whose fields the others are: they go back to nobody else."""

# litellm's own container. These providers' adapters read it; to others it would go over the wire as it is.
_CONTAINER = "provider_specific_fields"
_READ_CONTAINER = frozenset({"anthropic", "azure_ai", "bedrock", "gemini", "litellm_proxy", "vertex_ai"})

# Groq says what a model thought, and refuses a conversation that tells it again.
_THINKING = frozenset({"reasoning", "reasoning_content"})

_NOT_IN_NAMES = re.compile(r"[^A-Za-z0-9_-]")
_ANNOTATIONS = frozenset({"const", "default", "enum", "examples", "required"})


def chat_settings(
    request: ModelRequest, args: Mapping[str, Any], *, provider: str, schema_supported: bool
) -> dict[str, Any]:
    """The members of a request, save for model and streaming.

    ``args`` win over the request's temperature, limit and output schema; their tools are added to its own.
    """
    settings: dict[str, Any] = {"messages": [_message(message, provider) for message in request.messages]}
    if request.temperature is not None:
        settings["temperature"] = request.temperature
    if request.max_tokens is not None:
        settings["max_tokens"] = request.max_tokens
    if schema_supported and request.output_schema is not None and _is_object(request.output_schema):
        settings["response_format"] = _response_format(request.output_schema)
    extra: dict[str, Any] = reveal(dict(args))
    tools: list[dict[str, Any]] = [*_tools(request), *(extra.pop("tools", None) or ())]
    settings.update(extra)
    if tools:
        settings["tools"] = tools
    return settings


def _message(message: Message, provider: str) -> dict[str, Any]:
    fields = _fields_for(provider, message)
    sent: dict[str, Any] = {**(fields or {}), "role": message.role, "content": storable_text(message.content)}
    if message.role == "tool":
        sent["tool_call_id"] = message.tool_call_id
    if message.name:
        sent["name"] = message.name
    if message.tool_calls:
        sent["tool_calls"] = [
            _call(call, None if fields is None else provider) for call in message.tool_calls
        ]
        sent["content"] = sent["content"] or None
    return sent


def _fields_for(provider: str, message: Message) -> dict[str, Any] | None:
    """The fields that came from ``provider``; None when they came from another one."""
    if message.provider.get(ORIGIN, provider) != provider:
        return None
    return {
        name: value for name, value in message.provider.items() if name != ORIGIN and _goes(name, provider)
    }


def _goes(name: str, provider: str) -> bool:
    if name in _THINKING:
        return provider != "groq"
    return name != _CONTAINER or provider in _READ_CONTAINER


def _call(call: ToolCall, provider: str | None) -> dict[str, Any]:
    """The call, with the fields of its own if ``provider`` is where they came from."""
    fields: dict[str, Any] = {}
    if provider is not None:
        fields = {name: value for name, value in call.provider.items() if _goes(name, provider)}
    function = {**fields.get("function", {}), "name": call.name, "arguments": _arguments(call.arguments)}
    return {"type": "function", **fields, "id": call.id, "function": function}


def _arguments(arguments: str) -> str:
    """The arguments verbatim when they are a JSON object; else one that holds them.

    Several providers parse them, and would refuse the whole conversation for ever for one malformed call.
    """
    arguments = storable_text(arguments)
    if not arguments.strip():
        return "{}"
    try:
        msgspec.json.decode(arguments, type=dict[str, msgspec.Raw])
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return msgspec.json.encode({"malformed_arguments": arguments}).decode()
    return arguments


def _tools(request: ModelRequest) -> Iterator[dict[str, Any]]:
    for tool in request.tools:
        function = {"name": tool.name, "description": tool.description, "parameters": tool.parameters}
        yield {"type": "function", "function": function}


def _response_format(output: Mapping[str, Any]) -> dict[str, Any]:
    wanted = {"name": _NOT_IN_NAMES.sub("_", output.get("name", "output"))[:64], "schema": output["schema"]}
    if _is_strict(output["schema"]):
        wanted["strict"] = True
    return {"type": "json_schema", "json_schema": wanted}


def _is_object(output: Mapping[str, Any]) -> bool:
    """Providers take schemas of objects only; for any other the instruction in the prompt must do."""
    return bool(output.get("schema", {}).get("type") == "object")


def _is_strict(schema: Any) -> bool:
    """Whether every object in ``schema`` is closed and needs all its properties, as strict mode demands."""
    if isinstance(schema, list):
        return all(_is_strict(one) for one in schema)  # pyright: ignore[reportUnknownVariableType]
    if not isinstance(schema, dict):
        return True
    described = cast("dict[str, Any]", schema)
    if described.get("type") == "object" or "properties" in described:
        properties: dict[str, Any] = described.get("properties", {})
        if described.get("additionalProperties") is not False or set(described.get("required", ())) != set(
            properties
        ):
            return False
    return all(_is_strict(value) for name, value in described.items() if name not in _ANNOTATIONS)
