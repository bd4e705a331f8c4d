"""Topics: who gets what is published, in which order, and what becomes of it when there is no room."""

from __future__ import annotations

import asyncio
import gc
from typing import TYPE_CHECKING, Any

import pytest

from overwinter.errors import ConfigurationError, MailboxFull, MessageRefused, RuntimeClosed
from overwinter.runtime import Actor, ActorSystem

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

pytestmark = pytest.mark.anyio


@pytest.fixture
async def system() -> AsyncIterator[ActorSystem]:
    async with ActorSystem() as system:
        yield system


class Listener(Actor[Any]):
    """Remembers what it is told; waits at the gate before each message."""

    def __init__(self, capacity: int | None = None) -> None:
        self.mailbox_capacity = capacity
        self.heard: list[Any] = []
        self.gate = asyncio.Event()
        self.gate.set()

    async def receive(self, message: Any) -> None:
        await self.gate.wait()
        self.heard.append(message)


async def settle() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


async def test_every_subscriber_gets_every_message_in_the_order_of_its_publisher(system: ActorSystem) -> None:
    """N30: what one publisher publishes reaches every subscriber once, in its order; all subscribers see one order."""
    topic = system.topic("news")
    assert system.topic("news") is topic
    listeners = [Listener() for _ in range(3)]
    for listener in listeners:
        await topic.subscribe(await system.spawn(listener))

    async def publish(publisher: int) -> None:
        for number in range(20):
            assert await topic.publish((publisher, number)) == 3
            await asyncio.sleep(0)

    await asyncio.gather(*map(publish, range(4)))
    await settle()
    first = listeners[0].heard
    assert len(first) == 80
    for publisher in range(4):
        assert [number for by, number in first if by == publisher] == list(range(20))
    assert [listener.heard for listener in listeners] == [first] * 3


async def test_a_slow_subscriber_makes_publish_wait_and_nobody_else(system: ActorSystem) -> None:
    """N31: `publish` waits for a subscriber whose mailbox is full, after all others have the message."""
    slow, quick = Listener(capacity=1), Listener()
    topic = system.topic("news")
    await topic.subscribe(await system.spawn(slow))
    await topic.subscribe(await system.spawn(quick))
    slow.gate.clear()
    await topic.publish(1)
    await settle()
    await topic.publish(2)
    waiting = asyncio.create_task(topic.publish(3))
    await settle()
    assert not waiting.done()
    assert quick.heard == [1, 2, 3]
    slow.gate.set()
    assert await waiting == 2
    await settle()
    assert slow.heard == [1, 2, 3]


async def test_publish_nowait_sends_what_finds_no_room_to_the_dead_letters(system: ActorSystem) -> None:
    """N32: `publish_nowait` waits for nobody; where there is no room the message is a dead letter, and counted."""
    slow, quick = Listener(capacity=1), Listener()
    topic = system.topic("news")
    await topic.subscribe(await system.spawn(slow))
    await topic.subscribe(await system.spawn(quick))
    slow.gate.clear()
    assert topic.publish_nowait(1) == 2
    await settle()
    assert [topic.publish_nowait(2), topic.publish_nowait(3), topic.publish_nowait(4)] == [2, 1, 1]
    assert system.dead_letters.count == 2
    assert "topic 'news'" in system.dead_letters.recent[-1].reason
    slow.gate.set()
    await settle()
    assert slow.heard == [1, 2]
    assert quick.heard == [1, 2, 3, 4]


async def test_an_actor_that_has_stopped_is_not_subscribed_any_more(system: ActorSystem) -> None:
    """N33: a subscription ends with its actor, with `cancel()`, and with `async with`; then nothing is delivered."""
    listener, other = Listener(), Listener()
    topic = system.topic("news")
    ref = await system.spawn(listener)
    subscription = await topic.subscribe(ref)
    assert await topic.subscribe(ref) is subscription
    async with await topic.subscribe(await system.spawn(other)) as second:
        assert await topic.publish(1) == 2
    assert not second.active
    assert subscription.active
    await settle()
    await ref.stop()
    await settle()
    assert not subscription.active
    assert topic.subscribers == 0
    assert await topic.publish(2) == 0
    assert system.dead_letters.count == 0
    gone = await topic.subscribe(ref)
    await settle()
    assert not gone.active
    await subscription.cancel()


async def test_a_function_is_called_with_one_message_after_the_other(system: ActorSystem) -> None:
    """N34: a function, or what has a `tell`, is called with one message at a time; what it raises harms nobody."""
    heard: list[Any] = []
    running = 0

    async def listen(message: int) -> None:
        nonlocal running
        running += 1
        assert running == 1
        await asyncio.sleep(0)
        running -= 1
        if message == 2:
            raise ValueError("not this one")
        heard.append(message)

    class Mailing:
        async def tell(self, message: int) -> None:
            heard.append(-message)

    topic = system.topic("news")
    subscription = await topic.subscribe(listen)
    await topic.subscribe(Mailing())
    told: list[int] = []
    await topic.subscribe(told.append)
    for number in range(1, 5):
        await topic.publish(number)
    await subscription.cancel()
    await settle()
    assert sorted(heard) == [-4, -3, -2, -1, 1, 3, 4]
    assert told == [1, 2, 3, 4]
    assert system.dead_letters.count == 1
    assert "not this one" in system.dead_letters.recent[0].reason
    with pytest.raises(ConfigurationError, match="function"):
        await topic.subscribe(7)


async def test_a_publisher_that_is_cancelled_leaves_nothing_behind(system: ActorSystem) -> None:
    slow = [Listener(capacity=1), Listener(capacity=1)]
    topic = system.topic("news")
    for listener in slow:
        await topic.subscribe(await system.spawn(listener))
        listener.gate.clear()
    await topic.publish(1)
    await settle()
    await topic.publish(2)
    for wait in (0, 1, 20):
        publishing = asyncio.create_task(topic.publish(3))
        for _ in range(wait):
            await asyncio.sleep(0)
        publishing.cancel()
        await asyncio.wait({publishing})
    for listener in slow:
        listener.gate.set()
    await settle()
    gc.collect()
    assert [listener.heard[:2] for listener in slow] == [[1, 2], [1, 2]]
    assert await topic.publish(4) == 2
    await settle()
    assert [listener.heard[-1] for listener in slow] == [4, 4]


async def test_what_cannot_be_delivered_is_refused(system: ActorSystem) -> None:
    class Loud(Actor[int]):
        mailbox_capacity = 1
        error: MailboxFull | None = None

        async def receive(self, message: int) -> None:
            if message == 1:
                try:
                    await topic.publish(2)
                    await topic.publish(3)
                except MailboxFull as error:
                    self.error = error

    topic = system.topic("news")
    loud = Loud()
    ref = await system.spawn(loud)
    await topic.subscribe(ref)
    with pytest.raises(MessageRefused):
        await topic.publish(object())
    await topic.publish(1)
    await settle()
    assert loud.error is not None
    async with ActorSystem() as other:
        with pytest.raises(ConfigurationError, match="another runtime"):
            await other.topic("news").subscribe(ref)


async def test_a_topic_of_a_runtime_that_was_closed() -> None:
    async with ActorSystem() as system:
        topic = system.topic("news")
        subscription = await topic.subscribe(print)
        assert repr(topic) == "<Topic 'news' subscribers=1>"
    for publish in (topic.publish_nowait, topic.subscribe, topic.publish):
        with pytest.raises(RuntimeClosed):
            result: Any = publish(print)
            await result
    await subscription.cancel()


async def test_a_topic_that_nobody_knows_is_forgotten(system: ActorSystem) -> None:
    for number in range(100):
        system.topic(f"topic {number}")
    async with await system.topic("kept").subscribe(print):
        gc.collect()
        topics = system._topics
        assert topics is not None
        assert list(topics._topics) == ["kept"]
        assert system.topic("kept").name == "kept"


async def test_what_is_subscribed_twice_has_one_subscription(system: ActorSystem) -> None:
    """Functions are recognised by what they are, methods by whose they are, and by none of them what equals them."""
    topic = system.topic("news")
    heard: list[Any] = []
    also: list[Any] = []
    both = await asyncio.gather(topic.subscribe(heard.append), topic.subscribe(heard.append))
    assert both[0] is both[1]
    await topic.subscribe(also.append)
    assert await topic.publish("linden") == 2
    await settle()
    assert (heard, also) == (["linden"], ["linden"])
    other = await system.topic("other").subscribe(heard.append)
    assert other is not both[0]
    await both[0].cancel()
    assert not both[1].active
    again = await topic.subscribe(heard.append)
    assert again.active
    assert await topic.publish("heather") == 2
    await settle()
    assert heard == ["linden", "heather"]
