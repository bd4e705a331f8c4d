"""The runtime that users hold: actors, agents, and the storage that saves them."""

from __future__ import annotations

import logging
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, Any, TypeGuard, TypeVar, cast, overload

import msgspec
from anyio import CancelScope, CapacityLimiter, Lock, to_thread

from overwinter.agents.addressing import Addressing
from overwinter.agents.allowance import Account
from overwinter.agents.budget import RUNTIME, Budget
from overwinter.agents.directory import Directory
from overwinter.agents.documents import ENCODED_A_SECOND, ENCODED_A_TURN
from overwinter.agents.guests import Guests
from overwinter.agents.hub import EventHub
from overwinter.agents.publishing import StatusPublisher
from overwinter.agents.rates import Rates
from overwinter.agents.resuming import resume_all
from overwinter.agents.runs import Runs
from overwinter.agents.runtime_statistics import RuntimeStatistics
from overwinter.agents.shares import Shares
from overwinter.agents.signals import signals_cancel
from overwinter.agents.sleeping import ActorSleeps
from overwinter.agents.unfinished import find_unfinished
from overwinter.errors import OverwinterError, RuntimeClosed
from overwinter.persistence.snapshot import Snapshot
from overwinter.persistence.storage import Storage
from overwinter.persistence.workspace import Workspace
from overwinter.runtime import Actor, ActorRef, ActorSystem

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Mapping
    from contextlib import AbstractContextManager
    from random import Random
    from types import TracebackType
    from typing import Self

    from overwinter.agents.allowance import Spent
    from overwinter.agents.commands import AgentMessage
    from overwinter.agents.definitions import Make
    from overwinter.agents.events import Event
    from overwinter.agents.rates import RateLimit
    from overwinter.agents.results import RunResult
    from overwinter.agents.signals import SignalWatch
    from overwinter.agents.teams import TeamAtWork
    from overwinter.agents.unfinished import UnfinishedAgent
    from overwinter.persistence import FileOperations
    from overwinter.runtime import Clock, Supervision

__all__ = ["Runtime"]

logger = logging.getLogger("overwinter.agents")

MessageT = TypeVar("MessageT")
T = TypeVar("T")

_TOOL_THREADS = 64
_SAVE_TIME = 10.0


class Runtime(Addressing):
    """Actors and agents under one roof, with one writer that saves them all.

    Use it as ``async with Runtime() as runtime:``. Leaving the block stops everything: runs get a grace and are then
    interrupted, every agent is saved, and what waits for the disk is written, each within its time. An exception or a
    cancellation of the block does the same.

    :param workspace_dir: where the agents' folders are; by default the environment variable ``WORKSPACE_DIR``, then
        ``agent_workspace`` in the current directory. Nothing is created before something is saved.
    :param run_grace: seconds that a run may go on when its agent is stopped, before it is interrupted.
    :param shutdown_timeout: seconds after which what still has not stopped is cancelled.
    :param handle_signals: make Ctrl-C and SIGTERM cancel the block, and end the program once all is saved. Without it
        the runtime touches no signal.
    :param tool_threads: how many synchronous tools may run at once.
    :param files: the operations on files, for tests.
    :param budget: what all runs here may spend together; a run that finds no room is paused, and a higher
        :attr:`budget` lets it be resumed.
    :param rate_limits: how much may be asked of each model, all runs here together, by its name; ``"openai/*"`` is for
        each one whose name begins so, ``"*"`` for each one that nothing else is said about. Calls beyond wait, and the
        agents that wait take turns.
    :param agents: makes the agents that :meth:`agent` is asked for and that no :meth:`define` makes.
    :param idle_timeout: seconds without use after which such an agent is passivated; ``None`` for never.
    :param active_limit: how many such agents may be active before those used longest ago are passivated; ``None`` for
        no limit. It is no bound: those that are at work stay.
    """

    def __init__(
        self,
        workspace_dir: str | os.PathLike[str] | None = None,
        *,
        clock: Clock | None = None,
        random: Random | None = None,
        run_grace: float = 1.0,
        shutdown_timeout: float = 30.0,
        mailbox_capacity: int | None = 1024,
        handle_signals: bool = False,
        tool_threads: int = _TOOL_THREADS,
        files: FileOperations | None = None,
        budget: Budget | None = None,
        rate_limits: Mapping[str, RateLimit] | None = None,
        agents: Make | None = None,
        idle_timeout: float | None = 60.0,
        active_limit: int | None = 1000,
    ) -> None:
        super().__init__(
            clock=clock,
            random=random,
            shutdown_timeout=shutdown_timeout,
            # What an interruption may take: the run's own end, and the disk's deadline.
            patience=run_grace + _SAVE_TIME,
            mailbox_capacity=mailbox_capacity,
        )
        self.workspace = Workspace(workspace_dir)
        self.run_grace = run_grace
        self.tool_limiter = CapacityLimiter(tool_threads)
        self.account = Account(budget, clock=self.clock, prefix=RUNTIME)
        self.rates = Rates(rate_limits, clock=self.clock)
        self.teams: dict[str, TeamAtWork] = {}
        self._budget = budget
        self._hub = EventHub()
        # The writer lives in a system of its own, which outlives every actor that may have something to save.
        self._writers = ActorSystem(clock=clock, random=random, shutdown_timeout=shutdown_timeout)
        self._storage = Storage(self.workspace, clock=self.clock, files=files)
        self._storage_opened = False
        self._status = StatusPublisher(self._exchange.cells, self.rates)
        self._gate = Lock()
        self._agents: dict[ActorRef[AgentMessage], Runs[Any, Any]] = {}
        self.guests = Guests(self)
        self.encoding = Shares(ENCODED_A_TURN, a_second=ENCODED_A_SECOND)
        self._snapshots: list[Snapshot[Any]] = []
        self.directory = Directory(self, agents, idle_timeout=idle_timeout, active_limit=active_limit)
        self.sleeps = ActorSleeps(self._keep_deadlines, self.clock)
        self._handle_signals = handle_signals
        self._signal_scope: CancelScope | None = None
        self._signals: AbstractContextManager[SignalWatch] | None = None
        self._watch: SignalWatch | None = None

    async def __aenter__(self) -> Self:
        await super().__aenter__()
        self.account.begin()
        if self._handle_signals:
            self._signal_scope = CancelScope().__enter__()
            self._signals = signals_cancel(self._signal_scope.cancel)
            self._watch = self._signals.__enter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool | None:
        swallowed = self._signal_scope is not None and bool(
            self._signal_scope.__exit__(kind, error, traceback)
        )
        if swallowed:
            kind = error = traceback = None
        try:
            result = await super().__aexit__(kind, error, traceback)
        finally:
            # Only now: a first signal during the closing must not cut it short either.
            if self._signals is not None:
                self._signals.__exit__(None, None, None)
        if self._watch is not None:
            self._watch.raise_received()
        return swallowed or result

    @overload
    async def spawn(self, actor: Runs[Any, Any]) -> ActorRef[AgentMessage]: ...

    @overload
    async def spawn(
        self,
        actor: Actor[MessageT] | Callable[[], Actor[MessageT]],
        *,
        name: str | None = None,
        supervision: Supervision = ...,
        mailbox_capacity: int | None = ...,
    ) -> ActorRef[MessageT]: ...

    async def spawn(
        self, actor: Runs[Any, Any] | Actor[Any] | Callable[[], Actor[Any]], **settings: Any
    ) -> ActorRef[Any]:
        """Start an agent or an actor here and return a reference to it.

        An agent's folder is claimed now (with ``autosave=True``), what its model needs is loaded, and its calls go
        through its mailbox on this runtime from now on. For plain actors see :meth:`ActorSystem.spawn`.

        :raises AgentInUse: another process, or another runtime of this one, holds the agent.
        :raises RuntimeClosed: the runtime is not running.

        Cancelled, nothing of it stays behind.
        """
        if not _is_agent(actor):
            return await self.spawn_actor(cast("Actor[Any]", actor), **settings)
        return await self.settle(actor)

    async def settle(self, agent: Runs[Any, Any], *, to_be_loaded: bool = False) -> ActorRef[AgentMessage]:
        """:meth:`spawn` for agents only; with ``to_be_loaded`` its ``load()`` comes next."""
        here = agent.reference_on(self)
        if here is not None and self.guests.adopt(agent):
            self._agents[here] = agent
            return here
        ref = await agent.join(self, to_be_loaded=to_be_loaded)
        self._agents[ref] = agent
        self.directory.spawned(agent)
        return ref

    async def spawn_actor(
        self, actor: Actor[MessageT] | Callable[[], Actor[MessageT]], **settings: Any
    ) -> ActorRef[MessageT]:
        """:meth:`spawn` for plain actors only."""
        return await super().spawn(actor, **settings)

    async def stop(
        self,
        ref: Runs[Any, Any] | ActorRef[Any] | None = None,
        *,
        drain: bool = False,
        timeout: float | None = None,  # noqa: ASYNC109
    ) -> None:
        """Stop one agent or actor, saved, or without ``ref`` all of them; the runtime then takes no more.

        Returns when that is done. An agent that does not live here is left alone. See :meth:`ActorRef.stop`.
        """
        if isinstance(ref, Runs):
            self.guests.adopt(ref)
            ref = ref.reference_on(self)
            if ref is None:
                return
        await super().stop(ref, drain=drain, timeout=timeout)

    async def _aclose(self) -> None:
        self.directory.close()
        try:
            await super()._aclose()
        finally:
            await self.directory.aclose()
            # An actor that had to be abandoned could not say that it left.
            for agent in (*self._agents.values(), *self.guests):
                agent.leave(self)
            for snapshot in self._snapshots:
                await _close_snapshot(snapshot)
            self._status.close()
            self.rates.close()
            await self._storage.aclose()
            await self._writers.aclose()

    async def storage(self) -> Storage:
        """The storage of this runtime, opened with its first use.

        :raises WorkspaceError: the workspace cannot be used.
        :raises RuntimeClosed: the runtime is not running.
        """
        if not self.running:
            raise RuntimeClosed(
                "the runtime is not running; use it inside `async with Runtime() as runtime:`"
            )
        if self._storage_opened:
            return self._storage
        async with self._gate:
            if not self._storage_opened:
                # It is open already when the storage's own opening was cancelled before.
                if not self._writers.running:
                    await self._writers.open()
                await self._storage.open(self._writers)
                self._storage_opened = True
                self._status.begin(self._storage)
        return self._storage

    async def snapshot(self, name: str, *, type: type[T], default: T, session: str = "") -> Snapshot[T]:  # noqa: A002
        """A value that a plain actor keeps on disk, loaded if it was saved before; see :class:`Snapshot`.

        Whatever of it is unsaved when the runtime closes is saved then.

        :raises AgentInUse: it is open elsewhere.
        """
        storage = await self.storage()
        opened = await Snapshot[T].open(storage, name, type=type, default=default, session=session)
        self._snapshots.append(opened)
        return opened

    async def _keep_deadlines(self, name: str) -> Snapshot[dict[str, datetime]]:
        return await self.snapshot(name, type=dict[str, datetime], default={}, session="sleeps")

    async def interrupted(self) -> list[UnfinishedAgent]:
        """The agents of the workspace that nobody holds, here or elsewhere, and that have something left to do.

        What stands in their files is read in a thread, and not verified; loading an agent does that.

        :raises WorkspaceError: the workspace cannot be read.
        :raises RuntimeClosed: the runtime is not running.
        """
        storage = await self.storage()
        return await to_thread.run_sync(
            partial(find_unfinished, self.workspace, files=storage.files, own=storage.runtime_id),
            abandon_on_cancel=True,
        )

    async def resume_all(
        self, make: Callable[[UnfinishedAgent], Runs[Any, Any] | None] | None = None
    ) -> dict[str, RunResult[Any] | Exception]:
        """Finish, all at once, what was cut off of every agent of this runtime: its last run, then its accepted tasks.

        :param make: called with each agent that :meth:`interrupted` finds, it makes the agent, of the same name and
            session, which is spawned here and finished too; ``None`` leaves it alone. Unless given, those are woken up
            by their names, and put to rest again, whose making was defined: ``Runtime(agents=...)``, :meth:`define`.

        Returns, by ``agent_id``, the last result of each, or the error with which it ended; agents with nothing to
        resume are left out. Cancelling it interrupts what it resumed.

        :raises ConfigurationError: ``make`` made another agent than the one that was found.
        """
        return await resume_all(self, make)

    @property
    def budget(self) -> Budget | None:
        """What all runs here may spend together over the runtime's life; ``None`` for no limit.

        A new one may be set at any time. It holds at once for calls that wait for room, and for the time that calls
        under way may take if they had a limit of it; otherwise from the next step.
        """
        return self._budget

    @budget.setter
    def budget(self, budget: Budget | None) -> None:
        self._budget = self.account.budget = budget

    @property
    def rate_limits(self) -> dict[str, RateLimit]:
        """How much may be asked of each model, by its name. New ones may be set at any time and hold at once.

        Calls that were under way when their model was not limited yet are not counted.

        :raises ConfigurationError: a name that can match no model, or a value that is no :class:`RateLimit`.
        """
        return self.rates.limits

    @rate_limits.setter
    def rate_limits(self, limits: Mapping[str, RateLimit] | None) -> None:
        self.rates.limits = limits

    @property
    def spent(self) -> Spent:
        """What all runs here have spent so far, and what is reserved for the calls under way."""
        return self.account.spent

    @property
    def agents(self) -> tuple[Runs[Any, Any], ...]:
        """The agents and swarms that live here, in no order; members that a swarm brought along are not among them."""
        # One that had to be abandoned could not say that it left.
        self._agents = {ref: agent for ref, agent in self._agents.items() if agent.reference_on(self) == ref}
        return (*self._agents.values(), *self.directory.living)

    def left(self, ref: ActorRef[AgentMessage]) -> None:
        """That agent's actor has stopped: what an agent says when it leaves."""
        self._agents.pop(ref, None)

    def watch(self, watcher: Callable[[Event], None]) -> Callable[[], None]:
        """Call *watcher* on the event loop with each event of each agent here; returns what ends that."""
        return self._hub.watch(watcher)

    @property
    def watched(self) -> bool:
        """Whether anybody would be told of an event."""
        return self._hub.heard

    def publish(self, event: Event) -> None:
        """Hand an event to all who watch."""
        self._hub.publish(event)
        self._status.note(event)

    def stirred(self) -> None:
        """Something happened that nobody wants to be told of."""
        self._status.stir()

    def statistics(self) -> RuntimeStatistics:
        """How this runtime is doing, at this moment."""
        return RuntimeStatistics(
            **msgspec.structs.asdict(super().statistics()),
            agents=len(self.agents),
            persistence=self._storage.statistics(),
            spent=self.spent,
            rates=self.rates.statistics(),
        )


def _is_agent(candidate: object) -> TypeGuard[Runs[Any, Any]]:
    return isinstance(candidate, Runs)


async def _close_snapshot(snapshot: Snapshot[Any]) -> None:
    try:
        await snapshot.aclose()
    except OverwinterError as error:
        logger.warning("%s is not as it was last in memory: %s", snapshot.path, error)
