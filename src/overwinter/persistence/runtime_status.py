"""What a live runtime publishes of itself for those who watch, in a small file beside its lock.

It is for people's eyes and never synced: nobody relies on it, and it goes when the runtime does.
"""

from __future__ import annotations

import os
from contextlib import suppress
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["STATUS_NAMES", "RuntimeStatus", "read_status", "remove_status", "write_status"]

_NAME = "status.json"
_HALF_WRITTEN = "status.json.tmp"
#: What may stand in a runtime's folder of it, whole or half written.
STATUS_NAMES = (_NAME, _HALF_WRITTEN)


class RuntimeStatus(msgspec.Struct, frozen=True, kw_only=True):
    """A runtime as it was ``at`` that time, ISO 8601 in UTC.

    :ivar saves: how often the files of an agent or a swarm were saved, by its folder relative to the workspace, with
        ``/``; of very many those that were saved last.
    :ivar mailboxes: how many messages wait for an agent or a swarm, by its id; where none is told, none.
    :ivar waits: the model at which an agent waits for its turn, by its id; where none is told, it does not wait.
    :ivar documents: how often files were saved in all.
    :ivar records: how many records were written in all.
    :ivar failing: whether some file is behind what was last sent.
    """

    schema_version: int = 1
    at: str = ""
    pid: int = 0
    documents: int = 0
    records: int = 0
    failing: bool = False
    saves: dict[str, int] = {}
    mailboxes: dict[str, int] = {}
    waits: dict[str, str] = {}


def write_status(folder: Path, status: RuntimeStatus) -> None:
    """Put it into the runtime's folder, whole; what the disk refuses is left out until the next time. Blocking."""
    half = folder / _HALF_WRITTEN
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0)
    with suppress(OSError):
        fd = os.open(half, flags, 0o600)
        try:
            os.write(fd, msgspec.json.encode(status))
        finally:
            os.close(fd)
        half.replace(folder / _NAME)


def read_status(folder: Path) -> RuntimeStatus | None:
    """What stands in the runtime's folder; None where that is nothing, or not what was written. Blocking."""
    try:
        return msgspec.json.decode((folder / _NAME).read_bytes(), type=RuntimeStatus)
    except (OSError, msgspec.MsgspecError):
        return None


def remove_status(folder: Path) -> None:
    """Remove it, whole or half written, where it is. Blocking.

    :raises OSError: the disk refused.
    """
    for name in STATUS_NAMES:
        (folder / name).unlink(missing_ok=True)
