"""A system starts clean and closes in bounded time, whoever closes it."""

from __future__ import annotations

import asyncio
from typing import Any

import anyio
import pytest
from tests.unit.runtime.actors import Gated, Recorder, Unruly, settle

from overwinter.errors import ActorStopped, ConfigurationError
from overwinter.runtime import Actor, ActorSystem, Escalate, Resume, SystemClock
from overwinter.testing import FakeClock

pytestmark = pytest.mark.anyio


class Named(Recorder):
    def __init__(self, log: list[Any], name: str) -> None:
        super().__init__(log)
        self.name = name

    async def on_start(self) -> None:
        pass

    async def on_stop(self) -> None:
        self.log.append(f"{self.name} stops")
        await settle()
        self.log.append(f"{self.name} stopped")


class Service(Named):
    pass


async def test_actors_stop_in_the_reverse_order_of_their_spawning_those_of_a_kind_together() -> None:
    """R53: a service that was spawned first stops last, and a thousand of one class do not queue up."""
    log: list[Any] = []
    async with ActorSystem() as system:
        await system.spawn(Service(log, "service"))
        for number in range(3):
            await system.spawn(Named(log, f"agent {number}"))
        await system.spawn(Service(log, "late"))
    assert log[:2] == ["late stops", "late stopped"]
    assert sorted(log[2:5]) == ["agent 0 stops", "agent 1 stops", "agent 2 stops"]
    assert sorted(log[5:8]) == ["agent 0 stopped", "agent 1 stopped", "agent 2 stopped"]
    assert log[8:] == ["service stops", "service stopped"]


async def test_a_close_takes_no_longer_than_its_timeout_and_the_patience() -> None:
    """R54: hanging actors are cut at the deadline, those after them still get their on_stop."""
    clock = FakeClock()
    log: list[Any] = []
    service = Named(log, "service")
    actors = [Gated(log), Unruly(log)]
    system = ActorSystem(clock=clock, shutdown_timeout=10, patience=1)
    await system.open()
    await system.spawn(service)
    for actor in actors:
        ref = await system.spawn(actor)
        await ref.tell("hangs")
        await actor.began.wait()
    closing = asyncio.create_task(system.aclose())
    await clock.advance(9.9)
    assert not closing.done()
    await clock.advance(0.2)
    await clock.advance(1)
    await closing
    assert log[-2:] == ["service stops", "service stopped"]
    assert system.statistics().actors == 0
    assert clock.pending == 0
    for actor in actors:
        actor.gate.set()
    await settle()


async def test_closing_answers_all_who_wait() -> None:
    """R18: whoever still asks or waits for room when the system closes is answered."""
    actor = Gated()
    clock = FakeClock()
    system = ActorSystem(clock=clock)
    await system.open()
    ref = await system.spawn(actor, mailbox_capacity=1)
    asking = [asyncio.create_task(ref.ask(number)) for number in range(5)]
    await actor.began.wait()
    telling = asyncio.create_task(ref.tell("waiting"))
    await settle()
    closing = asyncio.create_task(system.aclose())
    await clock.advance(10)
    await closing
    results = await asyncio.gather(*asking, return_exceptions=True)
    assert all(isinstance(result, ActorStopped) for result in results)
    await telling


async def test_a_close_is_not_cut_short_by_cancellation() -> None:
    """R55: the actors stop first, then the cancellation is raised; natively and by a cancel scope."""
    for native in (True, False):
        actor = Gated()
        system = ActorSystem()
        await system.open()
        ref = await system.spawn(actor)
        await ref.tell("in hand")
        await actor.began.wait()
        scope = anyio.CancelScope()

        async def close(scope: anyio.CancelScope = scope, system: ActorSystem = system) -> None:
            with scope:
                await system.aclose()

        closing = asyncio.create_task(close())
        await settle()
        if native:
            closing.cancel()
        else:
            scope.cancel()
        await settle()
        assert not closing.done()
        actor.gate.set()
        if native:
            with pytest.raises(asyncio.CancelledError):
                await closing
        else:
            await closing
        assert actor.log == ["start", "in hand", "stop"]


async def test_a_cancelled_body_closes_the_system_in_full() -> None:
    """R55: leaving the block by a cancellation stops every actor before it goes on."""
    actor = Recorder()
    with anyio.CancelScope() as scope:
        async with ActorSystem() as system:
            await system.spawn(actor)
            scope.cancel()
            await asyncio.Event().wait()
    assert scope.cancelled_caught
    assert actor.log == ["start", "stop"]


async def test_an_error_of_the_body_is_raised_as_it_is() -> None:
    """R55: and the actors were stopped."""
    actor = Recorder()
    with pytest.raises(KeyError):
        async with ActorSystem() as system:
            await system.spawn(actor)
            raise KeyError("body")
    assert actor.log == ["start", "stop"]


async def test_another_task_may_close_and_many_may() -> None:
    """R56: open and aclose know no task; every closer returns when all actors have stopped."""
    actor = Gated()
    system = ActorSystem()
    await asyncio.create_task(system.open())
    ref = await asyncio.create_task(system.spawn(actor))
    await ref.tell("in hand")
    await actor.began.wait()
    closing = [asyncio.create_task(system.aclose()) for _ in range(3)]
    closing.append(asyncio.create_task(system.stop()))
    await settle()
    assert not any(task.done() for task in closing)
    actor.gate.set()
    await asyncio.gather(*closing)
    await system.aclose()
    assert actor.log == ["start", "in hand", "stop"]


class Closing(Recorder):
    async def receive(self, message: Any) -> Any:
        if message == "from a job":
            await self.context.start_soon(self.context.system.aclose).wait()
        else:
            await self.context.system.aclose()
        self.log.append("closed by me")
        return "done"


@pytest.mark.parametrize("message", ["from the handler", "from a job"])
async def test_an_actor_can_close_its_system(message: str) -> None:
    """R57: aclose returns at once inside an actor, and the message in hand is answered."""
    actor = Closing()
    child_log: list[Any] = []
    system = ActorSystem()
    await system.open()
    ref = await system.spawn(actor)
    await actor.context.spawn(Named(child_log, "child"))
    assert await ref.ask(message) == "done"
    await system.aclose()
    assert actor.log == ["start", "closed by me", "stop"]
    assert child_log == ["child stops", "child stopped"]


async def test_an_actor_can_close_another_system_and_waits_for_it() -> None:
    """R57: only its own system is out of an actor's patience."""
    log: list[Any] = []
    inner = ActorSystem()
    await inner.open()
    await inner.spawn(Named(log, "inner"))

    class Outer(Actor[str]):
        async def receive(self, message: str) -> list[Any]:
            await inner.aclose()
            return list(log)

    async with ActorSystem() as system:
        ref = await system.spawn(Outer)
        assert await ref.ask("close") == ["inner stops", "inner stopped"]


async def test_a_sender_of_another_system_is_not_shown() -> None:
    """R14: a reference to it would lead nowhere."""

    class Curious(Actor[str]):
        async def receive(self, message: str) -> bool:
            return self.context.sender is None

    async with ActorSystem() as first, ActorSystem() as second:
        curious = await first.spawn(Curious)

        class Outer(Actor[str]):
            async def receive(self, message: str) -> Any:
                return await curious.ask(message)

        assert await (await second.spawn(Outer)).ask("hello") is True
        assert await (await first.spawn(Outer)).ask("hello") is False


async def test_a_subclass_may_do_more_when_it_closes(caplog: pytest.LogCaptureFixture) -> None:
    """R57: what a subclass adds to the closing is done once, after the actors, whoever closes."""
    done: list[str] = []

    class House(ActorSystem):
        async def _aclose(self) -> None:
            await super()._aclose()
            done.append(f"{self.statistics().actors} actors left")
            raise OSError("cellar")

    house = House()
    await house.open()
    ref = await house.spawn(Closing)
    assert await ref.ask("from the handler") == "done"
    await settle()
    assert done == ["0 actors left"]
    assert "closing the runtime failed" in caplog.text
    for _ in range(2):
        with pytest.raises(OSError, match="cellar"):
            await house.aclose()
    assert done == ["0 actors left"]


async def test_an_actor_that_closes_its_failed_system_does_not_hang() -> None:
    """R58: a failure while the system closes is only logged."""
    gate = asyncio.Event()

    class Late(Recorder):
        async def on_stop(self) -> None:
            await gate.wait()

        async def receive(self, message: Any) -> Any:
            await gate.wait()
            return await super().receive(message)

    async with ActorSystem() as system:
        ref = await system.spawn(Late, supervision=Escalate())
        await ref.tell("fail")
        closing = asyncio.create_task(system.aclose())
        await settle()
        gate.set()
        await closing
        assert system.failure is None


async def test_statistics_count_the_living_and_remember_the_gone() -> None:
    """R59: what actors did stays counted when they have stopped."""
    async with ActorSystem() as system:
        ref = await system.spawn(Recorder, supervision=Resume())
        await ref.ask("one")
        await ref.tell("fail")
        await ref.stop(drain=True)
        await ref.tell("late")
        gated = Gated()
        busy = await system.spawn(gated)
        gated.context.start_soon(asyncio.Event().wait)
        await busy.tell("in hand")
        await gated.began.wait()
        await busy.tell("queued")
        statistics = system.statistics()
        assert (statistics.actors, statistics.pending, statistics.jobs) == (1, 1, 1)
        assert (statistics.handled, statistics.failures, statistics.dead_letters) == (2, 1, 1)
        assert statistics.restarts == 0
        gated.gate.set()


async def test_nothing_is_left_when_a_system_has_closed() -> None:
    """R61: no task, no timer."""
    before = asyncio.all_tasks()
    clock = FakeClock()
    async with ActorSystem(clock=clock) as system:
        for _ in range(10):
            actor = Recorder()
            ref = await system.spawn(actor)
            actor.context.start_soon(asyncio.Event().wait)
            await ref.ask("hello", timeout=100)
            await actor.context.spawn(Recorder)
    await settle()
    assert asyncio.all_tasks() == before
    assert clock.pending == 0


async def test_find_knows_paths_and_names() -> None:
    """R24: and nothing else."""
    async with ActorSystem() as system:
        ref = await system.spawn(Recorder, name="editor")
        assert system.find("editor") == system.find("/editor") == ref
        assert system.find("nobody") is None
        assert system.find("/editor/child") is None
        assert len(system.id) == 16
        assert isinstance(system.clock, SystemClock)


async def test_settings_that_cannot_work_are_refused() -> None:
    """R54: times are not negative."""
    with pytest.raises(ConfigurationError, match="shutdown_timeout"):
        ActorSystem(shutdown_timeout=-1)
    with pytest.raises(ConfigurationError, match="patience"):
        ActorSystem(patience=-1)


def test_a_loop_that_ends_with_an_open_system_does_not_hang_and_says_goodbye() -> None:
    """R33: asyncio.run cancels what still runs; busy actors stop with their on_stop."""
    actor = Gated()

    async def main() -> None:
        system = ActorSystem()
        await system.open()
        ref = await system.spawn(actor)
        await ref.tell("hangs")
        await actor.began.wait()

    asyncio.run(main())
    assert actor.log == ["start", "stop"]
