"""From what a tool returns to the text a model reads and a file keeps."""

from __future__ import annotations

import dataclasses
from typing import Any, cast

import msgspec

from overwinter.errors import SaveRejected
from overwinter.persistence.codec import encode_checked

__all__ = ["is_small", "result_text"]

_KEPT = (bytes, bytearray, memoryview)
_PIECE = 1 << 20  # characters looked at in one go, so that other threads get their turn in between
_ROWS = 1000

# What is_small lets pass takes well under a millisecond to convert.
_SMALL_TEXT = 16_384
_SMALL_COUNT = 256


def result_text(value: Any, tool_name: str) -> str:
    """The text of a tool's return value: a string as it is, anything else as JSON.

    Structs, dataclasses, pydantic models, dates, UUIDs, sets and tuples become the JSON one expects. What
    JSON cannot hold is refused rather than changed in silence. It takes as long as the value is big, so a
    value that is not :func:`is_small` has no place on an event loop; any thread may call it.

    :raises SaveRejected: ``field`` names the place, as in ``result.scores[3]``, and the message says why.
    """
    if isinstance(value, str):
        if type(value) is not str or not _is_utf8(value):
            encode_checked(value, what="result")
        return value
    try:
        return (_json_of_rows(value) or _json(value)).decode()
    except (TypeError, RecursionError) as error:
        raise SaveRejected(
            f"tool {tool_name!r} returned a {type(value).__name__}, which cannot be stored: {error}. "
            "Return text or JSON data.",
            field="result",
        ) from error


def _json(value: Any) -> bytes:
    # One pass in C; bytes stay, so that the codec refuses them by name.
    plain = msgspec.to_builtins(value, builtin_types=_KEPT, str_keys=True, enc_hook=_dumped)
    try:
        return encode_checked(plain, what="result")
    except SaveRejected:
        # Tuples stay too, and the codec refuses them; turning them into lists takes a slow pass, so it is
        # only made when there may be some.
        return encode_checked(_with_lists(plain), what="result")


def _json_of_rows(value: Any) -> bytes | None:
    """As ``_json``, a few rows at a time; ``None`` when there are not many, or one of them is refused.

    msgspec holds every other thread up for as long as one call of it takes.
    """
    if not isinstance(value, (list, tuple)) or len(cast("list[Any]", value)) <= _ROWS:
        return None
    rows: list[Any] = list(cast("list[Any]", value))  # whoever has it still may make it shorter
    try:
        pieces = [_json(rows[start : start + _ROWS])[1:-1] for start in range(0, len(rows), _ROWS)]
    except SaveRejected:
        return None  # the whole names the place rightly
    return b"[" + b",".join(pieces) + b"]"


def is_small(value: Any) -> bool:
    """Whether *value* surely becomes text in no time; it gives up early on one that does not."""
    text, count = _SMALL_TEXT, _SMALL_COUNT
    stack = [value]
    while stack:
        current = stack.pop()
        children: list[Any] | None = None
        if isinstance(current, (str, bytes, bytearray)):
            text -= len(current)
        elif isinstance(current, int):
            text -= current.bit_length() // 3
        elif isinstance(current, (dict, list, tuple, set, frozenset)):
            sized = cast("dict[Any, Any] | list[Any]", current)
            count -= len(sized)
            if count >= 0:
                children = [*sized, *sized.values()] if isinstance(sized, dict) else list(sized)
        elif isinstance(current, msgspec.Struct):
            children = [getattr(current, name) for name in current.__struct_fields__]
        elif dataclasses.is_dataclass(current) and not isinstance(current, type):
            children = [getattr(current, field.name, None) for field in dataclasses.fields(current)]
        elif hasattr(current, "model_dump"):
            return False
        count -= 1
        if text < 0 or count < 0:
            return False
        stack.extend(children or ())
    return True


def _is_utf8(text: str) -> bool:
    """Whether *text* has no lone surrogate, the one thing that a file cannot hold."""
    if text.isascii():
        return True
    try:
        for start in range(0, len(text), _PIECE):
            text[start : start + _PIECE].encode()
    except UnicodeEncodeError:
        return False
    return True


def _with_lists(plain: Any) -> Any:
    if isinstance(plain, dict):
        return {key: _with_lists(item) for key, item in cast("dict[str, Any]", plain).items()}
    if isinstance(plain, (list, tuple)):
        return [_with_lists(item) for item in cast("list[Any]", plain)]
    return plain


def _dumped(value: Any) -> Any:
    """What a pydantic model holds; anything else that comes here has no JSON."""
    if hasattr(value, "model_dump") and not isinstance(value, type):
        return value.model_dump(mode="json")
    raise TypeError(f"Encoding objects of type {type(value).__name__} is unsupported")
