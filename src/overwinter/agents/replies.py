"""A model's reply at the border: what comes in can be stored, whoever wrote the model."""

from __future__ import annotations

import logging
import math
import os
from functools import cache
from typing import TYPE_CHECKING, Any

import msgspec

from overwinter.agents.models.protocol import Message, ModelReply, ToolCall, Usage
from overwinter.errors import ModelError, SaveRejected
from overwinter.persistence.codec import encode_checked

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["storable_reply", "storable_text"]

logger = logging.getLogger("overwinter.agents")

_MOST = 2**63 - 1


def storable_reply(reply: ModelReply, model: str) -> ModelReply:
    """*reply*, or one like it without what a file cannot hold, which is then said in the log.

    Adapters of this package never need it; a ``Model`` of the user's own may say anything.

    :raises ModelError: it is no reply at all.
    """
    said: Any = reply
    if not isinstance(said, ModelReply) or not isinstance(getattr(said, "message", None), Message):
        raise ModelError(
            f"model {model!r} returned {type(reply).__name__}; Model.complete returns a ModelReply with a Message",
            model=model,
        )
    message, usage = reply.message, reply.usage
    if not _comes_back(message) or _carries_more(message):
        try:
            encode_checked(message, what="reply", type=Message)
        except SaveRejected as error:
            logger.warning("a reply of model %r cannot be stored as it is, and was mended: %s", model, error)
            message = _mended(message)
    if not _comes_back(usage):
        try:
            encode_checked(usage, what="usage", type=Usage)
        except SaveRejected as error:
            logger.warning(
                "the usage that model %r reports cannot be stored, and was mended: %s", model, error
            )
            usage = _counted(usage)
    message = _with_own_ids(message)
    if message is reply.message and usage is reply.usage:
        return reply
    return msgspec.structs.replace(reply, message=message, usage=usage)


def _comes_back(value: Any) -> bool:
    """Whether it is a message or usage that is read back the same; the quick half of ``encode_checked``."""
    if not isinstance(value, (Message, Usage)):
        return False
    try:
        return bool(_decoder(type(value)).decode(msgspec.json.encode(value)) == value)
    except (ValueError, TypeError, RecursionError, msgspec.MsgspecError):
        return False


@cache
def _decoder(kind: type[Message | Usage]) -> msgspec.json.Decoder[Any]:
    return msgspec.json.Decoder(kind)


def _carries_more(message: Message) -> bool:
    """Whether something of the provider's own is in it, which has no type that says how it is to come back."""
    return bool(message.provider) or any(call.provider for call in message.tool_calls)


def storable_text(value: Any) -> str:
    """*value* as text that a file can hold: lone surrogates become question marks."""
    if value is None:
        return ""
    if isinstance(value, (bytes, bytearray)):
        return bytes(value).decode("utf-8", "replace")
    text = value if isinstance(value, str) else _described(value)
    if type(text) is str and text.isascii():
        return text
    return text.encode("utf-8", "replace").decode("utf-8")


def _described(value: Any) -> str:
    try:
        return msgspec.json.encode(value).decode()
    except (TypeError, ValueError, RecursionError, msgspec.MsgspecError):
        return str(value)


def _mended(message: Message) -> Message:
    calls: Iterable[ToolCall] = message.tool_calls
    return Message(
        role="assistant",
        content=storable_text(message.content),
        tool_calls=tuple(
            ToolCall(
                id=storable_text(call.id) or _new_id(),
                name=storable_text(call.name),
                arguments=storable_text(call.arguments),
                provider=_kept(call.provider, "provider"),
            )
            for call in calls
        ),
        provider=_kept(message.provider, "reply.provider"),
    )


def _with_own_ids(message: Message) -> Message:
    """*message* with an id of its own for each call; two with one id could not be answered apart."""
    if len(message.tool_calls) < 2:
        return message
    taken: set[str] = set()
    calls: list[ToolCall] = []
    for call in message.tool_calls:
        own = call if call.id not in taken else msgspec.structs.replace(call, id=_new_id())
        taken.add(own.id)
        calls.append(own)
    if tuple(calls) == message.tool_calls:
        return message
    return msgspec.structs.replace(message, tool_calls=tuple(calls))


def _new_id() -> str:
    return f"call_{os.urandom(12).hex()}"


def _kept(fields: dict[str, Any], what: str) -> dict[str, Any]:
    try:
        encode_checked(fields, what=what)
    except SaveRejected:
        return {}
    return fields


def _counted(usage: Any) -> Usage:
    def tokens(name: str) -> int:
        count = getattr(usage, name, 0)
        return count if type(count) is int and 0 <= count <= _MOST else 0

    cost = getattr(usage, "cost", None)
    return Usage(
        input_tokens=tokens("input_tokens"),
        output_tokens=tokens("output_tokens"),
        cached_tokens=tokens("cached_tokens"),
        reasoning_tokens=tokens("reasoning_tokens"),
        cost=cost if isinstance(cost, float) and math.isfinite(cost) else None,
        calls=max(tokens("calls"), 1),
    )
