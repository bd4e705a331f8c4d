"""JSON that is known to come back as it was: nothing is written that could not be read again.

msgspec writes NaN as ``null``, an enum as its value, a tuple as an array and an int key as text, and says
nothing. So what is to be kept is encoded, decoded back and compared, types included, before any file is
touched.
"""

from __future__ import annotations

import marshal
from functools import lru_cache
from typing import Any

import msgspec

from overwinter.errors import SaveRejected
from overwinter.persistence.storable import (
    MAX_DEPTH,
    TOO_DEEP,
    find_difference,
    find_unstorable,
    is_deep,
    is_record,
)

__all__ = ["MAX_DEPTH", "encode", "encode_checked", "find_unstorable", "pretty"]

# The last version without references between objects, whose bytes therefore depend on the values alone.
_MARSHAL_VERSION = 2

_PLAIN = frozenset({dict, list, str, int, float, bool})

_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder()


def encode(value: Any) -> bytes:
    """*value* as compact JSON, unchecked: for what is known to be storable. Raises what msgspec raises."""
    return _encoder.encode(value)


def encode_checked(value: Any, *, what: str, type: Any = None) -> bytes:  # noqa: A002
    """*value* as compact JSON from which the same value, of the same types, was read back.

    :param what: the name of the value, with which ``field`` and the message begin.
    :param type: the type it will be decoded as. Without it, a Struct or dataclass is decoded as its own class
        and anything else as plain JSON: dict with str keys, list, str, int, float, bool and None, and no
        subclass of them. With it, an int where the type says float may come back as the equal float, and an
        aware datetime with the equal fixed offset.
    :raises SaveRejected: it cannot be stored; ``field`` names the place, as in ``memory.scores[3]``.
    """
    if type is None and is_record(value):
        type = value.__class__  # noqa: A001
    elif type in _PLAIN and type is value.__class__:
        type = None  # noqa: A001
    try:
        encoded = _encoder.encode(value)
        decoded = _decoder.decode(encoded) if type is None else _decoder_for(type).decode(encoded)
        found = find_difference(value, decoded) if type is not None else _plain_difference(value, decoded)
    except (msgspec.MsgspecError, ValueError, TypeError, RecursionError, ArithmeticError) as error:
        raise _rejected(value, what, _told_by(error), typed=type is not None) from error
    # Counting brackets is cheap, and few values have so many that the walk is needed.
    if found is None and encoded.count(b"[") + encoded.count(b"{") > MAX_DEPTH:
        found = TOO_DEEP if is_deep(decoded if type is None else _decoder.decode(encoded)) else None
    if found is not None:
        raise _rejected(value, what, found, typed=type is not None)
    return encoded


def pretty(encoded: bytes, indent_level: int = 0) -> bytes:
    """JSON text laid out with an indent of 2, for a place *indent_level* levels deep.

    The first line is not indented: it follows a name or stands where the caller puts it. No final newline.
    """
    text = msgspec.json.format(encoded, indent=2)
    return text.replace(b"\n", b"\n" + b"  " * indent_level) if indent_level else text


def _plain_difference(value: Any, decoded: Any) -> tuple[str, str] | None:
    """As ``find_difference``, but fast where there is none, and raises ``ValueError`` for what is not plain data."""
    # marshal tells 1 from True and from 1.0, and knows no subclasses.
    if marshal.dumps(value, _MARSHAL_VERSION) == marshal.dumps(decoded, _MARSHAL_VERSION):
        return None
    return find_difference(value, decoded) or ("", "changed while it was being saved; store a copy")


@lru_cache(maxsize=256)
def _decoder_for(type_: Any) -> msgspec.json.Decoder[Any]:
    return msgspec.json.Decoder(type_)


def _rejected(value: Any, what: str, found: tuple[str, str], *, typed: bool) -> SaveRejected:
    """The refusal of *value*, for the plainest reason there is; *found* is the one it was noticed by."""
    path, reason = find_unstorable(value, typed=typed) or found
    field = what + path
    message = f"{field} {reason}. Nothing was written; what was saved before is intact."
    return SaveRejected(message, field=field)


def _told_by(error: Exception) -> tuple[str, str]:
    """What msgspec says, as ``Expected `float`, got `null` - at `$.scores[0]```."""
    told, _, place = str(error).partition(" - at `$")
    return place.removesuffix("`"), f"does not come back as it was: {told}"
