"""Many texts, in portions that each fit into one prompt."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["portions"]

_AT_LEAST = 2


def portions(texts: Iterable[str], limit: int) -> list[list[str]]:
    """*texts* in their order, as many in each portion as have *limit* characters together.

    A portion holds at least two, however long they are, and the last one may hold three: otherwise bringing portions
    together would never come to an end.
    """
    found: list[list[str]] = []
    size = 0
    for text in texts:
        if not found or (len(found[-1]) >= _AT_LEAST and size + len(text) > limit):
            found.append([])
            size = 0
        found[-1].append(text)
        size += len(text)
    if len(found) > 1 and len(found[-1]) < _AT_LEAST:
        last = found.pop()
        found[-1] += last
    return found
