"""Disks that block or fail on demand, and storages on them."""

from __future__ import annotations

import asyncio
import errno
import os
import threading
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

import anyio.to_thread
import msgspec

from overwinter.persistence import (
    FileOperations,
    Metadata,
    ReplaceDocument,
    Storage,
    Workspace,
    encode,
    members,
)
from overwinter.runtime import ActorSystem

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable
    from pathlib import Path

    from overwinter.runtime import Clock

P = ParamSpec("P")
T = TypeVar("T")

_LONGEST = 60.0


class UnsyncedDisk(FileOperations):
    """A disk on which a sync costs nothing: what is tested here is not the machine's."""

    def fsync(self, fd: int) -> None:
        pass

    def sync_folder(self, path: Path) -> None:
        pass


class HeldDisk(UnsyncedDisk):
    """A disk that answers none of the ``gates`` while it is held. ``stuck`` is set when a call waits."""

    def __init__(self) -> None:
        super().__init__()
        self.gates = {"open", "fsync", "replace", "read"}
        self.stuck = threading.Event()
        self._free = threading.Event()
        self._free.set()

    def hold(self) -> None:
        self.stuck.clear()
        self._free.clear()

    def let_go(self) -> None:
        self._free.set()

    async def until_stuck(self) -> None:
        """Return when a call waits."""
        assert await off_loop(self.stuck.wait, _LONGEST), "nobody came to the disk"

    def open_new(self, path: Path) -> int:
        self._pass("open")
        return super().open_new(path)

    def fsync(self, fd: int) -> None:
        self._pass("fsync")
        super().fsync(fd)

    def replace(self, source: Path, target: Path) -> None:
        self._pass("replace")
        super().replace(source, target)

    def read_bytes(self, path: Path) -> bytes:
        self._pass("read")
        return super().read_bytes(path)

    def _pass(self, gate: str) -> None:
        if gate in self.gates and not self._free.is_set():
            self.stuck.set()
            assert self._free.wait(_LONGEST), "the test never let the disk go"


class FailingDisk(UnsyncedDisk):
    """A disk on which ``broken`` operations fail with ``code``; ``done`` has those tried."""

    def __init__(self) -> None:
        super().__init__()
        self.code = errno.ENOSPC
        self.broken: set[str] = set()
        self.only = ""
        self.done: list[str] = []

    def _try(self, operation: str, path: Path | None = None) -> None:
        self.done.append(operation)
        if operation in self.broken and (path is None or self.only in str(path)):
            raise OSError(self.code, os.strerror(self.code))

    def open_new(self, path: Path) -> int:
        self._try("open", path)
        return super().open_new(path)

    def write(self, fd: int, data: bytes | memoryview) -> int:
        self._try("write")
        return super().write(fd, data)

    def overwrite(self, path: Path, data: bytes) -> int:
        self._try("overwrite", path)
        return super().overwrite(path, data)

    def fsync(self, fd: int) -> None:
        self._try("fsync")
        super().fsync(fd)

    def replace(self, source: Path, target: Path) -> None:
        self._try("replace", target)
        super().replace(source, target)

    def sync_folder(self, path: Path) -> None:
        self._try("sync_folder", path)
        super().sync_folder(path)

    def read_bytes(self, path: Path) -> bytes:
        self._try("read", path)
        return super().read_bytes(path)


def document(path: Path, value: Any = None, *, sequence: int = 1, **more: Any) -> ReplaceDocument:
    """A small document with one member, ``value``."""
    metadata = Metadata(
        timestamp="2030-01-01T00:00:00+00:00",
        loop_count=0,
        agent_id="",
        agent_name=more.pop("agent_name", "an agent"),
        run_id="",
        status="",
        sequence=sequence,
        schema_version=1,
        overwinter_version="0",
    )
    return ReplaceDocument(str(path), metadata, tuple(members({"value": encode(value)})), **more)


async def off_loop(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Run what blocks in a thread that has nothing to do with any storage."""
    return await anyio.to_thread.run_sync(partial(function, *args, **kwargs))


async def turns(count: int = 20) -> None:
    """Let everybody else on the loop run, ``count`` times."""
    for _ in range(count):
        await asyncio.sleep(0)


async def until_quiet(storage: Storage) -> None:
    """Let everything happen that needs no time of the clock to pass."""
    quiet = 0
    while quiet < 2:
        await turns()
        quiet = 0 if storage.statistics().pending else quiet + 1
        await off_loop(int)


def value_in(path: Path) -> Any:
    """The member ``value`` of the document at ``path``."""
    return msgspec.json.decode(path.read_bytes())["value"]


def temporaries_in(folder: Path) -> list[Path]:
    """The temporary files anywhere below ``folder``."""
    return list(folder.rglob(".overwinter-*"))


@asynccontextmanager
async def open_storage(
    root: Path, *, clock: Clock | None = None, files: FileOperations | None = None, **settings: Any
) -> AsyncGenerator[Storage]:
    """A storage in a system of its own, on an ``UnsyncedDisk`` unless told otherwise; closed at the end."""
    storage = Storage(Workspace(root), clock=clock, files=files or UnsyncedDisk(), **settings)
    async with ActorSystem(clock=clock) as system:
        await storage.open(system)
        try:
            yield storage
        finally:
            await storage.aclose()
