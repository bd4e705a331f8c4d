"""The agents of a runtime that are known by name, and are in memory only while they are in use."""

from __future__ import annotations

import asyncio
import logging
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any
from weakref import WeakValueDictionary

import msgspec
from anyio import CancelScope

from overwinter.agents.background import Background
from overwinter.agents.berth import Berth
from overwinter.agents.deadline import deadline
from overwinter.agents.definitions import Definitions, from_files
from overwinter.agents.door import Door
from overwinter.agents.errands import Errands
from overwinter.agents.resting import Resting
from overwinter.agents.waits import Waits
from overwinter.errors import (
    AgentInUse,
    ConfigurationError,
    NameTaken,
    OverwinterError,
    RuntimeClosed,
)

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from overwinter.agents.definitions import Make
    from overwinter.agents.resting import Key
    from overwinter.agents.runs import Runs
    from overwinter.agents.runtime import Runtime
    from overwinter.runtime import ActorRef

__all__ = ["Directory", "DirectoryStatistics"]

logger = logging.getLogger("overwinter.agents")

_DISK_TIME = 10.0  # seconds that a passivation waits for the disk before it is put off
_RELEASE_TIME = 30.0  # seconds that waking up waits for the disk to let go of what was stopped before
_PAUSE = 0.05


class DirectoryStatistics(msgspec.Struct, frozen=True, kw_only=True):
    """How many named agents are ``active`` and how many of these ``at_work``; what happened so far."""

    active: int
    at_work: int
    activations: int
    passivations: int


class Directory:
    """Finds the agent of a name, wakes it up when it is wanted, and puts it to rest when it is not.

    An agent that was spawned is left to whoever spawned it. Any other is made when it is first used, loaded, and goes
    on with what it had accepted; it is passivated when nobody has used it for ``idle_timeout`` seconds, or when more
    than ``active_limit`` are active and it is the one whose last use is longest ago. While it is used (a call is under
    way, a task is accepted or runs) it is not, and neither is an agent without ``autosave``, which would forget all.
    Of an agent that is not active nothing is kept in memory.
    """

    def __init__(
        self, runtime: Runtime, make: Make | None, *, idle_timeout: float | None, active_limit: int | None
    ) -> None:
        if idle_timeout is not None and idle_timeout < 0:
            raise ConfigurationError(
                f"idle_timeout is {idle_timeout}; give seconds, 0 or more, or None for never"
            )
        if active_limit is not None and active_limit < 1:
            raise ConfigurationError(f"active_limit is {active_limit}; give 1 or more, or None for no limit")
        self.runtime = runtime
        self.definitions = Definitions(make)
        self._active_limit = active_limit
        self._berths: dict[Key, Berth] = {}
        self._resting = Resting(runtime.clock, idle_timeout, self._due)
        self._spawned: WeakValueDictionary[Key, Runs[Any, Any]] = WeakValueDictionary()
        self._door = Door(active_limit)
        self._activations = self._passivations = 0
        self._closed = False
        self.errands = Errands(self)
        self.waits = Waits()
        self.background = Background()

    def define(self, name: str, make: Make) -> None:
        """See :meth:`Runtime.define`."""
        self.definitions.define(name, make)

    def spawned(self, agent: Runs[Any, Any], *, guest: bool = False) -> None:
        """An agent was spawned on the runtime, and is the one of its name for as long as it lives there.

        One that a swarm brought along as a ``guest`` takes nobody's name.
        """
        if guest and self._find_spawned((agent.agent_name, agent.session)) is not None:
            return
        self._spawned[agent.agent_name, agent.session] = agent

    @property
    def living(self) -> tuple[Runs[Any, Any], ...]:
        """The agents that were woken up by their names and live here."""
        found = (berth.agent for berth in self._berths.values())
        return tuple(agent for agent in found if agent is not None and self._lives(agent))

    def is_active(self, name: str, session: str = "") -> bool:
        """Whether it is in memory."""
        berth = self._berths.get((name, session))
        return self._find_spawned((name, session)) is not None or (
            berth is not None and berth.agent is not None
        )

    def statistics(self) -> DirectoryStatistics:
        """How it is doing, at this moment."""
        return DirectoryStatistics(
            active=self._door.inside,
            at_work=self._door.inside - len(self._resting) - self._door.leaving,
            activations=self._activations,
            passivations=self._passivations,
        )

    @asynccontextmanager
    async def awake(
        self, name: str, session: str = "", *, go_on: bool = True
    ) -> AsyncGenerator[Runs[Any, Any]]:
        """The agent, woken up if need be, and not passivated before the block is left.

        :param go_on: whether one that is woken up goes on, ahead of everything else, with what it had accepted.
        :raises AgentNotDefined: nobody knows how it is made.
        :raises AgentInUse: somebody else holds it.
        :raises RuntimeClosed: the runtime is not running.
        """
        async with self.awake_at((name, session), go_on=go_on) as (agent, _):
            yield agent

    @asynccontextmanager
    async def awake_at(
        self, key: Key, *, go_on: bool = True
    ) -> AsyncGenerator[tuple[Runs[Any, Any], Berth | None]]:
        """:meth:`awake`, with its berth; one that was spawned has none."""
        agent, berth = await self._enter(key, go_on=go_on)
        try:
            yield agent, berth
        finally:
            self.release(key, berth)

    async def passivate(self, name: str, session: str = "") -> bool:
        """See :meth:`Runtime.passivate`."""
        key = (name, session)
        if self._find_spawned(key) is not None:
            raise ConfigurationError(
                f"agent {name!r} was spawned, and is not passivated; runtime.stop(agent) saves it and stops it"
            )
        berth = self._berths.get(key)
        if berth is None:
            return True
        if berth.left is not None:
            await berth.left.wait()
            return True
        agent = berth.agent
        if agent is not None and not agent.is_saved:
            raise ConfigurationError(
                f"agent {name!r} is not saved, and would forget everything; make it with autosave=True"
            )
        if key not in self._resting or not self._may_rest(berth):
            return False
        await asyncio.wait({self._part(key)})
        return berth.left is not None

    # Who uses a berth.

    async def _enter(self, key: Key, *, go_on: bool) -> tuple[Runs[Any, Any], Berth | None]:
        while True:
            self._check_open(key)
            spawned = self._find_spawned(key)
            if spawned is not None:
                return spawned, None
            berth = self._berths.get(key)
            if berth is None:
                berth = self._berths[key] = Berth()
                berth.activation = self.background.start(self._activate(key, berth, go_on=go_on))
            elif berth.left is None and berth.agent is not None and not self._lives(berth.agent):
                # It was stopped by somebody, and is saved now.
                self._depart(key, berth)
            if berth.left is not None:
                await berth.left.wait()
                continue
            self.hold(key, berth)
            try:
                agent = await self._activated(key, berth)
            except BaseException:
                self.release(key, berth)
                raise
            if agent is not None:
                return agent, berth
            self.release(key, berth)

    async def _activated(self, key: Key, berth: Berth) -> Runs[Any, Any] | None:
        """The agent of the berth, as soon as it is up; None when another has come up in its stead."""
        assert berth.activation is not None
        if berth.agent is None:
            await asyncio.wait({berth.activation})
            if berth.activation.cancelled():
                raise RuntimeClosed(f"the runtime was closed before agent {key[0]!r} was active")
            try:
                berth.activation.result()
            except (AgentInUse, NameTaken):
                if self._find_spawned(key) is None:
                    raise
                return None
        return berth.agent if berth.agent is not None and self._lives(berth.agent) else None

    def hold(self, key: Key, berth: Berth | None) -> None:
        """One more uses it; with :meth:`release` one less."""
        if berth is not None:
            berth.users += 1
            self._resting.remove(key)

    def release(self, key: Key, berth: Berth | None) -> None:
        """One less uses it; when that was the last, its rest begins."""
        if berth is None:
            return
        berth.users -= 1
        if not berth.users:
            self._rest(key, berth)

    def _rest(self, key: Key, berth: Berth, *, shed: bool = True) -> None:
        if self._closed or berth.parting or berth.left is not None or berth.agent is None:
            return
        self._resting.add(key, berth)
        if shed:
            self._shed()

    # Waking up.

    async def _activate(self, key: Key, berth: Berth, *, go_on: bool) -> None:
        try:
            await self._door.enter()
        except BaseException:
            self._berths.pop(key, None)
            raise
        try:
            agent = self.definitions.make(*key)
            if agent is None:
                agent = await from_files(await self.runtime.storage(), *key)
            ref = await self._join(key, agent)
            try:
                await agent.load_if_saved()
            except BaseException:
                with CancelScope(shield=True):
                    await ref.stop()
                raise
        except BaseException:
            del self._berths[key]
            self._door.left()
            raise
        berth.ref = ref
        self._activations += 1
        if go_on:
            self.errands.go_on(key, berth, agent)
            # What it goes on with stands in its mailbox before anybody else can reach it.
            await asyncio.sleep(0)
        berth.owes = not go_on
        berth.agent = agent
        if not berth.users:
            # Whoever wanted it has given up meanwhile.
            self._rest(key, berth)
        self._shed()

    async def _join(self, key: Key, agent: Runs[Any, Any]) -> ActorRef[Any]:
        """Have it live here, as soon as an earlier actor of the agent has stopped, and let go of the folder."""
        before = self.runtime.find(f"agent-{agent.agent_id}")
        if before is not None and not before.alive:
            await before.stop()
        clock = self.runtime.clock
        end = clock.monotonic() + _RELEASE_TIME
        while True:
            try:
                return await agent.join(self.runtime, to_be_loaded=True)
            except AgentInUse as error:
                # A stop does not wait for a slow disk for ever, and leaves the release of the folder behind.
                own = (await self.runtime.storage()).runtime_id
                if error.runtime_id != own or self._find_spawned(key) is not None or clock.monotonic() >= end:
                    raise
            await clock.sleep(_PAUSE)

    def _find_spawned(self, key: Key) -> Runs[Any, Any] | None:
        agent = self._spawned.get(key)
        return agent if agent is not None and self._lives(agent) else None

    def _lives(self, agent: Runs[Any, Any]) -> bool:
        ref = agent.reference_on(self.runtime)
        return ref is not None and ref.alive

    def _check_open(self, key: Key) -> None:
        if self._closed or not self.runtime.running:
            raise RuntimeClosed(
                f"agent {key[0]!r} cannot be reached: its runtime is not running; use it inside "
                "`async with Runtime() as runtime:`"
            )

    # Going to rest.

    def _may_rest(self, berth: Berth) -> bool:
        """Whether nothing would be cut off or forgotten; for a berth that nobody uses."""
        agent = berth.agent
        if agent is None or berth.users or not agent.is_saved:
            return False
        return agent.status not in ("running", "storage") and not agent.state.accepted

    def _shed(self) -> None:
        """Passivate those used longest ago while too many are active."""
        if self._active_limit is not None:
            over = self._door.inside - self._door.leaving - self._active_limit
            for key in self._resting.longest(over, self._may_rest):
                self._part(key)

    def _due(self, rested: list[tuple[Key, Berth]]) -> None:
        """Passivate those that have rested for long enough."""
        for key, berth in rested:
            if self._may_rest(berth):
                self._part(key)
            else:
                self._rest(key, berth, shed=False)

    def _part(self, key: Key) -> asyncio.Task[None]:
        berth = self._berths[key]
        self._resting.remove(key)
        berth.parting = True
        self._door.begin_to_leave()
        return self.background.start(self._passivate(key, berth))

    async def _passivate(self, key: Key, berth: Berth) -> None:
        """Save it, and if nobody has come meanwhile let go of it."""
        saved = await self._is_saved(key, berth)
        berth.parting = False
        if saved and self._may_rest(berth) and berth.left is None:
            gone = self._depart(key, berth, passivated=True)
            self._door.end_to_leave()
            await gone
        else:
            self._door.end_to_leave()
            if not berth.users:
                # Not at once again: the disk may fail for long.
                self._rest(key, berth, shed=False)

    async def _is_saved(self, key: Key, berth: Berth) -> bool:
        assert berth.agent is not None
        try:
            with deadline(self.runtime.clock, _DISK_TIME) as scope:
                await berth.agent.certain()
        except OverwinterError as error:
            logger.warning("agent %r stays active, for it cannot be saved: %s", key[0], error)
            return False
        return not scope.cancelled_caught

    def _depart(self, key: Key, berth: Berth, *, passivated: bool = False) -> asyncio.Task[None]:
        """Stop its actor, and forget it. Whoever wants it waits for that and wakes it up again."""
        berth.left = asyncio.Event()
        self._door.begin_to_leave()
        self._resting.remove(key)
        return self.background.start(self._stop(key, berth, berth.left, passivated=passivated))

    async def _stop(self, key: Key, berth: Berth, left: asyncio.Event, *, passivated: bool) -> None:
        try:
            if berth.ref is not None:
                await berth.ref.stop(drain=True)
        finally:
            del self._berths[key]
            left.set()
            self._passivations += passivated
            self._door.left()
            self._door.end_to_leave()

    # Its end.

    def close(self) -> None:
        """Wake up nobody any more; the runtime is about to stop everybody."""
        self._closed = True
        self._resting.close()
        for berth in self._berths.values():
            if berth.agent is None and berth.activation is not None:
                berth.activation.cancel()

    async def aclose(self) -> None:
        """Return when all of its tasks have ended; the runtime has stopped everybody."""
        await self.background.aclose()
        for agent in self.living:
            # An actor that had to be abandoned could not say that it left.
            agent.leave(self.runtime)
