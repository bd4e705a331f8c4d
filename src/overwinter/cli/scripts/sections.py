"""One table of a script: its keys are taken out one by one, each checked, and what nobody asked for is unknown."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, cast

from overwinter.cli.scripts.problems import did_you_mean, listed

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from overwinter.cli.scripts.positions import Path
    from overwinter.cli.scripts.problems import Problems

__all__ = ["Section", "kind_of"]

_KINDS = (
    (dict, "a table"),
    (list, "a list"),
    (str, "a text"),
    (bool, "true or false"),
    (int, "a whole number"),
    (float, "a number"),
)


class Section:
    """A table of the file, called *what* when something is wrong with it.

    Each method takes a key: it returns the value if it is as it should be, and otherwise notes the problem and returns
    what stands for a missing one.
    """

    def __init__(self, values: Mapping[str, Any], path: Path, problems: Problems, what: str) -> None:
        self._values = values
        self._asked: list[str] = []
        self.path = path
        self.problems = problems
        self.what = what

    def __contains__(self, key: str) -> bool:
        return self._values.get(key) is not None

    def wrong(self, key: str, told: str) -> None:
        """Note that something is wrong with the value of *key*."""
        self.problems.add((*self.path, key) if key in self._values else self.path, told)

    def get(self, key: str) -> Any:
        """The value as it stands there, or None."""
        self._asked.append(key)
        return self._values.get(key)

    def text(self, key: str, *, required: bool = False, blank: bool = False) -> str | None:
        """A text, of more than blanks unless *blank*."""
        value = self.get(key)
        if value is None:
            if required:
                self.wrong(key, f'{self.what} has no {key}; give it one, as in {key} = "..."')
            return None
        if not isinstance(value, str):
            self._not(key, value, "a text in quotes")
            return None
        if not blank and not value.strip():
            self.wrong(key, f"{key} of {self.what} is empty")
            return None
        return value

    def choice(self, key: str, allowed: Sequence[str]) -> str | None:
        """One of some texts."""
        value = self.text(key)
        if value is not None and value not in allowed:
            self.wrong(
                key,
                f"{key} of {self.what} is {value!r}{did_you_mean(value, allowed)}; it may be "
                f"{' or '.join(map(repr, allowed))}",
            )
            return None
        return value

    def flag(self, key: str) -> bool | None:
        """True or false."""
        value = self.get(key)
        if value is None or isinstance(value, bool):
            return value
        self._not(key, value, "true or false")
        return None

    def whole(self, key: str, *, least: int = 1) -> int | None:
        """A whole number, *least* or more."""
        value = self.get(key)
        if value is None or (isinstance(value, int) and not isinstance(value, bool) and value >= least):
            return value
        self._not(key, value, f"a whole number, {least} or more")
        return None

    def number(self, key: str, *, above_zero: bool = True) -> float | None:
        """A number, above zero or at least not below it."""
        value = self.get(key)
        if value is None:
            return None
        if isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value):
            found = float(value)
            if found > 0 or (found == 0 and not above_zero):
                return found
        self._not(key, value, "a number above 0" if above_zero else "a number, 0 or more")
        return None

    def texts(self, key: str) -> list[str] | None:
        """A list of texts, none of them empty."""
        value = self.get(key)
        if value is None:
            return None
        if not isinstance(value, list):
            self._not(key, value, 'a list of texts, as in ["a", "b"]')
            return None
        every = [*cast("Iterable[Any]", value)]
        kept: list[str] = []
        for index, each in enumerate(every):
            if isinstance(each, str) and each.strip():
                kept.append(each)
            else:
                told = f"{key} of {self.what} has {_shown(each)} in it; its elements are texts in quotes"
                self.problems.add((*self.path, key, index), told)
        return kept

    def table(self, key: str, what: str) -> Section | None:
        """A table, which the caller takes apart."""
        value = self.get(key)
        if value is None:
            return None
        if not isinstance(value, dict):
            self._not(key, value, "a table")
            return None
        return Section(cast("dict[str, Any]", value), (*self.path, key), self.problems, what)

    def tables(self, key: str, what: str) -> list[Section]:
        """The tables of an array, each called *what* and its name; of what is no such array, none."""
        value = self.get(key)
        if value is None:
            return []
        if not isinstance(value, list):
            self.wrong(key, f"{key} is {kind_of(value)}; each of them begins with [[{key}]]")
            return []
        every = [*cast("Iterable[Any]", value)]
        found: list[Section] = []
        for index, each in enumerate(every):
            path = (*self.path, key, index)
            if isinstance(each, dict):
                table = cast("dict[str, Any]", each)
                name = table.get("name")
                called = f"{what} {name!r}" if isinstance(name, str) else f"this {what}"
                found.append(Section(table, path, self.problems, called))
            else:
                self.problems.add(
                    path, f"{key} has {kind_of(each)} in it; each of them begins with [[{key}]]"
                )
        return found

    def within(self, values: Mapping[str, Any], path: Path, what: str) -> Section:
        """A table that stands somewhere within this one."""
        return Section(values, (*self.path, *path), self.problems, what)

    def every_key(self) -> list[str]:
        """The keys that stand there; all of them count as asked for."""
        self._asked += self._values
        return list(self._values)

    def end(self, hints: Mapping[str, str] | None = None) -> None:
        """Every key has been asked for: those that are left are unknown.

        :param hints: what to say of some, which others would expect here.
        """
        for key in self._values:
            if key in self._asked:
                continue
            hint = (hints or {}).get(key)
            told = f"; {hint}" if hint else did_you_mean(key, self._asked)
            known = listed(dict.fromkeys(self._asked))
            self.wrong(key, f"{self.what} has an unknown key {key!r}{told}; it may have {known}")

    def _not(self, key: str, value: Any, wanted: str) -> None:
        self.wrong(key, f"{key} of {self.what} is {_shown(value)}; give it {wanted}")


def kind_of(value: Any) -> str:
    """What a value is, in words."""
    return next((told for kind, told in _KINDS if isinstance(value, kind)), "a date or time")


def _shown(value: Any) -> str:
    if isinstance(value, str):
        return f"the text {value!r}" if len(value) <= 40 else "a text"
    if isinstance(value, bool):
        return str(value).lower()
    return str(value) if isinstance(value, (int, float)) else kind_of(value)
