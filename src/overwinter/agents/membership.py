"""What ties an agent to a runtime: its claim on its folder, its saving, its actor."""

from __future__ import annotations

import asyncio
import uuid
import warnings
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from anyio import to_thread

from overwinter.agents.actor import AgentActor
from overwinter.agents.documents import EncodedLists
from overwinter.agents.hub import EventHub
from overwinter.agents.restore import apply, config_sequence, find_earlier, problems_of, read_state, warn_of
from overwinter.agents.saving import Saving
from overwinter.agents.stage import Stage
from overwinter.agents.verbose import narrator
from overwinter.errors import ConfigurationError, UnfinishedRun
from overwinter.persistence.files import FILES
from overwinter.persistence.workspace import Workspace
from overwinter.runtime import Resume

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Generator

    from overwinter.agents.commands import AgentMessage
    from overwinter.agents.events import Event
    from overwinter.agents.profile import Profile
    from overwinter.agents.records import StateBody
    from overwinter.agents.restore import Earlier
    from overwinter.agents.runtime import Runtime
    from overwinter.agents.state import AgentState
    from overwinter.persistence.document import LoadedDocument
    from overwinter.persistence.lease import Claim
    from overwinter.persistence.workspace import AgentFolder
    from overwinter.runtime import ActorRef

__all__ = ["Membership"]

_UNFINISHED = ("running", "paused", "interrupted", "failed")


class Membership:
    """One agent's way on to a runtime and off it again.

    It outlives runtimes: it knows the folder, the last claim, and what stood in the folder before a fresh agent
    began there.
    """

    def __init__(self, profile: Profile[Any], state: AgentState, workspace: Workspace | None) -> None:
        self._profile = profile
        self._state = state
        self._chosen = workspace
        self._workspace = workspace or Workspace()
        self._folder: AgentFolder | None = None
        self._last_claim: Claim | None = None
        self._earlier: Earlier | None = None
        self._loaded = False
        self._loading = False
        self._unsaved_memory = False
        self._lists = EncodedLists()
        self.hub = EventHub()
        if profile.settings.verbose:
            self.hub.watch(narrator())
        self._stage: Stage | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self.on_leave: Callable[[Runtime], None] = lambda _: None
        state.memory.watch(self._memory_changed)

    @property
    def folder(self) -> AgentFolder:
        """The agent's folder, as far as is known without looking at the disk."""
        if self._folder is not None:
            return self._folder
        return self._workspace.folder(
            self._profile.name, self._profile.agent_id, session=self._profile.settings.session
        )

    def has_state(self, path: str | os.PathLike[str] | None) -> bool:
        """Whether there is something to load, at *path* or in the agent's folder. Blocking."""
        if path is not None:
            return Path(path).exists()
        return self.folder.state_path.exists() or self.folder.previous_path.exists()

    def make_runtime(self) -> Runtime:
        """A private runtime for this agent alone."""
        from overwinter.agents.runtime import Runtime

        return Runtime(self._workspace.root)

    async def join(self, runtime: Runtime) -> ActorRef[AgentMessage]:
        """Claim the agent's folder for *runtime*, if it is saved at all, and start its actor there.

        :raises AgentInUse: somebody else holds it.
        :raises StaleState: somebody else has written since this object last held it.
        :raises ConfigurationError: it was given another workspace than the runtime's.
        """
        self._move_to(runtime)
        stage = Stage(
            profile=self._profile,
            state=self._state,
            clock=runtime.clock,
            random=runtime.random,
            limiter=runtime.tool_limiter,
            workspace_dir=self.folder.path,
            publish=self._publisher(runtime),
        )

        async def open_saving() -> Saving:
            return await self._open_saving(runtime)

        async def load(path: str) -> None:
            await self._load(runtime, Path(path) if path else None)

        if self._profile.settings.autosave:
            stage.saving = await open_saving()
            stage.workspace_dir = self.folder.path

        def closed() -> None:
            self._stage = None
            self.on_leave(runtime)

        actor = AgentActor(stage, open_saving=open_saving, load=load, closed=closed, grace=runtime.run_grace)
        try:
            ref = await runtime.spawn_actor(actor, name=self._actor_name(), supervision=Resume())
        except BaseException:
            if stage.saving is not None:
                await stage.saving.aclose()
            raise
        self._stage = stage
        self._loop = asyncio.get_running_loop()
        return ref

    def announce(self) -> None:
        """Warn, once, that a run which was cut off stands in the folder where a new one begins."""
        earlier = self._earlier
        if earlier is None or earlier.announced or not (earlier.waiting or earlier.status in _UNFINISHED):
            return
        earlier.announced = True
        warnings.warn(
            f"agent {self._profile.name!r} has an unfinished run ({earlier.status}, task {earlier.task[:60]!r}) in "
            f"{self.folder.path}; this new run leaves it behind, in {self.folder.history_dir.name}/. To finish it, "
            "call resume() before run(), or load() to go on in its conversation.",
            UnfinishedRun,
            stacklevel=4,
        )

    async def _open_saving(self, runtime: Runtime) -> Saving:
        storage = await runtime.storage()
        if self._last_claim is not None and not await storage.call(self.folder.path.exists):
            # Somebody deleted it: there is nothing to be behind of, and what is in memory is all there is.
            self._last_claim = None
        first = self._last_claim is None
        claim = await storage.claim(
            self.folder,
            known_sequence=None if first else self._state.sequence,
            last=self._last_claim,
            timeout=self._profile.settings.lease_timeout,
        )
        try:
            self._folder = claim.folder
            if first and not self._loading:
                found, sequence, damaged = await storage.call(
                    find_earlier, claim.folder, files=storage.files, now=storage.clock.now()
                )
                warn_of(damaged)
                self._earlier = None if self._loaded else found
                self._state.sequence = max(self._state.sequence, sequence)
            self._last_claim = claim
        except BaseException:
            await storage.release(claim, claim.sequence)
            raise
        return Saving(
            profile=self._profile,
            state=self._state,
            storage=storage,
            claim=claim,
            publish=self._publisher(runtime),
            lists=self._lists,
            earlier=self._earlier,
            kept=self._earlier_kept,
            unsaved=self._unsaved_memory,
        )

    def _earlier_kept(self) -> None:
        self._earlier = None

    @contextmanager
    def loading(self, *, own: bool) -> Generator[None]:
        """What is in memory is about to be replaced, so nothing of it is stale.

        With ``own`` it is by the agent's own files, which then nobody else reads first. If that fails, they are looked
        at before anything is written.
        """
        self._last_claim = None
        self._loading = own
        try:
            yield
        except BaseException:
            self._last_claim = None
            raise
        finally:
            self._loading = False

    async def _load(self, runtime: Runtime, path: Path | None) -> None:
        now, folder = runtime.clock.now(), self.folder

        def read() -> tuple[LoadedDocument, StateBody, EncodedLists, int, tuple[str, ...]]:
            loaded, body = read_state(folder, path, files=FILES, now=now)
            lists = EncodedLists()
            # Encoded here and not at the next save, which would keep the event loop from everything else.
            lists.update(body.conversation, body.tool_results, body.runs)
            sequence, damaged = config_sequence(folder, files=FILES, now=now)
            return loaded, body, lists, sequence, (*damaged, *problems_of(loaded))

        loaded, body, lists, sequence, damaged = await to_thread.run_sync(read, limiter=runtime.tool_limiter)
        warn_of(damaged)
        self._state.sequence = max(self._state.sequence, sequence)
        apply(loaded, body, profile=self._profile, state=self._state)
        self._lists.replace(lists)
        self._unsaved_memory = False
        if loaded.path in (folder.state_path, folder.previous_path):
            self._earlier = None
            self._loaded = True
            if self._stage is not None and self._stage.saving is not None:
                self._stage.saving.earlier = None

    def _actor_name(self) -> str:
        name = f"agent-{self._profile.agent_id}"
        # Agents that save nothing may share a name.
        return name if self._profile.settings.autosave else f"{name}-{uuid.uuid4().hex[:8]}"

    def _move_to(self, runtime: Runtime) -> None:
        if self._chosen is not None and self._chosen.root != runtime.workspace.root:
            raise ConfigurationError(
                f"agent {self._profile.name!r} was given workspace_dir={str(self._chosen.root)!r}, but the runtime's "
                f"is {str(runtime.workspace.root)!r}; give it to one of the two only"
            )
        if self._workspace.root != runtime.workspace.root:
            self._workspace = runtime.workspace
            self._folder = self._last_claim = self._earlier = None
            self._loaded = False

    def _publisher(self, runtime: Runtime) -> Callable[[Event], None]:
        def publish(event: Event) -> None:
            self.hub.publish(event)
            runtime.publish(event)

        return publish

    def _memory_changed(self) -> None:
        stage, loop = self._stage, self._loop
        if stage is None or stage.saving is None or loop is None:
            self._unsaved_memory = True
            return
        # A synchronous tool sets memory from its thread.
        if _running_loop() is loop:
            stage.saving.changed()
        else:
            loop.call_soon_threadsafe(stage.saving.changed)


def _running_loop() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None
