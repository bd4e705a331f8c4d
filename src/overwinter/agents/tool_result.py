"""From what a tool returns to the text a model reads and a file keeps."""

from __future__ import annotations

import dataclasses
import enum
from typing import Any, cast

import msgspec

from overwinter.errors import SaveRejected
from overwinter.persistence.codec import encode_checked

__all__ = ["result_text"]

_KEPT = (bytes, bytearray, memoryview)


def result_text(value: Any, tool_name: str) -> str:
    """The text of a tool's return value: a string as it is, anything else as JSON.

    Structs, dataclasses, pydantic models, dates, UUIDs, sets and tuples become the JSON one expects. What
    JSON cannot hold is refused rather than changed in silence.

    :raises SaveRejected: ``field`` names the place, as in ``result.scores[3]``, and the message says why.
    """
    if isinstance(value, str):
        encode_checked(value, what="result")
        return value
    try:
        return encode_checked(_plain(value), what="result").decode()
    except (TypeError, RecursionError) as error:
        raise SaveRejected(
            f"tool {tool_name!r} returned a {type(value).__name__}, which cannot be stored: {error}. "
            "Return text or JSON data.",
            field="result",
        ) from error


def _plain(value: Any) -> Any:
    """JSON data with the same content; bytes stay, so that the codec refuses them by name."""
    if hasattr(value, "model_dump"):
        return value.model_dump(mode="json")
    if isinstance(value, enum.Enum):
        return _plain(value.value)
    if isinstance(value, (msgspec.Struct, dict)) or (
        dataclasses.is_dataclass(value) and not isinstance(value, type)
    ):
        as_dict = msgspec.to_builtins(value, builtin_types=_KEPT, str_keys=True)
        return {key: _plain(item) for key, item in cast("dict[str, Any]", as_dict).items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [_plain(item) for item in cast("list[Any]", value)]
    return msgspec.to_builtins(value, builtin_types=_KEPT)
