"""Whatever happens, in whatever order: nobody hangs, nothing is lost, nothing happens twice."""

from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import suppress
from typing import Any

import msgspec
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.unit.runtime.actors import settle

from overwinter.errors import ActorStopped, AskTimeout, MailboxFull
from overwinter.runtime import (
    Actor,
    ActorRef,
    ActorSystem,
    Backoff,
    Escalate,
    Restart,
    Resume,
    Stop,
    Terminated,
)
from overwinter.testing import FakeClock


class Task(msgspec.Struct):
    """``number`` tells it from the others; ``seconds`` it takes; then it may fail, or what it starts may."""

    number: int
    seconds: float = 0.0
    fails: bool = False
    starts_job: bool = False
    defers: bool = False


class Ledger:
    """What became of each message, and what happened to each actor."""

    def __init__(self) -> None:
        self.done: Counter[int] = Counter()
        self.failed: Counter[int] = Counter()
        self.dead: Counter[int] = Counter()
        self.excused: set[int] = set()
        self.order: list[int] = []
        self.hooks: Counter[str] = Counter()
        self.inside = 0


class Worker(Actor[Any]):
    def __init__(self, ledger: Ledger) -> None:
        self.ledger = ledger

    async def on_start(self) -> None:
        await self.prepare()
        self.ledger.hooks["start"] += 1

    async def prepare(self) -> None:
        await self.context.clock.sleep(0.5)

    async def on_stop(self) -> None:
        self.ledger.hooks["stop"] += 1
        await self.context.clock.sleep(0.5)

    async def on_restart(self, error: Exception) -> None:
        self.ledger.hooks["restart"] += 1

    async def receive(self, message: Any) -> Any:
        if isinstance(message, Terminated):
            return None
        ledger = self.ledger
        assert ledger.inside == 0, "two messages at a time"
        ledger.inside += 1
        try:
            ledger.order.append(message.number)
            if message.starts_job:
                self.context.start_soon(self.job)
            if message.defers:
                # Never answered: the stop or the restart must do it.
                self.context.defer_reply()
            await self.context.clock.sleep(message.seconds)
            if message.fails:
                ledger.failed[message.number] += 1
                raise ValueError(message.number)
            ledger.done[message.number] += 1
            return message.number
        finally:
            ledger.inside -= 1

    async def job(self) -> None:
        await self.context.clock.sleep(0.7)
        raise OSError("job")


POLICIES = st.sampled_from(
    [
        Resume(),
        Restart(max_restarts=2, within=100, backoff=Backoff(initial=1, jitter=0)),
        Restart(max_restarts=None, backoff=Backoff(initial=0)),
        Stop(),
        Escalate(),
    ]
)
MESSAGES = st.builds(
    Task,
    number=st.just(0),
    seconds=st.sampled_from([0.0, 0.0, 1.0, 3.0]),
    fails=st.booleans(),
    starts_job=st.booleans(),
    defers=st.booleans(),
)
STEPS = st.one_of(
    st.tuples(st.just("tell"), MESSAGES),
    st.tuples(st.just("tell_nowait"), MESSAGES),
    st.tuples(st.just("ask"), MESSAGES),
    st.tuples(st.just("ask with timeout"), MESSAGES),
    st.tuples(st.just("cancel"), st.integers(0, 50)),
    st.tuples(st.just("advance"), st.sampled_from([0.0, 0.3, 0.5, 1.0, 2.0])),
    st.tuples(
        st.just("stop"), st.sampled_from([(False, None), (True, None), (False, 1.0), (True, 2.0), (False, 0)])
    ),
    st.tuples(st.just("cut from outside"), st.none()),
)


class Chaos:
    def __init__(self, ref: ActorRef[Any], ledger: Ledger, clock: FakeClock) -> None:
        self.ref, self.ledger, self.clock = ref, ledger, clock
        self.serial = 0
        self.senders: list[asyncio.Task[None]] = []

    async def step(self, kind: str, detail: Any) -> None:
        match kind:
            case "tell" | "ask" | "ask with timeout":
                self.senders.append(asyncio.create_task(self.send(kind, detail)))
            case "tell_nowait":
                try:
                    self.ref.tell_nowait(self.numbered(detail))
                except MailboxFull:
                    self.ledger.excused.add(self.serial)
            case "cancel":
                if detail < len(self.senders):
                    self.senders[detail].cancel()
            case "advance":
                await self.clock.advance(detail)
            case "stop":
                drain, timeout = detail
                self.senders.append(asyncio.create_task(self.ref.stop(drain=drain, timeout=timeout)))
            case _:
                for task in asyncio.all_tasks():
                    if task.get_name() == self.ref.address.path:
                        task.cancel()

    def numbered(self, message: Task) -> Task:
        self.serial += 1
        return msgspec.structs.replace(message, number=self.serial)

    async def send(self, kind: str, message: Task) -> None:
        message = self.numbered(message)
        try:
            if kind == "tell":
                await self.ref.tell(message)
                return
            answer = await self.ref.ask(message, timeout=2 if kind == "ask with timeout" else None)
            assert answer == message.number
        except (asyncio.CancelledError, AskTimeout):
            self.ledger.excused.add(message.number)
        except (ActorStopped, ValueError):
            pass


async def live_through(policy: Any, steps: list[tuple[str, Any]], capacity: int, *, factory: bool) -> None:
    ledger, clock = Ledger(), FakeClock()
    before = asyncio.all_tasks()
    system = ActorSystem(clock=clock, shutdown_timeout=5, patience=1)
    add = system.dead_letters.add

    def add_and_note(address: Any, message: Any, reason: str) -> None:
        ledger.dead[message.number] += 1
        add(address, message, reason)

    system.dead_letters.add = add_and_note  # type: ignore[method-assign]
    await system.open()
    spawning = asyncio.create_task(
        system.spawn(
            (lambda: Worker(ledger)) if factory else Worker(ledger),
            supervision=policy,
            mailbox_capacity=capacity,
        )
    )
    await clock.advance(1)
    chaos = Chaos(await spawning, ledger, clock)
    for kind, detail in steps:
        await chaos.step(kind, detail)
    closing = asyncio.create_task(system.aclose())
    for _ in range(20):
        await clock.advance(1)
    assert closing.done(), "the close hangs"
    with suppress(asyncio.CancelledError):
        await closing
    await settle()
    for sender in chaos.senders:
        assert sender.done(), "a sender hangs"
        assert sender.cancelled() or sender.exception() is None
    for number in range(1, chaos.serial + 1):
        fate = ledger.done[number] + ledger.failed[number] + ledger.dead[number]
        assert fate == 1 or (fate == 0 and number in ledger.excused), f"message {number}: {fate} fates"
    assert ledger.order == sorted(ledger.order)
    assert ledger.hooks["start"] == ledger.hooks["stop"] + ledger.hooks["restart"]
    assert system.statistics().actors == system.statistics().jobs == system.statistics().pending == 0
    assert asyncio.all_tasks() == before
    assert clock.pending == 0


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(policy=POLICIES, steps=st.lists(STEPS, max_size=25), capacity=st.integers(1, 3), factory=st.booleans())
def test_whatever_happens_every_message_has_one_fate_and_nobody_hangs(
    policy: Any, steps: list[tuple[str, Any]], capacity: int, *, factory: bool
) -> None:
    """R18: handled, failed, dead or taken back: each message is one of these, once, and the close ends."""
    asyncio.run(live_through(policy, steps, capacity, factory=factory))


class Head(Worker):
    """Has two workers below it, one of which takes it along when it fails."""

    async def prepare(self) -> None:
        await super().prepare()
        for name, policy in (("tough", Resume()), ("frail", Escalate())):
            self.context.watch(
                await self.context.spawn(lambda: Worker(Ledger()), name=name, supervision=policy)
            )


FAMILY_STEPS = st.one_of(
    st.tuples(st.sampled_from(["/head", "/head/tough", "/head/frail"]), MESSAGES),
    st.tuples(st.just("advance"), st.sampled_from([0.0, 0.5, 1.0, 2.0])),
    st.tuples(st.just("stop"), st.sampled_from(["/head", "/head/tough", "/head/frail"])),
    st.tuples(st.just("cut"), st.sampled_from(["/head", "/head/tough", "/head/frail"])),
)


async def raise_a_family(policy: Any, steps: list[tuple[str, Any]], *, factory: bool) -> None:
    ledger, clock = Ledger(), FakeClock()
    before = asyncio.all_tasks()
    system = ActorSystem(clock=clock, shutdown_timeout=5, patience=1)
    await system.open()
    spawning = asyncio.create_task(
        system.spawn((lambda: Head(ledger)) if factory else Head(ledger), name="head", supervision=policy)
    )
    await clock.advance(3)
    await spawning
    asking: list[asyncio.Task[Any]] = []
    for kind, detail in steps:
        ref = system.find(detail if kind in ("stop", "cut") else kind)
        if kind == "advance":
            await clock.advance(detail)
        elif kind == "cut":
            for task in asyncio.all_tasks():
                if task.get_name() == detail:
                    task.cancel()
        elif ref is not None:
            coroutine = ref.stop() if kind == "stop" else ref.ask(detail)
            asking.append(asyncio.create_task(coroutine))
    closing = asyncio.create_task(system.aclose())
    for _ in range(20):
        await clock.advance(1)
    assert closing.done(), "the close hangs"
    with suppress(asyncio.CancelledError):
        await closing
    assert all(task.done() for task in asking), "a sender hangs"
    for task in asking:
        assert task.exception() is None or isinstance(task.exception(), (ActorStopped, ValueError))
    # A head whose start failed again and again was made ready again without having started.
    assert ledger.hooks["stop"] <= ledger.hooks["start"] <= ledger.hooks["stop"] + ledger.hooks["restart"]
    assert system.statistics().actors == 0
    assert asyncio.all_tasks() == before
    assert clock.pending == 0


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(policy=POLICIES, steps=st.lists(FAMILY_STEPS, max_size=15), factory=st.booleans())
def test_a_family_ends_together_whoever_fails_or_is_stopped(
    policy: Any, steps: list[tuple[str, Any]], *, factory: bool
) -> None:
    """R32: failures go up, stops go down, and in the end nobody is left."""
    asyncio.run(raise_a_family(policy, steps, factory=factory))
