"""Jobs run beside the mailbox and end with their actor."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from tests.unit.runtime.actors import Recorder, settle

from overwinter.runtime import Actor, ActorSystem, Backoff, Job, Restart, Resume

pytestmark = pytest.mark.anyio

AT_ONCE = Restart(backoff=Backoff(initial=0))


class Working(Recorder):
    def __init__(self, log: list[Any] | None = None) -> None:
        super().__init__(log)
        self.finish = asyncio.Event()
        self.jobs: list[Job] = []

    async def receive(self, message: Any) -> Any:
        if isinstance(message, str) and message.startswith("work"):
            self.jobs.append(self.context.start_soon(self.work, message, name=message))
            return None
        return await super().receive(message)

    async def work(self, what: str) -> None:
        try:
            await self.finish.wait()
            if "fail" in what:
                raise ValueError(what)
            self.log.append(f"did {what}")
        except asyncio.CancelledError:
            self.log.append(f"cancelled {what}")
            if "grudge" in what:
                raise OSError(what) from None
            raise


async def test_a_job_runs_beside_the_mailbox() -> None:
    """R49: messages are handled while it runs, and who waits for it is woken when it has ended."""
    actor = Working()
    async with ActorSystem() as system:
        ref = await system.spawn(actor, name="worker")
        await ref.ask("work")
        assert await ref.ask("meanwhile") == "meanwhile"
        (job,) = actor.jobs
        assert job.name == "/worker work"
        assert not job.done
        assert system.statistics().jobs == 1
        waiting = asyncio.create_task(job.wait())
        await settle()
        assert not waiting.done()
        actor.finish.set()
        await waiting
        await job.wait()
        assert job.done
        assert not job.cancelled
        assert system.statistics().jobs == 0
        assert "done" in repr(job)
    assert actor.log == ["start", "meanwhile", "did work", "stop"]


async def test_cancelling_a_wait_leaves_the_job_alone() -> None:
    """R49: only cancel() cancels a job, and that is no failure."""
    actor = Working()
    async with ActorSystem() as system:
        ref = await system.spawn(actor)
        await ref.ask("work")
        (job,) = actor.jobs
        waiting = asyncio.create_task(job.wait())
        await settle()
        waiting.cancel()
        await settle()
        assert not job.done
        job.cancel()
        job.cancel()
        await job.wait()
        job.cancel()
        assert job.cancelled
        assert await ref.ask("next") == "next"
        assert system.statistics().failures == 0


async def test_an_error_in_a_job_is_a_failure_of_the_actor() -> None:
    """R50: its supervision handles it between two messages; other jobs end with the restart."""
    actor = Working()
    async with ActorSystem() as system:
        ref = await system.spawn(actor, supervision=AT_ONCE)
        await ref.ask("work")
        await ref.ask("work and fail")
        actor.finish.set()
        await settle()
        assert await ref.ask("next") == "next"
        assert system.statistics().failures == 1
        assert system.statistics().restarts == 1
    assert actor.log == ["start", "did work", "restart after work and fail", "start", "next", "stop"]


async def test_an_error_in_a_job_of_a_resumed_actor_ends_only_the_job() -> None:
    """R50: with Resume everything else goes on."""
    actor = Working()
    async with ActorSystem() as system:
        ref = await system.spawn(actor, supervision=Resume())
        await ref.ask("work and fail")
        actor.finish.set()
        await settle()
        actor.finish.clear()
        await ref.ask("work")
        assert system.statistics().jobs == 1
        assert actor.log == ["start"]


async def test_several_errors_at_once_restart_the_actor_once() -> None:
    """R50: jobs that fail while the actor is being restarted are logged and no failures of the next life."""
    actor = Working()
    async with ActorSystem() as system:
        ref = await system.spawn(actor, supervision=AT_ONCE)
        for number in range(3):
            await ref.ask(f"work and fail {number}")
        actor.finish.set()
        await settle()
        assert system.statistics().restarts == 1
        assert await ref.ask("next") == "next"


async def test_jobs_are_cancelled_after_on_stop() -> None:
    """R51: on_stop may still wait for them; those that have not ended then are cancelled and awaited."""

    class Waiting(Working):
        async def on_stop(self) -> None:
            self.finish.set()
            await self.jobs[0].wait()
            self.finish.clear()
            self.jobs.append(self.context.start_soon(self.work, "late"))
            await settle()
            await super().on_stop()

    actor = Waiting()
    before = asyncio.all_tasks()
    async with ActorSystem() as system:
        ref = await system.spawn(actor)
        await ref.ask("work")
        await ref.stop()
        assert asyncio.all_tasks() == before
    assert actor.log == ["start", "did work", "stop", "cancelled late"]


async def test_an_error_of_a_job_that_is_being_ended_is_only_logged(caplog: pytest.LogCaptureFixture) -> None:
    """R52: neither a stop nor a restart is disturbed by it, and it is not lost."""
    actor = Working()
    async with ActorSystem() as system:
        ref = await system.spawn(actor, supervision=AT_ONCE)
        await ref.ask("work with a grudge 1")
        await ref.tell("fail")
        await ref.ask("next")
        await ref.ask("work with a grudge 2")
        assert system.statistics().failures == 1
        await ref.stop()
    assert "grudge 1" in caplog.text
    assert "grudge 2" in caplog.text
    assert actor.log[-2:] == ["stop", "cancelled work with a grudge 2"]


async def test_a_job_may_stop_its_own_actor() -> None:
    """R31: from a job, stop returns at once and the job is cancelled after on_stop."""

    class Suicidal(Recorder):
        async def receive(self, message: Any) -> None:
            self.job = self.context.start_soon(self.work)

        async def work(self) -> None:
            await self.context.ref.stop()
            self.log.append("asked")
            try:
                await asyncio.Event().wait()
            finally:
                self.log.append("cancelled")

        async def on_stop(self) -> None:
            await settle()
            await super().on_stop()

    actor = Suicidal()
    async with ActorSystem() as system:
        ref = await system.spawn(actor)
        await ref.ask("go")
        await actor.job.wait()
        await ref.stop()
    assert actor.log == ["start", "asked", "stop", "cancelled"]


async def test_a_job_cancelled_from_outside_is_no_failure() -> None:
    """R50: as with any task, who cancels it knows."""
    actor = Working()
    async with ActorSystem() as system:
        ref = await system.spawn(actor, name="worker")
        await ref.ask("work")
        next(task for task in asyncio.all_tasks() if task.get_name() == "/worker work").cancel()
        await actor.jobs[0].wait()
        assert await ref.ask("next") == "next"


async def test_a_job_that_fails_in_the_midst_of_a_message_waits_for_its_end() -> None:
    """R50: a failure of a job does not cut the message in hand."""

    class Slow(Actor[str]):
        def __init__(self) -> None:
            self.gate = asyncio.Event()
            self.log: list[str] = []

        async def receive(self, message: str) -> str:
            self.context.start_soon(self.fail)
            await self.gate.wait()
            self.log.append(message)
            return message

        async def fail(self) -> None:
            raise ValueError("job")

        async def on_restart(self, error: Exception) -> None:
            self.log.append(f"restart after {error}")

    actor = Slow()
    async with ActorSystem() as system:
        ref = await system.spawn(actor, supervision=AT_ONCE)
        asking = asyncio.create_task(ref.ask("message"))
        await settle()
        assert actor.log == []
        actor.gate.set()
        assert await asking == "message"
        await settle()
    assert actor.log == ["message", "restart after job"]
