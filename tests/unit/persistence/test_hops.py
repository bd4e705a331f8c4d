"""Many small calls in one hop to a thread."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING

import anyio
import pytest
from tests.support.disk import off_loop

from overwinter.errors import RuntimeClosed
from overwinter.persistence import hops as module
from overwinter.persistence.hops import Hops
from overwinter.persistence.threads import DiskThread

if TYPE_CHECKING:
    from collections.abc import Sequence

pytestmark = pytest.mark.anyio


class Gate:
    """A call that waits in the thread until it is let go."""

    def __init__(self) -> None:
        self.reached, self.free = threading.Event(), threading.Event()

    def __call__(self) -> str:
        self.reached.set()
        assert self.free.wait(30)
        return "gate"


async def test_what_waits_goes_in_one_hop_and_each_has_its_own_outcome() -> None:
    gate, thread = Gate(), DiskThread("test")
    hops: Hops[str] = Hops(thread, on_orphan=lambda _: None)
    outcomes: dict[str, str] = {}

    async def call(name: str) -> None:
        try:
            outcomes[name] = await hops.call(lambda: name if name != "bad" else str(1 / 0))
        except ZeroDivisionError:
            outcomes[name] = "error"

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(hops.call, gate)
        await off_loop(gate.reached.wait, 30)
        for name in ("one", "bad", "two"):
            tasks.start_soon(call, name)
        await anyio.wait_all_tasks_blocked()
        gate.free.set()
    assert outcomes == {"one": "one", "bad": "error", "two": "two"}
    thread.shutdown()


async def test_a_long_batch_lets_others_have_their_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_LONGEST", -1.0)
    thread = DiskThread("test")
    hops: Hops[int] = Hops(thread, on_orphan=lambda _: None)
    results = await asyncio.gather(*(hops.call(lambda number=number: number) for number in range(5)))  # type: ignore[misc]
    assert results == [0, 1, 2, 3, 4]
    thread.shutdown()


async def test_a_withdrawn_call_is_not_made_and_the_result_of_one_that_was_is_an_orphan() -> None:
    gate, thread = Gate(), DiskThread("test")
    orphans: list[str] = []
    hops: Hops[str] = Hops(thread, on_orphan=orphans.append)
    made: list[str] = []

    def make() -> str:
        made.append("made")
        return "made"

    under_way = asyncio.ensure_future(hops.call(gate))
    await off_loop(gate.reached.wait, 30)
    waiting = asyncio.ensure_future(hops.call(make))
    await anyio.wait_all_tasks_blocked()
    under_way.cancel()
    waiting.cancel()
    await asyncio.wait([under_way, waiting])
    gate.free.set()
    assert await hops.call(lambda: "after") == "after"
    assert (orphans, made) == (["gate"], [])
    thread.shutdown()


async def test_a_call_withdrawn_while_one_before_it_in_its_hop_is_made_is_not_made() -> None:
    gates, thread = (Gate(), Gate()), DiskThread("test")
    hops: Hops[str] = Hops(thread, on_orphan=lambda _: None)
    made: list[str] = []

    def make() -> str:
        made.append("made")
        return "made"

    async with anyio.create_task_group() as tasks:
        for gate in gates:
            tasks.start_soon(hops.call, gate)
        withdrawn = asyncio.ensure_future(hops.call(make))
        for gate in gates:
            await off_loop(gate.reached.wait, 30)
            if gate is gates[1]:
                withdrawn.cancel()
                await asyncio.wait([withdrawn])
            gate.free.set()
    assert made == []
    thread.shutdown()


@pytest.mark.allow_blocking  # so that the loop does not hear what the thread has done
async def test_a_result_that_the_cancellation_overtook_is_an_orphan_too() -> None:
    thread, told = DiskThread("test"), threading.Event()
    orphans: list[str] = []
    hops: Hops[str] = Hops(thread, on_orphan=orphans.append)
    call = asyncio.ensure_future(hops.call(lambda: "result"))
    await asyncio.sleep(0)
    thread.submit(told.set)
    assert told.wait(30)
    call.cancel()
    await asyncio.wait([call])
    await asyncio.wrap_future(thread.submit(lambda: None))
    assert orphans == ["result"]
    thread.shutdown()


async def test_what_is_done_ahead_decides_how_many_have_their_turn() -> None:
    gate, thread = Gate(), DiskThread("test")
    seen: list[list[object]] = []

    def ahead(subjects: Sequence[object]) -> int:
        seen.append([*subjects])
        return 2

    hops: Hops[str] = Hops(thread, on_orphan=lambda _: None, ahead=ahead)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(hops.call, gate, "gate")
        await off_loop(gate.reached.wait, 30)
        for name in ("one", "two", "three"):
            tasks.start_soon(hops.call, lambda: "", name)
        gone = asyncio.ensure_future(hops.call(lambda: "", "gone"))
        await anyio.wait_all_tasks_blocked()
        gone.cancel()
        gate.free.set()
    assert seen == [["gate"], ["one", "two", "three"], ["three"]]
    thread.shutdown()


async def test_what_goes_wrong_ahead_is_told_to_all_who_wait() -> None:
    def ahead(_: object) -> int:
        raise OSError("broken")

    thread = DiskThread("test")
    hops: Hops[str] = Hops(thread, on_orphan=lambda _: None, ahead=ahead)
    with pytest.raises(OSError, match="broken"):
        await hops.call(lambda: "never")
    thread.shutdown()


async def test_a_call_after_the_end_says_so() -> None:
    thread = DiskThread("test")
    thread.shutdown()
    hops: Hops[str] = Hops(thread, on_orphan=lambda _: None)
    with pytest.raises(RuntimeClosed):
        await hops.call(lambda: "never")
