"""A small store of facts that an agent keeps between its runs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from overwinter.errors import ConfigurationError
from overwinter.persistence.codec import encode_checked

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

__all__ = ["Memory"]


class Memory:
    """Named values that are saved with the agent's state and come back with ``load()``.

    A value is plain data (strings, numbers, booleans, None, lists, dictionaries with string keys). It is
    checked and copied when it is set, so that a bad value never stops a save and a later change to the object
    that was passed in does not slip by; what :meth:`get` returns is a copy as well.
    """

    __slots__ = ("_changed", "_values")

    def __init__(self) -> None:
        self._values: dict[str, msgspec.Raw] = {}
        self._changed: Callable[[], None] | None = None

    def watch(self, changed: Callable[[], None]) -> None:
        """Call *changed* after each change; there is room for one watcher."""
        self._changed = changed

    def set(self, key: str, value: Any) -> None:
        """Keep *value* under *key*.

        :raises SaveRejected: the value could not be read back the same; ``field`` names the place, as in
            ``memory.scores[3]``.
        """
        if not isinstance(key, str):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise ConfigurationError(f"the key of a memory is a string, not {key!r}")
        encode_checked({key: None}, what="memory")
        self._values[key] = msgspec.Raw(encode_checked(value, what=f"memory.{key}"))
        self._tell()

    def get(self, key: str, default: Any = None) -> Any:
        """A copy of the value under *key*, or *default*."""
        raw = self._values.get(key)
        return default if raw is None else msgspec.json.decode(raw)

    def delete(self, key: str) -> None:
        """Forget *key*; one that is not there is no error."""
        if self._values.pop(key, None) is not None:
            self._tell()

    def as_dict(self) -> dict[str, Any]:
        """A copy of everything kept."""
        return {key: msgspec.json.decode(raw) for key, raw in self.encoded().items()}

    def encoded(self) -> dict[str, msgspec.Raw]:
        """Everything kept, as checked JSON."""
        return dict(self._values)

    def replace(self, values: Mapping[str, Any]) -> None:
        """Keep exactly *values*, which come from a file; nobody is told of a change."""
        self._values = {key: msgspec.Raw(msgspec.json.encode(value)) for key, value in values.items()}

    def _tell(self) -> None:
        if self._changed is not None:
            self._changed()

    def __contains__(self, key: object) -> bool:
        return key in self._values

    def __iter__(self) -> Iterator[str]:
        return iter(tuple(self._values))

    def __len__(self) -> int:
        return len(self._values)

    def __repr__(self) -> str:
        return f"<Memory {sorted(self._values)}>"
