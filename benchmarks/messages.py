"""Messages a second: ``tell`` and ``ask``, beside ``asyncio.Queue`` with a task that takes from it.

Both sides make the same small messages, a frozen struct each, and pass them to one receiver that counts them; the clock
runs from the first message made to the last one received. The actor is one of a ``Runtime``; what a message is checked
for, and its supervision, are included.
"""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING, Any

import msgspec

from benchmarks.contest import Contest, Goal, Row, Size, clock
from overwinter import Actor, Runtime

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from benchmarks.contest import Figures

__all__ = ["CONTESTS", "Counter", "ask_actor", "tell_actor"]

BOUND = 1024


def tells(size: Size) -> int:
    """How many messages are told."""
    return size.of(100_000, 2000)


def asks(size: Size) -> int:
    """How many questions are asked, one after the other."""
    return size.of(20_000, 500)


class Number(msgspec.Struct, frozen=True):
    """A message."""

    value: int


class Counter(Actor[Number]):
    """Counts, says when it has counted to the end, and answers with the number that it was told."""

    def __init__(self, last: int = -1, done: asyncio.Event | None = None) -> None:
        self.count = 0
        self.last = last
        self.done = done

    async def receive(self, message: Number) -> int:
        """Count one more."""
        self.count += 1
        if self.count == self.last and self.done is not None:
            self.done.set()
        return message.value


async def tell_actor(number: int) -> float:
    """``tell_nowait``, to a mailbox without a bound."""
    done = asyncio.Event()
    async with Runtime() as runtime:
        ref = await runtime.spawn(Counter(number, done), mailbox_capacity=None)
        await asyncio.sleep(0)
        began = clock()
        for value in range(number):
            ref.tell_nowait(Number(value))
        await done.wait()
        return number / (clock() - began)


async def tell_actor_bounded(number: int) -> float:
    """``await tell``, to a mailbox of 1,024."""
    done = asyncio.Event()
    async with Runtime() as runtime:
        ref = await runtime.spawn(Counter(number, done), mailbox_capacity=BOUND)
        await asyncio.sleep(0)
        began = clock()
        for value in range(number):
            await ref.tell(Number(value))
        await done.wait()
        return number / (clock() - began)


async def tell_queue(number: int) -> float:
    """``put_nowait``, to a queue without a bound."""
    queue: asyncio.Queue[Number] = asyncio.Queue()
    done = asyncio.Event()
    task = asyncio.create_task(_count(queue, number, done))
    await asyncio.sleep(0)
    began = clock()
    for value in range(number):
        queue.put_nowait(Number(value))
    await done.wait()
    seconds = clock() - began
    task.cancel()
    return number / seconds


async def tell_queue_bounded(number: int) -> float:
    """``await put``, to a queue of 1,024."""
    queue: asyncio.Queue[Number] = asyncio.Queue(BOUND)
    done = asyncio.Event()
    task = asyncio.create_task(_count(queue, number, done))
    await asyncio.sleep(0)
    began = clock()
    for value in range(number):
        await queue.put(Number(value))
    await done.wait()
    seconds = clock() - began
    task.cancel()
    return number / seconds


async def _count(queue: asyncio.Queue[Number], last: int, done: asyncio.Event) -> None:
    count = 0
    while True:
        await queue.get()
        count += 1
        if count == last:
            done.set()


async def ask_actor(number: int, timeout: float | None = None) -> float:
    """``ask``, each when the one before is answered."""
    async with Runtime() as runtime:
        ref = await runtime.spawn(Counter())
        await asyncio.sleep(0)
        began = clock()
        for value in range(number):
            await ref.ask(Number(value), timeout)
        return number / (clock() - began)


async def ask_queue(number: int) -> float:
    """A queue of messages and the futures of their answers."""
    queue: asyncio.Queue[tuple[Number, asyncio.Future[int]]] = asyncio.Queue()
    loop = asyncio.get_running_loop()
    task = asyncio.create_task(_answer(queue))
    await asyncio.sleep(0)
    began = clock()
    for value in range(number):
        future: asyncio.Future[int] = loop.create_future()
        queue.put_nowait((Number(value), future))
        await future
    seconds = clock() - began
    task.cancel()
    return number / seconds


async def ask_queue_with_timeout(number: int) -> float:
    """The same inside ``asyncio.timeout``."""
    queue: asyncio.Queue[tuple[Number, asyncio.Future[int]]] = asyncio.Queue()
    loop = asyncio.get_running_loop()
    task = asyncio.create_task(_answer(queue))
    await asyncio.sleep(0)
    began = clock()
    for value in range(number):
        future: asyncio.Future[int] = loop.create_future()
        async with asyncio.timeout(5.0):
            queue.put_nowait((Number(value), future))
            await future
    seconds = clock() - began
    task.cancel()
    return number / seconds


async def _answer(queue: asyncio.Queue[tuple[Number, asyncio.Future[int]]]) -> None:
    count = 0
    while True:
        message, future = await queue.get()
        count += 1
        future.set_result(message.value)


def _told(tell: Callable[[int], Coroutine[Any, Any, float]], size: Size) -> Figures:
    return {"rate": asyncio.run(tell(tells(size)))}


def _asked(ask: Callable[[int], Coroutine[Any, Any, float]], size: Size) -> Figures:
    return {"rate": asyncio.run(ask(asks(size)))}


def _ask(size: Size) -> Figures:
    with_timeout = asyncio.run(ask_actor(asks(size), 5.0))
    return {"rate": asyncio.run(ask_actor(asks(size))), "rate, timeout": with_timeout}


def _row(key: str, what: str, against: str, least: float | None, figure: str = "rate") -> Row:
    goals = () if least is None else (Goal("ratio", least, "least"),)
    return Row(key, what, figure, "/s", against=against, against_figure="rate", goals=goals)


_QUEUE, _BOUNDED = "asyncio.Queue", "asyncio.Queue(1024)"
_FUTURE, _TIMEOUT = f"{_QUEUE} + Future", f"{_QUEUE} + Future + timeout()"

CONTESTS = (
    Contest(
        "tell",
        {"overwinter": partial(_told, tell_actor), _QUEUE: partial(_told, tell_queue)},
        (_row("tell", "tell_nowait, mailbox without a bound", _QUEUE, 1.0),),
        turns=7,
    ),
    Contest(
        "tell-bounded",
        {"overwinter": partial(_told, tell_actor_bounded), _BOUNDED: partial(_told, tell_queue_bounded)},
        (_row("tell-bounded", "await tell, mailbox of 1,024", _BOUNDED, 1.0),),
        turns=7,
    ),
    Contest(
        "ask",
        {
            "overwinter": _ask,
            _FUTURE: partial(_asked, ask_queue),
            _TIMEOUT: partial(_asked, ask_queue_with_timeout),
        },
        (
            _row("ask", "ask, ping-pong", _FUTURE, 0.9),
            _row("ask-timeout", "ask with a timeout", _FUTURE, 0.7, "rate, timeout"),
            _row("ask-timeout-both", "ask, both with a timeout", _TIMEOUT, None, "rate, timeout"),
        ),
        turns=7,
    ),
)
