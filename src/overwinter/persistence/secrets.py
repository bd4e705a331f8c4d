"""Credentials: kept in memory, handed to the model's adapter, and never written anywhere.

What a setting is called tells whether it is a credential; prose is not searched.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from enum import Enum
from pathlib import PurePath
from typing import TYPE_CHECKING, Any, NoReturn, cast, final

import msgspec

from overwinter.persistence.credential_names import is_credential_name, words_of

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["REDACTED", "Secret", "credential_values", "redact", "reveal", "scrub"]

REDACTED = "[redacted]"
"""What stands in a file where a credential stood in memory."""

_SHORTEST = 8  # a shorter value may be an ordinary word, and would make error texts unreadable
_DEEPEST = 100
_DEEPEST_CREDENTIAL = 8

_REBUILT: frozenset[Any] = frozenset({list, tuple, set, frozenset})
_PAIRS = frozenset({"env", "environment", "header", "headers", "params", "query"})
_IN_URLS = frozenset({"key", "sig", "signature"})
_NAME_FIELDS = ("name", "key", "header")

# Compiled by re with their first use, and kept there: whoever imports overwinter may need none.
_URL = r"[A-Za-z][A-Za-z0-9+.:-]*://\S+"
_USERINFO = r"(?<=://)[^/?#\s]*(?=@)"
_PARAMETER = r"(?<=[?&#;])([^=?&#;\s]+)=([^&#;\s]+)"
_ASSIGNMENT = r"(?s)(-{0,2}([A-Za-z_][\w.-]*)=)(.+)"
_OPTION = r"--?([A-Za-z][\w.-]*)"
_SCHEME = r"(?i)(?:Basic|Bearer|Token|Digest)\s+(\S.*)"


@final
class Secret:
    """A text that must never be written: a key, a token, a password.

    It prints as ``***``, cannot be encoded or pickled, and gives its text only to :meth:`reveal`. Two secrets
    of the same text are equal; a secret is never equal to its text.
    """

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def reveal(self) -> str:
        """The text itself."""
        return self._text

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and self._text == other._text

    def __hash__(self) -> int:
        return hash((Secret, self._text))

    def __bool__(self) -> bool:
        return bool(self._text)

    def __repr__(self) -> str:
        return "Secret('***')"

    def __str__(self) -> str:
        return "***"

    def __copy__(self) -> Secret:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Secret:
        return self

    def __reduce__(self) -> NoReturn:
        raise TypeError("a Secret cannot be pickled; reveal() it where it is used")


def redact(settings: Any) -> Any:
    """A deep copy of *settings* as plain data in which every credential is ``"[redacted]"``.

    Credentials are the values of settings with such a name, at any depth, in lists of pairs, command lines
    and ``NAME=value`` too; every :class:`Secret`; and in texts that are a URL, what stands before the ``@``
    and the parameters with such a name. Structs and dataclasses become dicts, tuples and sets lists, paths
    text, and an object of any other kind its type's name, because its ``repr`` might tell a secret.
    """
    return _Walk().plain(settings)


def reveal(settings: Any) -> Any:
    """*settings* with the text of every :class:`Secret` in its place, in dicts, lists, tuples and sets."""
    if isinstance(settings, Secret):
        return settings.reveal()
    kind: Any = settings.__class__
    if issubclass(kind, Mapping):
        return {key: reveal(value) for key, value in settings.items()}
    if kind in _REBUILT:
        return kind(map(reveal, settings))
    return settings


def credential_values(settings: Any, environ: Mapping[str, str]) -> frozenset[str]:
    """The texts that :func:`redact` would hide in *settings* and in *environ*, for :func:`scrub`.

    Those of fewer than 8 characters are left out.
    """
    walk = _Walk()
    walk.plain(settings)
    walk.plain(environ)
    return frozenset(text for text in walk.found if len(text) >= _SHORTEST)


def scrub(text: str, values: Iterable[str]) -> str:
    """*text* with ``"[redacted]"`` wherever one of *values* stood; those of fewer than 8 characters stay."""
    for value in sorted(values, key=len, reverse=True):
        if len(value) >= _SHORTEST:
            text = text.replace(value, REDACTED)
    return text


class _Walk:
    """One walk through settings: gives them back as plain data and remembers what it hid."""

    def __init__(self) -> None:
        self.found: set[str] = set()
        self.around: set[int] = set()

    def plain(self, value: Any, name: str = "", depth: int = 0) -> Any:
        if value is None or type(value) in (bool, int, float):
            return self.hide(value) if is_credential_name(name) else value
        if isinstance(value, Secret) or is_credential_name(name):
            return self.hide(value)
        if depth > _DEEPEST:
            return "[nested too deeply]"
        if isinstance(value, Enum):
            return self.plain(value.value, name, depth + 1)
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, PurePath):
            return str(value)
        if id(value) in self.around:
            return "[contains itself]"
        self.around.add(id(value))
        try:
            return self.container(value, name, depth)
        finally:
            self.around.discard(id(value))

    def container(self, value: Any, name: str, depth: int) -> Any:
        if isinstance(value, Mapping):
            return self.mapping(value, depth)
        if isinstance(value, (list, tuple, set, frozenset)):
            return self.sequence(list(cast("Iterable[Any]", value)), name, depth)
        if isinstance(value, (bytes, bytearray, memoryview)) or callable(value):
            return _type_name(value)
        if isinstance(value, msgspec.Struct):
            return self.mapping({field: getattr(value, field) for field in value.__struct_fields__}, depth)
        if dataclasses.is_dataclass(value):
            fields = (field.name for field in dataclasses.fields(value))
            return self.mapping({field: getattr(value, field) for field in fields}, depth)
        try:
            return self.plain(msgspec.to_builtins(value), name, depth + 1)
        except TypeError:
            return _type_name(value)

    def mapping(self, value: Any, depth: int) -> dict[str, Any]:
        result = {_key(key): self.plain(item, _key(key), depth + 1) for key, item in value.items()}
        if "value" in value and any(_names_credential(value.get(field)) for field in _NAME_FIELDS):
            result["value"] = self.hide(value["value"])
        return result

    def sequence(self, items: list[Any], name: str, depth: int) -> list[Any]:
        pairs = not _PAIRS.isdisjoint(words_of(name))
        result: list[Any] = []
        option = None
        for item in items:
            if isinstance(item, str):
                result.append(self.hide(item) if option else self.argument(item))
            elif pairs and _is_credential_pair(item):
                result.append([item[0], self.hide(item[1])])
            else:
                result.append(self.plain(item, "", depth + 1))
            option = re.fullmatch(_OPTION, item) if isinstance(item, str) else None
            option = option if option and is_credential_name(option[1]) else None
        return result

    def argument(self, text: str) -> str:
        """An element of a list, which may be a command line's ``--name=value`` or ``NAME=value``."""
        assignment = re.fullmatch(_ASSIGNMENT, text)
        if assignment is not None and is_credential_name(assignment[2]):
            return assignment[1] + self.hidden(assignment[3])
        return self.text(text)

    def text(self, text: str) -> str:
        if not re.fullmatch(_URL, text.strip()):
            return str(text)
        return re.sub(_PARAMETER, self.parameter, re.sub(_USERINFO, self.userinfo, text))

    def userinfo(self, match: re.Match[str]) -> str:
        self.remember(match[0].partition(":")[2])
        return self.hidden(match[0])

    def parameter(self, match: re.Match[str]) -> str:
        if match[1].lower() in _IN_URLS or is_credential_name(match[1]):
            return f"{match[1]}={self.hidden(match[2])}"
        return match[0]

    def hide(self, value: Any) -> Any:
        """``"[redacted]"``, but what tells nothing (None, a bool, an empty text) stays."""
        tells_nothing = value is None or isinstance(value, bool) or (isinstance(value, str) and not value)
        return value if tells_nothing else self.hidden(value)

    def hidden(self, value: Any) -> str:
        self.remember(value)
        return REDACTED

    def remember(self, value: Any, depth: int = 0) -> None:
        if isinstance(value, Secret):
            value = value.reveal()
        if isinstance(value, str):
            scheme = re.fullmatch(_SCHEME, value)
            self.found.update((value, scheme[1]) if scheme else (value,))
        elif isinstance(value, (Mapping, list, tuple, set, frozenset)) and depth < _DEEPEST_CREDENTIAL:
            items = cast("Any", value)
            for item in items.values() if isinstance(value, Mapping) else items:
                self.remember(item, depth + 1)


def _names_credential(value: Any) -> bool:
    return isinstance(value, str) and is_credential_name(value)


def _is_credential_pair(value: Any) -> bool:
    return isinstance(value, (list, tuple)) and len(cast("Any", value)) == 2 and _names_credential(value[0])


def _key(key: Any) -> str:
    return str(key.value if isinstance(key, Enum) else key)


def _type_name(value: Any) -> str:
    named: Any = value if hasattr(value, "__qualname__") else value.__class__
    return f"{named.__module__}.{named.__qualname__}"
