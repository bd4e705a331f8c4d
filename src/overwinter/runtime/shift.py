"""Which of the actors that were woken have a task."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from overwinter.runtime.cell import Cell

__all__ = ["Shift"]

#: So many tasks of actors may have been made and not begun. They begin in one turn of the loop, with a message each:
#: some four milliseconds, if it has an agent saved. More at once are not faster, and hold the others up for longer.
_AT_THE_GATE = 64


class Shift:
    """Who has been woken and has not begun: the first few have a task at once, the others have theirs after them.

    When 100,000 actors are told something at once, as many tasks would outlive one garbage collection after the other,
    and these would take more time than all the rest.
    """

    __slots__ = ("_at_the_gate", "_behind")

    def __init__(self) -> None:
        self._at_the_gate: set[Cell] = set()
        self._behind: deque[Cell] = deque()

    def may_begin(self, cell: Cell) -> bool:
        """Whether ``cell`` is to have a task at once; else :meth:`Cell.begin` is called when it may."""
        if len(self._at_the_gate) < _AT_THE_GATE:
            self._at_the_gate.add(cell)
            return True
        self._behind.append(cell)
        return False

    def begun(self, cell: Cell) -> None:
        """The task of ``cell`` has begun, or will not any more."""
        self._at_the_gate.discard(cell)
        if self._behind and len(self._at_the_gate) < _AT_THE_GATE:
            following = self._behind.popleft()
            self._at_the_gate.add(following)
            following.begin()
