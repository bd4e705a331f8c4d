"""What JSON cannot hold, found in a value and named, once the value has failed to come back as it was."""

from __future__ import annotations

import dataclasses
import math
from contextlib import suppress
from functools import lru_cache
from typing import TYPE_CHECKING, Any, cast

import msgspec

from overwinter.persistence.secrets import Secret

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

__all__ = ["MAX_DEPTH", "TOO_DEEP", "find_difference", "find_unstorable", "is_deep", "is_record"]

MAX_DEPTH = 200
"""How deep lists and dicts may be nested. Python's own limit changes with the depth of the stack."""

TOO_DEEP = ("", f"is nested more than {MAX_DEPTH} deep; store it flatter, or as text")

_SCALARS = frozenset({str, int, float, bool, type(None)})
_ALTERED = "would come back with another value"
_FIELDS = "__dataclass_fields__"
_SHOWN = 8  # of a path too long to read, so many steps
_MOST_DIGITS = 4300  # what msgspec and, by default, Python read
_MOST_BITS = 14_284

# A step of a path is an index, a key or the name of a field; a trail is the trail before it and that step.
_Trail = tuple[Any, Any] | None


def find_unstorable(value: Any, *, typed: bool = False) -> tuple[str, str] | None:
    """The first place in *value* that JSON cannot hold: its path (``.scores[3]``, or ``""``) and the reason.

    :param typed: Structs, dataclasses, tuples, sets and what else a typed decoder can read are let pass.

    It walks without recursion, so that cycles and any depth are reported like anything else. It does not
    change *value*; None means that nothing was found.
    """
    around: set[int] = set()
    stack: list[tuple[Any, _Trail, int] | int] = [(value, None, 0)]
    while stack:
        entry = stack.pop()
        if isinstance(entry, int):
            around.discard(entry)
            continue
        current, trail, depth = entry
        reason = _reason(current, typed=typed)
        if id(current) in around:
            reason = "contains itself; store a copy without the cycle"
        elif depth >= MAX_DEPTH and _is_container(current):
            reason = TOO_DEEP[1]
        if reason is not None:
            return _path(trail), reason
        children = list(_children(current))
        if children:
            around.add(id(current))
            stack.append(id(current))
            stack.extend((child, (trail, step), depth + 1) for step, child in reversed(children))
    return None


def find_difference(value: Any, decoded: Any) -> tuple[str, str] | None:
    """A place at which *decoded*, read by type, is not the same as *value*, types included, and the reason.

    An int may be the equal float, where the type says so. None means that there is no difference.
    """
    with suppress(RecursionError):
        if _same(value, decoded):
            return None
    stack: list[tuple[Any, Any, _Trail]] = [(value, decoded, None)]
    while stack:
        ours, theirs, trail = stack.pop()
        kind: Any = ours.__class__
        if kind in _SCALARS and kind is theirs.__class__:
            if ours != theirs:
                return _path(trail), _ALTERED
        elif kind is not theirs.__class__:
            if not (kind is int and theirs.__class__ is float and ours == theirs):
                became = f"is {_a(ours)} and would come back as {_a(theirs)}; store what its type says"
                return _path(trail), became
        elif not _same_shape(ours, theirs):
            return _path(trail), _ALTERED
        elif kind is not set and kind is not frozenset:
            pairs = zip(_children(ours), _children(theirs), strict=True)
            stack.extend((one, other, (trail, step)) for (step, one), (_, other) in pairs)
    return None


def _same(ours: Any, theirs: Any) -> bool:
    """Whether there is certainly no difference. Fast for what agents say, which is checked with each state."""
    kind: Any = ours.__class__
    if kind is not theirs.__class__:
        return False
    if kind in _SCALARS:
        return bool(ours == theirs)
    if kind is tuple or kind is list:
        return len(ours) == len(theirs) and all(map(_same, ours, theirs))
    if kind is dict:
        if not ours:
            return not theirs
        return _same([*ours], [*theirs]) and all(map(_same, ours.values(), theirs.values()))
    names = _fields_of(kind)
    for name in names:
        one, other = getattr(ours, name), getattr(theirs, name)
        # What most fields are is not worth a call, of which there would be thirty in each step of an agent.
        if one.__class__ in _SCALARS and one.__class__ is other.__class__:
            if one != other:
                return False
        elif not _same(one, other):
            return False
    return bool(names)


@lru_cache(maxsize=256)
def _fields_of(kind: Any) -> tuple[str, ...]:
    """The names of a Struct's fields; none of what is none."""
    return kind.__struct_fields__ if issubclass(kind, msgspec.Struct) else ()


def is_deep(plain: Any) -> bool:
    """Whether the lists and dicts of *plain*, which has no cycle, are nested more than ``MAX_DEPTH`` deep."""
    level = [plain] if type(plain) in (dict, list) else []
    for _ in range(MAX_DEPTH):
        level = [
            child
            for parent in level
            for child in (parent.values() if type(parent) is dict else parent)
            if type(child) in (dict, list)
        ]
    return bool(level)


def is_record(value: Any) -> bool:
    """Whether *value* is an instance of a Struct or a dataclass."""
    return isinstance(value, msgspec.Struct) or (hasattr(value, _FIELDS) and not isinstance(value, type))


def _same_shape(ours: Any, theirs: Any) -> bool:
    """Whether both, of one class, have the same children to compare; without children, whether they are equal."""
    kind: Any = ours.__class__
    if issubclass(kind, dict):
        return [(key.__class__, key) for key in ours] == [(key.__class__, key) for key in theirs]
    if issubclass(kind, (set, frozenset)):
        return {(item.__class__, item) for item in ours} == {(item.__class__, item) for item in theirs}
    if issubclass(kind, (list, tuple)):
        return len(ours) == len(theirs)
    return is_record(ours) or bool(ours == theirs)


def _reason(value: Any, *, typed: bool) -> str | None:
    if value is None or isinstance(value, bool):
        return None
    if isinstance(value, Secret):
        return "is a Secret, and secrets are never written; keep it out of what is saved"
    if isinstance(value, str) and (type(value) is str or not typed):
        return _text_reason(value) or _kind_reason(value, str)
    if isinstance(value, float):
        if not math.isfinite(value):
            return f"is {value!r}, which JSON cannot hold; store None or text instead"
        return _kind_reason(value, float)
    if type(value) is int:
        if value.bit_length() >= _MOST_BITS and abs(value) >= 10**_MOST_DIGITS:
            return f"is an int of more than {_MOST_DIGITS:,} digits; store it as text"
        return None
    if isinstance(value, dict):
        return _key_reason(value, typed=typed)
    return _typed_reason(value) if typed else _kind_reason(value, list)


def _text_reason(text: str) -> str | None:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        bad = text[error.start]
        return (
            f"holds the lone surrogate {bad!r} at {error.start}, which no file in UTF-8 can hold; "
            "store text.encode('utf-8', 'replace').decode()"
        )
    return None


def _kind_reason(value: Any, expected: type) -> str | None:
    if type(value) is expected:
        return None
    if isinstance(value, (bytes, bytearray, memoryview)):
        return f"is {_a(value)}, which JSON cannot hold; store text instead, base64 for example"
    if isinstance(value, (tuple, set, frozenset)):
        return f"is {_a(value)}, which would come back as a list; store a list"
    return (
        f"is {_a(value)}, which would not come back as one; "
        "store plain data (dict, list, str, int, float, bool, None)"
    )


def _key_reason(value: Any, *, typed: bool) -> str | None:
    for key in value:
        if typed:
            try:
                msgspec.json.encode({key: None})
            except (TypeError, ValueError) as error:
                return f"has the key {_shown(key)}, {_a(key)}, which cannot be stored ({error})"
        elif type(key) is not str:
            return f"has the key {_shown(key)}, {_a(key)}, which would come back as text; use str keys"
        elif _text_reason(key) is not None:
            return f"has the key {key!r}, with a lone surrogate, which no file in UTF-8 can hold"
    return None if typed else _kind_reason(value, dict)


def _typed_reason(value: Any) -> str | None:
    if _is_container(value):
        return None
    try:
        msgspec.json.encode(value)
    except (TypeError, ValueError):
        return f"is {_a(value)}, which cannot be stored; store plain data or a msgspec Struct"
    return None


def _children(value: Any) -> Iterator[tuple[Any, Any]]:
    if isinstance(value, dict):
        yield from value.items()
    elif isinstance(value, (list, tuple, set, frozenset)):
        yield from enumerate(cast("Iterable[Any]", value))
    elif isinstance(value, msgspec.Struct):
        for name in value.__struct_fields__:
            yield name, getattr(value, name)
    elif is_record(value):
        for field in dataclasses.fields(value):
            yield field.name, getattr(value, field.name)


def _is_container(value: Any) -> bool:
    return isinstance(value, (dict, list, tuple, set, frozenset)) or is_record(value)


def _path(trail: _Trail) -> str:
    steps: list[str] = []
    while trail is not None:
        trail, step = trail
        named = isinstance(step, str) and step.isidentifier()
        steps.append(f".{step}" if named else f"[{_shown(step)}]")
    steps.reverse()
    return "".join(steps) if len(steps) <= MAX_DEPTH // 2 else "".join(steps[:_SHOWN]) + "…"


def _a(value: Any) -> str:
    name: str = value.__class__.__name__
    if name == "bytes":
        return name
    return f"an {name}" if name[0] in "aeiouAEIOU" else f"a {name}"


def _shown(key: Any) -> str:
    text = repr(key)
    return text if len(text) <= 40 else text[:39] + "…"
