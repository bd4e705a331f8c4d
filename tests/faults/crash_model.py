"""A model of what a disk holds after a power cut: which states are possible, given what was asked of it.

A ``RecordingDisk`` keeps a list of what it was told, and a ``CrashModel`` goes through that. After each
operation it can say what a disk may hold if the power goes then:

- what was written to a file and not fsynced since may be there, or not, in any blocks and in any order; the
  file may be longer already, with zeros where the data has not come; it may end in the middle of a write;
- a name that was created, renamed or removed in a folder that was not synced since may be as before, or as
  after; a rename happens as a whole;
- an fsync of a file says nothing about its name, and one of a folder nothing about what is in its files.

File systems are kinder than that, each in its own way.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, NamedTuple

from tests.support.recording_disk import RecordingDisk

if TYPE_CHECKING:
    import random
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from tests.support.recording_disk import Entry, Operation, Tree

BLOCKS = (16, 64, 512)


class _File:
    """What is on the disk of a file for good, and what was asked of it since."""

    __slots__ = ("asked", "durable", "now")

    def __init__(self, durable: bytes = b"") -> None:
        self.durable = durable
        self.now = durable
        self.asked: list[bytes] = []  # its content after each operation since

    def write(self, start: int, data: bytes) -> None:
        self.now = self.now[:start] + data + self.now[start + len(data) :]
        self.asked.append(self.now)

    def truncate(self, size: int) -> None:
        self.now = self.now[:size]
        self.asked.append(self.now)

    def fsync(self) -> None:
        self.durable = self.now
        self.asked.clear()

    def after_a_crash(self, chance: random.Random) -> bytes:
        """One of the contents it may have."""
        if not self.asked:
            return self.durable
        how = chance.randrange(6)
        if how == 0:
            return self.durable
        if how == 1:
            return self.now
        new = chance.choice(self.asked)
        if how == 2:  # it ends in the middle
            return new[: chance.randint(min(len(self.durable), len(new)), len(new))]
        old = self.durable.ljust(len(new), b"\0")
        if how == 3:  # longer, and nothing in it yet
            return old[: len(new)]
        size = chance.choice(BLOCKS)
        blocks = [
            (new if chance.random() < 0.5 else old)[start : start + size]
            for start in range(0, len(new), size)
        ]
        content = b"".join(blocks)[: len(new)]
        if how == 4:
            return content
        return content[: chance.randint(min(len(self.durable), len(new)), len(new))]


class CrashModel:
    """The disk as of some operation. ``names`` of a folder are those that are there for good."""

    def __init__(self, tree: Mapping[str, bytes | None] | None = None) -> None:
        self.files: dict[Entry, _File] = {}
        self.names: dict[Entry, dict[str, Entry]] = {0: {}}
        self.asked: list[tuple[tuple[Entry, str, Entry | None], ...]] = []
        folders: dict[str, Entry] = {".": 0}
        # In the order in which RecordingDisk.adopt counts.
        for entry, (path, content) in enumerate((tree or {}).items(), 1):
            parent, _, name = path.rpartition("/")
            self.names[folders[parent or "."]][name] = entry
            if content is None:
                folders[path] = entry
                self.names[entry] = {}
            else:
                self.files[entry] = _File(content)

    def entries(self) -> dict[str, Entry]:
        """What is visible now, by its path."""
        names = self._names_now(range(len(self.asked)))
        return dict(_walk(names))

    def apply(self, operation: Operation) -> None:
        """Go on by one operation."""
        entry = operation.entry
        if operation.kind == "write":
            self.files[entry].write(operation.start, operation.data)
        elif operation.kind == "truncate":
            self.files[entry].truncate(operation.start)
        elif operation.kind == "fsync":
            self.files[entry].fsync()
        elif operation.kind == "new_folder":
            self.names[entry] = {}
        elif operation.kind == "names":
            self.asked.append(operation.names)
            for _, _, target in operation.names:
                if target is not None and target not in self.names:
                    self.files.setdefault(target, _File())
        elif operation.kind == "folder_fsync":
            self._sync_folder(entry)

    def _sync_folder(self, entry: Entry) -> None:
        asked = []
        for change in self.asked:
            # A rename happens as a whole, also over two folders.
            if any(folder == entry for folder, _, _ in change):
                _change(self.names, change)
            else:
                asked.append(change)
        self.asked = asked

    def after_a_kill(self) -> Tree:
        """What is there when only the process has died: everything."""
        names = self._names_now(range(len(self.asked)))
        return _tree(names, {entry: file.now for entry, file in self.files.items()})

    def after_a_crash(self, chance: random.Random) -> Tree:
        """One of the states that are possible when the power has gone."""
        how = chance.randrange(4)
        if how == 0:
            happened: Sequence[int] = ()
        elif how == 1:
            happened = range(len(self.asked))
        elif how == 2:
            happened = range(chance.randint(0, len(self.asked)))
        else:
            happened = [index for index in range(len(self.asked)) if chance.random() < 0.5]
        contents = {entry: file.after_a_crash(chance) for entry, file in self.files.items()}
        return _tree(self._names_now(happened), contents)

    def _names_now(self, happened: Iterable[int]) -> dict[Entry, dict[str, Entry]]:
        names = {folder: dict(held) for folder, held in self.names.items()}
        for index in happened:
            _change(names, self.asked[index])
        return names

    @property
    def settled(self) -> bool:
        """Whether only one state is possible."""
        return not self.asked and not any(file.asked for file in self.files.values())


def _change(
    names: dict[Entry, dict[str, Entry]], change: tuple[tuple[Entry, str, Entry | None], ...]
) -> None:
    for folder, name, entry in change:
        if entry is None:
            names[folder].pop(name, None)
        else:
            names[folder][name] = entry


def _walk(
    names: Mapping[Entry, Mapping[str, Entry]], folder: Entry = 0, prefix: str = ""
) -> Iterator[tuple[str, Entry]]:
    for name, entry in sorted(names[folder].items()):
        yield prefix + name, entry
        if entry in names:
            yield from _walk(names, entry, f"{prefix}{name}/")


def _tree(names: Mapping[Entry, Mapping[str, Entry]], contents: Mapping[Entry, bytes]) -> Tree:
    return {path: None if entry in names else contents[entry] for path, entry in _walk(names)}


def materialize(tree: Mapping[str, bytes | None], folder: Path) -> None:
    """Make the folder hold exactly that."""
    folder.mkdir()
    for path, content in tree.items():
        if content is None:
            (folder / path).mkdir()
        else:
            fd = os.open(folder / path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            os.write(fd, content)
            os.close(fd)


def go_on_behind(operations: Sequence[Operation], root: Path, *, slow: float = 0.0) -> RecordingDisk:
    """Another process has done these and was killed: what it left, in the folder, and a disk to go on with.

    What that one had not synced is not synced here either.
    """
    model = CrashModel()
    for operation in operations:
        model.apply(operation)
    materialize(model.after_a_kill(), root)
    disk = RecordingDisk(root, slow=slow)
    disk.go_on_behind(
        operations, model.entries(), {entry: len(file.now) for entry, file in model.files.items()}
    )
    return disk


class Crash(NamedTuple):
    """One state a disk may be found in, and what had been promised by then."""

    tree: Tree
    marks: tuple[Any, ...]
    power: bool  # False: only the process was killed
    after: int  # operations


def crashes(
    operations: Sequence[Operation],
    chance: random.Random,
    *,
    each: int,
    tree: Mapping[str, bytes | None] | None = None,
    since: int = 0,
) -> Iterator[Crash]:
    """For every prefix of the operations what is found after a kill, and ``each`` times after a power cut.

    States that are the same, with the same promises, come once.

    :param tree: what was there before the first operation.
    :param since: leave out the prefixes that are not longer than this.
    """
    model = CrashModel(tree)
    marks: list[Any] = []
    seen: set[tuple[int, int, bool]] = set()

    def new(found: Tree, *, power: bool) -> bool:
        key = (hash(frozenset(found.items())), len(marks), power)
        if key in seen:
            return False
        seen.add(key)
        return True

    for count, operation in enumerate(operations, 1):
        if operation.kind == "mark":
            marks.append(operation.mark)
        else:
            model.apply(operation)
        if count <= since:
            continue
        found = model.after_a_kill()
        if new(found, power=False):
            yield Crash(found, tuple(marks), power=False, after=count)
        for _ in range(1 if model.settled else each):
            found = model.after_a_crash(chance)
            if new(found, power=True):
                yield Crash(found, tuple(marks), power=True, after=count)
