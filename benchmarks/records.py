"""Durable records a second: 1,000 agents, each of which waits for one record before it appends the next.

The floor is one file and one writer: what all agents appended meanwhile is one write and one sync, in a thread. It has
no journals, no checksums, no segments, no errors and no second writer to fear. Both encode the same record of about
380 bytes each time, and are measured from the first append to the last acknowledgement. overwinter is measured as
agents use it (a journal's writer), and with messages to the persistence actor.
"""

from __future__ import annotations

import asyncio
import os
import tempfile
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import msgspec

from benchmarks.contest import Contest, Goal, Row, Size, clock
from overwinter.persistence import AppendRecords, JournalWriter, Storage, Workspace, journal_line
from overwinter.runtime import ActorSystem

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from benchmarks.contest import Figures
    from overwinter.persistence import Claim

__all__ = ["CONTESTS"]


class Said(msgspec.Struct):
    """What an agent has to have on the disk before it goes on."""

    agent: str
    number: int
    role: str
    content: str


_TEXT = "It is what bees do when it is cold. " * 8
_encode = msgspec.json.Encoder().encode


def record(agent: int, number: int) -> bytes:
    """The record, encoded."""
    return _encode(Said(f"agent-{agent}", number, "assistant", _TEXT))


async def _measure(count: int, work: Callable[[int], Awaitable[None]], agents: int) -> Figures:
    began = clock()
    async with asyncio.TaskGroup() as tasks:
        for agent in range(agents):
            tasks.create_task(_in_task(work, agent))
    return {"rate": agents * count / (clock() - began)}


async def _in_task(work: Callable[[int], Awaitable[None]], agent: int) -> None:
    await work(agent)


async def _claims(storage: Storage, agents: int) -> Sequence[Claim]:
    folders = [storage.workspace.folder(f"agent-{one}", f"{one:032x}") for one in range(agents)]
    return await asyncio.gather(*(storage.claim(folder) for folder in folders))


async def by_writers(agents: int, count: int) -> Figures:
    """As agents do it: each has the writer of its journal."""
    with tempfile.TemporaryDirectory() as root:
        storage = Storage(Workspace(root))
        async with ActorSystem() as system:
            await storage.open(system)
            claims = await _claims(storage, agents)

            async def work(agent: int) -> None:
                writer = JournalWriter(storage, claims[agent], 0)
                for number in range(count):
                    writer.append(record(agent, number))
                    await writer.settle(sync=True)

            try:
                return await _measure(count, work, agents)
            finally:
                await storage.aclose()


async def by_messages(agents: int, count: int) -> Figures:
    """With a message to the persistence actor for each, and its answer."""
    with tempfile.TemporaryDirectory() as root:
        storage = Storage(Workspace(root))
        async with ActorSystem() as system:
            await storage.open(system)
            claims = await _claims(storage, agents)
            actor = storage._current().ref

            async def work(agent: int) -> None:
                held = claims[agent]
                folder = held.folder.path.relative_to(storage.workspace.root).as_posix()
                for number in range(count):
                    lines = (journal_line(number + 1, record(agent, number)),)
                    await actor.ask(
                        AppendRecords(folder, held.lease.incarnation, lines, number + 1, sync=True)
                    )

            try:
                return await _measure(count, work, agents)
            finally:
                await storage.aclose()


async def floor(agents: int, count: int) -> Figures:
    """One writer: a write and a sync for all that came meanwhile."""
    loop = asyncio.get_running_loop()
    sync = getattr(os, "fdatasync", os.fsync)
    waiting: list[tuple[bytes, asyncio.Future[None]]] = []
    there = asyncio.Event()
    with tempfile.TemporaryDirectory() as root, ThreadPoolExecutor(1) as pool:
        file = os.open(f"{root}/records.jsonl", os.O_CREAT | os.O_WRONLY | os.O_APPEND, 0o600)

        def commit(data: bytes) -> None:
            os.write(file, data)
            sync(file)

        async def write() -> None:
            while True:
                await there.wait()
                there.clear()
                while waiting:
                    batch = waiting.copy()
                    waiting.clear()
                    await loop.run_in_executor(pool, commit, b"".join([data for data, _ in batch]))
                    for _, done in batch:
                        done.set_result(None)

        async def work(agent: int) -> None:
            for number in range(count):
                done: asyncio.Future[None] = loop.create_future()
                waiting.append((record(agent, number) + b"\n", done))
                there.set()
                await done

        writer = asyncio.create_task(write())
        try:
            return await _measure(count, work, agents)
        finally:
            writer.cancel()
            os.close(file)


def _numbers(size: Size) -> tuple[int, int]:
    return size.of(1000, 20), size.of(20, 3)


def _by_writers(size: Size) -> Figures:
    return asyncio.run(by_writers(*_numbers(size)))


def _by_messages(size: Size) -> Figures:
    return asyncio.run(by_messages(*_numbers(size)))


def _floor(size: Size) -> Figures:
    return asyncio.run(floor(*_numbers(size)))


_FLOOR = "floor: one file, group commit"
_GOALS = (Goal("value", 30_000, "least"), Goal("ratio", 1 / 3, "least"))

CONTESTS = (
    Contest(
        "records",
        {"overwinter": _by_writers, "messages": _by_messages, _FLOOR: _floor},
        (
            Row("records", "durable records, 1,000 agents", "rate", "/s", against=_FLOOR, goals=_GOALS),
            Row(
                "records-messages",
                "the same as messages to the persistence actor",
                "rate",
                "/s",
                of="messages",
                against=_FLOOR,
                goals=_GOALS,
            ),
        ),
        turns=2,
    ),
)
