"""What fails is resumed, restarted, stopped or handed up, as its supervision says."""

from __future__ import annotations

import asyncio
import logging
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.runtime.actors import Gated, Recorder, settle

from overwinter.errors import ActorStopped, ConfigurationError, RestartLimitReached
from overwinter.runtime import (
    Actor,
    ActorRef,
    ActorSystem,
    Backoff,
    Escalate,
    Restart,
    Resume,
    Stop,
    Supervision,
    Terminated,
)
from overwinter.runtime.supervision import RestartLog
from overwinter.testing import FakeClock

pytestmark = pytest.mark.anyio

AT_ONCE = Restart(backoff=Backoff(initial=0))
IN_A_SECOND = Restart(backoff=Backoff(initial=1, jitter=0))


async def test_resume_goes_on_with_the_next_message(caplog: pytest.LogCaptureFixture) -> None:
    """R35: the actor keeps its state, its jobs and its mailbox; the failure is a warning with a traceback."""
    actor = Recorder()
    async with ActorSystem() as system:
        ref = await system.spawn(actor, name="calm", supervision=Resume())
        job = actor.context.start_soon(asyncio.Event().wait)
        with pytest.raises(ValueError, match="fail"):
            await ref.ask("fail")
        assert await ref.ask("next") == "next"
        assert not job.done
        assert system.statistics().failures == 1
        assert system.statistics().restarts == 0
    assert actor.log == ["start", "fail", "next", "stop"]
    (record,) = caplog.records
    assert (record.levelno, record.name) == (logging.WARNING, "overwinter.runtime")
    assert record.exc_info is not None
    assert "/calm failed (ValueError: fail)" in record.message


async def test_restart_makes_a_new_object_where_a_class_was_spawned(caplog: pytest.LogCaptureFixture) -> None:
    """R36: the old object hears on_restart, a new one starts; the failure is logged once, as an error."""
    made: list[Recorder] = []

    def make() -> Recorder:
        made.append(Recorder())
        return made[-1]

    async with ActorSystem() as system:
        ref = await system.spawn(make, supervision=AT_ONCE)
        with pytest.raises(ValueError, match="fail"):
            await ref.ask("fail")
        assert await ref.ask("next") == "next"
        assert made[1].context.ref == ref
    assert [actor.log for actor in made] == [
        ["start", "fail", "restart after fail"],
        ["start", "next", "stop"],
    ]
    (record,) = caplog.records
    assert record.levelno == logging.ERROR
    assert record.exc_info is not None


async def test_restart_keeps_the_object_where_an_object_was_spawned() -> None:
    """R36: it hears on_restart and then on_start; its address and its mailbox stay."""
    actor = Recorder()
    async with ActorSystem() as system:
        ref = await system.spawn(actor, supervision=AT_ONCE)
        await ref.tell("fail")
        await ref.tell("queued")
        assert await ref.ask("next") == "next"
        assert system.statistics().restarts == 1
    assert actor.log == ["start", "fail", "restart after fail", "start", "queued", "next", "stop"]


async def test_messages_wait_out_the_backoff_and_keep_their_order() -> None:
    """R37: what is sent before, during and after a backoff is handled in order, and nothing during it."""
    clock = FakeClock()
    actor = Recorder()
    async with ActorSystem(clock=clock) as system:
        ref = await system.spawn(actor, supervision=IN_A_SECOND, mailbox_capacity=2)
        await ref.tell("fail")
        await ref.tell("before")
        await clock.advance(0.5)
        await ref.tell("during")
        waiting = asyncio.create_task(ref.tell("waiting"))
        await clock.advance(0.4)
        assert actor.log == ["start", "fail"]
        assert not waiting.done()
        await clock.advance(0.2)
        await waiting
        await ref.ask("after")
    assert actor.log[2:] == ["restart after fail", "start", "before", "during", "waiting", "after", "stop"]


async def test_the_failed_message_is_not_handled_again() -> None:
    """R45: a message that the actor fails on cannot make it fail for ever."""
    actor = Recorder()
    async with ActorSystem() as system:
        ref = await system.spawn(actor, supervision=AT_ONCE)
        with pytest.raises(ValueError, match="fail"):
            await ref.ask("fail")
        await ref.ask("next")
    assert actor.log.count("fail") == 1


class Watcher(Actor[Any]):
    def __init__(self) -> None:
        self.told: list[Terminated] = []

    async def receive(self, message: Any) -> None:
        if isinstance(message, Terminated):
            self.told.append(message)
        else:
            self.context.watch(message)


async def test_more_failures_than_allowed_stop_the_actor(caplog: pytest.LogCaptureFixture) -> None:
    """R38: its watchers are told restart_limit, and askers see RestartLimitReached as the cause."""
    clock = FakeClock()
    watcher = Watcher()
    actor = Recorder()
    async with ActorSystem(clock=clock) as system:
        watching = await system.spawn(watcher)
        ref = await system.spawn(
            actor, name="frail", supervision=Restart(max_restarts=2, within=10, backoff=Backoff(initial=0))
        )
        await watching.ask(ref)
        for number in range(2):
            with pytest.raises(ValueError, match="fail"):
                await ref.ask(f"fail {number}")
        await ref.ask("still alive")
        failing = asyncio.create_task(ref.ask("fail at last"))
        queued = asyncio.create_task(ref.ask("queued"))
        with pytest.raises(ValueError, match="fail at last"):
            await failing
        with pytest.raises(ActorStopped) as stopped:
            await queued
        assert isinstance(stopped.value.__cause__, RestartLimitReached)
        assert isinstance(stopped.value.__cause__.__cause__, ValueError)
        await settle()
    (told,) = watcher.told
    assert told.address == ref.address
    assert told.reason == "restart_limit"
    assert told.error.startswith("RestartLimitReached: /frail failed more than 2 times within 10 s")
    assert "ValueError: fail at last" in told.error
    assert actor.log[-1] == "stop"
    assert "more than 2 times within 10 s" in caplog.text


async def test_restarts_long_ago_do_not_count() -> None:
    """R38: only the restarts within the window are counted."""
    clock = FakeClock()
    async with ActorSystem(clock=clock) as system:
        ref = await system.spawn(
            Recorder, supervision=Restart(max_restarts=1, within=10, backoff=Backoff(initial=0))
        )
        for _ in range(5):
            with pytest.raises(ValueError, match="fail"):
                await ref.ask("fail")
            await clock.advance(11)
        assert ref.alive


async def test_stop_stops() -> None:
    """R39: on_stop is called, and the watchers are told why."""
    watcher = Watcher()
    actor = Recorder()
    async with ActorSystem() as system:
        watching = await system.spawn(watcher)
        ref = await system.spawn(actor, supervision=Stop())
        await watching.ask(ref)
        with pytest.raises(ValueError, match="fail"):
            await ref.ask("fail")
        await ref.stop()
        await settle()
    assert watcher.told == [Terminated(ref.address, "failed", "ValueError: fail")]
    assert actor.log == ["start", "fail", "stop"]


class Parent(Recorder):
    def __init__(self, log: list[Any] | None = None, supervision: Supervision | None = None) -> None:
        super().__init__(log)
        self.supervision = Escalate() if supervision is None else supervision

    async def on_start(self) -> None:
        await super().on_start()
        self.child = Recorder()
        self.child_ref: ActorRef[Any] = await self.context.spawn(
            self.child, name="child", supervision=self.supervision
        )


async def test_escalate_makes_the_parent_fail_by_the_error() -> None:
    """R40: the child stops, and the parent's own supervision decides about the parent."""
    parent = Parent()
    async with ActorSystem() as system:
        ref = await system.spawn(parent, supervision=AT_ONCE)
        first = parent.child
        with pytest.raises(ValueError, match="fail below"):
            await parent.child_ref.ask("fail below")
        await settle()
        assert first.log == ["start", "fail below", "stop"]
        assert parent.log == ["start", "restart after fail below", "start"]
        assert await parent.child_ref.ask("new child") == "new child"
        assert await ref.ask("next") == "next"
        assert system.statistics().failures == 2


async def test_a_failure_escalated_to_the_root_fails_the_system() -> None:
    """R40: through a parent that escalates too, the body is cancelled and the error is raised at its end."""
    parent = Parent()
    with pytest.raises(ValueError, match="fail below") as failure:
        async with ActorSystem() as system:
            await system.spawn(parent, supervision=Escalate())
            await parent.child_ref.tell("fail below")
            await asyncio.Event().wait()
    assert system.failure is failure.value
    assert system.statistics().actors == 0
    assert parent.log == ["start", "stop"]


async def test_a_body_that_fails_because_the_system_has_is_told_the_systems_error() -> None:
    """R40: the first cause is what is raised, with the body's own error as its context."""
    with pytest.raises(ValueError, match="fail first") as failure:
        async with ActorSystem() as system:
            ref = await system.spawn(Recorder, supervision=Escalate())
            await ref.tell("fail first")
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                raise KeyError("second") from None
    assert isinstance(failure.value.__context__, KeyError)


async def test_without_a_body_a_failed_system_closes_itself() -> None:
    """R40: opened by hand, the system stops its actors and keeps the error."""
    system = ActorSystem()
    await system.open()
    bystander = Recorder()
    await system.spawn(bystander)
    ref = await system.spawn(Recorder, supervision=Escalate())
    await ref.tell("fail")
    await settle()
    assert isinstance(system.failure, ValueError)
    assert not system.running
    assert bystander.log == ["start", "stop"]
    await system.aclose()


async def test_a_restart_without_delay_or_limit_leaves_the_loop_to_others() -> None:
    """R42: an actor that can never start again is tried for ever, beside everything else, and can be stopped."""
    actor = Reluctant(1_000_000)
    async with ActorSystem() as system:
        ref = await system.spawn(actor, supervision=Restart(max_restarts=None, backoff=Backoff(initial=0)))
        await ref.tell("fail")
        await settle()
        assert 10 < actor.starts < 1000
        await ref.stop()


async def test_a_function_may_choose_the_policy_by_the_error(caplog: pytest.LogCaptureFixture) -> None:
    """R41: and one that fails itself, or returns something else, stops the actor."""
    seen: list[Exception] = []

    def choose(error: Exception) -> Any:
        seen.append(error)
        if str(error) == "fail softly":
            return Resume()
        if str(error) == "fail oddly":
            return "Resume"
        raise KeyError("chooser")

    for last in ("fail oddly", "fail hard"):
        actor = Recorder()
        async with ActorSystem() as system:
            ref = await system.spawn(actor, supervision=choose)
            await ref.tell("fail softly")
            await ref.ask("next")
            await ref.tell(last)
            await settle()
            assert not ref.alive
        assert actor.log == ["start", "fail softly", "next", last, "stop"]
    assert [str(error) for error in seen] == ["fail softly", "fail oddly", "fail softly", "fail hard"]
    assert "is no policy" in caplog.text or "not 'Resume'" in caplog.text
    assert "chooser" in caplog.text


class Reluctant(Recorder):
    """Starts, and then fails to start again ``times`` times."""

    def __init__(self, times: int) -> None:
        super().__init__()
        self.times = times
        self.starts = 0

    async def on_start(self) -> None:
        await super().on_start()
        self.starts += 1
        if 1 < self.starts <= self.times + 1:
            raise OSError(f"no start {self.starts}")


async def test_an_on_start_that_fails_at_a_restart_is_a_failure_too() -> None:
    """R42: it is counted, backed off further and tried again; messages wait."""
    clock = FakeClock()
    actor = Reluctant(2)
    async with ActorSystem(clock=clock) as system:
        ref = await system.spawn(actor, supervision=IN_A_SECOND)
        await ref.tell("fail")
        asking = asyncio.create_task(ref.ask("patient"))
        await clock.advance(1)
        assert actor.log[-2:] == ["restart after fail", "start"]
        await clock.advance(1.9)
        assert actor.starts == 2
        await clock.advance(0.2)
        assert actor.starts == 3
        await clock.advance(4)
        assert await asking == "patient"
        assert system.statistics().failures == 3
        assert system.statistics().restarts == 3


async def test_an_actor_that_never_starts_again_reaches_its_limit() -> None:
    """R42: and then its mailbox is answered; on_stop is not called for a start that did not return."""
    actor = Reluctant(100)
    async with ActorSystem() as system:
        ref = await system.spawn(actor, supervision=AT_ONCE)
        await ref.tell("fail")
        with pytest.raises(ActorStopped) as stopped:
            await ref.ask("patient")
        assert isinstance(stopped.value.__cause__, RestartLimitReached)
    assert actor.starts == 4
    assert "stop" not in actor.log


async def test_a_restart_that_fails_cannot_be_resumed() -> None:
    """R42: an actor that did not start has nothing to go on with."""
    actor = Reluctant(1)
    async with ActorSystem() as system:
        ref = await system.spawn(
            actor, supervision=lambda error: Resume() if isinstance(error, OSError) else AT_ONCE
        )
        await ref.tell("fail")
        await settle()
        assert not ref.alive


async def test_a_factory_that_fails_at_a_restart_is_a_failure_too(caplog: pytest.LogCaptureFixture) -> None:
    """R42: raising, or returning no actor, leads to the next try; the old object's on_restart does not."""
    made: list[Any] = []

    class Spiteful(Recorder):
        async def on_restart(self, error: Exception) -> None:
            raise KeyError("on_restart")

    def make() -> Any:
        made.append(None)
        if len(made) == 2:
            raise OSError("no object")
        return 3 if len(made) == 3 else Spiteful()

    async with ActorSystem() as system:
        ref = await system.spawn(make, supervision=AT_ONCE)
        await ref.tell("fail")
        assert await ref.ask("next") == "next"
        assert system.statistics().restarts == 3
    assert len(made) == 4
    assert "no object" in caplog.text
    assert "returned no Actor" in caplog.text


async def test_a_failing_on_restart_of_a_kept_object_is_a_failure_too() -> None:
    """R42: an object that cannot be made ready is tried again."""

    class Spiteful(Recorder):
        async def on_restart(self, error: Exception) -> None:
            await super().on_restart(error)
            if len(self.log) < 5:
                raise KeyError("again")

    actor = Spiteful()
    async with ActorSystem() as system:
        ref = await system.spawn(actor, supervision=AT_ONCE)
        await ref.tell("fail")
        assert await ref.ask("next") == "next"
    assert actor.log.count("start") == 2
    assert "restart after 'again'" in actor.log


class Household(Recorder):
    def __init__(self, log: list[Any]) -> None:
        super().__init__(log)
        self.reply: Any = None

    async def on_start(self) -> None:
        await super().on_start()
        await self.context.spawn(lambda: Recorder(self.log), name="child")
        self.context.start_soon(self.work)

    async def work(self) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            self.log.append("job ended")

    async def receive(self, message: Any) -> Any:
        if message == "defer":
            self.reply = self.context.defer_reply()
        return await super().receive(message)


async def test_a_restart_clears_away_what_belonged_to_the_life_before() -> None:
    """R43: jobs are cancelled, children stopped and deferred replies answered before it starts again."""
    log: list[Any] = []
    async with ActorSystem() as system:
        ref = await system.spawn(lambda: Household(log), supervision=AT_ONCE)
        deferred = asyncio.create_task(ref.ask("defer"))
        await settle()
        await ref.tell("fail")
        with pytest.raises(ActorStopped, match="restarted before it answered") as stopped:
            await deferred
        assert isinstance(stopped.value.__cause__, ValueError)
        await ref.ask("next")
        assert system.statistics().actors == 2
        assert system.statistics().jobs == 1
    assert log[:5] == ["start", "start", "defer", "fail", "job ended"]
    assert log[5:8] == ["stop", "restart after fail", "start"]


async def test_a_stop_does_not_wait_for_a_backoff() -> None:
    """R44: an actor that waits to be restarted stops at once, and on_stop is called for the start it had."""
    clock = FakeClock()
    actor = Recorder()
    async with ActorSystem(clock=clock) as system:
        ref = await system.spawn(actor, supervision=IN_A_SECOND)
        await ref.tell("fail")
        asking = asyncio.create_task(ref.ask("queued"))
        await settle()
        await ref.stop(drain=True)
        with pytest.raises(ActorStopped):
            await asking
        assert clock.pending == 0
    assert actor.log == ["start", "fail", "stop"]


async def test_a_stop_while_restarting_cuts_a_hanging_start() -> None:
    """R44: a stop with a deadline ends a restart that hangs, in on_start or while its jobs end."""
    clock = FakeClock()

    class Hanging(Gated):
        async def on_start(self) -> None:
            self.log.append("start")
            if len(self.log) > 1:
                await asyncio.Event().wait()

    class Clinging(Gated):
        async def on_start(self) -> None:
            await super().on_start()
            self.context.start_soon(self.cling)

        async def cling(self) -> None:
            try:
                await asyncio.Event().wait()
            finally:
                await asyncio.sleep(0)
                await self.context.clock.sleep(3)

    for actor in (Hanging(), Clinging()):
        async with ActorSystem(clock=clock) as system:
            ref = await system.spawn(actor, supervision=AT_ONCE)
            actor.gate.set()
            await ref.tell("fail")
            await settle()
            stopping = asyncio.create_task(ref.stop(timeout=1))
            await clock.advance(1)
            await clock.advance(3)
            await stopping


async def test_a_failure_while_stopping_changes_nothing(caplog: pytest.LogCaptureFixture) -> None:
    """R45: an actor that fails on its last message is not restarted; the asker sees the error."""
    actor = Gated()
    async with ActorSystem() as system:
        ref = await system.spawn(actor, supervision=Restart())
        asking = asyncio.create_task(ref.ask("fail"))
        await actor.began.wait()
        stopping = asyncio.create_task(ref.stop())
        await settle()
        actor.gate.set()
        await stopping
        with pytest.raises(ValueError, match="fail"):
            await asking
        assert system.statistics().restarts == 0
    assert actor.log == ["start", "fail", "stop"]
    assert "it was stopping already" in caplog.text


@given(
    backoff=st.builds(
        Backoff,
        initial=st.floats(0, 10),
        factor=st.floats(1, 100),
        maximum=st.floats(0, 100),
        jitter=st.floats(0, 1),
    ),
    attempt=st.integers(-1, 100_000),
    seed=st.integers(),
)
def test_a_backoff_is_never_negative_and_never_more_than_its_maximum(
    backoff: Backoff, attempt: int, seed: int
) -> None:
    """R46: whatever the settings and however many attempts."""
    assert 0 <= backoff.delay(attempt, Random(seed)) <= backoff.maximum


def test_a_backoff_grows_to_its_maximum_and_spreads_by_its_jitter() -> None:
    """R46: initial, times factor for each attempt, up to maximum; jitter takes from it and adds to it."""
    plain = Backoff(initial=0.1, factor=2, maximum=1, jitter=0)
    assert [plain.delay(attempt, Random(1)) for attempt in range(1, 7)] == [0.1, 0.2, 0.4, 0.8, 1, 1]
    random = Random(1)
    spread = [Backoff(initial=1, maximum=100, jitter=0.5).delay(1, random) for _ in range(1000)]
    assert 0.5 <= min(spread) < 0.6
    assert 1.4 < max(spread) <= 1.5


@pytest.mark.parametrize(
    "settings",
    [{"initial": -1.0}, {"factor": 0.5}, {"maximum": -1.0}, {"jitter": 1.5}, {"jitter": -0.1}],
)
def test_a_backoff_that_cannot_work_is_refused(settings: dict[str, float]) -> None:
    """R46: the error shows what was given."""
    with pytest.raises(ConfigurationError, match="Backoff"):
        Backoff(**settings)


def test_a_restart_that_cannot_work_is_refused() -> None:
    """R38: neither fewer than no restarts nor an empty window."""
    with pytest.raises(ConfigurationError, match="max_restarts"):
        Restart(max_restarts=-1)
    with pytest.raises(ConfigurationError, match="within"):
        Restart(within=0)


def test_the_log_of_restarts_counts_within_its_window() -> None:
    """R38: pure arithmetic over the times of the restarts."""
    policy = Restart(max_restarts=2, within=10)
    log = RestartLog()
    assert [log.admit(policy, now) for now in (0, 5, 9.9, 10, 14.9, 15)] == [1, 2, None, 2, None, 2]
    unlimited = RestartLog()
    assert [unlimited.admit(Restart(max_restarts=None, within=10), 0) for _ in range(5)] == [1, 2, 3, 4, 5]
    assert RestartLog().admit(Restart(max_restarts=0), 0) is None
