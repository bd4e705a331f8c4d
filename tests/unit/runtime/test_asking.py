"""Who asks gets an answer, an error, or their time back; nobody hangs."""

from __future__ import annotations

import asyncio
from typing import Any

import anyio
import pytest
from tests.unit.runtime.actors import Gated, Recorder, Unruly, settle

from overwinter.errors import ActorError, ActorStopped, AskDeadlock, AskTimeout
from overwinter.runtime import Actor, ActorSystem, Reply, Resume, Stop
from overwinter.testing import FakeClock

pytestmark = pytest.mark.anyio


async def test_ask_returns_what_receive_returns_and_raises_what_it_raises() -> None:
    """R15: the return value of receive is the reply, its exception is the asker's too."""
    async with ActorSystem() as system:
        ref = await system.spawn(Recorder, supervision=Resume())
        assert await ref.ask("hello") == "hello"
        with pytest.raises(ValueError, match="fail now"):
            await ref.ask("fail now")
        assert await ref.ask(None) is None


async def test_an_ask_whose_time_is_over_withdraws_a_message_not_yet_begun() -> None:
    """R16: the message of an ask that timed out in the mailbox is never handled."""
    clock = FakeClock()
    actor = Gated()
    async with ActorSystem(clock=clock) as system:
        ref = await system.spawn(actor)
        await ref.tell("in hand")
        await actor.began.wait()
        asking = asyncio.create_task(ref.ask("late", timeout=5))
        await clock.advance(4.9)
        assert not asking.done()
        await clock.advance(0.2)
        with pytest.raises(AskTimeout, match="withdrawn"):
            await asking
        assert system.statistics().pending == 0
        actor.gate.set()
        assert await ref.ask("end") == "end"
        assert clock.pending == 0
    assert "late" not in actor.log


async def test_the_time_of_an_ask_includes_the_wait_for_room() -> None:
    """R16: an ask that never got room times out as well, and leaves the line."""
    clock = FakeClock()
    actor = Gated()
    async with ActorSystem(clock=clock) as system:
        ref = await system.spawn(actor, mailbox_capacity=1)
        await ref.tell("in hand")
        await actor.began.wait()
        await ref.tell("queued")
        asking = asyncio.create_task(ref.ask("late", timeout=5))
        await clock.advance(5)
        with pytest.raises(AskTimeout):
            await asking
        assert system.statistics().pending == 1
        actor.gate.set()
    assert "late" not in actor.log


class Deferring(Actor[str]):
    def __init__(self) -> None:
        self.replies: list[Reply] = []
        self.abandoned: list[str] = []

    async def receive(self, message: str) -> str:
        reply = self.context.defer_reply()
        reply.on_abandon(lambda: self.abandoned.append(message))
        self.replies.append(reply)
        if message == "fail":
            raise ValueError("no answer")
        return "ignored"


async def test_an_ask_whose_time_is_over_abandons_the_reply_of_a_message_begun() -> None:
    """R16: an answer that comes too late goes nowhere, and the actor can know."""
    clock = FakeClock()
    actor = Deferring()
    async with ActorSystem(clock=clock) as system:
        ref = await system.spawn(actor)
        asking = asyncio.create_task(ref.ask("a", timeout=5))
        await clock.advance(6)
        with pytest.raises(AskTimeout, match="may still"):
            await asking
        assert actor.abandoned == ["a"]
        assert actor.replies[0].abandoned
        actor.replies[0].complete("too late")


async def test_a_cancelled_ask_withdraws_a_message_not_yet_begun() -> None:
    """R17: the message of a cancelled ask that stood in the mailbox is never handled."""
    actor = Gated()
    async with ActorSystem() as system:
        ref = await system.spawn(actor, mailbox_capacity=1)
        await ref.tell("in hand")
        await actor.began.wait()
        queued = asyncio.create_task(ref.ask("queued"))
        waiting = asyncio.create_task(ref.ask("waiting"))
        await settle()
        assert system.statistics().pending == 2
        queued.cancel()
        waiting.cancel()
        await settle()
        assert system.statistics().pending == 0
        actor.gate.set()
        await ref.ask("end")
    assert actor.log == ["start", "in hand", "end", "stop"]


async def test_a_cancelled_ask_abandons_the_reply_of_a_message_begun() -> None:
    """R17: the actor hears through on_abandon that nobody waits any more."""
    actor = Deferring()
    async with ActorSystem() as system:
        ref = await system.spawn(actor)
        asking = asyncio.create_task(ref.ask("a"))
        await settle()
        asking.cancel()
        await settle()
        assert asking.cancelled()
        assert actor.abandoned == ["a"]
        late: list[str] = []
        actor.replies[0].on_abandon(lambda: late.append("told at once"))
        assert late == ["told at once"]


async def test_an_answer_and_a_cancellation_in_one_instant_leave_no_complaint() -> None:
    """R17: an error that answers an ask which is cancelled in the same instant is not reported as unseen."""
    complaints: list[Any] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: complaints.append(context))
    actor = Deferring()
    async with ActorSystem() as system:
        ref = await system.spawn(actor)
        asking = asyncio.create_task(ref.ask("a"))
        await settle()
        actor.replies[0].fail(ValueError("unseen"))
        asking.cancel()
        await settle()
        assert asking.cancelled()
        assert actor.abandoned == []
    del asking, actor
    asyncio.get_running_loop().set_exception_handler(None)
    assert complaints == []


async def test_a_deferred_reply_answers_later_and_the_first_answer_counts() -> None:
    """R20: complete, fail and abandon are idempotent; what receive returned plays no part."""
    actor = Deferring()
    async with ActorSystem() as system:
        ref = await system.spawn(actor, supervision=Resume())
        asking = [asyncio.create_task(ref.ask(text)) for text in ("a", "b")]
        await settle()
        a, b = actor.replies
        assert not a.done
        a.complete(1)
        a.complete(2)
        a.fail(ValueError("no"))
        b.fail(KeyError("b"))
        b.complete(3)
        assert a.done
        assert await asking[0] == 1
        with pytest.raises(KeyError):
            await asking[1]
        assert actor.abandoned == []


async def test_a_handler_that_defers_its_reply_and_then_fails_answers_with_the_failure() -> None:
    """R20: an actor that resumes after that leaves nobody waiting."""
    actor = Deferring()
    async with ActorSystem() as system:
        ref = await system.spawn(actor, supervision=Resume())
        with pytest.raises(ValueError, match="no answer"):
            await ref.ask("fail")
        assert actor.replies[0].done


async def test_a_reply_can_be_taken_twice() -> None:
    """R20: deferring the message in hand again gives the same reply."""

    class Twice(Actor[str]):
        async def receive(self, message: str) -> None:
            first, second = self.context.defer_reply(), self.context.defer_reply()
            second.complete(first is second)

    async with ActorSystem() as system:
        assert await (await system.spawn(Twice)).ask("go") is True


async def test_a_reply_that_nobody_waits_for_any_more_is_done_when_it_is_taken() -> None:
    """R20: an actor that takes it after the asker gave up owes nothing."""
    began, gave_up = asyncio.Event(), asyncio.Event()

    class Late(Actor[str]):
        async def receive(self, message: str) -> None:
            began.set()
            await gave_up.wait()
            self.reply = self.context.defer_reply()

    actor = Late()
    async with ActorSystem() as system:
        ref = await system.spawn(actor)
        asking = asyncio.create_task(ref.ask("a"))
        await began.wait()
        asking.cancel()
        await settle()
        gave_up.set()
        await settle()
        assert actor.reply.done
        assert actor.reply.abandoned
        assert actor.overwinter_cell is not None
        assert actor.overwinter_cell.deferred is None


async def test_an_actor_keeps_nothing_of_the_answers_that_it_gave() -> None:
    """R20: the set of those that are open is gone with the last of them."""
    actor = Deferring()
    async with ActorSystem() as system:
        ref = await system.spawn(actor)
        asking = [asyncio.create_task(ref.ask(text)) for text in ("a", "b")]
        await settle()
        cell = actor.overwinter_cell
        assert cell is not None
        actor.replies[0].complete(1)
        assert cell.deferred == {actor.replies[1]}
        actor.replies[1].complete(2)
        assert cell.deferred is None
        assert [await one for one in asking] == [1, 2]


async def test_the_deferred_reply_of_a_told_message_goes_nowhere() -> None:
    """R20: an actor need not know whether it was asked or told."""
    actor = Deferring()
    async with ActorSystem() as system:
        ref = await system.spawn(actor)
        await ref.tell("a")
        await settle()
        actor.replies[0].complete(1)
        assert actor.replies[0].done
        assert not actor.replies[0].abandoned


async def test_defer_reply_needs_a_message_in_hand() -> None:
    """R20: outside of receive there is nothing to defer."""
    actor = Deferring()
    async with ActorSystem() as system:
        await system.spawn(actor)
        with pytest.raises(RuntimeError, match="no message in hand"):
            actor.context.defer_reply()


async def test_an_ask_to_an_actor_that_stops_first_raises_actor_stopped() -> None:
    """R18: queued, waiting for room or deferred, every asker is answered when the actor stops."""
    actor = Gated()
    deferring = Deferring()
    async with ActorSystem() as system:
        ref = await system.spawn(actor, mailbox_capacity=1)
        deferred_ref = await system.spawn(deferring)
        in_hand = asyncio.create_task(ref.ask("in hand"))
        await actor.began.wait()
        queued = asyncio.create_task(ref.ask("queued"))
        waiting = asyncio.create_task(ref.ask("waiting"))
        deferred = asyncio.create_task(deferred_ref.ask("deferred"))
        await settle()
        stopping = asyncio.create_task(ref.stop())
        await settle()
        for task in (queued, waiting):
            with pytest.raises(ActorStopped, match="before it began"):
                await task
        assert not stopping.done()
        actor.gate.set()
        await stopping
        assert await in_hand == "in hand"
        await deferred_ref.stop()
        with pytest.raises(ActorStopped, match="before it answered"):
            await deferred
        with pytest.raises(ActorStopped):
            await ref.ask("too late")


async def test_the_asker_of_a_message_that_was_cut_gets_actor_stopped() -> None:
    """R18: a stop that loses its patience answers the message in hand."""
    clock = FakeClock()
    for actor in (Gated(), Unruly()):
        async with ActorSystem(clock=clock) as system:
            ref = await system.spawn(actor)
            asking = asyncio.create_task(ref.ask("in hand"))
            await actor.began.wait()
            stopping = asyncio.create_task(ref.stop(timeout=1))
            await clock.advance(5)
            await stopping
            with pytest.raises(ActorStopped):
                await asking
        actor.gate.set()
        await settle()


async def test_the_failure_that_stopped_the_actor_is_the_cause() -> None:
    """R18: whoever gets ActorStopped because of a failure sees which."""
    actor = Gated()
    async with ActorSystem() as system:
        ref = await system.spawn(actor, supervision=Stop())
        failing = asyncio.create_task(ref.ask("fail"))
        queued = asyncio.create_task(ref.ask("queued"))
        await actor.began.wait()
        actor.gate.set()
        with pytest.raises(ValueError, match="fail") as failure:
            await failing
        with pytest.raises(ActorStopped) as stopped:
            await queued
        assert stopped.value.__cause__ is failure.value


class Selfish(Actor[str]):
    async def receive(self, message: str) -> Any:
        match message:
            case "directly":
                return await self.context.ref.ask("answer")
            case "in a task group":
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(self.context.ref.ask, "answer")
            case "from a job":
                reply = self.context.defer_reply()

                async def ask() -> None:
                    reply.complete(await self.context.ref.ask("answer"))

                self.context.start_soon(ask)
            case "from a task that outlives this":
                reply = self.context.defer_reply()
                self.task = asyncio.create_task(self.outlive(reply))
            case _:
                return "answer"
        return None

    async def outlive(self, reply: Reply) -> None:
        await settle()
        reply.complete(await self.context.ref.ask("answer"))


async def test_an_actor_that_asks_itself_is_told_instead_of_hanging() -> None:
    """R19: a self-ask from within receive, or a task of it, raises AskDeadlock."""
    async with ActorSystem() as system:
        ref = await system.spawn(Selfish, supervision=Resume())
        with pytest.raises(AskDeadlock, match="asked itself"):
            await ref.ask("directly")
        with pytest.raises(BaseExceptionGroup) as group:
            await ref.ask("in a task group")
        assert group.group_contains(AskDeadlock)


async def test_an_actor_may_ask_itself_from_a_job() -> None:
    """R19: beside its mailbox an actor may ask itself."""
    async with ActorSystem() as system:
        ref = await system.spawn(Selfish)
        assert await ref.ask("from a job") == "answer"
        assert await ref.ask("from a task that outlives this") == "answer"


async def test_an_answer_can_be_any_error_there_is() -> None:
    """R20: neither StopIteration nor a CancelledError given as an answer harms the asker's task."""
    actor = Deferring()
    async with ActorSystem() as system:
        ref = await system.spawn(actor)
        asking = [asyncio.create_task(ref.ask(text)) for text in ("a", "b")]
        await settle()
        actor.replies[0].fail(StopIteration(1))
        actor.replies[1].fail(asyncio.CancelledError())
        with pytest.raises(ActorError, match="StopIteration"):
            await asking[0]
        with pytest.raises(ActorError, match="CancelledError"):
            await asking[1]


async def test_a_callback_that_fails_does_not_harm_the_others(caplog: pytest.LogCaptureFixture) -> None:
    """R17: every on_abandon callback is called, and a failing one is logged."""
    reply = Reply()
    called: list[int] = []
    reply.on_abandon(lambda: 1 // 0)
    reply.on_abandon(lambda: called.append(1))
    reply.abandon()
    reply.abandon()
    assert called == [1]
    assert "ZeroDivisionError" in caplog.text
    answered = Reply()
    answered.complete(1)
    answered.on_abandon(lambda: called.append(2))
    assert called == [1]
