"""litellm's replies, whole or in pieces, in our terms."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from overwinter.agents.models.chat_calls import Calls, call_fields, filled
from overwinter.agents.models.chat_request import ORIGIN
from overwinter.agents.models.protocol import Message, ModelReply, Usage
from overwinter.agents.models.text import SurrogateFilter, storable, storable_text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

__all__ = ["StreamedReply", "hear_refusals", "reply_from"]

# What providers want back verbatim. All else litellm adds is derived, or none of a later request's business.
_GO_BACK = ("thinking_blocks", "reasoning_content", "reasoning_items", "provider_specific_fields")


def reply_from(
    response: Any, *, provider: str, model: str, cost: float | None, taken_ids: Iterable[str]
) -> ModelReply:
    """The reply in a whole response; ``taken_ids`` are the ids of the calls in the conversation so far."""
    message = response.choices[0].message
    calls = Calls()
    for call in message.tool_calls or ():
        calls.add(_call_fields(call))
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
        self._calls = Calls()

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
        self._calls.add_piece(getattr(piece, "index", None), _call_fields(piece))
        function = getattr(piece, "function", None)
        if function is not None and function.arguments:
            function.arguments = storable_text(function.arguments)


def hear_refusals(stream: Any) -> None:
    """Have *stream*, which litellm made, give a refusal as the text that it is: litellm passes it over."""
    chunks = getattr(stream, "completion_stream", None)
    if hasattr(chunks, "__anext__"):
        stream.completion_stream = _WithRefusals(chunks)


class _WithRefusals:
    """The chunks as the provider sends them, a refusal in the place of the text."""

    def __init__(self, chunks: Any) -> None:
        self._chunks = chunks

    def __aiter__(self) -> _WithRefusals:
        return self

    async def __anext__(self) -> Any:
        chunk = await self._chunks.__anext__()
        for choice in getattr(chunk, "choices", None) or ():
            delta: Any = getattr(choice, "delta", None)
            if getattr(delta, "refusal", None) and not delta.content:
                delta.content = delta.refusal
        return chunk

    def __getattr__(self, name: str) -> Any:
        return getattr(self._chunks, name)


def _reply(
    response: Any,
    *,
    text: str,
    calls: Calls,
    provider: str,
    model: str,
    cost: float | None,
    taken_ids: Iterable[str],
) -> ModelReply:
    choice = response.choices[0]
    fields = _fields(choice.message)
    tool_calls = calls.finished(taken_ids)
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
    return call_fields(call.model_dump(exclude_none=True))


def _fields(message: Any) -> dict[str, Any]:
    dumped: dict[str, Any] = message.model_dump(mode="python", include=set(_GO_BACK))
    fields = filled(dumped)
    own: dict[str, Any] = fields.pop("provider_specific_fields", {})
    own = {name: value for name, value in filled(own).items() if name not in fields and name != "refusal"}
    if own:
        fields["provider_specific_fields"] = own
    plain: dict[str, Any] = storable(fields)
    return plain


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
