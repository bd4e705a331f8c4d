"""What is told is handled, one at a time and in order."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from tests.unit.runtime.actors import Gated, Recorder, settle

from overwinter.errors import ConfigurationError, MailboxFull
from overwinter.runtime import Actor, ActorRef, ActorSystem, Resume

pytestmark = pytest.mark.anyio


class Counter(Actor[str]):
    def __init__(self) -> None:
        self.inside = self.most = self.count = 0

    async def receive(self, message: str) -> int:
        self.inside += 1
        self.most = max(self.most, self.inside)
        before = self.count
        await asyncio.sleep(0)
        self.count = before + 1
        self.inside -= 1
        return self.count


async def test_one_message_is_handled_at_a_time() -> None:
    """R1: a handler that waits is not entered again, and no update is lost."""
    actor = Counter()
    async with ActorSystem() as system:
        ref = await system.spawn(actor)
        await asyncio.gather(*(ref.ask("count") for _ in range(100)))
    assert (actor.most, actor.count) == (1, 100)


async def test_messages_of_one_sender_stay_in_order_also_when_some_waited_for_room() -> None:
    """R2: a small mailbox and a slow actor change nothing about the order."""
    actor = Gated()
    async with ActorSystem() as system:
        ref = await system.spawn(actor, mailbox_capacity=2)

        async def send() -> None:
            for number in range(50):
                await ref.tell(number)

        sending = asyncio.create_task(send())
        await actor.began.wait()
        actor.gate.set()
        await sending
        await ref.ask("end")
    assert actor.log[1:-1] == [*range(50), "end"]


async def test_tell_nowait_does_not_overtake_those_who_wait() -> None:
    """R2: a told message that waits for room is handled before one that comes after it."""
    actor = Gated()
    async with ActorSystem() as system:
        ref = await system.spawn(actor, mailbox_capacity=1)
        await ref.tell("in hand")
        await actor.began.wait()
        await ref.tell("queued")
        waiting = asyncio.create_task(ref.tell("waiting"))
        await settle()
        with pytest.raises(MailboxFull):
            ref.tell_nowait("hasty")
        actor.gate.set()
        await waiting
        await ref.tell("after")
        await ref.ask("end")
    assert actor.log[1:-1] == ["in hand", "queued", "waiting", "after", "end"]


async def test_a_full_mailbox_makes_tell_wait() -> None:
    """R3: tell returns when the message has room, and not before."""
    actor = Gated()
    async with ActorSystem() as system:
        ref = await system.spawn(actor, mailbox_capacity=1)
        await ref.tell(1)
        await actor.began.wait()
        await ref.tell(2)
        waiting = asyncio.create_task(ref.tell(3))
        await settle()
        assert not waiting.done()
        assert system.statistics().pending == 2
        actor.gate.set()
        await waiting


async def test_a_full_mailbox_makes_tell_nowait_raise_and_nothing_stays_behind() -> None:
    """R4: the error says whose mailbox it is, and the message is nowhere."""
    actor = Gated()
    async with ActorSystem() as system:
        ref = await system.spawn(actor, name="narrow", mailbox_capacity=1)
        ref.tell_nowait(1)
        await actor.began.wait()
        ref.tell_nowait(2)
        with pytest.raises(MailboxFull, match="/narrow"):
            ref.tell_nowait(3)
        assert system.statistics().pending == 1
        actor.gate.set()
        await ref.ask("end")
    assert 3 not in actor.log


async def test_a_cancelled_tell_withdraws_its_message() -> None:
    """R6: a tell that was cancelled while it waited is not handled, and those behind it are."""
    actor = Gated()
    async with ActorSystem() as system:
        ref = await system.spawn(actor, mailbox_capacity=1)
        await ref.tell(1)
        await actor.began.wait()
        await ref.tell(2)
        leaving = asyncio.create_task(ref.tell("leaving"))
        staying = asyncio.create_task(ref.tell("staying"))
        await settle()
        leaving.cancel()
        await settle()
        actor.gate.set()
        await staying
        await ref.ask("end")
        assert leaving.cancelled()
    assert actor.log[1:-1] == [1, 2, "staying", "end"]


class Talkative(Recorder):
    async def receive(self, message: Any) -> Any:
        if message == "from a job":
            self.context.start_soon(self.talk)
        elif message == "talk":
            await self.talk()
        else:
            await super().receive(message)

    async def talk(self) -> None:
        for number in range(3):
            await self.context.ref.tell(number)


async def test_an_actor_that_fills_its_own_mailbox_is_told_instead_of_hanging() -> None:
    """R21: tell waits for nobody's room but another's; from a job an actor may wait for its own."""
    actor = Talkative()
    async with ActorSystem() as system:
        ref = await system.spawn(actor, mailbox_capacity=2, supervision=Resume())
        with pytest.raises(MailboxFull, match="from a job"):
            await ref.ask("talk")
        await ref.ask("end")
        await ref.ask("from a job")
        await settle()
    assert actor.log == ["start", 0, 1, "end", 0, 1, 2, "stop"]


class Weighing(Gated):
    mailbox_weight = 10

    def weigh(self, message: Any) -> int:
        return len(message)


async def test_a_mailbox_may_be_bounded_by_weight() -> None:
    """R7: an actor that weighs its messages makes senders wait for weight."""
    actor = Weighing()
    async with ActorSystem() as system:
        ref = await system.spawn(actor)
        await ref.tell("in hand")
        await actor.began.wait()
        await ref.tell("1234567890")
        with pytest.raises(MailboxFull):
            ref.tell_nowait("1")
        actor.gate.set()
        await ref.ask("x" * 1000)


class Small(Recorder):
    mailbox_capacity = 3


async def test_the_capacity_comes_from_spawn_then_the_class_then_the_system() -> None:
    """R3: the nearest setting of a mailbox's capacity holds."""

    async def room(ref: ActorRef[Any]) -> int:
        count = 0
        try:
            while count < 5:
                ref.tell_nowait(count)
                count += 1
        except MailboxFull:
            pass
        return count

    async with ActorSystem(mailbox_capacity=4) as system:
        assert await room(await system.spawn(Recorder)) == 4
        assert await room(await system.spawn(Small)) == 3
        assert await room(await system.spawn(Small, mailbox_capacity=2)) == 2
        assert await room(await system.spawn(Small, mailbox_capacity=None)) == 5
        with pytest.raises(ConfigurationError):
            await system.spawn(Recorder, mailbox_capacity=-1)


class Busy(Actor[int]):
    def __init__(self) -> None:
        self.count = 0

    async def receive(self, message: int) -> None:
        self.count += 1


async def test_a_long_row_of_messages_lets_other_tasks_run() -> None:
    """R11: after 64 messages in a row the rest of the loop gets a turn."""
    actor = Busy()
    async with ActorSystem() as system:
        ref = await system.spawn(actor)
        for number in range(1000):
            ref.tell_nowait(number)
        seen = []
        while actor.count < 1000:
            await asyncio.sleep(0)
            seen.append(actor.count)
    assert all(after - before <= 64 for before, after in zip([0, *seen], seen, strict=False))


async def test_an_idle_actor_owns_no_task() -> None:
    """R12: a hundred actors with nothing to do are a hundred objects and no task."""
    before = asyncio.all_tasks()
    async with ActorSystem() as system:
        refs = [await system.spawn(Recorder) for _ in range(100)]
        await asyncio.gather(*(ref.ask("hello") for ref in refs))
        await settle()
        assert asyncio.all_tasks() == before
        assert system.statistics().actors == 100


class Forwarder(Actor[Any]):
    def __init__(self, to: ActorRef[Any]) -> None:
        self.to = to

    async def receive(self, message: Any) -> None:
        await self.to.tell(message)
        await self.context.start_soon(self.to.tell, "from a job").wait()


class Curious(Actor[Any]):
    def __init__(self) -> None:
        self.senders: list[tuple[Any, ActorRef[Any] | None]] = []

    async def receive(self, message: Any) -> None:
        self.senders.append((message, self.context.sender))


async def test_a_message_knows_the_actor_that_sent_it() -> None:
    """R14: the sender is the actor in whose handler or job the message was told, and nobody outside."""
    actor = Curious()
    async with ActorSystem() as system:
        ref = await system.spawn(actor)
        forwarder = await system.spawn(lambda: Forwarder(ref))
        await ref.tell("direct")
        await forwarder.ask("forwarded")
        await ref.ask("end")
    assert actor.senders == [
        ("direct", None),
        ("forwarded", forwarder),
        ("from a job", forwarder),
        ("end", None),
    ]


async def test_references_are_equal_by_address_and_do_not_hold_the_actor() -> None:
    """R13: a reference is an address with a way to reach it."""
    async with ActorSystem() as system:
        ref = await system.spawn(Recorder, name="one")
        other = await system.spawn(Recorder, name="two")
        found = system.find("one")
        assert found == ref
        assert hash(found) == hash(ref)
        assert ref != other
        assert ref != "one"
        assert str(ref.address) == f"overwinter://{system.id}/one#{ref.address.uid}"
        assert ref.address.name == "one"
        assert str(ref.address) in repr(ref)
        assert not any(isinstance(getattr(ref, slot), Actor) for slot in ref.__slots__)
        await ref.stop()
        assert not ref.alive
        again = await system.spawn(Recorder, name="one")
        assert again != ref
        assert again.alive
