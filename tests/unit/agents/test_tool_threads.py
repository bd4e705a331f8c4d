"""Tools that run in threads: how they hang, are left behind, and are waited for after all."""

from __future__ import annotations

import asyncio
import functools
import gc
import signal
import sys
import threading
from contextlib import asynccontextmanager
from contextvars import ContextVar
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any

import anyio
import pytest
from tests.support.processes import Child, say

from overwinter import Agent, tool
from overwinter.agents.models.protocol import ToolCall
from overwinter.agents.tool_threads import ThreadCall, ToolThreads
from overwinter.agents.toolbox import Toolbox
from overwinter.runtime.clock import SystemClock
from overwinter.testing import FakeClock, ScriptedModel

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from overwinter.runtime.clock import Clock

pytestmark = pytest.mark.anyio

colour: ContextVar[str] = ContextVar("colour", default="none")


class Gate:
    """Where a thread waits until the test lets it go on."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._reached = asyncio.Event()
        self._words: SimpleQueue[None] = SimpleQueue()

    def pass_through(self) -> None:
        """In the thread."""
        self._loop.call_soon_threadsafe(self._reached.set)
        self._words.get()

    async def reached(self) -> None:
        with anyio.fail_after(60):
            await self._reached.wait()

    def open(self) -> None:
        self._words.put(None)


async def serve(
    box: Toolbox, name: str, limiter: anyio.CapacityLimiter, *, call_id: str = "c", clock: Clock | None = None
) -> tuple[bool, str]:
    no_context: Any = None
    return await box.call(
        ToolCall(call_id, name, "{}"), no_context, clock=clock or SystemClock(), limiter=limiter
    )


@asynccontextmanager
async def left_behind(box: Toolbox, name: str, gate: Gate) -> AsyncIterator[anyio.CapacityLimiter]:
    """A call whose caller was cancelled while its thread stands at the gate; what is left of it ends here."""
    limiter = anyio.CapacityLimiter(1)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(serve, box, name, limiter)
        await gate.reached()
        tasks.cancel_scope.cancel()
    try:
        yield limiter
    finally:
        gate.open()


def tool_that_hangs() -> None:
    """In the program: Ctrl-C comes while a sync tool hangs."""

    def hang() -> str:
        say("hanging")
        SimpleQueue[None]().get()
        return "never"

    agent = Agent("a", model=ScriptedModel([ScriptedModel.call("hang")]), tools=[hang])
    asyncio.run(agent.run("go"))


@pytest.mark.alone
@pytest.mark.skipif(sys.platform == "win32", reason="Windows knows no such signals")
def test_a_sync_tool_that_hangs_does_not_keep_the_process() -> None:
    with Child(tool_that_hangs) as child:
        child.expect("hanging")
        child.send(signal.SIGINT)
        assert child.ended(within=10.0).code in (-signal.SIGINT, 130)


async def test_threads_are_used_again() -> None:
    threads, limiter = ToolThreads(), anyio.CapacityLimiter(1)
    first = await (await threads.start(threading.current_thread, limiter=limiter)).wait()
    second = await (await threads.start(threading.current_thread, limiter=limiter)).wait()
    assert first is second
    assert first.daemon
    assert first is not threading.current_thread()


@pytest.mark.alone
def test_a_thread_that_nobody_needs_ends() -> None:
    threads = ToolThreads(idle_seconds=0.0)

    async def call() -> threading.Thread:
        return await (await threads.start(threading.current_thread, limiter=anyio.CapacityLimiter(1))).wait()

    first = asyncio.run(call())
    first.join(5.0)
    assert not first.is_alive()
    assert asyncio.run(call()) is not first


async def test_context_variables_are_seen_in_the_thread_and_set_only_there() -> None:
    def look() -> str:
        seen = colour.get()
        colour.set("of the thread")
        return seen

    colour.set("of the caller")
    call = await ToolThreads().start(look, limiter=anyio.CapacityLimiter(1))
    assert await call.wait() == "of the caller"
    assert colour.get() == "of the caller"


@pytest.mark.parametrize("kind", [ValueError, KeyboardInterrupt, SystemExit, asyncio.CancelledError])
async def test_what_is_raised_in_the_thread_is_raised_to_the_caller(kind: type[BaseException]) -> None:
    error = kind("as it was")

    def fail() -> None:
        raise error

    call = await ToolThreads().start(fail, limiter=anyio.CapacityLimiter(1))
    with pytest.raises(kind) as raised:
        await call.wait()
    assert raised.value is error


def test_a_sync_tool_may_run_a_loop_of_its_own() -> None:
    async def inner() -> str:
        await anyio.lowlevel.checkpoint()
        return "inner"

    async def outer() -> str:
        call = await ToolThreads().start(lambda: anyio.run(inner), limiter=anyio.CapacityLimiter(1))
        return await call.wait()

    assert anyio.run(outer) == "inner"


async def test_nothing_begins_before_the_limiter_has_room_or_when_it_was_given_up() -> None:
    threads, limiter, ran = ToolThreads(), anyio.CapacityLimiter(1), list[str]()
    await limiter.acquire()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(functools.partial(threads.start, lambda: ran.append("ran"), limiter=limiter))
        await anyio.wait_all_tasks_blocked()
        tasks.cancel_scope.cancel()
    limiter.release()
    assert ran == []
    assert limiter.borrowed_tokens == 0


async def test_a_call_left_behind_holds_its_room_until_its_thread_has_ended() -> None:
    gate = Gate()

    def slow() -> str:
        gate.pass_through()
        return "done"

    box = Toolbox([slow])
    async with left_behind(box, "slow", gate) as limiter:
        assert limiter.borrowed_tokens == 1
        gate.open()
        await box.settle("c")
        assert limiter.borrowed_tokens == 0


async def test_settling_waits_for_a_thread_that_still_lives_and_answers_once() -> None:
    gate = Gate()

    def slow() -> list[int]:
        gate.pass_through()
        return [1, 2]

    box = Toolbox([slow])
    async with left_behind(box, "slow", gate):
        outcomes: list[tuple[bool, str] | None] = []

        async def settle() -> None:
            outcomes.append(await box.settle("c"))

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(settle)
            await anyio.wait_all_tasks_blocked()
            assert outcomes == []
            gate.open()
        assert outcomes == [(True, "[1,2]")]
        assert await box.settle("c") is None
    assert await box.settle("another") is None


async def test_settling_can_be_cancelled_and_tried_again() -> None:
    gate = Gate()

    def slow() -> str:
        gate.pass_through()
        raise ValueError("too late")

    box = Toolbox([slow])
    async with left_behind(box, "slow", gate):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(box.settle, "c")
            await anyio.wait_all_tasks_blocked()
            tasks.cancel_scope.cancel()
        gate.open()
        assert await box.settle("c") == (False, "Error: ValueError: too late")


async def test_settling_gives_the_outcome_of_a_thread_that_ended_meanwhile() -> None:
    gate = Gate()
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()

    def slow() -> str:
        gate.pass_through()
        loop.call_soon_threadsafe(ended.set)
        raise KeyboardInterrupt("meant for a run that is gone")

    box = Toolbox([slow])
    async with left_behind(box, "slow", gate):
        gate.open()
        await ended.wait()
        ok, text = await box.settle("c") or (True, "")
        assert not ok
        assert "KeyboardInterrupt" in text


def test_a_call_can_be_settled_from_another_loop_when_its_own_is_closed(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def leave() -> Gate:
        gate = gates[0] = Gate()
        async with left_behind(box, "slow", gate):
            return gate

    gates: dict[int, Gate] = {}

    def slow() -> str:
        gates[0].pass_through()
        second.get()
        return "after all"

    second: SimpleQueue[None] = SimpleQueue()
    box = Toolbox([slow])
    asyncio.run(leave())
    second.put(None)
    assert asyncio.run(box.settle("c")) == (True, "after all")
    assert not caplog.records, "the closed loop is nothing to speak of"


async def test_a_call_that_timed_out_was_answered_and_is_not_kept() -> None:
    gate, clock = Gate(), FakeClock()

    @tool(timeout=3)
    def slow() -> str:
        gate.pass_through()
        return "too late"

    box, limiter = Toolbox([slow]), anyio.CapacityLimiter(1)
    answers: list[tuple[bool, str]] = []

    async def call(call_id: str) -> None:
        answers.append(await serve(box, "slow", limiter, call_id=call_id, clock=clock))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(call, "one")
        await gate.reached()
        await clock.advance(1)
        tasks.start_soon(call, "two")
        await anyio.wait_all_tasks_blocked()
        await clock.advance(3)
    gate.open()
    assert answers == [
        (False, "Error: tool 'slow' timed out after 3 seconds. It may still be running."),
        (
            False,
            "Error: tool 'slow' timed out after 3 seconds. It never began: every thread for tools was taken.",
        ),
    ]
    assert await box.settle("one") is None


async def test_another_call_of_the_same_id_forgets_the_one_left_behind() -> None:
    gate = Gate()

    def slow() -> str:
        gate.pass_through()
        return "of the old call"

    async def quick() -> str:
        return "of the new call"

    box = Toolbox([slow, quick])
    async with left_behind(box, "slow", gate) as limiter:
        assert await serve(box, "quick", limiter) == (True, "of the new call")
        assert await box.settle("c") is None


async def test_a_coroutine_that_comes_of_a_call_left_behind_is_closed() -> None:
    gate = Gate()

    async def later() -> str:
        return "never"

    def slow() -> Any:
        gate.pass_through()
        return later()

    box = Toolbox([slow])
    async with left_behind(box, "slow", gate):
        gate.open()
        assert await box.settle("c") is None
        # One that was never awaited is an error now.
        gc.collect()


class Dumped:
    """A result that tells in which thread it became text."""

    def __init__(self) -> None:
        self.made = threading.current_thread()
        self.dumped: threading.Thread | None = None

    def model_dump(self, *, mode: str) -> str:
        self.dumped = threading.current_thread()
        return mode


async def test_the_result_of_a_sync_tool_becomes_text_in_its_own_thread() -> None:
    results: list[Dumped] = []

    def dump() -> Any:
        results.append(Dumped())
        return results[0]

    assert await serve(Toolbox([dump]), "dump", anyio.CapacityLimiter(1)) == (True, '"json"')
    assert results[0].dumped is results[0].made is not threading.current_thread()


async def test_a_big_result_of_an_async_tool_becomes_text_in_a_thread_though_tools_hold_them_all() -> None:
    result = Dumped()

    async def dump() -> Any:
        return [result, *range(1000)]

    async def bad() -> Any:
        return [*range(1000), float("nan")]

    limiter = anyio.CapacityLimiter(1)
    await limiter.acquire()
    box = Toolbox([dump, bad])
    ok, text = await serve(box, "dump", limiter)
    assert ok
    assert text.startswith('["json",0,1,')
    assert result.dumped not in (None, threading.current_thread())
    ok, text = await serve(box, "bad", limiter)
    assert not ok
    assert "result[1000] is nan" in text


async def test_a_result_that_becomes_text_when_its_run_is_cancelled_can_be_settled() -> None:
    gate = Gate()

    class Slow(Dumped):
        def model_dump(self, *, mode: str) -> str:
            gate.pass_through()
            return mode

    async def dump() -> Any:
        return Slow()

    box = Toolbox([dump])
    async with left_behind(box, "dump", gate):
        gate.open()
        assert await box.settle("c") == (True, '"json"')


def test_waiting_belongs_to_no_loop() -> None:
    async def start() -> ThreadCall[str]:
        return await ToolThreads().start(lambda: "here", limiter=anyio.CapacityLimiter(1))

    async def wait(call: ThreadCall[str]) -> str:
        return await call.wait()

    call = asyncio.run(start())
    assert asyncio.run(wait(call)) == asyncio.run(wait(call)) == "here"
    assert call.done
