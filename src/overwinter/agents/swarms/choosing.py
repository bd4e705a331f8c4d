"""Whom a model means when it answers with a name."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from overwinter.agents.swarms.tally import normalised

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["name_in"]


def name_in(answer: str, names: Sequence[str]) -> str | None:
    """The one of *names* that *answer* is, or the only one that it mentions; ``None`` when that is not plain.

    Capitals, spaces, quotes and emphasis do not count, unless two names differ in nothing else. A name within a longer
    name is not mentioned by it: "the senior critic" means no "critic".
    """
    for exact in (answer, answer.strip()):
        if exact in names:
            return exact
    said = normalised(answer)
    meant = [name for name in names if normalised(name) == said]
    if not meant:
        meant = _mentioned(said, names)
    return meant[0] if len(meant) == 1 else None


def _mentioned(said: str, names: Sequence[str]) -> list[str]:
    found: list[str] = []
    for name in sorted(names, key=lambda name: -len(normalised(name))):
        pattern = rf"(?<!\w){re.escape(normalised(name))}(?!\w)"
        if normalised(name) and re.search(pattern, said):
            found.append(name)
            if all(normalised(other) != normalised(name) for other in names if other != name):
                said = re.sub(pattern, "\0", said)
    return found
