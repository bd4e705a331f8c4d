"""A call under way, as its lane counts it."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from overwinter.agents.rates.lane import Lane
    from overwinter.agents.rates.window import Entry

__all__ = ["Place"]


class Place:
    """A call under way. It ends once, in one of four ways; ending it again does nothing."""

    __slots__ = ("_lane", "_open", "began", "request", "tokens")

    def __init__(self, lane: Lane, began: float, request: Entry | None, tokens: Entry | None) -> None:
        self._lane = lane
        self._open = True
        self.began = began
        self.request = request
        self.tokens = tokens

    def answered(self, tokens: int) -> None:
        """The model answered and used so many *tokens*; 0 where it did not say."""
        self._end(tokens=tokens or None, answered=True)

    def refused(self) -> None:
        """The provider refused the call: it was a request, and used no tokens."""
        self._end(tokens=0)

    def broke_off(self) -> None:
        """It ended without an answer, and nobody knows what it used: what was reserved for it stays."""
        self._end()

    def not_taken(self) -> None:
        """The call was not made."""
        self._end(requests=0, tokens=0)

    def _end(self, *, requests: int | None = None, tokens: int | None = None, answered: bool = False) -> None:
        if self._open:
            self._open = False
            self._lane.leave(self, requests=requests, tokens=tokens, answered=answered)
