"""Where each key, table and element of a TOML document stands, which :mod:`tomllib` does not tell."""

from __future__ import annotations

import re
import tomllib
from bisect import bisect_right
from io import BytesIO
from typing import TypeAlias

__all__ = ["Path", "line_of", "positions"]

#: The keys, and the indexes of lists, that lead to a value: ``("agents", 1, "name")``.
Path: TypeAlias = tuple[str | int, ...]

_BLANK = re.compile(r"(?:[ \t\n]|#[^\n]*)*")
_SPACE = re.compile(r"[ \t]*")
_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")
_STRING = re.compile(
    r'"""(?:[^"\\]|\\.|"(?!""))*"{3,5}'
    r"|'''(?:[^']|'(?!''))*'{3,5}"
    r'|"(?:[^"\\\n]|\\.)*"'
    r"|'[^'\n]*'",
    re.DOTALL,
)
_OTHER = re.compile(r"[^,\]}#\n]*")


def positions(text: str) -> dict[Path, int]:
    """The line, from 1, of every key, table and element of *text*.

    A table that is made by the way, as ``a`` by ``[a.b]``, stands where it was first named.

    :param text: a document that :mod:`tomllib` has accepted.
    """
    scanner = _Scanner(text.replace("\r\n", "\n"))
    scanner.document()
    return scanner.found


def line_of(path: Path, found: dict[Path, int]) -> int:
    """The line of *path*, or of the nearest that it lies in; 1 for the document itself."""
    while path and path not in found:
        path = path[:-1]
    return found.get(path, 1)


class _Scanner:
    """Goes through a document once and notes where things begin. What it does not need to know it passes over."""

    def __init__(self, text: str) -> None:
        self.found: dict[Path, int] = {}
        self._text = text
        self._at = 0
        self._newlines = [match.start() for match in re.finditer("\n", text)]
        self._lengths: dict[Path, int] = {}  # of the arrays of tables

    def document(self) -> None:
        table: Path = ()
        self._skip(_BLANK)
        while self._at < len(self._text):
            table = self._header() if self._next("[") else self._pair(table)
            self._skip(_BLANK)

    def _header(self) -> Path:
        line, several = self._line(), self._text.startswith("[[", self._at)
        self._at += 2 if several else 1
        path: Path = ()
        for part in self._key():
            path = self._newest((*path, part))
            self.found.setdefault(path, line)
        if several:
            if path and isinstance(path[-1], int):
                path = path[:-1]
            index = self._lengths.get(path, 0)
            self._lengths[path] = index + 1
            path = (*path, index)
        self.found[path] = line
        self._at += 2 if several else 1
        return path

    def _newest(self, path: Path) -> Path:
        """*path*, or where that is an array of tables, the last of these."""
        return (*path, self._lengths[path] - 1) if path in self._lengths else path

    def _pair(self, table: Path) -> Path:
        """A key and its value; returns the table, which stays the one that pairs belong to."""
        line, path = self._line(), table
        for part in self._key():
            path = (*path, part)
            self.found.setdefault(path, line)
        self._at += 1  # the equals sign
        self._skip(_SPACE)
        self._value(path)
        return table

    def _key(self) -> list[str]:
        parts: list[str] = []
        while True:
            self._skip(_SPACE)
            quoted = self._next('"') or self._next("'")
            raw = self._skip(_STRING if quoted else _BARE_KEY)
            parts.append(tomllib.load(BytesIO(f"key = {raw}".encode()))["key"] if quoted else raw)
            self._skip(_SPACE)
            if not self._next("."):
                return parts
            self._at += 1

    def _value(self, path: Path) -> None:
        if self._next("["):
            self._elements(path)
        elif self._next("{"):
            self._inline_table(path)
        else:
            self._skip(_STRING if self._next('"') or self._next("'") else _OTHER)

    def _elements(self, path: Path) -> None:
        index = 0
        self._at += 1
        self._skip(_BLANK)
        while not self._next("]"):
            self.found[*path, index] = self._line()
            self._value((*path, index))
            self._separator()
            index += 1
        self._at += 1

    def _inline_table(self, path: Path) -> None:
        self._at += 1
        self._skip(_BLANK)
        while not self._next("}"):
            self._pair(path)
            self._separator()
        self._at += 1

    def _separator(self) -> None:
        self._skip(_BLANK)
        if self._next(","):
            self._at += 1
            self._skip(_BLANK)

    def _next(self, character: str) -> bool:
        return self._text.startswith(character, self._at)

    def _skip(self, pattern: re.Pattern[str]) -> str:
        match = pattern.match(self._text, self._at)
        assert match is not None, "tomllib accepts nothing of the kind"
        self._at = match.end()
        return match[0]

    def _line(self) -> int:
        return bisect_right(self._newlines, self._at - 1) + 1 if self._at else 1
