"""Where the actors of a system are found, and how they come to be."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, TypeVar, cast

from anyio import CancelScope

from overwinter.errors import (
    ActorStopped,
    ConfigurationError,
    NameTaken,
    RuntimeClosed,
)
from overwinter.runtime.actor import Actor, Unsaid, is_actor
from overwinter.runtime.cell import Cell
from overwinter.runtime.reference import ActorRef
from overwinter.runtime.shift import Shift
from overwinter.runtime.state import State
from overwinter.runtime.supervision import check_supervision

if TYPE_CHECKING:
    from collections.abc import Callable

    from overwinter.runtime.clock import Clock
    from overwinter.runtime.dead_letters import DeadLetters
    from overwinter.runtime.supervision import Supervision
    from overwinter.runtime.system import ActorSystem

__all__ = ["Exchange"]

M = TypeVar("M")

#: After so many actors that had nothing to start the other tasks of the loop get a turn.
_TURN = 64


class Exchange:
    """What the actors of one system share, and the register of them, by their paths."""

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
        self.shift = Shift()
        self.handled = 0
        self.failures = 0
        self.restarts = 0
        self._named = 0
        self._spawned = 0
        self._addressed = 0

    def next_uid(self) -> str:
        """What tells an address from all others of this system."""
        self._addressed += 1
        return f"{self._addressed:x}"

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
        self._spawned += 1
        if not self._spawned % _TURN:
            await asyncio.sleep(0)
        self._check_open(parent)
        check_supervision(supervision)
        instance, factory = _instance(actor)
        self._check_open(parent)
        path = self._path(parent, name, instance)
        if capacity == 0:
            capacity = instance.mailbox_capacity
            if isinstance(capacity, Unsaid):
                capacity = self.default_capacity
        cell = Cell(self, path, parent, instance, factory, supervision, capacity)
        cell.named = name is not None
        self.cells[path] = cell
        if parent is not None:
            if parent.children is None:
                parent.children = {}
            parent.children[path] = cell
        started = cell.start()
        if started is not None:
            await self._outcome(cell, started)
        return ActorRef(cell)

    async def _outcome(self, cell: Cell, started: asyncio.Future[None]) -> None:
        try:
            await started
        except asyncio.CancelledError:
            cell.request_stop(deadline=self.clock.monotonic())
            with CancelScope(shield=True):
                await cell.ended()
            raise

    def remove(self, cell: Cell) -> None:
        """Forget a cell that has stopped."""
        del self.cells[cell.path]
        siblings = None if cell.parent is None else cell.parent.children
        if siblings is not None:
            siblings.pop(cell.path, None)
        self.handled += cell.handled
        self.failures += cell.failures
        self.restarts += cell.restarts

    def _check_open(self, parent: Cell | None) -> None:
        if parent is not None and not parent.may_have_children:
            raise ActorStopped(f"{parent.path} is stopping and starts no children any more")
        if not self.accepting and parent is None:
            raise RuntimeClosed(
                "the runtime is not running; use it inside `async with`, and spawn before it closes"
            )

    def _path(self, parent: Cell | None, name: str | None, instance: Actor[Any]) -> str:
        prefix = "/" if parent is None else f"{parent.path}/"
        while name is None:
            self._named += 1
            path = f"{prefix}{type(instance).__name__}-{self._named}"
            if path not in self.cells:
                return path
        if not name or "/" in name or "#" in name:
            raise ConfigurationError(
                f"an actor's name must not be empty nor contain '/' or '#'; it is {name!r}"
            )
        path = prefix + name
        if path in self.cells:
            raise NameTaken(f"there is already an actor {path}; choose another name, or stop that one first")
        return path


def _instance(
    actor: Actor[Any] | Callable[[], Actor[Any]],
) -> tuple[Actor[Any], Callable[[], Actor[Any]] | None]:
    thing: object = actor
    if not isinstance(thing, type) and is_actor(thing):
        cell = thing.overwinter_cell
        if cell is not None and cell.state is not State.STOPPED:
            raise ConfigurationError(
                f"this {type(thing).__name__} already runs as {cell.path}; spawn another object, or the class"
            )
        return thing, None
    instance = thing() if callable(thing) else None
    if not is_actor(instance):
        raise ConfigurationError(f"spawn needs an Actor, or a callable that returns one; it got {actor!r}")
    return instance, cast("Callable[[], Actor[Any]]", actor)
