"""litellm's replies, whole or in pieces, in our terms."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any

from overwinter.agents.models.litellm_request import ORIGIN
from overwinter.agents.models.protocol import Message, ModelReply, ToolCall, Usage
from overwinter.agents.models.text import SurrogateFilter, storable, storable_text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

__all__ = ["StreamedReply", "reply_from"]

# What providers want back verbatim. All else litellm adds is derived, or none of a later request's business.
_GO_BACK = ("thinking_blocks", "reasoning_content", "reasoning_items", "provider_specific_fields")


def reply_from(
    response: Any, *, provider: str, model: str, cost: float | None, taken_ids: Iterable[str]
) -> ModelReply:
    """The reply in a whole response; ``taken_ids`` are the ids of the calls in the conversation so far."""
    message = response.choices[0].message
    calls = [_call_fields(call) for call in message.tool_calls or ()]
    return _reply(
        response,
        text=storable_text(_content(message) or _refusal(message)),
        calls=calls,
        provider=provider,
        model=model,
        cost=cost,
        taken_ids=taken_ids,
    )


class StreamedReply:
    """Puts the pieces of a stream together and hands each text over as it comes.

    Texts and calls are ours to assemble: litellm drops a call without an id, and fails over half an emoji.
    Usage and the fields that must go back come from the ``response`` that litellm builds of the ``chunks``.
    """

    def __init__(self, on_text: Callable[[str], None]) -> None:
        self.chunks: list[Any] = []
        self._on_text = on_text
        self._filter = SurrogateFilter()
        self._texts: list[str] = []
        self._calls: list[dict[str, Any]] = []
        self._position: dict[object, int] = {}

    def add(self, chunk: Any) -> None:
        """The next piece of the stream."""
        self.chunks.append(chunk)
        for choice in chunk.choices or ():
            delta = choice.delta
            if content := getattr(delta, "content", None):
                self._say(self._filter.feed(content))
                delta.content = storable_text(content)
            for piece in getattr(delta, "tool_calls", None) or ():
                self._add_call(piece)

    def finish(self) -> None:
        """There are no more pieces."""
        self._say(self._filter.finish())

    def reply(
        self, response: Any, *, provider: str, model: str, cost: float | None, taken_ids: Iterable[str]
    ) -> ModelReply:
        """The whole reply; ``response`` is what litellm built of the chunks."""
        return _reply(
            response,
            text="".join(self._texts),
            calls=self._calls,
            provider=provider,
            model=model,
            cost=cost,
            taken_ids=taken_ids,
        )

    def _say(self, text: str) -> None:
        if text:
            self._texts.append(text)
            self._on_text(text)

    def _add_call(self, piece: Any) -> None:
        """Add a piece of a call. The pieces of one share an index; some servers give it to every call."""
        fields = _call_fields(piece)
        index = getattr(piece, "index", None)
        position = self._position.get(index)
        call = None if position is None else self._calls[position]
        if call is None or _is_another(call, fields):
            self._position[index] = len(self._calls)
            self._calls.append(fields)
        else:
            call["id"] = call["id"] or fields["id"]
            call["name"] = call["name"] if fields["name"] == call["name"] else call["name"] + fields["name"]
            call["arguments"] += fields["arguments"]
            _merge(call["provider"], fields["provider"])
        function = getattr(piece, "function", None)
        if function is not None and function.arguments:
            function.arguments = storable_text(function.arguments)


def _is_another(call: Mapping[str, Any], piece: Mapping[str, Any]) -> bool:
    if call["id"] and piece["id"]:
        return bool(call["id"] != piece["id"])
    return bool(piece["name"] and call["arguments"] and piece["name"] != call["name"])


def _reply(
    response: Any,
    *,
    text: str,
    calls: list[dict[str, Any]],
    provider: str,
    model: str,
    cost: float | None,
    taken_ids: Iterable[str],
) -> ModelReply:
    choice = response.choices[0]
    fields = _fields(choice.message)
    tool_calls = _with_ids(calls, set(taken_ids))
    if fields or any(call.provider for call in tool_calls):
        fields[ORIGIN] = provider
    return ModelReply(
        message=Message("assistant", text, tool_calls, provider=fields),
        usage=_usage(getattr(response, "usage", None), cost),
        model=getattr(response, "model", None) or model,
        finish_reason=choice.finish_reason or "stop",
    )


def _content(message: Any) -> str:
    content = message.content
    return content if isinstance(content, str) else ""


def _refusal(message: Any) -> str:
    fields: dict[str, Any] = getattr(message, "provider_specific_fields", None) or {}
    refusal = fields.get("refusal")
    return storable_text(refusal) if isinstance(refusal, str) else ""


def _call_fields(call: Any) -> dict[str, Any]:
    """A call, or a piece of one, as a dict; what is neither id, name nor arguments goes to ``provider``."""
    dumped: dict[str, Any] = call.model_dump(exclude_none=True)
    function: dict[str, Any] = dumped.pop("function", {})
    fields: dict[str, Any] = {
        "id": dumped.pop("id", ""),
        "name": function.pop("name", ""),
        "arguments": function.pop("arguments", ""),
    }
    for known in ("type", "index"):
        dumped.pop(known, None)
    if function:
        dumped["function"] = function
    return {**fields, "provider": _filled(dumped)}


def _merge(into: dict[str, Any], more: Mapping[str, Any]) -> None:
    for name, value in more.items():
        if isinstance(value, dict) and isinstance(into.get(name), dict):
            _merge(into[name], value)  # pyright: ignore[reportUnknownArgumentType]
        else:
            into[name] = value


def _with_ids(calls: list[dict[str, Any]], taken: set[str]) -> tuple[ToolCall, ...]:
    """Calls whose ids are theirs alone: an answer names the call it belongs to by nothing else."""
    tool_calls: list[ToolCall] = []
    for call in calls:
        if not call["name"]:
            continue
        call_id = storable_text(call["id"])
        if not call_id or call_id in taken:
            call_id = f"call_{uuid.uuid4().hex[:24]}"
        taken.add(call_id)
        name, arguments = storable_text(call["name"]), storable_text(call["arguments"])
        tool_calls.append(ToolCall(call_id, name, arguments, storable(call["provider"])))
    return tuple(tool_calls)


def _fields(message: Any) -> dict[str, Any]:
    dumped: dict[str, Any] = message.model_dump(mode="python", include=set(_GO_BACK))
    fields = _filled(dumped)
    own: dict[str, Any] = fields.pop("provider_specific_fields", {})
    own = {name: value for name, value in _filled(own).items() if name not in fields and name != "refusal"}
    if own:
        fields["provider_specific_fields"] = own
    plain: dict[str, Any] = storable(fields)
    return plain


def _filled(fields: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value is not None and value not in ({}, [])}


def _usage(usage: Any, cost: float | None) -> Usage:
    input_tokens = _count(usage, "prompt_tokens")
    output_tokens = _count(usage, "completion_tokens")
    return Usage(
        input_tokens=input_tokens,
        output_tokens=output_tokens,
        cached_tokens=_count(getattr(usage, "prompt_tokens_details", None), "cached_tokens"),
        reasoning_tokens=_count(getattr(usage, "completion_tokens_details", None), "reasoning_tokens"),
        cost=cost if input_tokens or output_tokens else None,
        calls=1,
    )


def _count(counts: Any, name: str) -> int:
    count = getattr(counts, name, None)
    return count if isinstance(count, int) else 0
