from __future__ import annotations

import asyncio
import gc
import threading
from typing import TYPE_CHECKING, Any

import anyio
import pytest
from anyio import to_thread

from overwinter.agents.models.side_loop import Relay, SideLoop, SideLoopStopped

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

pytestmark = pytest.mark.anyio


class Aside:
    """A side loop, and what was done on it."""

    def __init__(self) -> None:
        self.log: list[str] = []
        self.loop = SideLoop("aside", farewell=self.say_farewell)
        self.begun = threading.Event()

    async def say_farewell(self) -> None:
        self.log.append("farewell")

    async def stop(self) -> bool:
        return await to_thread.run_sync(self.loop.stop)

    async def wait_for_ever(self) -> None:
        try:
            self.begun.set()
            await asyncio.Event().wait()
        finally:
            self.log.append("ended")


@pytest.fixture
async def aside() -> AsyncIterator[Aside]:
    aside = Aside()
    aside.loop.start()
    yield aside
    assert await aside.stop()


async def test_what_runs_there_returns_and_raises_here(aside: Aside) -> None:
    """M13"""

    async def name_of_thread(prefix: str, *, suffix: str) -> str:
        return prefix + threading.current_thread().name + suffix

    async def fail() -> None:
        raise ZeroDivisionError("there")

    assert await aside.loop.run(name_of_thread, "<", suffix=">") == "<aside>"
    with pytest.raises(ZeroDivisionError, match="there"):
        await aside.loop.run(fail)


async def test_cancelling_here_ends_what_runs_there_before_it_returns(aside: Aside) -> None:
    """M12"""
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(aside.loop.run, aside.wait_for_ever)
        await to_thread.run_sync(aside.begun.wait)
        tasks.cancel_scope.cancel()
    assert aside.log == ["ended"]


@pytest.mark.allow_blocking  # the side loop is there to be blocked
async def test_a_cancellation_before_it_began_leaves_it_undone(aside: Aside) -> None:
    """M12"""
    busy, held = threading.Event(), threading.Event()

    async def hold_the_loop() -> None:
        busy.set()
        held.wait(60)  # the loop is busy; what comes now waits its turn

    holding = asyncio.create_task(aside.loop.run(hold_the_loop))
    await to_thread.run_sync(busy.wait)
    waiting = asyncio.create_task(aside.loop.run(aside.wait_for_ever))
    await asyncio.sleep(0)
    waiting.cancel()
    await asyncio.sleep(0)
    held.set()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    await holding
    assert aside.log == []


async def test_a_coroutine_made_in_a_worker_thread_is_closed_when_it_is_cancelled(aside: Aside) -> None:
    """M12"""
    made, release = threading.Event(), threading.Event()
    coroutines: list[Any] = []

    def make() -> Any:
        made.set()
        release.wait(60)
        coroutines.append(aside.wait_for_ever())
        return coroutines[0]

    async def as_litellm_does() -> None:
        await (await asyncio.get_running_loop().run_in_executor(None, make))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(aside.loop.run, as_litellm_does)
        await to_thread.run_sync(made.wait)
        tasks.cancel_scope.cancel()
    release.set()
    await aside.stop()
    gc.collect()  # an unawaited coroutine would warn, and a warning is an error
    assert aside.log == ["farewell"]
    assert coroutines[0].cr_frame is None


async def test_stopping_ends_what_runs_and_says_farewell_last() -> None:
    """M16"""
    aside = Aside()
    aside.loop.start()
    running = asyncio.create_task(aside.loop.run(aside.wait_for_ever))
    await to_thread.run_sync(aside.begun.wait)
    assert await aside.stop()
    with pytest.raises(SideLoopStopped):
        await running
    assert aside.log == ["ended", "farewell"]
    with pytest.raises(SideLoopStopped):
        await aside.loop.run(aside.wait_for_ever)


async def test_stopping_twice_is_harmless(aside: Aside) -> None:
    """M16"""
    assert await aside.stop()
    assert await aside.stop()
    assert aside.log == ["farewell"]


async def test_a_relay_hands_over_in_order_and_before_the_result(aside: Aside) -> None:
    """M3"""
    got: list[int] = []
    threads: set[str] = set()

    def take(number: int) -> None:
        got.append(number)
        threads.add(threading.current_thread().name)

    async def count(relay: Relay[int]) -> None:
        for number in range(500):
            relay.send(number)
            if number % 7 == 0:
                await asyncio.sleep(0)

    await aside.loop.run(count, Relay(take))
    assert got == [*range(500)]
    assert threads == {threading.current_thread().name}


async def test_a_closed_relay_hands_nothing_over(aside: Aside) -> None:
    """M12"""
    got: list[int] = []
    relay = Relay(got.append)

    async def send(number: int) -> None:
        relay.send(number)

    await aside.loop.run(send, 1)
    relay.close()
    with pytest.raises(SideLoopStopped):
        await aside.loop.run(send, 2)
    assert got == [1]


async def test_a_listener_that_fails_stops_the_sender(aside: Aside) -> None:
    """M26"""

    def fail(number: int) -> None:
        raise ZeroDivisionError(number)

    relay = Relay(fail)

    async def count() -> None:
        for number in range(1000):
            relay.send(number)
            await asyncio.sleep(0.001)

    with pytest.raises(SideLoopStopped):
        await aside.loop.run(count)
    assert isinstance(relay.error, ZeroDivisionError)


def test_it_serves_event_loops_one_after_another_and_at_once() -> None:
    """M15"""
    aside = Aside()
    aside.loop.start()

    async def ask(number: int) -> int:
        async def answer() -> int:
            return number

        return await aside.loop.run(answer)

    answers: list[int] = []
    threads = [threading.Thread(target=lambda n=n: answers.append(asyncio.run(ask(n)))) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [asyncio.run(ask(4)), asyncio.run(ask(5))] == [4, 5]
    assert sorted(answers) == [0, 1, 2, 3]
    assert aside.loop.stop()


def test_a_home_that_closed_meanwhile_disturbs_nothing() -> None:
    """M15"""
    aside = Aside()
    aside.loop.start()
    home = asyncio.new_event_loop()
    task = home.create_task(aside.loop.run(aside.wait_for_ever))
    home.call_soon(home.stop)
    home.run_forever()
    aside.begun.wait(60)
    # The home dies without a word to its tasks, as it does when a thread is torn down.
    task._log_destroy_pending = False  # type: ignore[attr-defined]
    home.close()
    assert aside.loop.stop()
    assert aside.log == ["ended", "farewell"]


@pytest.fixture(autouse=True)
def no_thread_stays() -> Iterator[None]:
    yield
    assert "aside" not in {thread.name for thread in threading.enumerate()}
