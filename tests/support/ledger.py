"""A ledger beside overwinter: what models were asked and tools did, told by themselves, in a file of their own.

Each entry is one write to a file opened for appending, so it outlives the process that is killed an instant later.
An entry begins with a line break: one that a kill cut off spoils no other, and counts as never written.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Literal

import msgspec

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["Entry", "Ledger", "read_ledger"]

Kind = Literal["asked", "answered", "began", "ended", "wrong"]


class Entry(msgspec.Struct, frozen=True, omit_defaults=True):
    """One thing that a model or a tool did, or something wrong that it saw.

    ``key`` names what is to happen once: the request that the model was asked, or the effect of the tool. ``nonce`` is
    new with every attempt. ``id`` is the call's, as the model made it; ``repeatable`` says whether the tool is.
    """

    kind: Kind
    agent: str
    key: str
    nonce: str
    id: str = ""
    repeatable: bool = False


class Ledger:
    """Appends entries; for any thread."""

    def __init__(self, path: Path) -> None:
        self._fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)

    def write(self, entry: Entry) -> None:
        data = b"\n" + msgspec.json.encode(entry)
        assert os.write(self._fd, data) == len(data)


def read_ledger(path: Path, start: int) -> tuple[list[Entry], int]:
    """The whole entries from byte *start* on, and the end of the file. Blocking."""
    if not path.exists():
        return [], 0
    with path.open("rb") as file:
        file.seek(start)
        data = file.read()
    entries = []
    for line in data.split(b"\n"):
        try:
            entries.append(msgspec.json.decode(line, type=Entry))
        except msgspec.DecodeError:
            continue
    return entries, start + len(data)
