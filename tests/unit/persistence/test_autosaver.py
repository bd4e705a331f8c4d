"""Keeping a file up to date: marks, intervals, retries, settling."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
from tests.support.disk import (
    FailingDisk,
    HeldDisk,
    document,
    off_loop,
    open_storage,
    turns,
    until_quiet,
    value_in,
)

from overwinter.errors import RuntimeClosed, SaveFailed, SaveRejected
from overwinter.persistence import Autosaver, ReplaceDocument, Saved
from overwinter.runtime import Backoff
from overwinter.runtime.fake_clock import FakeClock

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from pathlib import Path

    from overwinter.persistence import Storage

pytestmark = pytest.mark.anyio

PLAIN = Backoff(initial=1.0, factor=2.0, maximum=8.0, jitter=0.0)


class Owner:
    """Something that changes and is kept by an autosaver."""

    def __init__(self, storage: Storage, path: Path, **settings: Any) -> None:
        self.path = path
        self.value = 0
        self.made = 0
        self.refuse: Exception | None = None
        self.news: list[Saved | Exception] = []
        settings.setdefault("retry", PLAIN)
        self.autosaver = Autosaver(
            storage, self.produce, on_saved=self.news.append, on_error=self.news.append, **settings
        )

    def produce(self) -> ReplaceDocument:
        self.made += 1
        if self.refuse is not None:
            raise self.refuse
        return document(self.path, self.value, sequence=self.made)

    def change(self, value: int) -> None:
        self.value = value
        self.autosaver.mark()

    async def on_disk(self) -> Any:
        return await off_loop(value_in, self.path)


class Lab:
    def __init__(self, storage: Storage, clock: FakeClock, disk: FailingDisk, held: HeldDisk) -> None:
        self.storage, self.clock, self.disk, self.held = storage, clock, disk, held

    async def until_quiet(self) -> None:
        await until_quiet(self.storage)


class BothDisks(FailingDisk, HeldDisk):
    """A disk that can fail, and can be held."""


@pytest.fixture
async def lab(workspace_dir: Path) -> AsyncGenerator[Lab]:
    clock, disk = FakeClock(), BothDisks()
    async with open_storage(workspace_dir, clock=clock, files=disk) as storage:
        yield Lab(storage, clock, disk, disk)
        disk.let_go()
        disk.broken = set()


@pytest.fixture
def path(workspace_dir: Path) -> Path:
    return workspace_dir / "a.json"


async def test_what_is_marked_is_saved_behind(lab: Lab, path: Path) -> None:
    """S40: After a mark a save follows that shows the owner as it is then."""
    owner = Owner(lab.storage, path)
    assert not owner.autosaver.unsaved
    owner.change(1)
    assert owner.autosaver.unsaved
    await lab.until_quiet()
    await turns()
    assert not owner.autosaver.unsaved
    assert await owner.on_disk() == 1
    assert [type(news) for news in owner.news] == [Saved]
    assert owner.autosaver._task is None, "nothing runs while there is nothing to save"


async def test_what_is_prepared_is_there_when_the_document_is_made(lab: Lab, path: Path) -> None:
    """S40: What takes several turns of the loop comes first."""
    order: list[int] = []

    async def prepare() -> None:
        await turns()
        order.append(owner.made)

    owner = Owner(lab.storage, path, prepare=prepare)
    owner.change(1)
    await lab.until_quiet()
    assert order == [0]
    assert await owner.on_disk() == 1


async def test_what_changes_during_a_write_is_saved_by_the_next(lab: Lab, path: Path) -> None:
    """S40: At most one write is under way; all that changes meanwhile is saved by the one after it."""
    owner = Owner(lab.storage, path)
    lab.held.hold()
    owner.change(1)
    await lab.held.until_stuck()
    for value in range(2, 100):
        owner.change(value)
        await turns(2)
    assert owner.made == 1
    lab.held.let_go()
    await owner.autosaver.settle()
    assert owner.made == 2
    assert await owner.on_disk() == 99


async def test_settle_waits_for_what_was_marked_before(lab: Lab, path: Path) -> None:
    """S43: settle returns when everything marked before it is on disk, not only what a running write holds."""
    owner = Owner(lab.storage, path)
    await owner.autosaver.settle()
    assert owner.made == 0
    lab.held.hold()
    owner.change(1)
    await lab.held.until_stuck()
    first = asyncio.create_task(owner.autosaver.settle())
    await turns()
    owner.change(2)
    second = asyncio.create_task(owner.autosaver.settle())
    second.add_done_callback(lambda _: owner.change(3))
    lab.held.let_go()
    await first
    await second
    assert owner.made == 2
    await owner.autosaver.settle()
    assert (owner.made, await owner.on_disk()) == (3, 3)


async def test_a_failed_write_is_tried_again_with_the_newest(lab: Lab, path: Path) -> None:
    """S41: A write that fails is tried again by the clock until one succeeds, each time with the newest."""
    owner = Owner(lab.storage, path)
    lab.disk.broken = {"write"}
    owner.change(1)
    await lab.until_quiet()
    assert isinstance(owner.autosaver.error, SaveFailed)
    assert owner.made == 1
    await lab.clock.advance(0.9)
    assert owner.made == 1
    await lab.clock.advance(0.2)
    await lab.until_quiet()
    assert owner.made == 2
    owner.change(2)
    await lab.clock.advance(1.8)
    await lab.until_quiet()
    assert owner.made == 2, "a mark does not hurry what fails"
    lab.disk.broken = set()
    await lab.clock.advance(0.2)
    await lab.until_quiet()
    await turns()
    assert not owner.autosaver.unsaved
    assert owner.autosaver.error is None
    assert await owner.on_disk() == 2
    assert [type(news) for news in owner.news] == [SaveFailed, Saved], "told once, not for each attempt"
    assert lab.clock.pending == 0


async def test_settle_tries_at_once_and_raises(lab: Lab, path: Path) -> None:
    """S43: settle does not wait for a retry's time; it raises what its own attempt met."""
    owner = Owner(lab.storage, path)
    lab.disk.broken = {"write"}
    owner.change(1)
    for attempt in (1, 2, 3):
        with pytest.raises(SaveFailed, match="No space left"):
            await owner.autosaver.settle()
        assert owner.made == attempt
    lab.disk.broken = set()
    await owner.autosaver.settle()
    assert await owner.on_disk() == 1
    owner.change(2)
    await lab.until_quiet()
    assert await owner.on_disk() == 2, "what failed before delays nothing now"
    assert lab.clock.monotonic() == 0.0


async def test_settle_during_a_failing_write_is_answered_by_it(lab: Lab, path: Path) -> None:
    owner = Owner(lab.storage, path)
    lab.held.hold()
    lab.disk.broken = {"fsync"}
    owner.change(1)
    await lab.held.until_stuck()
    settling = asyncio.create_task(owner.autosaver.settle())
    await turns()
    lab.held.let_go()
    with pytest.raises(SaveFailed):
        await settling
    await lab.until_quiet()
    assert owner.made == 1, "nobody is in a hurry any more"


async def test_what_cannot_be_stored_is_not_tried_until_it_changes(lab: Lab, path: Path) -> None:
    """S42: What cannot be stored is told and not tried again until it is marked again, or somebody settles."""
    owner = Owner(lab.storage, path)
    owner.refuse = SaveRejected("value is NaN", path, "value")
    owner.change(1)
    await lab.until_quiet()
    await lab.clock.advance(1000.0)
    assert (owner.made, owner.news) == (1, [owner.refuse])
    assert owner.autosaver.unsaved
    with pytest.raises(SaveRejected):
        await owner.autosaver.settle()
    assert owner.made == 2
    owner.refuse = None
    owner.change(2)
    await owner.autosaver.settle()
    assert await owner.on_disk() == 2
    assert owner.autosaver.error is None


async def test_a_good_state_after_one_that_cannot_be_stored_is_saved(lab: Lab, path: Path) -> None:
    owner = Owner(lab.storage, path)
    owner.refuse = SaveRejected("value is NaN", path, "value")
    owner.change(1)
    settling = asyncio.create_task(owner.autosaver.settle())
    settling.add_done_callback(lambda task: task.exception())
    await lab.until_quiet()
    owner.refuse = None
    await owner.autosaver.settle()
    assert await owner.on_disk() == 1


async def test_writes_keep_their_distance(lab: Lab, path: Path) -> None:
    """S44: Writes begin at least min_interval apart; the last change is always saved."""
    owner = Owner(lab.storage, path, min_interval=0.25)
    for value in range(10):
        owner.change(value)
        await lab.until_quiet()
        await lab.clock.advance(0.05)
        await lab.until_quiet()
    assert owner.made == 2
    await lab.clock.advance(0.25)
    await lab.until_quiet()
    assert await owner.on_disk() == 9
    assert owner.made == 3
    await lab.clock.advance(10.0)
    owner.change(10)
    await lab.until_quiet()
    assert owner.made == 4, "after a rest the first goes at once"


async def test_settle_does_not_wait_for_the_distance(lab: Lab, path: Path) -> None:
    """S44: settle does not wait for the interval."""
    owner = Owner(lab.storage, path, min_interval=100.0)
    for value in (1, 2, 3):
        owner.change(value)
        await owner.autosaver.settle()
        assert await owner.on_disk() == value
    assert lab.clock.monotonic() == 0.0
    owner.change(4)
    await turns()
    assert owner.made == 3, "the hurry is over with the settling"
    assert lab.clock.pending == 1


async def test_cancelling_a_settle_leaves_the_save_alone(lab: Lab, path: Path) -> None:
    """S28: A settle that is cancelled leaves the save and other settles alone."""
    owner = Owner(lab.storage, path)
    lab.held.hold()
    owner.change(1)
    await lab.held.until_stuck()
    cancelled = asyncio.create_task(owner.autosaver.settle())
    other = asyncio.create_task(owner.autosaver.settle())
    await turns()
    cancelled.cancel()
    await turns()
    lab.held.let_go()
    await other
    assert cancelled.cancelled()
    assert await owner.on_disk() == 1


async def test_a_closed_autosaver_saves_no_more(lab: Lab, path: Path) -> None:
    """S45: A closed autosaver tells those who settle, refuses marks, and leaves no task and no timer."""
    owner = Owner(lab.storage, path)
    lab.disk.broken = {"write"}
    owner.change(1)
    await lab.until_quiet()
    lab.held.hold()
    settling = asyncio.create_task(owner.autosaver.settle())
    await lab.held.until_stuck()
    await owner.autosaver.aclose()
    await owner.autosaver.aclose()
    with pytest.raises(RuntimeClosed):
        await settling
    with pytest.raises(RuntimeClosed):
        owner.autosaver.mark()
    with pytest.raises(RuntimeClosed):
        await owner.autosaver.settle()
    lab.held.let_go()
    await lab.until_quiet()
    assert lab.clock.pending == 0


async def test_an_autosaver_closed_before_it_began_tells_those_who_wait(lab: Lab, path: Path) -> None:
    """S45: Also one whose task had not taken its first step."""
    owner = Owner(lab.storage, path)
    settling = asyncio.ensure_future(owner.autosaver.settle())
    await settling
    owner.change(1)
    settled = asyncio.get_running_loop().create_future()
    owner.autosaver._settling.append((1, settled))
    await owner.autosaver.aclose()
    with pytest.raises(RuntimeClosed):
        await settled
    assert owner.made == 0


async def test_a_closed_autosaver_that_had_saved_everything_settles(lab: Lab, path: Path) -> None:
    owner = Owner(lab.storage, path)
    owner.change(1)
    await owner.autosaver.settle()
    await owner.autosaver.aclose()
    await owner.autosaver.settle()


async def test_the_end_of_the_storage_ends_the_retries(lab: Lab, path: Path) -> None:
    """S45: When the storage is closed, nothing is tried any more, and those who settle are told."""
    owner = Owner(lab.storage, path)
    await lab.storage.aclose()
    owner.change(1)
    with pytest.raises(RuntimeClosed):
        await owner.autosaver.settle()
    await lab.clock.advance(100.0)
    assert owner.made == 1


async def test_listeners_that_fail_do_not_stop_the_saving(
    lab: Lab, path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(news: object) -> None:
        raise ValueError("no")

    owner = Owner(lab.storage, path)
    autosaver = Autosaver(lab.storage, owner.produce, on_saved=broken, on_error=broken)
    autosaver.mark()
    await autosaver.settle()
    owner.refuse = ValueError("cannot be made")
    autosaver.mark()
    with pytest.raises(ValueError, match="cannot be made"):
        await autosaver.settle()
    assert caplog.text.count("A listener of an autosaver failed") == 2
    silent = Autosaver(lab.storage, owner.produce)
    silent.mark()
    with pytest.raises(ValueError, match="cannot be made"):
        await silent.settle()


async def test_a_change_in_the_last_moment_is_saved(lab: Lab, path: Path) -> None:
    """S40: A mark between the end of a write and the end of its task is not lost."""
    owner = Owner(lab.storage, path)
    changed: list[bool] = []

    def once_more(saved: object) -> None:
        if not changed:
            changed.append(True)
            assert owner.autosaver._task is not None
            owner.autosaver._task.add_done_callback(lambda _: None)
            asyncio.get_running_loop().call_soon(owner.change, 2)

    owner.autosaver._on_saved = once_more
    owner.change(1)
    await lab.until_quiet()
    await turns()
    await owner.autosaver.settle()
    assert await owner.on_disk() == 2


async def test_a_change_beside_the_closing_starts_nothing(lab: Lab, path: Path) -> None:
    """S45: Closed in the moment between the end of a write and the end of its task, it starts no other."""
    owner = Owner(lab.storage, path)

    def change_and_close(saved: object) -> None:
        task = owner.autosaver._task
        assert task is not None
        # Behind the last step of the task, and before it is seen to have ended.
        asyncio.get_running_loop().call_soon(close, task)

    def close(task: asyncio.Task[None]) -> None:
        assert task.done()
        owner.change(2)
        owner.autosaver._closed = True

    owner.autosaver._on_saved = change_and_close
    owner.change(1)
    await lab.until_quiet()
    assert owner.made == 1
    assert owner.autosaver._task is None
