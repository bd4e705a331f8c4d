"""A small store of facts that an agent keeps between its runs."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import msgspec

from overwinter.errors import ConfigurationError
from overwinter.persistence.codec import encode_checked

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

__all__ = ["Memory"]

# A change takes no time, so that one lock serves the memories of all agents.
_changing = threading.RLock()


class Memory:
    """Named values that are saved with the agent's state and come back with ``load()``.

    A value is plain data (strings, numbers, booleans, None, lists, dictionaries with string keys). It is
    checked and copied when it is set, so that a bad value never stops a save and a later change to the object
    that was passed in does not slip by; what :meth:`get` returns is a copy as well. It may be used from any thread,
    such as a synchronous tool's.
    """

    __slots__ = ("_changed", "_values")

    def __init__(self) -> None:
        self._values: dict[str, msgspec.Raw] = {}
        self._changed: Callable[[str, msgspec.Raw | None], None] | None = None

    def watch(self, changed: Callable[[str, msgspec.Raw | None], None]) -> None:
        """Call ``changed(key, value)`` after each change, with None for a key that was deleted.

        It is called in the thread that made the change and in the order of the changes, of which no other is made
        until it returns, so it must not wait for anything. There is room for one watcher.
        """
        self._changed = changed

    def set(self, key: str, value: Any) -> None:
        """Keep *value* under *key*.

        It is recorded at once while the agent is at work or spawned; of one that lives nowhere, with its next run or
        :meth:`~overwinter.Agent.save`.

        :raises SaveRejected: the value could not be read back the same; ``field`` names the place, as in
            ``memory.scores[3]``.
        """
        if not isinstance(key, str):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise ConfigurationError(f"the key of a memory is a string, not {key!r}")
        encode_checked({key: None}, what="memory")
        raw = msgspec.Raw(encode_checked(value, what=f"memory.{key}"))
        with _changing:
            self._values[key] = raw
            self._tell(key, raw)

    def get(self, key: str, default: Any = None) -> Any:
        """A copy of the value under *key*, or *default*."""
        raw = self._values.get(key)
        return default if raw is None else msgspec.json.decode(raw)

    def delete(self, key: str) -> None:
        """Forget *key*; one that is not there is no error."""
        with _changing:
            if self._values.pop(key, None) is not None:
                self._tell(key, None)

    def search(self, words: str, limit: int = 10) -> dict[str, Any]:
        """What is kept under the *limit* keys that fit *words* best, the best first; copies, as of :meth:`get`.

        Words are looked for in the keys and in the text of the values, whole and regardless of case; see
        :func:`overwinter.agents.memory_search.search` for the order.
        """
        from overwinter.agents.memory_search import search  # its patterns are dear to compile

        values = dict(self._values)
        return {key: msgspec.json.decode(values[key]) for key in search(values.items(), words, limit)}

    def as_dict(self) -> dict[str, Any]:
        """A copy of everything kept."""
        return {key: msgspec.json.decode(raw) for key, raw in self.encoded().items()}

    def encoded(self) -> dict[str, msgspec.Raw]:
        """Everything kept, as checked JSON."""
        return dict(self._values)

    def replace(self, values: Mapping[str, Any]) -> None:
        """Keep exactly *values*, which come from a file; nobody is told of a change."""
        self._values = {key: msgspec.Raw(msgspec.json.encode(value)) for key, value in values.items()}

    def put(self, key: str, raw: msgspec.Raw | None) -> None:
        """Make a change that a record tells of; nobody is told again."""
        if raw is None:
            self._values.pop(key, None)
        else:
            self._values[key] = raw

    def _tell(self, key: str, raw: msgspec.Raw | None) -> None:
        if self._changed is not None:
            self._changed(key, raw)

    def __contains__(self, key: object) -> bool:
        return key in self._values

    def __iter__(self) -> Iterator[str]:
        return iter(tuple(self._values))

    def __len__(self) -> int:
        return len(self._values)

    def __repr__(self) -> str:
        return f"<Memory {sorted(self._values)}>"
