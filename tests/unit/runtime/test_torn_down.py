"""What is no ordinary failure: interrupts, foreign base exceptions, faults in the runtime itself."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from tests.unit.runtime.actors import Recorder, Unruly, settle

from overwinter.errors import ActorError, ActorStopped
from overwinter.runtime import ActorSystem, Backoff, Restart
from overwinter.runtime.jobs import Crew
from overwinter.testing import FakeClock

pytestmark = pytest.mark.anyio


class Outrage(BaseException):
    """Neither an Exception nor anything that asyncio knows."""


class Outrageous(Recorder):
    async def receive(self, message: Any) -> Any:
        match message:
            case "interrupt":
                raise KeyboardInterrupt
            case "outrage":
                raise Outrage("no exception")
            case "job":
                self.context.start_soon(self.outrage)
            case _:
                return await super().receive(message)
        return None

    async def outrage(self) -> None:
        raise Outrage("no exception")


def test_a_keyboard_interrupt_in_a_handler_ends_the_loop_and_every_actor_stops() -> None:
    """R33: Ctrl-C in the midst of a handler passes through, and on_stop is called on the way out."""
    actor, bystander = Outrageous(), Recorder()

    async def main() -> None:
        async with ActorSystem() as system:
            ref = await system.spawn(actor)
            await system.spawn(bystander)
            await ref.ask("interrupt")

    with pytest.raises(KeyboardInterrupt):
        asyncio.run(main())
    assert actor.log == bystander.log == ["start", "stop"]


async def test_a_base_exception_in_a_handler_stops_the_actor_and_answers_all(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """R33: no supervision is asked, on_stop is called, and nobody hangs."""
    actor = Outrageous()
    async with ActorSystem() as system:
        ref = await system.spawn(actor, name="outrageous")
        in_hand = asyncio.create_task(ref.ask("outrage"))
        queued = asyncio.create_task(ref.ask("queued"))
        for task in (in_hand, queued):
            with pytest.raises(ActorStopped):
                await task
        await ref.stop()
        assert system.statistics().actors == 0
    assert actor.log == ["start", "stop"]
    assert "/outrageous was torn down" in caplog.text


async def test_a_base_exception_in_on_start_is_raised_by_spawn() -> None:
    """R22: whatever on_start raises, spawn does."""

    class Wrong(Recorder):
        async def on_start(self) -> None:
            raise Outrage("no exception")

    async with ActorSystem() as system:
        with pytest.raises(Outrage):
            await system.spawn(Wrong, name="wrong")
        await system.spawn(Recorder, name="wrong")


async def test_a_base_exception_in_a_job_is_a_failure_of_the_actor() -> None:
    """R50: it is not lost, and supervision sees an ActorError with it as the cause."""
    seen: list[Exception] = []

    def choose(error: Exception) -> Restart:
        seen.append(error)
        return Restart(backoff=Backoff(initial=0))

    async with ActorSystem() as system:
        ref = await system.spawn(Outrageous, supervision=choose)
        await ref.ask("job")
        await settle()
        assert await ref.ask("next") == "next"
    (error,) = seen
    assert isinstance(error, ActorError)
    assert isinstance(error.__cause__, Outrage)


async def test_an_abandoned_handler_that_heeds_a_later_cancellation_just_ends() -> None:
    """R29: nothing that an abandoned task does touches the actor's successor."""
    clock = FakeClock()

    class Slow(Unruly):
        async def receive(self, message: Any) -> Any:
            self.began.set()
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                await asyncio.Event().wait()

    actor = Slow()
    async with ActorSystem(clock=clock, patience=1) as system:
        ref = await system.spawn(actor, name="slow")
        await ref.tell("hangs")
        await actor.began.wait()
        (orphan,) = (task for task in asyncio.all_tasks() if task.get_name() == "/slow")
        stopping = asyncio.create_task(ref.stop(timeout=0))
        await clock.advance(1)
        await stopping
        successor = Recorder()
        await system.spawn(successor, name="slow")
        orphan.cancel()
        await asyncio.wait({orphan})
        assert orphan.cancelled()
        assert successor.log == ["start"]


async def test_a_fault_of_the_runtime_in_one_step_of_a_stop_does_not_keep_the_actor_from_stopping(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """R29: it is logged with its traceback, and the stop goes on with the next step."""

    async def faulty(crew: Crew) -> None:
        raise AssertionError("a fault")

    actor = Recorder()
    async with ActorSystem() as system:
        ref = await system.spawn(actor, name="unlucky")
        job = actor.context.start_soon(asyncio.Event().wait)
        with monkeypatch.context() as patch:
            patch.setattr(Crew, "end", faulty)
            await ref.stop()
        assert system.statistics().actors == 0
        job.cancel()
        await job.wait()
    assert "stopping /unlucky failed at the step JOBS" in caplog.text
    assert "a fault" in caplog.text
