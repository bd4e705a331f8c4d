"""A stop ends in bounded time, in order, and answers everybody."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import anyio
import pytest
from tests.unit.runtime.actors import Gated, Recorder, Unruly, settle

from overwinter.errors import ActorStopped
from overwinter.runtime import Actor, ActorRef, ActorSystem, Restart, Resume, Stop
from overwinter.testing import FakeClock

pytestmark = pytest.mark.anyio


async def test_stop_finishes_the_message_in_hand_and_refuses_the_rest() -> None:
    """R26: told messages that were not begun become dead letters; the one in hand is handled to its end."""
    actor = Gated()
    async with ActorSystem() as system:
        ref = await system.spawn(actor, mailbox_capacity=1)
        await ref.tell("in hand")
        await actor.began.wait()
        await ref.tell("queued")
        waiting = asyncio.create_task(ref.tell("waiting"))
        await settle()
        stopping = asyncio.create_task(ref.stop())
        await settle()
        await waiting
        await ref.tell("late")
        ref.tell_nowait("later")
        assert not ref.alive
        assert not stopping.done()
        actor.gate.set()
        await stopping
        assert system.dead_letters.count == 4
    assert actor.log == ["start", "in hand", "stop"]


async def test_stop_with_drain_handles_what_came_before_it() -> None:
    """R27: what was accepted, and what waited for room, is handled before on_stop; later ones are not."""
    actor = Gated()
    async with ActorSystem() as system:
        ref = await system.spawn(actor, mailbox_capacity=1)
        await ref.tell("in hand")
        await actor.began.wait()
        asking = asyncio.create_task(ref.ask("asked"))
        waiting = asyncio.create_task(ref.tell("waiting"))
        await settle()
        stopping = asyncio.create_task(ref.stop(drain=True))
        await settle()
        await ref.tell("late")
        actor.gate.set()
        await stopping
        await waiting
        assert await asking == "asked"
        assert system.dead_letters.count == 1
    assert actor.log == ["start", "in hand", "asked", "waiting", "stop"]


async def test_a_drain_ends_at_its_deadline() -> None:
    """R28: what could not be drained in time is refused."""
    clock = FakeClock()
    actor = Gated()
    async with ActorSystem(clock=clock) as system:
        ref = await system.spawn(actor)
        await ref.tell("in hand")
        await actor.began.wait()
        await ref.tell("queued")
        stopping = asyncio.create_task(ref.stop(drain=True, timeout=3))
        await clock.advance(2.9)
        assert not stopping.done()
        await clock.advance(0.2)
        await stopping
        assert system.dead_letters.count == 2
    assert actor.log == ["start", "stop"]


@pytest.mark.parametrize(
    ("supervision", "handled"), [(Resume(), ["fail", "queued"]), (Restart(), ["fail"]), (Stop(), ["fail"])]
)
async def test_a_drain_goes_on_after_a_failure_only_where_the_actor_would(
    supervision: Any, handled: list[str]
) -> None:
    """R27: an actor that its supervision would not resume is not used to drain its mailbox."""
    actor = Gated()
    async with ActorSystem() as system:
        ref = await system.spawn(actor, supervision=supervision)
        await ref.tell("in hand")
        await actor.began.wait()
        await ref.tell("fail")
        await ref.tell("queued")
        stopping = asyncio.create_task(ref.stop(drain=True))
        await settle()
        actor.gate.set()
        await stopping
    assert actor.log == ["start", "in hand", *handled, "stop"]


async def test_stop_with_a_deadline_cancels_a_handler_that_hangs() -> None:
    """R28: at the deadline the handler is cancelled, and on_stop is called all the same."""
    clock = FakeClock()
    actor = Gated()
    async with ActorSystem(clock=clock) as system:
        ref = await system.spawn(actor)
        await ref.tell("hangs")
        await actor.began.wait()
        stopping = asyncio.create_task(ref.stop(timeout=5))
        await clock.advance(4.9)
        assert not stopping.done()
        await clock.advance(0.2)
        await stopping
        assert system.dead_letters.count == 1
        assert clock.pending == 0
    assert actor.log == ["start", "stop"]


async def test_a_timeout_of_zero_cancels_at_once() -> None:
    """R28: a stop without time does not wait for the clock."""
    actor = Gated()
    async with ActorSystem(clock=FakeClock()) as system:
        ref = await system.spawn(actor)
        await ref.tell("hangs")
        await actor.began.wait()
        await ref.stop(timeout=0)
        idle = await system.spawn(Recorder)
        await idle.stop(timeout=-1)
    assert actor.log == ["start", "stop"]


class SlowToLeave(Gated):
    def __init__(self, log: list[Any] | None = None, *, heed: bool = True) -> None:
        super().__init__(log)
        self.heed = heed
        self.leave = asyncio.Event()

    async def on_stop(self) -> None:
        self.log.append("leaving")
        while not self.leave.is_set():
            try:
                await self.leave.wait()
            except asyncio.CancelledError:
                self.log.append("cut")
                if self.heed:
                    raise
        self.log.append("left")


async def test_on_stop_has_the_time_that_is_left_and_never_less_than_the_patience() -> None:
    """R28: on_stop is cut at the deadline, or when the patience is over, whichever is later."""
    for used, allowed in ((0.0, 5.0), (4.5, 1.0), (9.0, 1.0)):
        clock = FakeClock()
        actor = SlowToLeave()
        async with ActorSystem(clock=clock, patience=1.0) as system:
            ref = await system.spawn(actor)
            await ref.tell("in hand")
            await actor.began.wait()
            stopping = asyncio.create_task(ref.stop(timeout=5))
            await clock.advance(min(used, 5.0))
            actor.gate.set()
            await clock.advance(allowed - 0.1)
            assert actor.log[-1] == "leaving"
            await clock.advance(0.2)
            assert actor.log[-1] == "cut"
            await stopping


async def test_an_actor_that_ignores_its_cancellation_is_abandoned(caplog: pytest.LogCaptureFixture) -> None:
    """R29: stop returns although the handler does not; it is said loudly, and on_stop is not called."""
    clock = FakeClock()
    actor = Unruly()
    async with ActorSystem(clock=clock, patience=1.0) as system:
        ref = await system.spawn(actor, name="unruly")
        await ref.tell("hangs")
        await actor.began.wait()
        await ref.tell("queued")
        stopping = asyncio.create_task(ref.stop(timeout=5))
        await clock.advance(5)
        assert actor.log == ["start", "ignored"]
        assert not stopping.done()
        await clock.advance(1)
        await stopping
        assert "/unruly ignored its cancellation" in caplog.text
        assert system.statistics().actors == 0
        await system.spawn(Recorder, name="unruly")
        actor.gate.set()
        await settle()
    assert actor.log == ["start", "ignored", "hangs"], (
        "what was abandoned may end, and nothing follows from it"
    )


async def test_an_on_stop_that_ignores_its_cancellation_is_abandoned_too() -> None:
    """R29: neither can on_stop hold up a stop that has a deadline."""
    clock = FakeClock()
    actor = SlowToLeave(heed=False)
    async with ActorSystem(clock=clock, patience=1.0) as system:
        ref = await system.spawn(actor)
        stopping = asyncio.create_task(ref.stop(timeout=5))
        await clock.advance(5)
        await clock.advance(1)
        await stopping
        actor.leave.set()
        await settle()
    assert actor.log == ["start", "leaving", "cut", "left"]


async def test_an_on_start_that_ignores_its_cancellation_is_abandoned_too() -> None:
    """R29: spawn raises ActorStopped when the stop gave up on on_start."""

    class Stuck(Unruly):
        async def on_start(self) -> None:
            await self.receive("start")

    clock = FakeClock()
    actor = Stuck()
    async with ActorSystem(clock=clock, patience=1.0) as system:
        spawning = asyncio.create_task(system.spawn(actor, name="stuck"))
        await actor.began.wait()
        ref = system.find("stuck")
        assert ref is not None
        stopping = asyncio.create_task(ref.stop(timeout=0))
        await clock.advance(1)
        await stopping
        with pytest.raises(ActorStopped, match="before it had started"):
            await spawning
        actor.gate.set()
        await settle()


async def test_jobs_that_ignore_their_cancellation_do_not_hold_up_a_stop(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """R29: after its patience a stop leaves such jobs behind and names them."""
    clock = FakeClock()
    actor = Unruly()
    async with ActorSystem(clock=clock, patience=1.0) as system:
        ref = await system.spawn(actor)
        job = actor.context.start_soon(actor.receive, "job", name="stubborn")
        await actor.began.wait()
        stopping = asyncio.create_task(ref.stop(timeout=0))
        await clock.advance(1)
        await stopping
        assert "stubborn" in caplog.text
        actor.gate.set()
        await job.wait()


async def test_stop_is_idempotent_and_can_be_awaited_by_many() -> None:
    """R30: every caller returns when the actor has stopped, and on_stop is called once."""
    actor = Gated()
    async with ActorSystem() as system:
        ref = await system.spawn(actor)
        await ref.tell("in hand")
        await actor.began.wait()
        stopping = [asyncio.create_task(ref.stop()) for _ in range(3)]
        await settle()
        assert not any(task.done() for task in stopping)
        actor.gate.set()
        await asyncio.gather(*stopping)
        await ref.stop()
        await system.stop(ref)
    assert actor.log == ["start", "in hand", "stop"]


async def test_a_later_stop_can_hurry_an_earlier_one() -> None:
    """R30: it can call the draining off and set an earlier deadline, never a later one."""
    clock = FakeClock()
    actor = Gated()
    async with ActorSystem(clock=clock) as system:
        ref = await system.spawn(actor)
        await ref.tell("in hand")
        await actor.began.wait()
        asking = asyncio.create_task(ref.ask("queued"))
        await settle()
        patient = asyncio.create_task(ref.stop(drain=True))
        await settle()
        assert not asking.done()
        hasty = asyncio.create_task(ref.stop(timeout=5))
        await settle()
        with pytest.raises(ActorStopped):
            await asking
        later = asyncio.create_task(ref.stop(drain=True, timeout=50))
        await clock.advance(5)
        await asyncio.gather(patient, hasty, later)
    assert actor.log == ["start", "stop"]


async def test_a_cancelled_stop_goes_on_without_its_caller() -> None:
    """R30: cancelling the caller does not call off the stop, nor harm others who wait for it."""
    actor = Gated()
    async with ActorSystem() as system:
        ref = await system.spawn(actor)
        await ref.tell("in hand")
        await actor.began.wait()
        leaving = asyncio.create_task(ref.stop())
        staying = asyncio.create_task(ref.stop())
        await settle()
        leaving.cancel()
        await settle()
        actor.gate.set()
        await staying
        assert leaving.cancelled()
        assert system.statistics().actors == 0


class Leaving(Recorder):
    async def receive(self, message: Any) -> Any:
        await super().receive(message)
        match message:
            case "stop_self":
                self.context.stop_self()
            case "drain":
                self.context.stop_self(drain=True)
            case "own stop":
                await self.context.ref.stop()
                await self.context.ref.stop(timeout=0.0)
            case "in a task group":
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(self.context.ref.stop)
            case "job":
                self.job = self.context.start_soon(self.context.ref.stop)
            case _:
                pass
        self.log.append("after")
        return "answer"


@pytest.mark.parametrize("message", ["stop_self", "in a task group", "job"])
async def test_an_actor_can_stop_itself_from_inside(message: str) -> None:
    """R31: the message in hand is finished and answered, then the actor stops; nothing waits for itself."""
    actor = Leaving()
    async with ActorSystem() as system:
        ref = await system.spawn(actor)
        assert await ref.ask(message) == "answer"
        await ref.stop()
    assert actor.log[:3] == ["start", message, "after"]
    assert actor.log[-1] == "stop"


async def test_a_stop_without_time_from_inside_cuts_the_handler_itself() -> None:
    """R31: even that cannot deadlock."""
    actor = Leaving()
    async with ActorSystem() as system:
        ref = await system.spawn(actor)
        with pytest.raises(ActorStopped):
            async with asyncio.timeout(5):
                await ref.ask("own stop")
                await ref.ask("after")
        await ref.stop()
    assert actor.log[-1] == "stop"


async def test_an_actor_can_drain_itself() -> None:
    """R31: stop_self(drain=True) handles what is queued first."""
    actor = Leaving()
    async with ActorSystem() as system:
        ref = await system.spawn(actor)
        await ref.tell("drain")
        await ref.tell("queued")
        await ref.stop(drain=True)
    assert actor.log == ["start", "drain", "after", "queued", "after", "stop"]


class Parent(Recorder):
    def __init__(self, log: list[Any], *names: str) -> None:
        super().__init__(log)
        self.names = names
        self.children: list[ActorRef[Any]] = []

    async def on_start(self) -> None:
        for name in self.names:
            child = Child(self.log, name, self.context.ref)
            self.children.append(await self.context.spawn(child, name=name))

    async def on_stop(self) -> None:
        self.log.append("parent")


class Child(Recorder):
    def __init__(self, log: list[Any], name: str, parent: ActorRef[Any]) -> None:
        super().__init__(log)
        self.name, self.parent = name, parent

    async def on_start(self) -> None:
        pass

    async def on_stop(self) -> None:
        self.log.append(self.name)

    async def receive(self, message: Any) -> None:
        await self.parent.stop()
        self.log.append("asked the parent to stop")


async def test_children_stop_before_their_parent_the_youngest_first() -> None:
    """R32: a parent's on_stop finds its children gone."""
    log: list[Any] = []
    async with ActorSystem() as system:
        parent = Parent(log, "a", "b", "c")
        ref = await system.spawn(parent, name="parent")
        assert system.find("/parent/b") == parent.children[1]
        await ref.stop()
        assert system.statistics().actors == 0
    assert log == ["c", "b", "a", "parent"]


async def test_a_child_can_stop_its_parent() -> None:
    """R31: a child that stops its parent does not wait for what waits for it."""
    log: list[Any] = []
    async with ActorSystem() as system:
        parent = Parent(log, "a", "b")
        ref = await system.spawn(parent)
        await parent.children[0].ask("go")
        await ref.stop()
    assert log == ["asked the parent to stop", "b", "a", "parent"]


async def test_a_parents_deadline_is_its_childrens() -> None:
    """R32: a child that hangs is cut at the deadline of the stop, also when that was set while it waited."""
    clock = FakeClock()

    class Hanging(Gated):
        async def on_start(self) -> None:
            self.child = Gated(self.log)
            self.child_ref = await self.context.spawn(self.child, name="child")

    actor = Hanging()
    async with ActorSystem(clock=clock) as system:
        ref = await system.spawn(actor)
        await actor.child_ref.tell("hangs")
        await actor.child.began.wait()
        patient = asyncio.create_task(ref.stop())
        await settle()
        hasty = asyncio.create_task(ref.stop(timeout=5))
        await clock.advance(5)
        await asyncio.gather(patient, hasty)
    assert actor.log == ["start", "stop", "stop"]


async def test_a_stopping_actor_starts_no_children_and_in_the_end_no_jobs() -> None:
    """R32: from the moment its children are stopped an actor gets no new ones."""
    errors: list[Exception] = []

    class Late(Recorder):
        async def on_stop(self) -> None:
            await super().on_stop()
            self.job = self.context.start_soon(self.work)
            try:
                await self.context.spawn(Recorder)
            except ActorStopped as error:
                errors.append(error)
            await settle()

        async def work(self) -> None:
            self.log.append("job")

    actor = Late()
    async with ActorSystem() as system:
        ref = await system.spawn(actor)
        await ref.stop()
        with pytest.raises(ActorStopped):
            actor.context.start_soon(actor.work)
    assert len(errors) == 1
    assert actor.log == ["start", "stop", "job"]


async def test_an_on_stop_that_fails_is_logged_and_the_actor_stops(caplog: pytest.LogCaptureFixture) -> None:
    """R25: the stop returns, and the error is not lost."""

    class Clumsy(Recorder):
        async def on_stop(self) -> None:
            raise OSError("no disk")

    async with ActorSystem() as system:
        ref = await system.spawn(Clumsy, name="clumsy")
        await ref.stop()
        assert system.statistics().failures == 1
    assert "on_stop of /clumsy failed" in caplog.text
    assert "no disk" in caplog.text


async def test_a_stop_while_the_actor_starts_waits_for_on_start() -> None:
    """R25: every on_start that returned has its on_stop, also when the stop came before."""

    class Slow(Gated):
        async def on_start(self) -> None:
            self.began.set()
            await self.gate.wait()
            await super().on_start()

    actor = Slow()
    async with ActorSystem() as system:
        spawning = asyncio.create_task(system.spawn(actor, name="slow"))
        await actor.began.wait()
        ref = system.find("slow")
        assert ref is not None
        stopping = asyncio.create_task(ref.stop())
        await settle()
        assert not stopping.done()
        actor.gate.set()
        await stopping
        assert await spawning == ref
    assert actor.log == ["start", "stop"]


async def test_a_stop_before_on_start_began_skips_it() -> None:
    """R25: an actor that was stopped before its first step neither starts nor says goodbye."""
    actor = Recorder()
    async with ActorSystem() as system:
        spawning = asyncio.create_task(system.spawn(actor, name="unborn"))
        while system.find("unborn") is None:
            await asyncio.sleep(0)
        ref = system.find("unborn")
        assert ref is not None
        if not actor.log:
            await ref.stop(timeout=0)
            with pytest.raises(ActorStopped, match="before it had started"):
                await spawning
    assert actor.log == []


class Cancelling(Gated):
    async def receive(self, message: Any) -> Any:
        if message == "awaits":
            task = asyncio.create_task(asyncio.sleep(3600))
            asyncio.get_running_loop().call_soon(task.cancel)
            await task
        return await super().receive(message)


def task_of(path: str) -> asyncio.Task[Any]:
    (task,) = (task for task in asyncio.all_tasks() if task.get_name() == path)
    return task


async def test_a_task_cancelled_from_outside_stops_the_actor_and_says_so(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """R33: who asked is answered, on_stop is called, and the log says that it was cancelled."""
    actor = Gated()
    async with ActorSystem() as system:
        ref = await system.spawn(actor, name="victim")
        asking = asyncio.create_task(ref.ask("in hand"))
        queued = asyncio.create_task(ref.ask("queued"))
        await actor.began.wait()
        task_of("/victim").cancel()
        for task in (asking, queued):
            with pytest.raises(ActorStopped):
                await task
        await ref.stop()
        assert system.statistics().actors == 0
    assert actor.log == ["start", "stop"]
    assert "/victim was cancelled from outside" in caplog.text


async def test_a_task_cancelled_before_its_first_step_stops_the_actor_too(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """R33: a task that never ran at all leaves nobody waiting."""
    actor = Recorder()
    async with ActorSystem() as system:
        ref = await system.spawn(actor, name="victim")
        await settle()
        ref.tell_nowait("never begun")
        task_of("/victim").cancel()
        with pytest.raises(ActorStopped):
            await ref.ask("queued")
        await ref.stop()
        assert system.statistics().actors == 0
    assert actor.log == ["start", "stop"]
    assert "/victim was cancelled from outside" in caplog.text


async def test_a_cancellation_from_outside_during_the_stop_hurries_it() -> None:
    """R33: whatever is cancelled and how often, the actor stops and children come first."""
    log: list[Any] = []

    class Holding(Parent):
        async def on_stop(self) -> None:
            log.append("parent")
            await asyncio.Event().wait()

    async with ActorSystem() as system:
        child = Gated(log)
        parent = Holding(log)
        ref = await system.spawn(parent, name="parent")
        child_ref = await parent.context.spawn(child, name="child")
        await child_ref.tell("hangs")
        await child.began.wait()
        stopping = asyncio.create_task(ref.stop())
        await settle()
        task_of("/parent").cancel()
        await settle()
        assert log == ["start", "stop", "parent"]
        task_of("/parent").cancel()
        await stopping
        assert system.statistics().actors == 0


async def test_a_cancellation_from_outside_hurries_a_stop_that_waits_for_the_message_in_hand() -> None:
    """R33: the message in hand is cut, what was to be drained is refused, and on_stop has its patience."""
    clock = FakeClock()

    class Holding(Gated):
        async def on_stop(self) -> None:
            await super().on_stop()
            await asyncio.Event().wait()

    actor = Holding()
    async with ActorSystem(clock=clock, patience=1) as system:
        ref = await system.spawn(actor, name="victim")
        await ref.tell("in hand")
        await actor.began.wait()
        await ref.tell("queued")
        stopping = asyncio.create_task(ref.stop(drain=True))
        await settle()
        task_of("/victim").cancel()
        await clock.advance(0.9)
        assert actor.log == ["start", "stop"]
        assert not stopping.done()
        await clock.advance(0.2)
        await stopping
        assert system.dead_letters.count == 2


async def test_something_cancelled_that_a_handler_awaits_is_a_failure_like_any_other() -> None:
    """R34: the actor is not taken for cancelled, and its supervision decides."""
    actor = Cancelling()
    async with ActorSystem() as system:
        ref = await system.spawn(actor, supervision=Resume())
        with pytest.raises(Exception, match="awaited something that was cancelled"):
            await ref.ask("awaits")
        actor.gate.set()
        assert await ref.ask("still there") == "still there"
        assert system.statistics().failures == 1


async def test_something_cancelled_that_on_start_awaits_is_raised_by_spawn() -> None:
    """R34: spawn does not raise CancelledError to somebody whom nobody cancelled."""

    class Starting(Actor[Any]):
        async def on_start(self) -> None:
            task = asyncio.create_task(asyncio.sleep(3600))
            task.cancel()
            await task

    async with ActorSystem() as system:
        with pytest.raises(Exception, match=r"on_start\(\) awaited something that was cancelled"):
            await system.spawn(Starting)


async def test_nothing_is_logged_above_debug_when_all_goes_well(caplog: pytest.LogCaptureFixture) -> None:
    """R25: a life without failures is silent."""
    with caplog.at_level(logging.INFO):
        async with ActorSystem() as system:
            ref = await system.spawn(Recorder)
            await ref.ask("hello")
            await ref.stop(timeout=1)
            await system.spawn(Recorder)
    assert caplog.text == ""
