"""An actor has a task when there is something to do, whoever else was woken, and none otherwise."""

from __future__ import annotations

import asyncio
import gc
import weakref
from typing import Any

import pytest
from tests.unit.runtime.actors import Gated, Recorder, settle

from overwinter.errors import ActorStopped, MessageRefused
from overwinter.runtime import Actor, ActorSystem, Reply
from overwinter.runtime.envelope import Envelope

pytestmark = pytest.mark.anyio

# Many more than have a task made for them at once.
CROWD = 1000


class Plain(Actor[Any]):
    def __init__(self, log: list[Any] | None = None) -> None:
        self.log: list[Any] = [] if log is None else log

    async def receive(self, message: Any) -> Any:
        self.log.append(message)
        return message


async def test_a_crowd_that_is_told_at_once_handles_everything_in_the_order_of_its_waking() -> None:
    """R18: whoever is woken behind many others has its turn after them, and no message is left."""
    log: list[Any] = []
    before = asyncio.all_tasks()
    async with ActorSystem() as system:
        refs = [await system.spawn(lambda: Plain(log)) for _ in range(CROWD)]
        for number, ref in enumerate(refs):
            ref.tell_nowait(number)
        assert len(asyncio.all_tasks() - before) < CROWD
        assert await asyncio.gather(*(ref.ask("end") for ref in refs)) == ["end"] * CROWD
        assert [entry for entry in log if entry != "end"] == list(range(CROWD))
        await settle()
        assert asyncio.all_tasks() == before


async def test_those_that_wait_for_their_task_go_on_when_those_before_them_are_torn_down() -> None:
    """R33: tasks that are cancelled before their first step stop their actors, and keep nobody else from beginning."""
    before = asyncio.all_tasks()
    async with ActorSystem() as system:
        refs = [await system.spawn(Plain) for _ in range(CROWD)]
        asking = [asyncio.create_task(ref.ask("late")) for ref in refs[-10:]]
        for ref in refs[:-10]:
            ref.tell_nowait("early")
        doomed = asyncio.all_tasks() - before - set(asking)
        for task in doomed:
            task.cancel()
        assert await asyncio.gather(*asking) == ["late"] * 10
        await settle()
        assert system.statistics().actors == CROWD - len(doomed)


async def test_a_crowd_that_is_stopped_before_it_began_answers_all() -> None:
    """R18: an actor that was woken, and stopped before it had a task, answers those who asked it."""
    async with ActorSystem() as system:
        refs = [await system.spawn(Plain) for _ in range(CROWD)]
        asking = [asyncio.create_task(ref.ask("hello")) for ref in refs]
        await asyncio.sleep(0)
        stopping = [asyncio.create_task(ref.stop()) for ref in refs]
        answers = await asyncio.gather(*asking, return_exceptions=True)
        await asyncio.gather(*stopping)
        assert all(answer == "hello" or isinstance(answer, ActorStopped) for answer in answers)
        assert system.statistics().actors == 0


async def test_an_actor_that_has_nothing_to_start_is_there_without_a_task() -> None:
    """R12, R22: without an on_start of its own an actor has had no task when spawn returns, and yet takes messages."""
    before = asyncio.all_tasks()
    async with ActorSystem() as system:
        ref = await system.spawn(Plain)
        assert asyncio.all_tasks() == before
        assert ref.alive
        assert await ref.ask("hello") == "hello"


async def test_an_actor_that_was_asked_stays_no_longer_than_a_turn_of_the_loop() -> None:
    """R12: the task that stays for the next question of who asked goes when none comes."""
    before = asyncio.all_tasks()
    async with ActorSystem() as system:
        ref = await system.spawn(Plain)
        for number in range(3):
            assert await ref.ask(number) == number
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert asyncio.all_tasks() == before


async def test_a_reference_does_not_keep_the_actor_that_has_stopped() -> None:
    """R13: the object is gone with its last user, and does not wait for the garbage collection."""
    async with ActorSystem() as system:
        ref = await system.spawn(Recorder)
        find = ref._cell.actor
        kept = weakref.ref(find)
        del find
        await ref.ask("hello")
        gc.disable()
        try:
            await ref.stop()
            await settle()
            assert kept() is None
        finally:
            gc.enable()
        await ref.tell("late")
        assert system.dead_letters.count == 1


async def test_a_reply_that_is_taken_when_nobody_waits_any_more_says_so() -> None:
    """R17: an actor that defers its reply only after the asker has gone hears of it at once."""
    heard: list[str] = []

    class Late(Gated):
        async def receive(self, message: Any) -> Any:
            self.began.set()
            await self.gate.wait()
            reply: Reply = self.context.defer_reply()
            reply.on_abandon(lambda: heard.append(message))
            return None

    actor = Late()
    async with ActorSystem() as system:
        ref = await system.spawn(actor)
        asking = asyncio.create_task(ref.ask("question"))
        await actor.began.wait()
        asking.cancel()
        await settle()
        actor.gate.set()
        await settle()
    assert heard == ["question"]


async def test_none_is_a_message_like_any_other() -> None:
    """R2: also as the first of a mailbox at rest, and among others."""
    log: list[Any] = []
    async with ActorSystem() as system:
        ref = await system.spawn(Plain(log))
        for message in (None, None, 1, None):
            ref.tell_nowait(message)
        assert system.statistics().pending == 4
        await ref.ask("end")
    assert log == [None, None, 1, None, "end"]


async def test_what_the_runtime_puts_messages_in_is_no_message() -> None:
    """R8: an envelope that is told would be taken for one of the runtime's."""
    async with ActorSystem() as system:
        ref = await system.spawn(Plain)
        with pytest.raises(MessageRefused, match="Envelope"):
            await ref.tell(Envelope("forged"))


async def test_the_messages_that_were_handled_are_counted_while_one_is_in_hand() -> None:
    """R59: the count is exact at any moment, in the midst of a long row too."""
    actor = Gated()
    async with ActorSystem() as system:
        ref = await system.spawn(actor)
        actor.gate.set()
        for number in range(10):
            ref.tell_nowait(number)
        await settle()
        assert system.statistics().handled == 10
        actor.gate.clear()
        for number in range(10):
            ref.tell_nowait(number)
        await settle()
        assert system.statistics().handled == 10
        actor.gate.set()
        await settle()
        assert system.statistics().handled == 20
