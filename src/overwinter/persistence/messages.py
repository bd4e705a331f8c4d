"""What the persistence actor is told, and what it answers."""

from __future__ import annotations

from typing import TypeAlias

import msgspec

from overwinter.persistence.document import Metadata

__all__ = [
    "AppendRecords",
    "Appended",
    "Flush",
    "Flushed",
    "PersistenceMessage",
    "ReplaceDocument",
    "Saved",
]


class ReplaceDocument(msgspec.Struct, frozen=True):
    """Put a document in the place of the file at ``path``, atomically.

    ``members`` are pieces of the encoded members as ``assemble`` takes them: they are encoded and checked
    already, and joined in the writer's thread only. With ``keep_previous`` the file that was there is kept
    beside it as ``<name>.previous``; with ``checksum`` the metadata carries one of the body. The answer is
    :class:`Saved`.
    """

    path: str
    metadata: Metadata
    members: tuple[bytes, ...] = ()
    keep_previous: bool = False
    checksum: bool = False


class AppendRecords(msgspec.Struct, frozen=True):
    """Append lines to the journal of a folder that this runtime holds.

    ``folder`` is relative to the workspace, with slashes, and ``incarnation`` that of its identity. ``lines``
    are made by ``journal_line``, one sequence after the other, and ``last`` is the sequence of the last. The
    answer is :class:`Appended`, once they are in the log, or with ``sync`` once they are on the disk there. A
    disk that fails delays it.
    """

    folder: str
    incarnation: str
    lines: tuple[bytes, ...]
    last: int
    sync: bool = False


class Flush(msgspec.Struct, frozen=True):
    """Answer with :class:`Flushed` once everything received before has been tried."""


class Saved(msgspec.Struct, frozen=True):
    """A document is on disk, and so is its name.

    ``superseded`` tells that a newer document of the same path was written in the place of the one this
    answers; ``sequence`` and ``bytes`` are those of the one written.
    """

    path: str
    sequence: int
    bytes: int
    superseded: bool = False


class Appended(msgspec.Struct, frozen=True):
    """Records are in the log, up to the sequence ``last``."""

    last: int


class Flushed(msgspec.Struct, frozen=True):
    """What a flush found: the paths whose newest document is not safely on disk, with the reason of each."""

    failing: dict[str, str] = {}


PersistenceMessage: TypeAlias = ReplaceDocument | AppendRecords | Flush
