"""The messages of a request: a view of a conversation, made without copying it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain
from typing import TYPE_CHECKING, Any, overload

import msgspec

from overwinter.agents.models.protocol import Message

if TYPE_CHECKING:
    from typing import SupportsIndex

__all__ = ["DROPPED", "MessageView", "shown"]

#: What stands in the place of a tool's result that was dropped.
DROPPED = "[This result was left out to save room. Repeat the call if it is needed and may be repeated.]"


class MessageView(Sequence[Message]):
    """Some messages, and after them a stretch of a list that grows at its end and changes nowhere else.

    Whoever holds it sees what stood there when it was made, and cannot change it. Making one takes the same time
    whatever the list's length; going through it takes the time of a list.

    :param head: what stands first.
    :param source: the list.
    :param start: where in it the stretch begins; it ends where the list now does.
    :param dropped_before: results of tools before this index of the list are replaced by a note.
    """

    __slots__ = ("_dropped_before", "_head", "_source", "_start", "_stop")

    def __init__(
        self,
        head: Sequence[Message],
        source: Sequence[Message],
        start: int = 0,
        *,
        dropped_before: int = 0,
    ) -> None:
        self._head = tuple(head)
        self._source = source
        self._start = start
        self._stop = len(source)
        self._dropped_before = dropped_before

    def __len__(self) -> int:
        return len(self._head) + self._stop - self._start

    @overload
    def __getitem__(self, index: SupportsIndex) -> Message: ...

    @overload
    def __getitem__(self, index: slice[Any, Any, Any]) -> list[Message]: ...

    def __getitem__(self, index: SupportsIndex | slice[Any, Any, Any]) -> Message | list[Message]:
        if isinstance(index, slice):
            return [self[at] for at in range(*index.indices(len(self)))]
        at, size = int(index), len(self)
        if not -size <= at < size:
            raise IndexError("there is no such message")
        at = at + size if at < 0 else at
        if at < len(self._head):
            return self._head[at]
        return self._shown(self._start + at - len(self._head))

    def __iter__(self) -> Iterator[Message]:
        middle = min(max(self._start, self._dropped_before), self._stop)
        return chain(
            self._head, map(self._shown, range(self._start, middle)), self._source[middle : self._stop]
        )

    def __eq__(self, other: object) -> bool:
        if isinstance(other, (MessageView, list, tuple)):
            return list(self) == list(other)  # pyright: ignore[reportUnknownArgumentType]
        return NotImplemented

    __hash__ = None  # type: ignore[assignment]  # pyright: ignore[reportAssignmentType]

    def __repr__(self) -> str:
        return f"<MessageView of {len(self)} messages>"

    def _shown(self, index: int) -> Message:
        message = self._source[index]
        return shown(message) if index < self._dropped_before else message


def shown(message: Message) -> Message:
    """*message* as it is carried once results are dropped: with a note, if it is a result longer than that."""
    if message.role != "tool" or len(message.content) <= len(DROPPED):
        return message
    return msgspec.structs.replace(message, content=DROPPED)
