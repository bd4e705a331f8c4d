"""Publishing to whoever has subscribed, and publications that reach all of them in one order."""

from __future__ import annotations

import inspect
from functools import partial
from types import BuiltinMethodType, MethodType
from typing import TYPE_CHECKING, Any, Generic, TypeGuard, TypeVar
from weakref import WeakValueDictionary

from anyio import Lock, create_task_group

from overwinter.errors import ConfigurationError, MailboxFull, RuntimeClosed
from overwinter.runtime.actor import Actor
from overwinter.runtime.delivery import deliver, deliver_nowait
from overwinter.runtime.messages import Terminated
from overwinter.runtime.reference import ActorRef, cell_of
from overwinter.runtime.supervision import Resume

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from types import TracebackType
    from typing import Self

    from overwinter.runtime.address import Address
    from overwinter.runtime.exchange import Exchange

__all__ = ["Subscription", "Topic", "Topics"]

M = TypeVar("M")


class Topic(Generic[M]):
    """A name under which messages are published; had with ``topic(name)``, and never made by hand.

    All subscribers get the messages in one order, which is that of each publisher. A message is delivered once to those
    who are subscribed when it is published; nothing of it is kept for those who come later, or over restarts.
    """

    def __init__(self, name: str, topics: Topics) -> None:
        self._name = name
        self._topics = topics
        self.subscriptions: dict[str, Subscription] = {}
        self.relayed: dict[object, Subscription] = {}

    @property
    def name(self) -> str:
        """The name it was asked for by."""
        return self._name

    @property
    def subscribers(self) -> int:
        """How many subscriptions there are."""
        return len(self.subscriptions)

    async def publish(self, message: M) -> int:
        """Put ``message`` into the mailbox of each subscriber, and return how many there are.

        It waits for those whose mailboxes are full, after all others have it. Cancelled while it waits, these may get
        the message or not. Raises ``MessageRefused`` if it is not plain data, ``MailboxFull`` where a subscriber
        publishes from within its own ``receive`` and has no room itself, and ``RuntimeClosed``.
        """
        waiting: list[Coroutine[Any, Any, object]] = []
        full: MailboxFull | None = None
        reached = 0
        # One pass without a turn of the loop between two subscribers, so that all of them see one order.
        for ref in self._live():
            reached += 1
            try:
                admission = deliver(cell_of(ref), message)
            except MailboxFull as error:
                full = error
            else:
                if admission is not None:
                    waiting.append(admission)
        if waiting:
            await _admitted(waiting)
        if full is not None:
            raise full
        return reached

    def publish_nowait(self, message: M) -> int:
        """:meth:`publish` without waiting: where there is no room the message becomes a dead letter, and is counted.

        Returns how many have it.
        """
        exchange = self._topics.exchange
        reached = 0
        for ref in self._live():
            try:
                deliver_nowait(cell_of(ref), message)
            except MailboxFull:
                exchange.dead_letters.add(
                    ref.address, message, f"its mailbox was full when topic {self._name!r} was published"
                )
            else:
                reached += 1
        return reached

    async def subscribe(self, subscriber: Any, *, mailbox_capacity: int | None = 1024) -> Subscription:
        """Have ``subscriber`` told each message that is published from now on; once, however often it is asked for.

        An actor's reference gets it in its own mailbox, and is unsubscribed when the actor has stopped. Anything else
        that has a ``tell``, and any function, sync or async, is called with one message after the other, by an actor
        that waits for it with a mailbox of ``mailbox_capacity``; what it raises is logged, and the message is a dead
        letter. Whoever subscribes what is subscribed already shares its subscription, and what ends it ends it for all.
        Raises ``ConfigurationError`` for anything else, and ``RuntimeClosed``.
        """
        return await self._topics.add(self, subscriber, mailbox_capacity)

    def _live(self) -> list[ActorRef[Any]]:
        if not self._topics.exchange.accepting:
            raise RuntimeClosed(f"topic {self._name!r} is of a runtime that is not running")
        return [one.ref for one in self.subscriptions.values() if one.ref.alive]

    def __repr__(self) -> str:
        return f"<Topic {self._name!r} subscribers={self.subscribers}>"


class Subscription:
    """One subscriber of one topic. :meth:`cancel` ends it; so does leaving ``async with``, or the end of its actor."""

    __slots__ = ("_own", "_topics", "ref", "target", "topic")

    def __init__(
        self,
        topics: Topics,
        topic: Topic[Any],
        ref: ActorRef[Any],
        *,
        own: bool = False,
        target: object = None,
    ) -> None:
        self._topics = topics
        self._own = own
        self.topic = topic
        self.ref = ref
        self.target = target  # what its own actor calls, as it is found again

    @property
    def active(self) -> bool:
        """Whether it gets what is published."""
        return self._topics.holds(self)

    async def cancel(self) -> None:
        """End it. What was published before is still handled by an actor, and by a function before this returns."""
        self._topics.remove(self)
        if self._own:
            await self.ref.stop(drain=True)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.cancel()


class Topics:
    """The topics of one system. One that nobody holds and nobody has subscribed to is forgotten.

    :param adapt: makes of what is subscribed what is told; for the rooms above.
    """

    def __init__(self, exchange: Exchange, adapt: Callable[[Any], Any]) -> None:
        self.exchange = exchange
        self._adapt = adapt
        self._topics: WeakValueDictionary[str, Topic[Any]] = WeakValueDictionary()
        self._subscribed: dict[str, set[Subscription]] = {}
        self._keeper: ActorRef[Terminated] | None = None
        self._keeper_actor = _Keeper(self)
        self._starting = Lock()

    def topic(self, name: str) -> Topic[Any]:
        """The topic of that name."""
        topic = self._topics.get(name)
        if topic is None:
            topic = self._topics[name] = Topic(name, self)
        return topic

    def holds(self, subscription: Subscription) -> bool:
        """Whether it has not ended."""
        return subscription in self._subscribed.get(subscription.ref.address.uid, ())

    async def add(self, topic: Topic[Any], subscriber: Any, capacity: int | None) -> Subscription:
        """What :meth:`Topic.subscribe` does."""
        target = self._adapt(subscriber)
        await self._start()
        if _is_ref(target):
            if target.address.system != self.exchange.system_id:
                raise ConfigurationError(f"{target!r} lives on another runtime; it cannot be subscribed here")
            found = topic.subscriptions.get(target.address.uid)
            return found or self._hold(Subscription(self, topic, target))
        told = getattr(target, "tell", target)
        if not callable(told):
            raise ConfigurationError(
                f"{type(subscriber).__name__} cannot be subscribed; give an ActorRef, an agent, or a function"
            )
        # Who subscribes the same thing meanwhile finds it.
        async with self._starting:
            known = _Same(told)
            found = topic.relayed.get(known)
            if found is not None and found.ref.alive:
                return found
            own = await self._spawn(partial(_Relay, told, topic.name, self.exchange), capacity)
            topic.relayed[known] = made = Subscription(self, topic, own, own=True, target=known)
            return self._hold(made)

    def _hold(self, subscription: Subscription) -> Subscription:
        uid = subscription.ref.address.uid
        subscription.topic.subscriptions[uid] = subscription
        self._subscribed.setdefault(uid, set()).add(subscription)
        # At once Terminated where it has stopped already.
        self._keeper_actor.context.watch(subscription.ref)
        return subscription

    def remove(self, subscription: Subscription) -> None:
        """It gets nothing more."""
        uid = subscription.ref.address.uid
        self._forget(subscription)
        held = self._subscribed.get(uid)
        if held is not None:
            held.discard(subscription)
            if not held:
                del self._subscribed[uid]
                if self._keeper_actor.context.alive:
                    self._keeper_actor.context.unwatch(subscription.ref)

    def ended(self, address: Address) -> None:
        """The actor has stopped."""
        for subscription in self._subscribed.pop(address.uid, ()):
            self._forget(subscription)

    def _forget(self, subscription: Subscription) -> None:
        topic = subscription.topic
        topic.subscriptions.pop(subscription.ref.address.uid, None)
        if topic.relayed.get(subscription.target) is subscription:
            del topic.relayed[subscription.target]

    async def _start(self) -> None:
        async with self._starting:
            if self._keeper is None:
                self._keeper = await self._spawn(self._keeper_actor, None)

    async def _spawn(self, actor: Actor[M] | Callable[[], Actor[M]], capacity: int | None) -> ActorRef[M]:
        return await self.exchange.spawn(
            actor, parent=None, name=None, supervision=Resume(), capacity=capacity
        )


class _Keeper(Actor[Terminated]):
    """Watches the subscribers."""

    mailbox_capacity = None

    def __init__(self, topics: Topics) -> None:
        self._topics = topics

    async def receive(self, message: Terminated) -> None:
        self._topics.ended(message.address)


class _Relay(Actor[Any]):
    """Calls a function with each message, one after the other."""

    def __init__(self, told: Callable[[Any], object], topic: str, exchange: Exchange) -> None:
        self._told = told
        self._topic = topic
        self._exchange = exchange

    async def receive(self, message: Any) -> None:
        try:
            result = self._told(message)
            if inspect.isawaitable(result):
                await result
        except Exception as error:
            self._exchange.dead_letters.add(
                self.context.ref.address, message, f"a subscriber of {self._topic!r} failed: {error!r}"
            )
            raise


class _Same:
    """A function as it is found again: by what it is, and not by what it is equal to."""

    __slots__ = ("_told", "_what")

    def __init__(self, told: Callable[[Any], object]) -> None:
        self._told = told  # so that nothing else gets its id
        # A method is another object each time it is had.
        owner = getattr(told, "__self__", None)
        self._what = (
            (id(owner), told.__name__)
            if isinstance(told, (MethodType, BuiltinMethodType))
            else (id(told), "")
        )

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Same) and self._what == other._what

    def __hash__(self) -> int:
        return hash(self._what)


def _is_ref(target: object) -> TypeGuard[ActorRef[Any]]:
    return isinstance(target, ActorRef)


async def _admitted(waiting: list[Coroutine[Any, Any, object]]) -> None:
    async def admitted(admission: Coroutine[Any, Any, object]) -> None:
        await admission

    try:
        async with create_task_group() as tasks:
            for admission in waiting:
                tasks.start_soon(admitted, admission)
    finally:
        # Cancelled before its first step, a task leaves what it was to await without anybody who awaits it.
        for admission in waiting:
            admission.close()
