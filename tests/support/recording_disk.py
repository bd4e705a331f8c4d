"""A disk that remembers all it was told, and by whom it was told what it may be held to."""

from __future__ import annotations

import random
import threading
import time
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

from overwinter.persistence import FileOperations

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

Entry: TypeAlias = int  # the number of a file or folder, which it keeps when it is renamed
Tree: TypeAlias = "dict[str, bytes | None]"  # what a folder holds, by relative path; None for folders


class Operation(NamedTuple):
    """One thing a disk was told; ``file`` and ``folder`` are entries, ``names`` what becomes of names."""

    kind: str  # write, truncate, fsync; names, folder_fsync; new_folder; mark
    entry: Entry = 0
    start: int = 0
    data: bytes = b""
    names: tuple[tuple[Entry, str, Entry | None], ...] = ()
    mark: Any = None


class RecordingDisk(FileOperations):
    """Does everything in the real folder ``root``, but for syncing, and remembers it as ``operations``.

    For several threads. What it did not see created is taken to be new when it is first met. Syncing takes up
    to ``slow`` seconds, so that other things happen meanwhile, as on a real disk.
    """

    def __init__(self, root: Path, *, slow: float = 0.0) -> None:
        super().__init__(sync_folders=True)
        self.root = root
        self.slow = slow
        self._chance = random.Random(1)
        self.operations: list[Operation] = []
        self._lock = threading.RLock()
        self._entries: dict[Path, Entry] = {root: 0}
        self._sizes: dict[Entry, int] = {}
        self._open: dict[int, Entry] = {}
        self._count = 0

    def adopt(self) -> Tree:
        """Take what stands in the folder for durable; returns it."""
        tree: Tree = {}
        for path in sorted(self.root.rglob("*")):
            self._count += 1
            self._entries[path] = self._count
            tree[path.relative_to(self.root).as_posix()] = None if path.is_dir() else path.read_bytes()
            if path.is_file():
                self._sizes[self._count] = path.stat().st_size
        return tree

    def go_on_behind(
        self, operations: Sequence[Operation], entries: Mapping[str, Entry], sizes: Mapping[Entry, int]
    ) -> None:
        """Take what stands in the folder for what these operations have made, by another process."""
        self.operations = [*operations]
        self._entries |= {self.root / path: entry for path, entry in entries.items()}
        self._sizes |= sizes
        self._count = max(entries.values(), default=0) + len(operations)

    def mark(self, mark: Any) -> None:
        """Remember that something has been promised by now."""
        with self._lock:
            self.operations.append(Operation("mark", mark=mark))

    def _note(self, kind: str, entry: Entry = 0, **more: Any) -> None:
        self.operations.append(Operation(kind, entry, **more))

    def _folder(self, path: Path) -> Entry:
        if path not in self._entries:
            self._add(path, folder=True)
        return self._entries[path]

    def _add(self, path: Path, *, folder: bool = False) -> Entry:
        parent = self._folder(path.parent)
        self._count += 1
        self._entries[path] = self._count
        if folder:
            self._note("new_folder", self._count)
        else:
            self._sizes[self._count] = 0
        self._note("names", names=((parent, path.name, self._count),))
        return self._count

    def open_new(self, path: Path) -> int:
        with self._lock:
            fd = super().open_new(path)
            self._open[fd] = self._add(path)
            return fd

    def open_append(self, path: Path) -> int:
        with self._lock:
            fd = super().open_append(path)
            self._open[fd] = self._entries[path]
            return fd

    def write(self, fd: int, data: bytes | memoryview) -> int:
        with self._lock:
            written = super().write(fd, data)
            entry = self._open[fd]
            self._note("write", entry, start=self._sizes[entry], data=bytes(data[:written]))
            self._sizes[entry] += written
            return written

    def fsync(self, fd: int) -> None:
        time.sleep(self._chance.random() * self.slow)
        with self._lock:
            self._note("fsync", self._open[fd])

    def close(self, fd: int) -> None:
        with self._lock:
            self._open.pop(fd)
            super().close(fd)

    def truncate(self, path: Path, size: int) -> None:
        with self._lock:
            super().truncate(path, size)
            entry = self._entries[path]
            self._note("truncate", entry, start=size)
            self._sizes[entry] = size

    def overwrite(self, path: Path, data: bytes) -> int:
        with self._lock:
            written = super().overwrite(path, data)
            if written:
                self._note("write", self._entries[path], start=0, data=data[:written])
            return written

    def replace(self, source: Path, target: Path) -> None:
        with self._lock:
            before = source.stat().st_ino
            super().replace(source, target)
            if not source.exists() or source.stat().st_ino != before:
                self._move(source, target)

    def rename_aside(self, source: Path, target: Path) -> None:
        with self._lock:
            super().rename_aside(source, target)
            self._move(source, target)

    def _move(self, source: Path, target: Path) -> None:
        entry = self._entries.pop(source)
        self._entries[target] = entry
        self._note(
            "names",
            names=(
                (self._folder(source.parent), source.name, None),
                (self._folder(target.parent), target.name, entry),
            ),
        )

    def link(self, existing: Path, new: Path) -> None:
        with self._lock:
            super().link(existing, new)
            entry = self._entries[new] = self._entries[existing]
            self._note("names", names=((self._folder(new.parent), new.name, entry),))

    def unlink(self, path: Path) -> None:
        with self._lock:
            super().unlink(path)
            self._remove(path)

    def remove_folder(self, path: Path) -> None:
        with self._lock:
            super().remove_folder(path)
            self._remove(path)

    def _remove(self, path: Path) -> None:
        if self._entries.pop(path, None) is not None:
            self._note("names", names=((self._folder(path.parent), path.name, None),))

    def mkdir(self, path: Path) -> None:
        with self._lock:
            super().mkdir(path)
            self._add(path, folder=True)

    def sync_folder(self, path: Path) -> None:
        time.sleep(self._chance.random() * self.slow)
        with self._lock:
            if path == self.root or self.root in path.parents:
                self._note("folder_fsync", self._folder(path))
