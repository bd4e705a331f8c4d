"""Text that can be sent and stored."""

from __future__ import annotations

from typing import Any

__all__ = ["SurrogateFilter", "storable", "storable_text"]


def storable_text(text: str) -> str:
    """``text`` with halves of surrogate pairs joined, and each lone one replaced by U+FFFD.

    Models cut emojis in two; what is left has no encoding in UTF-8 and could be neither sent back nor stored.
    """
    if text.isascii():
        return text
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return text


def storable(value: Any) -> Any:
    """Plain data with every text in it made storable, keys too."""
    if isinstance(value, str):
        return storable_text(value)
    if isinstance(value, dict):
        return {storable(key): storable(item) for key, item in value.items()}  # pyright: ignore[reportUnknownVariableType]
    if isinstance(value, (list, tuple)):
        return [storable(item) for item in value]  # pyright: ignore[reportUnknownVariableType]
    return value


class SurrogateFilter:
    """Makes a text storable that comes in pieces: a pair cut in two by the pieces is put together again."""

    def __init__(self) -> None:
        self._held = ""

    def feed(self, piece: str) -> str:
        """The part of the text so far that is certain and was not returned before; perhaps empty."""
        piece = self._held + piece
        self._held = ""
        if piece and "\ud800" <= piece[-1] <= "\udbff":
            piece, self._held = piece[:-1], piece[-1]
        return storable_text(piece)

    def finish(self) -> str:
        """What is left when no more pieces come."""
        held, self._held = self._held, ""
        return storable_text(held)
