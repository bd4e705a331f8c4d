"""A shared board: versions, conflicts, what is seen when, and what is there after a restart."""

from __future__ import annotations

import asyncio
import gc
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest
from tests.support.disk import FailingDisk, HeldDisk, open_storage

from overwinter.errors import (
    ConfigurationError,
    RuntimeClosed,
    SaveFailed,
    SaveRejected,
    VersionConflict,
)
from overwinter.persistence import Snapshot
from overwinter.persistence.board import Board, BoardActor, BoardBody, Change, Entry
from overwinter.runtime import ActorSystem, Resume

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from pathlib import Path

    from overwinter.persistence import FileOperations

pytestmark = pytest.mark.anyio


@asynccontextmanager
async def open_board(workspace_dir: Path, files: FileOperations | None = None) -> AsyncGenerator[Board]:
    async with open_storage(workspace_dir, files=files) as storage:
        snapshot = await Snapshot.open(storage, "plan", type=BoardBody, default=BoardBody(), session="board")
        async with ActorSystem() as system:
            actor = BoardActor("plan", snapshot)
            yield Board(actor, await system.spawn(actor, supervision=Resume()))
        await snapshot.aclose()


async def test_what_was_set_is_there_with_its_version_after_a_restart(workspace_dir: Path) -> None:
    """N40: `set` returns when the value is on disk; it is there in the next process, with its version."""
    async with open_board(workspace_dir) as board:
        assert board.get("goal") is None
        assert await board.set("goal", {"steps": [1, 2, None]}) == 1
        assert await board.set("who", "all") == 2
        assert board.get("goal") == Entry({"steps": [1, 2, None]}, 1)
        assert await board.delete("who") == 3
        assert board.is_open
    assert not board.is_open
    async with open_board(workspace_dir) as again:
        assert (again.keys(), again.version) == (("goal",), 3)
        assert again.items() == (("goal", Entry({"steps": [1, 2, None]}, 1)),)
        assert await again.set("who", "nobody") == 4
        assert repr(again) == "<Board 'plan' entries=2 version=4>"


async def test_whoever_expects_another_version_changes_nothing(workspace_dir: Path) -> None:
    """N41: with `expect=` a write of another version than stands there raises `VersionConflict`, which names both."""
    async with open_board(workspace_dir) as board:
        first = await board.set("goal", "a", expect=0)
        second = await board.set("goal", "b", expect=first)
        with pytest.raises(
            VersionConflict, match=f"has version {second}, and version {first} was expected"
        ) as caught:
            await board.set("goal", "c", expect=first)
        assert (caught.value.key, caught.value.expected, caught.value.found) == ("goal", first, second)
        with pytest.raises(VersionConflict, match="none was expected"):
            await board.set("goal", "c", expect=0)
        with pytest.raises(VersionConflict, match="is not there"):
            await board.delete("other", expect=7)
        assert board.get("goal") == Entry("b", second)
        await board.delete("goal", expect=second)
        assert await board.set("goal", "d") not in (first, second)


async def test_of_many_who_write_at_once_with_one_version_one_wins(workspace_dir: Path) -> None:
    """N41: of any number of writers that expect the same version, one succeeds."""
    async with open_board(workspace_dir) as board:
        await board.set("count", 0)

        async def add(number: int) -> None:
            while True:
                entry = board.get("count")
                assert entry is not None
                try:
                    await board.set("count", entry.value + number, expect=entry.version)
                except VersionConflict:
                    continue
                return

        await asyncio.gather(*map(add, range(1, 11)))
        entry = board.get("count")
        assert entry is not None
        assert entry.value == 55


async def test_what_is_not_on_disk_is_not_seen(workspace_dir: Path) -> None:
    """N42: readers and watchers see a value when it is on disk; writes that come meanwhile go there together."""
    disk = HeldDisk()
    async with open_board(workspace_dir, disk) as board:
        await board.set("goal", "old")
        changes = board.watch()
        disk.hold()
        writing = [asyncio.create_task(board.set("goal", f"new {number}")) for number in range(3)]
        for _ in range(20):
            await asyncio.sleep(0)
        assert board.get("goal") == Entry("old", 1)
        disk.let_go()
        assert await asyncio.gather(*writing) == [2, 3, 4]
        assert board.get("goal") == Entry("new 2", 4)
        seen = await anext(changes)
        assert seen.value in ("new 0", "new 2")


async def test_a_watcher_sees_the_newest_of_each_key_and_the_end(workspace_dir: Path) -> None:
    """N43: a watcher sees the changes in the order of their versions, of a key it is slower than the newest."""
    async with open_board(workspace_dir) as board:
        changes = board.watch()
        forgotten = board.watch()
        for number in range(3):
            await board.set("a", number)
        await board.set("b", "x")
        await board.delete("b")
        await board.set("c", "y")
        assert await anext(changes) == Change("a", 2, 3)
        assert await anext(changes) == Change("b", None, 5, deleted=True)
        assert await anext(changes) == Change("c", "y", 6)
        waiting = asyncio.create_task(_rest_of(changes))
        await asyncio.sleep(0)
        await board.set("a", 9)
        del forgotten
        gc.collect()
        assert len(board._actor.watchers) == 1
    assert await waiting == [Change("a", 9, 7)]
    assert await _rest_of(board.watch()) == []


async def test_a_write_that_is_done_once(workspace_dir: Path) -> None:
    """N44: a write with `once=` a name that was used before, by an earlier process too, changes nothing."""
    async with open_board(workspace_dir) as board:
        assert await board.set("a", 1, once="call 1") == 1
        assert await board.set("a", 2) == 2
        assert await board.set("a", 1, once="call 1") == 1
        assert board.get("a") == Entry(2, 2)
    async with open_board(workspace_dir) as again:
        assert await again.set("a", 1, expect=0, once="call 1") == 1
        for number in range(256):
            again._actor._next.once[f"other {number}"] = number
        assert await again.set("a", 3, once="call 2") == 3
        assert await again.set("a", 1, once="call 1") == 4


async def test_a_write_that_is_under_way_when_the_board_closes_is_seen_through(workspace_dir: Path) -> None:
    async with open_board(workspace_dir) as board:
        writing = asyncio.create_task(board.set("a", 1))
        while board._actor._writer is None:
            await asyncio.sleep(0)
    assert await writing == 1


async def test_a_disk_that_refuses_is_told_to_the_writer(workspace_dir: Path) -> None:
    disk = FailingDisk()
    async with open_board(workspace_dir, disk) as board:
        await board.set("a", 1)
        disk.broken.add("replace")
        with pytest.raises(SaveFailed):
            await board.set("a", 2)
        assert board.get("a") == Entry(2, 2)
        disk.broken.clear()
        assert await board.set("a", 3, expect=2) == 3
    async with open_board(workspace_dir) as again:
        assert again.get("a") == Entry(3, 3)


async def test_what_cannot_be_stored_is_refused(workspace_dir: Path) -> None:
    async with open_board(workspace_dir) as board:
        with pytest.raises(SaveRejected) as caught:
            await board.set("a", [float("nan")])
        assert caught.value.field == "board.a[0]"
        with pytest.raises(ConfigurationError, match="string"):
            await board.set(7, "x")  # type: ignore[arg-type]
        assert board.keys() == ()
    with pytest.raises(RuntimeClosed):
        await board.set("a", 1)


async def _rest_of(changes: Any) -> list[Change]:
    return [change async for change in changes]
