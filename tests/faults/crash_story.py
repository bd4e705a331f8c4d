"""What happens on a disk before it crashes: some agents live, in one storage after the other."""

from __future__ import annotations

import asyncio
import random
from contextlib import suppress
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec
from tests.support.disk import document, open_storage, turns

from overwinter.errors import StateNotFound
from overwinter.persistence import (
    JournalWriter,
    agent_id_for,
    drop_segments,
    load_document,
    read_journal,
)
from overwinter.runtime.fake_clock import FakeClock

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from datetime import datetime
    from typing import TypeAlias

    from tests.support.recording_disk import RecordingDisk

    from overwinter.persistence import (
        AgentFolder,
        Claim,
        FileOperations,
        JournalLine,
        LoadedDocument,
        Storage,
    )

    Live: TypeAlias = Callable[["Agent", random.Random, FakeClock], Awaitable[None]]
    Truth: TypeAlias = dict[str, dict[int, bytes]]  # the records that were written, by name and sequence

NAMES = ("queen", "worker", "drone")


class Promise(NamedTuple):
    """What ``name`` was told: ``logged`` outlives a kill, ``synced`` and ``saved`` a power cut as well."""

    kind: str
    name: str
    sequence: int


class Found(NamedTuple):
    """What there is of one agent: its state, the records behind it, and the last sequence."""

    state: LoadedDocument | None
    lines: list[JournalLine]
    folded: int

    @property
    def last(self) -> int:
        return self.lines[-1].sequence if self.lines else self.folded


def read_all(folder: AgentFolder, files: FileOperations, now: datetime) -> Found:
    """Read an agent as it is done everywhere: the state, and the records behind it."""
    state = None
    with suppress(StateNotFound):
        state = load_document(folder.state_path, folder.previous_path, files=files, now=now)
    folded = state.metadata.sequence if state is not None else 0
    return Found(state, read_journal(folder.journal_dir, files=files, after=folded).lines, folded)


class Agent:
    """Claims its folder, writes records and states, and has the disk remember what it was promised."""

    def __init__(self, name: str, storage: Storage, disk: RecordingDisk, truth: Truth, life: str) -> None:
        self.name = name
        self.storage = storage
        self.disk = disk
        self.folder = storage.workspace.folder(name, agent_id_for(name))
        self.claim: Claim | None = None
        self.writer: JournalWriter
        self.before_last = self.last_saved = 0
        self._written = truth.setdefault(name, {})
        self._life = life

    async def begin(self) -> None:
        if self.claim is not None:
            sequence = self.writer.sequence
            self.claim = await self.storage.claim(self.folder, known_sequence=sequence, last=self.claim)
            last = sequence
        else:
            self.claim = await self.storage.claim(self.folder)
            now = self.storage.clock.now()
            found = await self.storage.call(read_all, self.claim.folder, self.disk, now)
            last = found.last
        assert self.claim.journal.sequence <= last
        self.writer = JournalWriter(self.storage, self.claim, last)

    def append(self, count: int) -> None:
        for _ in range(count):
            sequence = self.writer.sequence + 1
            # Some are long.
            text = self._life + "z" * (sequence * 37 % 150)
            record = msgspec.json.encode({"of": self.name, "number": sequence, "text": text})
            self._written[sequence] = record
            assert self.writer.append(record) == sequence

    async def settle(self, *, sync: bool) -> None:
        sequence = self.writer.sequence
        await self.writer.settle(sync=sync)
        self.disk.mark(Promise("synced" if sync else "logged", self.name, sequence))

    async def save(self) -> None:
        sequence = self.writer.sequence
        path = self.folder.state_path
        state = document(path, [self.name, sequence], sequence=sequence, keep_previous=True, checksum=True)
        saved = await self.storage.replace(state)
        self.disk.mark(Promise("saved", self.name, saved.sequence))
        self.before_last, self.last_saved = self.last_saved, sequence

    async def configure(self) -> None:
        await self.storage.replace(document(self.folder.path / "config.json", "x" * 90))

    async def drop_what_is_old(self) -> None:
        """Never past the previous generation of the state."""
        await self.storage.call(
            drop_segments, self.folder.journal_dir, up_to_sequence=self.before_last, files=self.disk
        )

    async def end(self) -> None:
        assert self.claim is not None
        await self.storage.release(self.claim, self.writer.sequence)


async def live_in_sync(agent: Agent, chance: random.Random, clock: FakeClock) -> None:
    """Steps, most of which go on when they are on the disk."""
    await agent.begin()
    for step in range(9):
        agent.append(chance.randint(1, 3))
        await agent.settle(sync=chance.random() < 0.8)
        what = chance.randrange(7)
        if what == 0:
            # What is not on the disk yet is in the state.
            agent.append(1)
            await agent.save()
        elif what == 1:
            await agent.configure()
        elif what == 2:
            await agent.storage.records.gather(agent.folder.path)
        elif what == 3:
            await clock.advance(0.6)
        elif what == 4 and step > 3:
            await agent.end()
            await agent.begin()
        elif what == 5:
            await agent.drop_what_is_old()
    agent.append(1)
    await agent.settle(sync=True)


async def live_in_async(agent: Agent, chance: random.Random, clock: FakeClock) -> None:
    """Steps that go on at once; half a second after a step was logged it is on the disk."""
    await agent.begin()
    for _ in range(9):
        agent.append(chance.randint(1, 3))
        if chance.random() < 0.3:
            await agent.save()
        await agent.settle(sync=False)
        sequence = agent.writer.sequence
        log = agent.storage.records.log
        position = agent.writer._at
        await clock.advance(0.5)
        if chance.random() < 0.5:
            agent.append(chance.randint(1, 2))
        for _ in range(60_000):
            if log.synced >= position:
                break
            await turns(2)
            await asyncio.sleep(0.0005)
        assert log.synced >= position, "the log was not synced half a second after a record came"
        agent.disk.mark(Promise("synced", agent.name, sequence))


async def story(disk: RecordingDisk, live: Live, seed: Any, truth: Truth, *, lives: int = 2) -> None:
    """Some agents live at once, ``lives`` times, each in a storage of its own."""
    clock = FakeClock()
    for life in range(lives):
        async with open_storage(disk.root, files=disk, clock=clock) as storage:
            agents = [Agent(name, storage, disk, truth, f"{seed}.{life} ") for name in NAMES]
            chances = [random.Random(f"{seed}.{life}.{name}") for name in NAMES]
            await asyncio.gather(*(live(*each, clock) for each in zip(agents, chances, strict=True)))
