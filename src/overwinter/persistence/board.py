"""A shared board: values under keys, each with a version, kept on disk and written by one actor."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any
from weakref import WeakSet

import msgspec

from overwinter.errors import ActorStopped, ConfigurationError, RuntimeClosed, SaveError, VersionConflict
from overwinter.persistence.codec import encode_checked
from overwinter.runtime import Actor

if TYPE_CHECKING:
    from overwinter.persistence.snapshot import Snapshot
    from overwinter.runtime import ActorRef, Job, Reply

__all__ = ["SESSION", "Board", "BoardActor", "BoardBody", "Change", "Changes", "Entry", "Write"]

SESSION = "board"
"""The session under which the snapshots of boards stand, apart from those of other actors."""

_REMEMBERED = 256  # writes that were to be done once


class Entry(msgspec.Struct, frozen=True):
    """What stands under a key: a copy of the value, and the version with which it was written."""

    value: Any
    version: int


class Change(msgspec.Struct, frozen=True):
    """One change of a board: what was written, or, with ``deleted``, that it was deleted, and the version of that."""

    key: str
    value: Any
    version: int
    deleted: bool = False


class Kept(msgspec.Struct, frozen=True):
    """A value as it is kept: encoded, and with its version."""

    value: msgspec.Raw
    version: int


class BoardBody(msgspec.Struct):
    """A board as it stands on disk: ``version`` is that of its last write, ``once`` has those of named writes."""

    version: int = 0
    entries: dict[str, Kept] = {}
    once: dict[str, int] = {}


class Write(msgspec.Struct, frozen=True):
    """Put a value under a key, or with None delete the key; answered with the version once it is on disk."""

    key: str
    value: msgspec.Raw | None
    expect: int | None = None
    once: str = ""


class BoardActor(Actor[Write]):
    """Writes one board. Writes that come while another is on its way to the disk go there together.

    ``body`` is what is on the disk, as far as it does not fail.
    """

    mailbox_capacity = None

    def __init__(self, name: str, snapshot: Snapshot[BoardBody]) -> None:
        self.name = name
        self.body = snapshot.value
        self.watchers: WeakSet[Changes] = WeakSet()
        self._snapshot = snapshot
        self._next = _copy(snapshot.value)
        self._waiting: list[tuple[Reply, int]] = []
        self._changes: dict[str, Change] = {}
        self._writer: Job | None = None

    async def receive(self, message: Write) -> None:
        """Make the change, and answer when it is on disk."""
        reply = self.context.defer_reply()
        body = self._next
        version = body.once.get(message.once) if message.once else None
        if version is None:
            there = body.entries.get(message.key)
            found = 0 if there is None else there.version
            if message.expect is not None and message.expect != found:
                reply.fail(VersionConflict(self.name, message.key, expected=message.expect, found=found))
                return
            version = self._make(message)
        self._waiting.append((reply, version))
        if self._writer is None:
            self._writer = self.context.start_soon(self._write, name="write")

    async def on_stop(self) -> None:
        """Write what is to be written, and end what watches."""
        if self._writer is not None:
            await self._writer.wait()
        for watcher in list(self.watchers):
            watcher.end()

    def _make(self, message: Write) -> int:
        body = self._next
        body.version += 1
        if message.value is None:
            body.entries.pop(message.key, None)
        else:
            body.entries[message.key] = Kept(message.value, body.version)
        if message.once:
            body.once[message.once] = body.version
            if len(body.once) > _REMEMBERED:
                del body.once[next(iter(body.once))]
        value = None if message.value is None else msgspec.json.decode(message.value)
        self._changes.pop(message.key, None)
        self._changes[message.key] = Change(message.key, value, body.version, message.value is None)
        return body.version

    async def _write(self) -> None:
        try:
            while self._waiting:
                waiting, self._waiting = self._waiting, []
                changes, self._changes = self._changes, {}
                body = _copy(self._next)
                error: SaveError | RuntimeClosed | None = None
                try:
                    await self._snapshot.save(body)
                except (SaveError, RuntimeClosed) as refused:
                    error = refused
                self.body = body
                for watcher in list(self.watchers):
                    watcher.changed(changes.values())
                for reply, version in waiting:
                    if error is None:
                        reply.complete(version)
                    else:
                        reply.fail(error)
        finally:
            self._writer = None


class Board:
    """Values under keys, shared and on disk."""

    def __init__(self, actor: BoardActor, ref: ActorRef[Write]) -> None:
        self._actor = actor
        self._ref = ref

    @property
    def name(self) -> str:
        """The name it was opened by."""
        return self._actor.name

    @property
    def is_open(self) -> bool:
        """Whether it can be written."""
        return self._ref.alive

    @property
    def version(self) -> int:
        """The version of its last write; 0 before the first."""
        return self._actor.body.version

    def get(self, key: str) -> Entry | None:
        """What stands under *key*, or None. What is not on disk yet is not seen, unless the disk fails."""
        found = self._actor.body.entries.get(key)
        return None if found is None else Entry(msgspec.json.decode(found.value), found.version)

    def keys(self) -> tuple[str, ...]:
        """All keys, in the order in which they were first written."""
        return tuple(self._actor.body.entries)

    def items(self) -> tuple[tuple[str, Entry], ...]:
        """All keys with what stands under them, at one moment."""
        entries = self._actor.body.entries.items()
        return tuple((key, Entry(msgspec.json.decode(kept.value), kept.version)) for key, kept in entries)

    async def set(self, key: str, value: Any, expect: int | None = None, *, once: str = "") -> int:
        """Put *value* under *key*, and return its version when it is on disk.

        :param value: plain data: strings, numbers, booleans, None, lists, dictionaries with string keys.
        :param expect: the version that stands there now, 0 for none; unless given, whatever stands there is replaced.
        :param once: a name of this write: another one of that name, of the last 256, is answered with its version
            and changes nothing.
        :raises VersionConflict: another version stands there.
        :raises SaveRejected: the value could not be read back the same; ``field`` names the place.
        :raises SaveError: the disk refused. The board has the value all the same, and saving it is tried again.
        :raises RuntimeClosed: the runtime was closed before it was seen to be on disk.

        Cancelled, the value may be written all the same.
        """
        if not isinstance(key, str):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise ConfigurationError(f"the key on a board is a string, not {key!r}")
        encode_checked({key: None}, what="board")
        encoded = msgspec.Raw(encode_checked(value, what=f"board.{key}"))
        return await self._written(Write(key, encoded, expect, once))

    async def delete(self, key: str, expect: int | None = None) -> int:
        """Take away what stands under *key*, and return the version of that when it is on disk; see :meth:`set`."""
        return await self._written(Write(key, None, expect))

    def watch(self) -> Changes:
        """The changes from now on, once they are on disk, as an async iterator that ends with the board.

        Who is slower than the changes sees of each key the newest, in the order of the versions. Nothing needs to be
        closed.
        """
        return Changes(self._actor)

    async def _written(self, write: Write) -> int:
        try:
            version: int = await self._ref.ask(write)
        except ActorStopped as error:
            raise RuntimeClosed(
                f"the runtime was closed before {write.key!r} was seen to be on board {self.name!r}"
            ) from error
        return version

    def __repr__(self) -> str:
        return f"<Board {self.name!r} entries={len(self._actor.body.entries)} version={self.version}>"


class Changes:
    """The changes of a board, as they are made; see :meth:`Board.watch`. For one reader."""

    def __init__(self, actor: BoardActor) -> None:
        self._pending: dict[str, Change] = {}
        self._news = asyncio.Event()
        self._ended = not actor.context.alive
        actor.watchers.add(self)

    def changed(self, changes: Any) -> None:
        """Have them read."""
        for change in changes:
            self._pending.pop(change.key, None)
            self._pending[change.key] = change
        self._news.set()

    def end(self) -> None:
        """There will be no more."""
        self._ended = True
        self._news.set()

    def __aiter__(self) -> Changes:
        return self

    async def __anext__(self) -> Change:
        while not self._pending:
            if self._ended:
                raise StopAsyncIteration
            self._news.clear()
            await self._news.wait()
        return self._pending.pop(next(iter(self._pending)))


def _copy(body: BoardBody) -> BoardBody:
    return BoardBody(body.version, dict(body.entries), dict(body.once))
