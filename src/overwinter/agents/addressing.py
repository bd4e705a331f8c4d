"""What stands behind a name on a runtime: agents, topics and boards."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar
from weakref import WeakValueDictionary

import msgspec

from overwinter.agents.named import NamedAgent
from overwinter.agents.runs import Runs
from overwinter.errors import ConfigurationError
from overwinter.runtime import ActorSystem

if TYPE_CHECKING:
    from overwinter.agents.boards import Board, Boards
    from overwinter.agents.definitions import Make
    from overwinter.agents.directory import Directory
    from overwinter.persistence.snapshot import Snapshot

__all__ = ["Addressing"]

T = TypeVar("T")


class Addressing(ActorSystem):
    """The part of a runtime that finds things by their names."""

    directory: Directory
    _boards: Boards | None = None
    _told: WeakValueDictionary[NamedAgent, _Told] | None = None

    def agent(self, name: str, session: str = "") -> NamedAgent:
        """A handle on the agent of that name, which is woken up when it is first used; see :class:`NamedAgent`.

        An agent that was spawned here is that agent. Any other is made by what was given to :meth:`define`, or to the
        runtime as ``agents=``; where nobody said how, from its ``config.json``, as far as that says everything.
        """
        for what, value in (("name", name), ("session", session)):
            if not isinstance(value, str):  # pyright: ignore[reportUnnecessaryIsInstance]
                raise ConfigurationError(f"the {what} of an agent is a string, not {type(value).__name__}")
        return NamedAgent(self.directory, name, session)

    def define(self, name: str, make: Make) -> None:
        """Have *make* make the agents of that name, each time one is woken up.

        :param name: a name, or a pattern with ``*``, ``?`` and ``[…]``. An exact name goes first, then the patterns in
            the order in which they were defined.
        :param make: called with name and session on the event loop, it returns a new agent or swarm of these, or None
            for one that it does not make. Make it with ``autosave=True``: others are never passivated.
        """
        self.directory.define(name, make)

    async def passivate(self, name: str, session: str = "") -> bool:
        """Save a named agent and let go of it now: its memory, and its claim. Its next message wakes it up again.

        Returns whether it is at rest: false for one that is at work, has accepted tasks, or is awaited, which stays.
        A message that comes while it goes waits and finds it awake again. Cancelled, it goes on.

        :raises ConfigurationError: it was spawned (stop it), or has no ``autosave`` and would forget everything.
        """
        return await self.directory.passivate(name, session)

    async def board(self, name: str) -> Board:
        """The board of that name, opened with its first use here; see :class:`~overwinter.Board`.

        :raises AgentInUse: another process, or another runtime of this one, has it.
        :raises CorruptState: what was saved of it cannot be read.
        """
        if self._boards is None:
            from overwinter.agents.boards import Boards  # which few programs need

            self._boards = Boards(self)
        return await self._boards.board(name)

    async def snapshot(self, name: str, *, type: type[T], default: T, session: str = "") -> Snapshot[T]:  # noqa: A002
        """A value that a plain actor keeps on disk."""
        raise NotImplementedError

    def _adapted(self, subscriber: Any) -> Any:
        """Agents that are subscribed to a topic are told its messages as tasks."""
        if isinstance(subscriber, Runs):
            subscriber = self.agent(subscriber.agent_name, subscriber.session)
        if not isinstance(subscriber, NamedAgent):
            return subscriber
        if self._told is None:
            self._told = WeakValueDictionary()
        told = self._told.get(subscriber)
        if told is None:
            told = self._told[subscriber] = _Told(subscriber)
        return told


class _Told:
    """Tells an agent messages as texts: a string as it is, anything else as JSON. One for all handles on it."""

    __slots__ = ("__weakref__", "_agent")

    def __init__(self, agent: NamedAgent) -> None:
        self._agent = agent

    async def tell(self, message: Any) -> None:
        await self._agent.tell(message if isinstance(message, str) else msgspec.json.encode(message).decode())
