"""Where an agent lives: on the runtime it was spawned on, or on a private one while calls are in flight."""

from __future__ import annotations

import asyncio
import os
import threading
from abc import abstractmethod
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from anyio import CancelScope

from overwinter.agents.place import Place
from overwinter.errors import AgentInUse, ConfigurationError
from overwinter.persistence.waiting import to_its_end

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from overwinter.agents.commands import AgentMessage
    from overwinter.agents.profile import Profile
    from overwinter.agents.runtime import Runtime
    from overwinter.persistence.workspace import Workspace
    from overwinter.runtime import ActorRef

__all__ = ["Home", "Residence"]


class Home:
    """A runtime, and the reference of the agent's actor there."""

    __slots__ = ("ref", "runtime")

    def __init__(self, runtime: Runtime, ref: ActorRef[AgentMessage]) -> None:
        self.runtime = runtime
        self.ref = ref


# Whose loop an agent's is, is decided by one thread at a time; it takes no time, so that one lock serves all of them.
_deciding = threading.Lock()


class Residence(Place):
    """Finds the agent a home for each call.

    The calls in flight on an agent that was spawned nowhere share one private runtime, which opens with the first
    and closes, flushed, with the last of them. An agent lives on one event loop at a time.
    """

    def __init__(self, profile: Profile[Any], workspace: Workspace | None) -> None:
        super().__init__(profile, workspace)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._gate = asyncio.Lock()
        self._spawned: Home | None = None
        self._private: Home | None = None
        self._guests = 0

    @abstractmethod
    async def join(self, runtime: Runtime) -> ActorRef[AgentMessage]:
        """Move in on *runtime*."""

    @property
    def spawned(self) -> Home | None:
        """Where the agent was spawned, if it was."""
        return self._spawned

    @property
    def vacant(self) -> bool:
        """Whether the agent lives nowhere at present."""
        return self._spawned is None and self._private is None

    async def settle(self, runtime: Runtime) -> ActorRef[AgentMessage]:
        """Make *runtime* the agent's home.

        :raises AgentInUse: it lives elsewhere in this process, or calls without a runtime are in flight.
        """
        self._come_here()
        async with self._gate:
            there = self._spawned or self._private
            if there is not None:
                raise AgentInUse(
                    self._profile.name, pid=os.getpid(), host=_host(), runtime_id=there.runtime.id
                )
            ref = await self.join(runtime)
            self._spawned = Home(runtime, ref)
            return ref

    def leave(self, runtime: Runtime) -> None:
        """*runtime* is no home any more."""
        if self._spawned is not None and self._spawned.runtime is runtime:
            self._spawned = None

    def home_here(self) -> Home | None:
        """Where the agent was spawned, if it was, and so needs no :meth:`at_home`.

        :raises ConfigurationError: the agent lives on another event loop.
        """
        self._come_here()
        return self._spawned

    @asynccontextmanager
    async def at_home(self) -> AsyncGenerator[Home]:
        """A home for the length of the block. Cancelled or not, a private one is closed by whoever leaves last.

        :raises ConfigurationError: the agent lives on another event loop.
        """
        self._come_here()
        if self._spawned is not None:
            yield self._spawned
            return
        home = await self._enter()
        try:
            yield home
        finally:
            # Counted before anything can be cancelled, so that a guest who leaves is always gone.
            self._guests -= 1
            if not self._guests:
                await to_its_end(asyncio.create_task(self._close_if_empty()))

    def _come_here(self) -> None:
        """Make the running event loop the agent's, unless it lives on another that is alive."""
        loop = asyncio.get_running_loop()
        with _deciding:
            if self._loop is loop:
                return
            if self._loop is not None and not self._loop.is_closed() and (self._guests or not self.vacant):
                raise ConfigurationError(
                    f"agent {self._profile.name!r} is at work on another event loop; an agent lives on one at a time. "
                    "Call it from there (asyncio.run_coroutine_threadsafe), or make an Agent of another session for "
                    "this one."
                )
            # What lived on a loop that was closed died with it.
            self._loop = loop
            self._gate = asyncio.Lock()
            self._spawned = self._private = None
            self._guests = 0

    async def _enter(self) -> Home:
        async with self._gate:
            if self._spawned is not None:
                # It was spawned while this call waited; that home is nobody's to close.
                self._guests += 1
                return self._spawned
            if self._private is None:
                runtime = self.make_runtime()
                await runtime.open()
                try:
                    self._private = Home(runtime, await self.join(runtime))
                except BaseException:
                    with CancelScope(shield=True):
                        await runtime.aclose()
                    raise
            self._guests += 1
            return self._private

    async def _close_if_empty(self) -> None:
        async with self._gate:
            if self._guests or self._private is None:
                return
            home, self._private = self._private, None
            await home.runtime.aclose()


def _host() -> str:
    import socket

    return socket.gethostname()
