"""How an agent's state file stands to its journal."""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from overwinter.agents.restore import Restored

__all__ = ["OnDisk"]

_SMALL = 64 << 10
_MUCH = 1 << 20


class OnDisk(msgspec.Struct, gc=False):
    """What is known of an agent's files; it outlives the runtimes that write them.

    :ivar file_size: of the state file, in bytes; 0 while there is none, or none that has to do with this state.
    :ivar folded: the sequence that the state file was last written at by this process; 0 if it was not.
    :ivar tail: the bytes of the records that the state file does not hold yet.
    :ivar replaced: the state is another one than the files tell of.
    :ivar source: where that other state came from, in words.
    :ivar unchecked: the bytes that were added since retention last looked.
    :ivar floor: the highest sequence that any file in the folder carries.
    """

    file_size: int = 0
    tail: int = 0
    replaced: bool = False
    source: str = ""
    floor: int = 0
    folded: int = 0
    unchecked: float = inf

    @property
    def outgrown(self) -> bool:
        """Whether the state file is so small, or so far behind, that it is time to write it anew.

        What is written in all is then proportional to what was said, however many runs it was said in: a file that
        is not small is written anew when as much again has been added.
        """
        return self.file_size < _SMALL or self.tail >= self.file_size

    @property
    def far_behind(self) -> bool:
        """Whether the journal has so much beyond the state file that it is not to wait for the run's end."""
        return self.tail >= max(self.file_size, _MUCH)

    def loaded(self, restored: Restored) -> None:
        """The state is what the files say."""
        self.file_size = 0 if restored.document is None else restored.document.size
        self.tail = restored.tail
        self.replaced = False
