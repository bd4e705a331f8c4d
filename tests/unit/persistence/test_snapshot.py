"""A plain actor's value on disk."""

from __future__ import annotations

import asyncio
import gc
import math
from typing import TYPE_CHECKING

import msgspec
import pytest
from tests.support.disk import FailingDisk, HeldDisk, off_loop, open_storage

from overwinter.errors import (
    AgentInUse,
    CorruptFileSetAside,
    CorruptState,
    RuntimeClosed,
    SaveFailed,
    SaveRejected,
)
from overwinter.persistence import Snapshot
from overwinter.persistence.document import read_document

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.anyio


Table = dict[int, list[float | None]]


class Score(msgspec.Struct):
    points: int = 0
    weight: float = 1.0
    names: tuple[str, ...] = ()


async def test_a_value_comes_back_as_it_was(workspace_dir: Path) -> None:
    """S50: A saved value is there for the next who opens it, of the same type, in its documented place."""
    score = Score(3, 0.5, ("a", "é"))
    async with open_storage(workspace_dir) as storage:
        snapshot = await Snapshot.open(storage, "board", type=Score, default=Score())
        assert snapshot.value == Score()
        assert not await off_loop(snapshot.path.exists)
        await snapshot.save(score)
        assert (snapshot.value, snapshot.unsaved) == (score, False)
        assert snapshot.path.name == "board_state.json"
        assert snapshot.path.parent.parent == workspace_dir / "actors"
        await snapshot.aclose()
    async with open_storage(workspace_dir) as storage:
        again = await Snapshot.open(storage, "board", type=Score, default=Score())
        assert again.value == score
        await again.save(Score(4))
        data = await off_loop(again.path.read_bytes)
        metadata, body = read_document(data, again.path, checksum_required=True)
        assert (metadata.sequence, metadata.agent_name) == (2, "board")
        assert body == {"value": {"points": 4, "weight": 1.0, "names": []}}


async def test_the_type_is_whatever_msgspec_can_decode(workspace_dir: Path) -> None:
    async with open_storage(workspace_dir) as storage:
        value: Table = {1: [None, 2.0], 7: []}
        first: Snapshot[Table] = await Snapshot.open(storage, "table", type=Table, default={})
        await first.save(value)
        await first.aclose()
        again: Snapshot[Table] = await Snapshot.open(storage, "table", type=Table, default={})
        assert again.value == value


async def test_marks_are_saved_behind_and_at_the_end(workspace_dir: Path) -> None:
    """S50: Marked values are saved behind, the newest of them, and at the latest when the snapshot is closed."""
    async with open_storage(workspace_dir) as storage:
        snapshot = await Snapshot.open(storage, "counter", type=int, default=0)
        for number in range(1, 100):
            snapshot.mark(number)
        assert (snapshot.value, snapshot.unsaved) == (99, True)
        await snapshot.aclose()
        await snapshot.aclose()
        assert storage.statistics().saves < 10
        with pytest.raises(RuntimeClosed):
            snapshot.mark(100)
        assert (await Snapshot.open(storage, "counter", type=int, default=0)).value == 99


async def test_what_is_changed_afterwards_is_not_saved(workspace_dir: Path) -> None:
    async with open_storage(workspace_dir) as storage:
        snapshot: Snapshot[list[int]] = await Snapshot.open(storage, "list", type=list[int], default=[])
        numbers = [1]
        snapshot.mark(numbers)
        numbers.append(2)
        await snapshot.aclose()
        assert (await Snapshot.open(storage, "list", type=list[int], default=[])).value == [1]


async def test_a_value_that_cannot_be_stored_changes_nothing(workspace_dir: Path) -> None:
    """S52: A value that could not be read back is refused, naming the field, and the old one stays."""
    async with open_storage(workspace_dir) as storage:
        snapshot = await Snapshot.open(storage, "board", type=Score, default=Score(1))
        snapshot.mark(Score(2))
        for refused in (Score(3, math.nan), Score(3, 1.0, ("\ud800",))):
            with pytest.raises(SaveRejected) as caught:
                await snapshot.save(refused)
            assert caught.value.field.startswith("value.")
        assert snapshot.value == Score(2)
        await snapshot.aclose()
        assert (await Snapshot.open(storage, "board", type=Score, default=Score())).value == Score(2)


async def test_one_snapshot_has_one_holder(workspace_dir: Path) -> None:
    """S53: A snapshot that is open cannot be opened again; another session of the name is another one."""
    async with open_storage(workspace_dir) as storage, open_storage(workspace_dir) as other:
        first = await Snapshot.open(storage, "board", type=int, default=1)
        for each in (storage, other):
            with pytest.raises(AgentInUse, match="'board'"):
                await Snapshot.open(each, "board", type=int, default=2)
        second = await Snapshot.open(other, "board", type=int, default=2, session="another")
        await second.save(3)
        await first.aclose()
        assert (await Snapshot.open(other, "board", type=int, default=4)).value == 4


async def test_a_damaged_file_gives_way_to_the_generation_before(workspace_dir: Path) -> None:
    """S51: A damaged file is set aside, and said so; the generation before it is used."""
    async with open_storage(workspace_dir) as storage:
        snapshot = await Snapshot.open(storage, "board", type=int, default=0)
        await snapshot.save(1)
        await snapshot.save(2)
        await snapshot.aclose()
        data = await off_loop(snapshot.path.read_bytes)
        await off_loop(snapshot.path.write_bytes, data[:-10])
        with pytest.warns(CorruptFileSetAside, match=r"corrupt-.*generation before"):
            again = await Snapshot.open(storage, "board", type=int, default=0)
        assert again.value == 1
        await again.save(3)
        assert len(await off_loop(lambda: list(again.path.parent.glob("*.corrupt-*")))) == 1


async def test_two_damaged_files_are_no_default(workspace_dir: Path) -> None:
    """S51: When nothing that was saved can be read, that is an error and not a fresh start."""
    async with open_storage(workspace_dir) as storage:
        snapshot = await Snapshot.open(storage, "board", type=int, default=0)
        await snapshot.save(1)
        await snapshot.aclose()
        await off_loop(snapshot.path.write_bytes, b"{}")
        with pytest.raises(CorruptState):
            await Snapshot.open(storage, "board", type=int, default=0)
        assert storage.statistics().claims == 0


@pytest.mark.parametrize("other", [str, list[int]])
async def test_a_value_of_another_type_is_left_as_it_is(workspace_dir: Path, other: type) -> None:
    """S54: A value that does not fit the type is an error, and its file is left as it is."""
    async with open_storage(workspace_dir) as storage:
        snapshot = await Snapshot.open(storage, "board", type=int, default=0)
        await snapshot.save(1)
        await snapshot.aclose()
        with pytest.raises(CorruptState, match="Expected"):
            await Snapshot.open(storage, "board", type=other, default=None)
        assert (await Snapshot.open(storage, "board", type=int, default=0)).value == 1


async def test_a_disk_that_fails_is_raised_and_tried_again(workspace_dir: Path) -> None:
    """S41: A save the disk refused is raised; the value is kept and saved when the disk is well."""
    disk = FailingDisk()
    async with open_storage(workspace_dir, files=disk) as storage:
        snapshot = await Snapshot.open(storage, "board", type=int, default=0)
        await snapshot.save(1)
        disk.broken = {"fsync"}
        with pytest.raises(SaveFailed):
            await snapshot.save(2)
        assert (snapshot.value, snapshot.unsaved) == (2, True)
        disk.broken = set()
        await snapshot.aclose()
        assert (await Snapshot.open(storage, "board", type=int, default=0)).value == 2


async def test_a_close_that_cannot_save_lets_go_nevertheless(workspace_dir: Path) -> None:
    disk = FailingDisk()
    async with open_storage(workspace_dir, files=disk) as storage:
        snapshot = await Snapshot.open(storage, "board", type=int, default=0)
        disk.broken, disk.only = {"replace"}, "_state.json"
        snapshot.mark(1)
        with pytest.raises(SaveFailed):
            await snapshot.aclose()
        assert (await Snapshot.open(storage, "board", type=int, default=0)).value == 0


async def test_an_opening_that_is_cancelled_holds_nothing(workspace_dir: Path) -> None:
    """S11: A snapshot whose opening is cancelled, at any step, is free for the next."""
    disk = HeldDisk()
    async with open_storage(workspace_dir, files=disk) as storage:
        for steps in range(0, 30, 3):
            opening = asyncio.create_task(Snapshot.open(storage, "board", type=int, default=0))
            for _ in range(steps):
                await asyncio.sleep(0)
            opening.cancel()
            await asyncio.wait({opening})
            if not opening.cancelled():
                await opening.result().aclose()
            await storage.call(lambda: None)
        assert storage.statistics().claims == 0
        disk.hold()
        loading = asyncio.create_task(Snapshot.open(storage, "board", type=int, default=0))
        await disk.until_stuck()
        loading.cancel()
        await asyncio.sleep(0)
        disk.let_go()
        await asyncio.wait({loading})
        await storage.call(lambda: None)
        snapshot = await Snapshot.open(storage, "board", type=int, default=0)
        await snapshot.aclose()
    gc.collect()
