"""What is wrong with a script, each with the line where it stands."""

from __future__ import annotations

from difflib import get_close_matches
from typing import TYPE_CHECKING

from overwinter.cli.refusal import Refusal

if TYPE_CHECKING:
    from collections.abc import Iterable

    from overwinter.cli.scripts.positions import Path

__all__ = ["Problems", "did_you_mean", "listed", "one_of"]

_MOST = 20
_LONGEST_LIST = 24


class Problems:
    """Collects everything that is wrong with one file, so that a person can put it right in one go.

    :param file: its name, as the person gave it.
    """

    def __init__(self, file: str, lines: dict[Path, int]) -> None:
        self.file = file
        self._lines = lines
        self._found: dict[tuple[int, str], None] = {}

    def add(self, path: Path, told: str) -> None:
        """Note that something is wrong at *path*."""
        self._found[self.line_of(path), told] = None

    def line_of(self, path: Path) -> int:
        """The line of *path*, or of the nearest that it lies in."""
        while path and path not in self._lines:
            path = path[:-1]
        return self._lines.get(path, 1)

    def refuse(self) -> None:
        """:raises Refusal: something is wrong; a line for each, in the order of the file."""
        if not self._found:
            return
        told = [f"{self.file}:{line}: {what}" for line, what in sorted(self._found)]
        left = len(told) - _MOST
        raise Refusal(*told[:_MOST], *([f"and {left} more like these"] if left > 0 else []))


def one_of(value: str, allowed: Iterable[str]) -> str:
    """What to say after ``unknown …``: the nearest of *allowed*, and all of them."""
    names = list(allowed)
    return f"{did_you_mean(value, names)}; there {'is' if len(names) == 1 else 'are'} {listed(names)}"


def did_you_mean(value: str, allowed: Iterable[str]) -> str:
    """`` (did you mean …?)``, or nothing."""
    names = {name.lower(): name for name in allowed}
    near = get_close_matches(value.lower(), names, n=1, cutoff=0.6)
    return f" (did you mean {names[near[0]]!r}?)" if near else ""


def listed(names: Iterable[str]) -> str:
    """The names, as a part of a sentence."""
    every = list(names)
    told = ", ".join(every[:_LONGEST_LIST])
    return f"{told}, and {len(every) - _LONGEST_LIST} more" if len(every) > _LONGEST_LIST else told or "none"
