"""What mypy and pyright must know of actors; read by them and never run."""

from __future__ import annotations

from typing import assert_type

import msgspec

from overwinter import Actor, ActorRef, Restart, Runtime, Snapshot
from overwinter.agents import RuntimeStatistics


class Add(msgspec.Struct, frozen=True):
    """A message."""

    words: int


class Reset(msgspec.Struct, frozen=True):
    """Another one."""


class Counter(Actor[Add | Reset]):
    """Takes the two."""

    async def receive(self, message: Add | Reset) -> int:
        match message:
            case Add(words):
                assert_type(words, int)
                return words
            case Reset():
                return 0


class Other(Actor[str]):
    """Takes text."""


async def a_reference_knows_the_messages_of_its_actor() -> None:
    async with Runtime() as runtime:
        counter = await runtime.spawn(Counter, name="counter", supervision=Restart(max_restarts=5))
        assert_type(counter, ActorRef[Add | Reset])
        assert_type(await runtime.spawn(Counter()), ActorRef[Add | Reset])
        assert_type(await runtime.spawn(lambda: Counter()), ActorRef[Add | Reset])
        await counter.tell(Add(1))
        counter.tell_nowait(Reset())
        assert_type(await counter.tell(Reset()), None)
        await counter.ask(Add(1), timeout=1.0)


async def a_wrong_message_is_seen_before_it_is_sent(counter: ActorRef[Add | Reset]) -> None:
    await counter.tell("1")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    await counter.tell(Add)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    await counter.tell(Add("1"))  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    counter.tell_nowait(None)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    await counter.ask(2)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


def a_reference_may_stand_where_less_is_sent(counter: ActorRef[Add | Reset], other: ActorRef[str]) -> None:
    adder: ActorRef[Add] = counter
    wrong: ActorRef[Add] = other  # type: ignore[assignment]  # pyright: ignore[reportAssignmentType]
    wider: ActorRef[Add | Reset | str] = counter  # type: ignore[assignment]  # pyright: ignore[reportAssignmentType]
    del adder, wrong, wider


async def a_snapshot_knows_its_value(runtime: Runtime) -> None:
    snapshot = await runtime.snapshot("a", type=Add, default=Add(0))
    assert_type(snapshot, Snapshot[Add])
    assert_type(snapshot.value.words, int)
    await snapshot.save(Add(1))
    await snapshot.save(1)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    snapshot.mark(Reset())  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


def statistics_are_typed(runtime: Runtime) -> None:
    statistics = runtime.statistics()
    assert_type(statistics, RuntimeStatistics)
    assert_type(statistics.agents, int)
    assert_type(statistics.persistence.failing, bool)
