"""Where the actors of a system are found, and how messages reach them."""

from __future__ import annotations

import asyncio
import os
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar, cast

from anyio import CancelScope

from overwinter.errors import (
    ActorStopped,
    AskDeadlock,
    AskTimeout,
    ConfigurationError,
    MailboxFull,
    NameTaken,
    RuntimeClosed,
)
from overwinter.runtime.actor import Actor, is_actor
from overwinter.runtime.address import Address
from overwinter.runtime.cell import Cell
from overwinter.runtime.envelope import Envelope
from overwinter.runtime.messages import PLAIN_TYPES, Terminated, check_message
from overwinter.runtime.reference import ActorRef
from overwinter.runtime.reply import Reply
from overwinter.runtime.scope import current, is_handling, is_inside
from overwinter.runtime.supervision import check_supervision

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from overwinter.runtime.clock import Clock
    from overwinter.runtime.context import ActorContext
    from overwinter.runtime.dead_letters import DeadLetters
    from overwinter.runtime.supervision import Supervision
    from overwinter.runtime.system import ActorSystem

__all__ = ["Exchange"]

M = TypeVar("M")


class Exchange:
    """The transport of one system: finds the cell of an address and hands the message over."""

    def __init__(
        self,
        system: ActorSystem,
        *,
        clock: Clock,
        random: Any,
        dead_letters: DeadLetters,
        grace: float,
        capacity: int | None,
    ) -> None:
        self.system = system
        self.system_id = system.id
        self.clock = clock
        self.random = random
        self.dead_letters = dead_letters
        self.grace = grace
        self.default_capacity = capacity
        self.accepting = False
        self.cells: dict[str, Cell] = {}
        self.paths: dict[str, Cell] = {}
        self.roots: dict[str, Cell] = {}
        self.handled = 0
        self.failures = 0
        self.restarts = 0
        self._named = 0

    # What a reference asks for.

    def deliver(self, address: Address, message: Any) -> Awaitable[object] | None:
        """Hand over a told message; what is returned is to be awaited if there is no room yet."""
        if type(message) not in PLAIN_TYPES:
            check_message(message)
        cell = self.cells.get(address.uid)
        if cell is None:
            self.dead_letters.add(address, message, "the actor has stopped")
            return None
        scope = current.get()
        envelope = Envelope(message, cell, None if scope is None else scope.receiver.address)
        try:
            if cell.accept(envelope):
                return None
        except ActorStopped:
            self.dead_letters.add(address, message, "the actor is stopping")
            return None
        if is_handling(cell):
            # It would wait for room that only it can make.
            raise _full(cell, envelope, "tell yourself from a job, or make the mailbox larger")
        return cell.mailbox.admission(envelope)

    def deliver_nowait(self, address: Address, message: Any) -> None:
        """Hand over a told message, or raise :class:`MailboxFull`."""
        if type(message) not in PLAIN_TYPES:
            check_message(message)
        cell = self.cells.get(address.uid)
        if cell is None:
            self.dead_letters.add(address, message, "the actor has stopped")
            return
        scope = current.get()
        envelope = Envelope(message, cell, None if scope is None else scope.receiver.address)
        try:
            accepted = cell.accept(envelope)
        except ActorStopped:
            self.dead_letters.add(address, message, "the actor is stopping")
            return
        if not accepted:
            raise _full(cell, envelope, "use tell, which waits, or slow down")

    async def ask(self, address: Address, message: Any, timeout: float | None) -> Any:  # noqa: ASYNC109
        """Hand over a message and return its reply; see :meth:`ActorRef.ask`."""
        check_message(message)
        cell = self.cells.get(address.uid)
        if cell is None:
            self.dead_letters.add(address, message, "the actor has stopped")
            raise ActorStopped(f"{address.path} has stopped; it was not asked")
        if is_handling(cell):
            raise AskDeadlock(
                f"{address.path} asked itself while it handles a message, and would wait for ever; "
                "use tell, call the method, or ask from a job (context.start_soon)"
            )
        scope = current.get()
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        reply = Reply(future)
        envelope = Envelope(message, cell, None if scope is None else scope.receiver.address, reply)
        try:
            cell.accept(envelope)
        except ActorStopped:
            self.dead_letters.add(address, message, "the actor is stopping")
            raise ActorStopped(f"{address.path} is stopping; it was not asked") from None
        timer = None
        if timeout is not None:
            timer = self.clock.call_later(timeout, partial(_expire, cell, envelope, reply, timeout))
        try:
            return await future
        except asyncio.CancelledError:
            cell.mailbox.withdraw(envelope)
            reply.abandon()
            if future.done() and not future.cancelled():
                # The answer and the cancellation came together; of an error nobody sees asyncio would complain.
                future.exception()
            raise
        finally:
            if timer is not None:
                timer.cancel()

    async def stop(self, address: Address, *, drain: bool, timeout: float | None) -> None:  # noqa: ASYNC109
        """Stop the actor and return when it has stopped; see :meth:`ActorRef.stop`."""
        cell = self.cells.get(address.uid)
        if cell is None:
            return
        deadline = None if timeout is None else self.clock.monotonic() + max(0.0, timeout)
        cell.request_stop(drain=drain, deadline=deadline)
        if not is_inside(cell):
            await cell.ended()

    def is_alive(self, address: Address) -> bool:
        """Whether the actor takes messages."""
        cell = self.cells.get(address.uid)
        return cell is not None and not cell.mailbox.closed

    # What cells and the system ask for.

    async def spawn(
        self,
        actor: Actor[M] | Callable[[], Actor[M]],
        *,
        parent: Cell | None,
        name: str | None,
        supervision: Supervision,
        capacity: int | None,
    ) -> ActorRef[M]:
        """Start an actor and return when its ``on_start`` has; see :meth:`ActorSystem.spawn`."""
        self._check_open(parent)
        check_supervision(supervision)
        instance, factory = _instance(actor)
        self._check_open(parent)
        address = self._address(parent, name, instance)
        cell = Cell(self, address, parent, instance, factory, supervision, self._capacity(instance, capacity))
        cell.named = name is not None
        self.cells[address.uid] = cell
        self.paths[address.path] = cell
        (self.roots if parent is None else parent.children)[address.uid] = cell
        try:
            await cell.start()
        except asyncio.CancelledError:
            cell.request_stop(deadline=self.clock.monotonic())
            with CancelScope(shield=True):
                await cell.ended()
            raise
        return ActorRef(address, self)

    def remove(self, cell: Cell) -> None:
        """Forget a cell that has stopped."""
        address = cell.address
        del self.cells[address.uid]
        del self.paths[address.path]
        (self.roots if cell.parent is None else cell.parent.children).pop(address.uid, None)
        self.handled += cell.handled
        self.failures += cell.failures
        self.restarts += cell.restarts

    def watch(self, watcher: Cell, address: Address) -> None:
        """Tell ``watcher`` when the actor at ``address`` has stopped."""
        cell = self.cells.get(address.uid)
        if cell is None:
            watcher.accept_system(Terminated(address, "gone"))
        else:
            cell.watchers[watcher.address.uid] = watcher
            watcher.watching[address.uid] = cell

    def unwatch(self, watcher: Cell, address: Address) -> None:
        """Call :meth:`watch` off."""
        cell = watcher.watching.pop(address.uid, None)
        if cell is not None:
            cell.watchers.pop(watcher.address.uid, None)
        watcher.mailbox.forget(lambda message: isinstance(message, Terminated) and message.address == address)

    def _check_open(self, parent: Cell | None) -> None:
        if parent is not None and not parent.may_have_children:
            raise ActorStopped(f"{parent.address.path} is stopping and starts no children any more")
        if not self.accepting and parent is None:
            raise RuntimeClosed(
                "the runtime is not running; use it inside `async with`, and spawn before it closes"
            )

    def _address(self, parent: Cell | None, name: str | None, instance: Actor[Any]) -> Address:
        prefix = "/" if parent is None else f"{parent.address.path}/"
        while name is None:
            self._named += 1
            made_up = f"{type(instance).__name__}-{self._named}"
            name = None if prefix + made_up in self.paths else made_up
        if not name or "/" in name or "#" in name:
            raise ConfigurationError(
                f"an actor's name must not be empty nor contain '/' or '#'; it is {name!r}"
            )
        path = prefix + name
        if path in self.paths:
            raise NameTaken(f"there is already an actor {path}; choose another name, or stop that one first")
        return Address(self.system_id, path, os.urandom(8).hex())

    def _capacity(self, instance: Actor[Any], capacity: int | None) -> int | None:
        if capacity != 0:
            return capacity
        definers = (instance, *(base for base in type(instance).__mro__ if base is not Actor))
        if any("mailbox_capacity" in getattr(definer, "__dict__", ()) for definer in definers):
            return instance.mailbox_capacity
        return self.default_capacity


def _instance(
    actor: Actor[Any] | Callable[[], Actor[Any]],
) -> tuple[Actor[Any], Callable[[], Actor[Any]] | None]:
    thing: object = actor
    if is_actor(thing):
        context: ActorContext | None = vars(thing).get("context")
        if context is not None and context.alive:
            raise ConfigurationError(
                f"this {type(thing).__name__} already runs as {context.ref.address.path}; "
                "spawn another object, or the class"
            )
        return thing, None
    instance = thing() if callable(thing) else None
    if not is_actor(instance):
        raise ConfigurationError(f"spawn needs an Actor, or a callable that returns one; it got {actor!r}")
    return instance, cast("Callable[[], Actor[Any]]", actor)


def _full(cell: Cell, envelope: Envelope, advice: str) -> MailboxFull:
    cell.mailbox.withdraw(envelope)
    return MailboxFull(
        f"the mailbox of {cell.address.path} is full ({len(cell.mailbox)} messages, and "
        f"{cell.mailbox.waiting} that wait for room); {advice}"
    )


def _expire(cell: Cell, envelope: Envelope, reply: Reply, timeout: float) -> None:
    withdrawn = cell.mailbox.withdraw(envelope)
    state = (
        "it had not begun the message, which is withdrawn" if withdrawn else "it may still finish the message"
    )
    reply.abandon(AskTimeout(f"no reply from {cell.address.path} within {timeout:g} s; {state}"))
