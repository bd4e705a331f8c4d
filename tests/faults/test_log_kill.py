"""Records of a process that is killed at any moment: what it had settled is there for the next."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest
from tests.support.disk import off_loop, open_storage
from tests.support.processes import Child, say
from tests.support.records import append, in_journal, numbered, writer_of

from overwinter.persistence import Storage, Workspace
from overwinter.runtime import ActorSystem

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.anyio

_AGENTS = 5


def record_for_ever(root: str) -> None:
    """Five agents that append and settle, and say so."""

    async def work() -> None:
        storage = Storage(Workspace(root))
        async with ActorSystem() as system:
            await storage.open(system)
            opened = [await writer_of(storage, f"agent-{number}") for number in range(_AGENTS)]

            async def go_on(number: int) -> None:
                writer = opened[number][1]
                while True:
                    append(writer, 3, size=200)
                    await writer.settle(sync=number % 2 == 0)
                    say("settled", [number, writer.sequence])

            await asyncio.gather(*(go_on(number) for number in range(_AGENTS)))

    asyncio.run(work())


@pytest.mark.parametrize("words", [1, 20, 400, 3000])
async def test_what_was_settled_outlives_a_kill(workspace_dir: Path, words: int) -> None:
    """J15, J17: After kill -9 at any moment each agent has every record that was settled, in order, once."""
    settled = dict.fromkeys(range(_AGENTS), 0)

    def run_and_kill() -> None:
        with Child(record_for_ever, str(workspace_dir)) as child:
            for _ in range(words):
                number, sequence = child.expect("settled")
                settled[number] = sequence
            child.kill()
            with suppress(AssertionError):
                while (word := child.next_word()) is not None:
                    settled[word[1][0]] = word[1][1]

    for _ in range(2):
        before = dict(settled)
        await off_loop(run_and_kill)
        async with open_storage(workspace_dir) as storage:
            for number in range(_AGENTS):
                held, writer = await writer_of(storage, f"agent-{number}")
                found = await in_journal(held)
                assert found == list(range(1, len(found) + 1))
                assert len(found) >= settled[number] >= before[number]
                assert held.journal.sequence == len(found)
                writer.append(numbered(len(found) + 1))
                await storage.release(held, writer.sequence)
