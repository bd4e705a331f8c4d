"""Chat completions, whole or in pieces, in our terms."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from overwinter.agents.models.chat_calls import Calls, call_fields, filled
from overwinter.agents.models.chat_request import ORIGIN
from overwinter.agents.models.failures import BrokenOff
from overwinter.agents.models.openai_errors import NoAnswer
from overwinter.agents.models.protocol import Message, ModelReply, Usage
from overwinter.agents.models.text import SurrogateFilter, storable, storable_text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

__all__ = ["Completion"]

# What servers want back verbatim: DeepSeek's and vLLM's thinking, OpenRouter's, Gemini's signatures, signed blocks.
_MOST = 2**53  # of tokens or US dollars: what is beyond cannot be
_GO_BACK = ("reasoning_content", "reasoning", "reasoning_details", "extra_content", "thinking_blocks")


class Completion:
    """Puts a reply together, from one answer or from the chunks of a stream, and hands each text over as it comes.

    Servers leave out members, send null for others, and add their own; whatever can be understood is.
    """

    def __init__(self, on_text: Callable[[str], None] | None = None) -> None:
        self.finish_reason: str | None = None
        self.usage: dict[str, Any] = {}
        self._model = ""
        self._on_text = on_text
        self._filter = SurrogateFilter()
        self._texts: list[str] = []
        self._calls = Calls()
        self._fields: dict[str, Any] = {}

    def add_whole(self, answer: Mapping[str, Any]) -> None:
        """The reply that came in one piece; raises ``BrokenOff`` when there is none in it."""
        choices = _dicts(answer.get("choices"))
        if not choices or not isinstance(choices[0].get("message"), dict):
            raise BrokenOff("the answer holds no message")
        self._note(answer, choices[0])
        self.finish_reason = self.finish_reason or "stop"
        message: dict[str, Any] = choices[0]["message"]
        self._hear(_text(message.get("content")) or _text(message.get("refusal")))
        for call in _dicts(message.get("tool_calls")):
            self._calls.add(call_fields(call))
        self._fields = filled({name: message[name] for name in _GO_BACK if name in message})

    def add_chunk(self, chunk: Mapping[str, Any]) -> None:
        """The next chunk of a stream."""
        choices = _dicts(chunk.get("choices"))
        self._note(chunk, choices[0] if choices else {})
        for choice in choices[:1]:
            delta = choice.get("delta")
            if isinstance(delta, dict):
                self._add_delta(cast("dict[str, Any]", delta))

    def finish(self) -> None:
        """There are no more chunks; raises ``BrokenOff`` when the reply has not ended."""
        self._say(self._filter.finish())
        if self.finish_reason is None:
            raise BrokenOff("the stream ended before the reply did")

    def reply(self, *, provider: str, name: str, taken_ids: Iterable[str]) -> ModelReply:
        """The whole reply; its cost is what the server says, which most do not.

        :raises NoAnswer: it is nested so deeply that nobody can go through it.
        """
        try:
            fields: dict[str, Any] = storable(self._fields)
            calls = self._calls.finished(taken_ids)
        except RecursionError:
            raise NoAnswer("it is nested too deeply") from None
        if fields or any(call.provider for call in calls):
            fields[ORIGIN] = provider
        return ModelReply(
            message=Message("assistant", "".join(self._texts), calls, provider=fields),
            usage=_usage(self.usage),
            model=self._model or name,
            finish_reason=self.finish_reason or "stop",
        )

    def _note(self, answer: Mapping[str, Any], choice: Mapping[str, Any]) -> None:
        usage, model, reason = answer.get("usage"), answer.get("model"), choice.get("finish_reason")
        if isinstance(usage, dict) and usage:
            self.usage = cast("dict[str, Any]", usage)
        if isinstance(model, str):
            self._model = storable_text(model)
        if isinstance(reason, str) and reason:
            self.finish_reason = storable_text(reason)

    def _add_delta(self, delta: dict[str, Any]) -> None:
        # A refusal comes in the place of a text, and is one.
        self._hear(_text(delta.get("content")) + _text(delta.get("refusal")))
        for piece in _dicts(delta.get("tool_calls")):
            self._calls.add_piece(piece.get("index"), call_fields(piece))
        for name in _GO_BACK:
            if delta.get(name) is not None:
                self._fields[name] = _joined(self._fields.get(name), delta[name])

    def _hear(self, text: str) -> None:
        self._say(self._filter.feed(text))

    def _say(self, text: str) -> None:
        if text:
            self._texts.append(text)
            if self._on_text is not None:
                self._on_text(text)


def _joined(before: Any, piece: Any) -> Any:
    """A field that comes in pieces, so far: texts are continued, and so are the parts of a list, by their index."""
    if isinstance(before, str) and isinstance(piece, str):
        return before + piece
    if isinstance(before, list) and isinstance(piece, list):
        return _joined_parts(_dicts(before), _dicts(piece))
    if isinstance(before, dict) and isinstance(piece, dict):
        return cast("dict[str, Any]", before | piece)
    return piece


def _joined_parts(before: list[dict[str, Any]], pieces: list[dict[str, Any]]) -> list[dict[str, Any]]:
    parts = list(before)
    for piece in pieces:
        last = parts[-1] if parts else {}
        same = last.get("type") == piece.get("type") and last.get("index") == piece.get("index")
        if same and not last.get("signature"):
            parts[-1] = _continued(last, piece)
        else:
            parts.append(piece)
    return parts


def _continued(part: dict[str, Any], piece: dict[str, Any]) -> dict[str, Any]:
    joined = {**part, **filled(piece)}
    for name in ("data", "summary", "text", "thinking"):
        if isinstance(part.get(name), str) and isinstance(piece.get(name), str):
            joined[name] = part[name] + piece[name]
    return joined


def _text(content: Any) -> str:
    """A text, or those of the parts of one."""
    if isinstance(content, str):
        return content
    return "".join(part["text"] for part in _dicts(content) if isinstance(part.get("text"), str))


def _dicts(value: Any) -> list[dict[str, Any]]:
    """The objects in *value*, where that is a list."""
    items: list[Any] = value if isinstance(value, list) else []  # pyright: ignore[reportUnknownVariableType]
    return [cast("dict[str, Any]", item) for item in items if isinstance(item, dict)]


def _usage(told: Mapping[str, Any]) -> Usage:
    cost = _number(told.get("cost"))
    return Usage(
        input_tokens=_count(told, "prompt_tokens"),
        output_tokens=_count(told, "completion_tokens"),
        cached_tokens=_count(told.get("prompt_tokens_details"), "cached_tokens"),
        reasoning_tokens=_count(told.get("completion_tokens_details"), "reasoning_tokens"),
        cost=None if cost is None else float(cost),
        calls=1,
    )


def _count(counts: Any, name: str) -> int:
    count = _number(cast("dict[str, Any]", counts).get(name)) if isinstance(counts, dict) else None
    return 0 if count is None else int(count)


def _number(value: Any) -> float | None:
    """*value*, where that is a number that can be meant; a server is free to say NaN, or less than nothing."""
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return value if is_number and 0 <= value <= _MOST else None
