"""A JSON array that only grows, kept encoded, so that saving it again costs only what is new."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from overwinter.persistence.codec import encode, encode_checked, pretty

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["Fragments"]

_BLOCK = 64 * 1024
_LEVEL = 2  # an element of an array that is a member of the document


class Fragments:
    """The encoded elements of one array member of a document.

    Elements are encoded and checked once. They are held in blocks of about 64 kB, so that a document of many
    megabytes is handed to the writer as a few hundred pieces and never joined on the event loop.
    """

    __slots__ = ("_blocks", "_count", "_tail", "name")

    def __init__(self, name: str) -> None:
        self.name = name
        # Neither is anything to the garbage collection, while they are short.
        self._blocks: tuple[bytes, ...] = ()
        self._tail = bytearray()
        self._count = 0

    def update(self, elements: Sequence[Any], *, checked: bool = False, most: int | None = None) -> int:
        """Take in what *elements* has beyond the elements already held; returns how many that were.

        :param checked: they are known to be storable, having just been read.
        :param most: leave what is beyond so many for the next time.
        :raises SaveRejected: an element cannot be stored; ``field`` names it, as in ``conversation[3].content``.
            Those before it are held.
        """
        before = self._count
        end = len(elements) if most is None else min(len(elements), before + most)
        for index in range(before, end):
            element = elements[index]
            if checked:
                encoded = encode(element)
            else:
                encoded = encode_checked(element, what=f"{self.name}[{index}]", type=type(element))
            self._append(pretty(encoded, _LEVEL))
        return self._count - before

    def pieces(self, *, last: bool) -> list[bytes]:
        """The member as text: its name, the elements, and a comma unless it is the ``last`` of the document."""
        end = b"]\n" if last else b"],\n"
        head = b'  "' + self.name.encode() + b'": ['
        if not self._count:
            return [head + end]
        return [head, *self._blocks, bytes(self._tail), b"\n  " + end]

    def __len__(self) -> int:
        """How many elements are held."""
        return self._count

    def _append(self, text: bytes) -> None:
        self._tail += b",\n    " if self._count else b"\n    "
        self._tail += text
        self._count += 1
        if len(self._tail) >= _BLOCK:
            self._blocks = (*self._blocks, bytes(self._tail))
            self._tail.clear()
