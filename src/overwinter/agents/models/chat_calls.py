"""The tool calls of a reply, put together from the pieces in which a server sends them."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any

import msgspec

from overwinter.agents.models.protocol import ToolCall
from overwinter.agents.models.text import storable, storable_text

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

__all__ = ["Calls", "call_fields", "filled"]


def call_fields(call: Mapping[str, Any]) -> dict[str, Any]:
    """A call, or a piece of one, in our terms; what is neither id, name nor arguments goes to ``provider``."""
    rest = dict(call)
    told: Any = rest.pop("function", None)
    function: dict[str, Any] = dict(told) if isinstance(told, dict) else {}  # pyright: ignore[reportUnknownArgumentType]
    fields: dict[str, Any] = {
        "id": _text(rest.pop("id", None)),
        "name": _text(function.pop("name", None)),
        "arguments": _text(function.pop("arguments", None)),
    }
    for known in ("type", "index"):
        rest.pop(known, None)
    if function:
        rest["function"] = function
    return {**fields, "provider": filled(rest)}


def _text(value: Any) -> str:
    """*value*, which is to be a text; some servers give ids as numbers and arguments as objects."""
    if isinstance(value, str):
        return value
    return "" if value is None else msgspec.json.encode(value).decode()


def filled(fields: Mapping[str, Any]) -> dict[str, Any]:
    """*fields* without those that say nothing; an empty text says something."""
    return {name: value for name, value in fields.items() if value is not None and value not in ({}, [])}


class Calls:
    """The calls of one reply, in the order in which they began."""

    def __init__(self) -> None:
        self._calls: list[dict[str, Any]] = []
        self._position: dict[object, int] = {}

    def add(self, call: dict[str, Any]) -> None:
        """A whole call, as :func:`call_fields` tells it."""
        self._calls.append(call)

    def add_piece(self, index: object, piece: dict[str, Any]) -> None:
        """Add a piece of a call. The pieces of one share an index; some servers give it to every call."""
        index = index if isinstance(index, (int, str)) else None
        position = self._position.get(index)
        call = None if position is None else self._calls[position]
        if call is None or _is_another(call, piece):
            self._position[index] = len(self._calls)
            self._calls.append(piece)
            return
        call["id"] = call["id"] or piece["id"]
        call["name"] = call["name"] if piece["name"] == call["name"] else call["name"] + piece["name"]
        call["arguments"] += piece["arguments"]
        _merge(call["provider"], piece["provider"])

    def finished(self, taken_ids: Iterable[str]) -> tuple[ToolCall, ...]:
        """The calls, with ids that are theirs alone: an answer names the call it belongs to by nothing else.

        :param taken_ids: those of the calls in the conversation so far.
        """
        taken = set(taken_ids)
        tool_calls: list[ToolCall] = []
        for call in self._calls:
            if not call["name"]:
                continue
            call_id = storable_text(call["id"])
            if not call_id or call_id in taken:
                call_id = f"call_{uuid.uuid4().hex[:24]}"
            taken.add(call_id)
            name, arguments = storable_text(call["name"]), storable_text(call["arguments"])
            tool_calls.append(ToolCall(call_id, name, arguments, storable(call["provider"])))
        return tuple(tool_calls)


def _is_another(call: Mapping[str, Any], piece: Mapping[str, Any]) -> bool:
    if call["id"] and piece["id"]:
        # Some servers make a new id for every piece; only the first one has a name.
        return call["id"] != piece["id"] and (bool(piece["name"]) or _is_whole(call["arguments"]))
    if not piece["name"] or not call["arguments"]:
        return False
    return piece["name"] != call["name"] or (bool(piece["arguments"]) and _is_whole(call["arguments"]))


def _is_whole(arguments: str) -> bool:
    """Whether nothing can be missing of these *arguments*, nor be added to them."""
    try:
        msgspec.json.decode(arguments, type=dict[str, msgspec.Raw])
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return False
    return True


def _merge(into: dict[str, Any], more: Mapping[str, Any]) -> None:
    for name, value in more.items():
        if isinstance(value, dict) and isinstance(into.get(name), dict):
            _merge(into[name], value)  # pyright: ignore[reportUnknownArgumentType]
        else:
            into[name] = value
