"""What ties an agent to a runtime: its claim on its folder, its saving, its actor."""

from __future__ import annotations

import asyncio
import os
from contextlib import contextmanager, nullcontext
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

import msgspec
from anyio import to_thread

from overwinter.agents.actor import AgentActor
from overwinter.agents.copying import copy_of
from overwinter.agents.documents import EncodedLists
from overwinter.agents.earlier import Earlier, find_earlier, read_to_load
from overwinter.agents.estimate import Estimator
from overwinter.agents.hub import EventHub
from overwinter.agents.on_disk import OnDisk
from overwinter.agents.past import look_back
from overwinter.agents.recall import Recall
from overwinter.agents.remembering import Remembering
from overwinter.agents.residence import Residence
from overwinter.agents.restore import Restored, report, warn_of
from overwinter.agents.run_index import describe
from overwinter.agents.saving import Saving
from overwinter.agents.stage import Stage
from overwinter.agents.verbose import narrator
from overwinter.errors import AgentExists, StaleState
from overwinter.runtime import Resume

if TYPE_CHECKING:
    from collections.abc import Callable, Generator
    from collections.abc import Set as AbstractSet
    from pathlib import Path

    from anyio import CapacityLimiter

    from overwinter.agents.commands import AgentMessage
    from overwinter.agents.profile import Durability, Profile
    from overwinter.agents.run_index import RunIndex
    from overwinter.agents.runtime import Runtime
    from overwinter.agents.state import AgentState
    from overwinter.persistence.files import FileOperations
    from overwinter.persistence.lease import Claim
    from overwinter.persistence.storage import Storage
    from overwinter.persistence.workspace import AgentFolder, Workspace
    from overwinter.runtime import ActorRef

    #: What :func:`find_earlier` tells.
    _Seen: TypeAlias = tuple[Earlier | None, int, tuple[str, ...]]

__all__ = ["Membership"]

T = TypeVar("T")


class Membership(Residence):
    """One agent's way on to a runtime and off it again.

    It outlives runtimes: it knows the folder, the last claim, and what stood in the folder before a fresh agent
    began there.

    :ivar found_nothing: when the folder was claimed there was nothing in it that could be loaded.
    """

    def __init__(self, profile: Profile[Any], state: AgentState, workspace: Workspace | None) -> None:
        super().__init__(profile, workspace)
        self._state = state
        self._last_claim: Claim | None = None
        self._earlier: Earlier | None = None
        self._loaded = False
        self._loading: bool | None = None
        self._to_be_loaded = False
        self._on_disk = OnDisk()
        self._lists = EncodedLists()
        self._must_be_new = False
        self.found_nothing = False
        self.run_index: RunIndex | None = None
        self._estimator = Estimator()
        self.hub = EventHub()
        if profile.settings.verbose:
            self.hub.watch(narrator())
        self._stage: Stage | None = None
        if profile.settings.autosave:
            state.unsent = []
        self._remembering = Remembering(state)

    @property
    def recall(self) -> Recall:
        """What finds the runs of the agent."""
        return Recall(self)

    @property
    def state(self) -> AgentState:
        """What the agent knows."""
        return self._state

    @property
    def saving(self) -> Saving | None:
        """What saves it where it lives; None while it lives nowhere, or is not saved."""
        return None if self._stage is None else self._stage.saving

    def now(self) -> str:
        """The time, ISO 8601 in UTC."""
        return datetime.now(UTC).isoformat() if self._stage is None else self._stage.now()

    async def past(
        self, read: Callable[[AgentFolder, FileOperations], T], *, limiter: CapacityLimiter | None = None
    ) -> T:
        """What *read* finds in the agent's folder, called in a thread once all that was recorded stands there."""
        saving = self.saving
        if saving is not None:
            await saving.gather()
            return await to_thread.run_sync(read, saving.folder, saving.files, limiter=limiter)
        return await to_thread.run_sync(look_back, self._workspace, self.folder, read, limiter=limiter)

    async def begin_with(self, restored: Restored, source: str) -> None:
        """Know what *restored* does, as a new agent; with the first save it is an error if there is one already.

        :raises AgentExists: there is one.
        """
        if await to_thread.run_sync(self.has_state, None):
            raise AgentExists(self._profile.name, self.folder.path)
        self._must_be_new = True
        self._take(restored, 0, own=False, source=source)

    def take_up(self, restored: Restored) -> None:
        """Go on with what was found in the agent's own files."""
        self._take(restored, 0, own=True)

    def exchange(self, restored: Restored, source: str) -> None:
        """Go on with another conversation, and with the tasks that have not begun in the present one."""
        state, present = restored.state, self._state
        for task in present.accepted:
            present.run_ids.discard(task.run_id)
            if task.run_id not in state.run_ids:
                state.accepted.append(task)
                state.run_ids.add(task.run_id)
        # Each task waits in one place only: what is kept of the present conversation does not have it any more.
        present.accepted = []
        self._take(restored, 0, own=False, source=source)

    @property
    def found_run_ids(self) -> AbstractSet[str]:
        """The runs that stand in the folder, of a conversation that is not this object's."""
        return frozenset() if self._earlier is None else self._earlier.state.run_ids

    @property
    def went_on(self) -> bool:
        """Whether what is in memory began elsewhere: it was loaded."""
        return self._loaded or self._on_disk.replaced

    def be_saved(self, durability: Durability) -> None:
        """Save the agent from now on, which is said before it lives anywhere."""
        settings = self._profile.settings
        if settings.autosave:
            return
        settings.autosave, settings.durability = True, durability
        self._profile.renew()
        if self._state.unsent is None:
            self._state.unsent = []

    @property
    def waits_for_disk(self) -> bool:
        """Whether a run of the agent waits for a disk that fails."""
        return self._state.status == "running" and self.saving is not None and self.saving.waiting

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
            place=self,
            hub=self.hub,
            runtime=runtime,
            estimator=self._estimator,
        )
        if self._profile.settings.autosave:
            stage.saving = await self.open_saving(stage)
        actor = AgentActor(stage, self)
        try:
            ref = await runtime.spawn_actor(actor, name=self._actor_name(), supervision=Resume())
        except BaseException:
            if stage.saving is not None:
                await stage.saving.aclose()
            raise
        self._stage = stage
        self._remembering.loop, self._remembering.clock = asyncio.get_running_loop(), runtime.clock
        return ref

    def left(self, runtime: Runtime) -> None:
        """Its actor there has ended."""
        self._stage = self._remembering.clock = None
        self.leave(runtime)

    def announce(self) -> None:
        """Warn, once, that a run which was cut off stands in the folder where a new one begins."""
        if self._earlier is not None:
            self._earlier.announce(self._profile.name, self.folder)

    async def open_saving(self, stage: Stage) -> Saving:
        """Claim the agent's folder for the runtime; what saves it there, and gives the folder back when closed.

        :raises AgentInUse: somebody else holds it.
        :raises StaleState: somebody else has written since this object last held it.
        """
        storage = await stage.runtime.storage()
        if self._last_claim is not None and not await storage.call(self.folder.path.exists):
            # Somebody deleted it: there is nothing to be behind of, and what is in memory is all there is.
            self._last_claim = None
            self._on_disk = OnDisk()
        try:
            claim, seen = await self._claim(storage)
        except StaleState:
            if not self._state.is_new:
                raise
            # Nothing is in memory that could be behind of what somebody else wrote.
            self._last_claim, self._loaded = None, False
            claim, seen = await self._claim(storage)
        first = self._last_claim is None
        try:
            self._folder = claim.folder
            warn_of(claim.remarks)
            if seen is not None:
                self._see(seen)
            if first:
                # Somebody else may have written meanwhile.
                self.run_index = None
            self._last_claim = claim
        except BaseException:
            await storage.release(claim, claim.sequence)
            raise

        async def look() -> Earlier | None:
            now = storage.clock.now()
            self._see(await storage.call(find_earlier, claim.folder, files=storage.files, now=now))
            return self._earlier

        return Saving(
            stage=stage,
            keeper=self,
            storage=storage,
            claim=claim,
            lists=self._lists,
            look=look if first and seen is None else None,
            earlier=self._earlier,
            on_disk=self._on_disk,
        )

    async def index_of_runs(self) -> RunIndex:
        """Which conversation of ``history/`` holds which run."""
        return await self.recall.index()

    def _see(self, seen: _Seen) -> None:
        """Make out what the files that were found there mean for what is in memory."""
        found, self._on_disk.floor, damaged = seen
        self.found_nothing = found is None and not self._on_disk.floor and not damaged
        warn_of(damaged)
        stale = None if found is None else found.newer_than(self._state, self._profile.name)
        if self._loaded and stale is not None and self._loading is None:
            raise stale
        self._earlier = None if self._loaded and stale is None else found
        if self._must_be_new and (found is not None or self._on_disk.floor or damaged):
            raise AgentExists(self._profile.name, self.folder.path)
        self._must_be_new = False

    async def _claim(self, storage: Storage) -> tuple[Claim, _Seen | None]:
        """The claim, and what stands in the folder, unless that is known or about to be loaded."""
        timeout = self._profile.settings.lease_timeout
        last = self._last_claim
        if last is not None or self._loading:
            known = None if last is None else (self._earlier or self).state.sequence
            return await storage.claim(self.folder, known_sequence=known, last=last, timeout=timeout), None
        files, now, to_be_loaded = storage.files, storage.clock.now(), self._to_be_loaded

        def look(claim: Claim) -> _Seen:
            return find_earlier(claim.folder, files=files, now=now, to_be_loaded=to_be_loaded)

        return await storage.claim_and_read(self.folder, look, timeout=timeout)

    def earlier_kept(self, state: AgentState, path: Path) -> None:
        """What a fresh agent left behind was kept at *path*."""
        self._earlier = None
        if self.run_index is not None:
            self.run_index.add(describe(state, path.name))

    @contextmanager
    def to_be_loaded(self) -> Generator[None]:
        """Within it, what is found in a folder that is claimed is read so that a load has nothing left to do."""
        self._to_be_loaded = True
        try:
            yield
        finally:
            self._to_be_loaded = False

    @contextmanager
    def loading(self, *, own: bool) -> Generator[None]:
        """What is in memory is about to be replaced, so nothing of it is stale.

        With ``own`` it is by the agent's own files, which then nobody else reads first. If that fails, they are looked
        at before anything is written. Without, what somebody else wrote there meanwhile is kept.
        """
        self._last_claim = None
        self._loading = own
        try:
            yield
        except BaseException:
            self._last_claim = None
            raise
        finally:
            self._loading = None

    async def load(self, runtime: Runtime, path: Path | None) -> None:
        """Know what the file at *path* holds, or what the agent's own files do, in the place of all that was known.

        :raises StateNotFound: there is nothing.
        :raises CorruptState: nothing that is there can be read.
        """
        folder, saving, earlier = self.folder, self.saving, self._earlier
        if path in (folder.state_path, folder.previous_path):
            path = None
        own, source = path is None, "" if path is None else path.name
        if own and saving is not None and earlier is not None and earlier.restored.encoded:
            # It was read for this when the folder was claimed, and nobody has written since.
            async with saving.preparing:
                self._take(earlier.restored, self._on_disk.floor, own=True)
            return
        now = runtime.clock.now()

        def read(folder: AgentFolder, files: FileOperations) -> tuple[Restored, int, tuple[str, ...]]:
            return read_to_load(folder, path, files=files, now=now)

        restored, floor, damaged = await self.past(read, limiter=runtime.tool_limiter)
        warn_of(damaged)
        async with nullcontext() if saving is None else saving.preparing:
            self._take(restored, floor, own=own, source=source)

    def _take(self, restored: Restored, floor: int, *, own: bool, source: str = "") -> None:
        report(restored, profile=self._profile)
        saving = self.saving
        if saving is not None:
            saving.let_go()
            if not own and saving.earlier is None and not self._state.is_new:
                settings = msgspec.json.decode(self._profile.encoded)
                self._earlier = saving.earlier = Earlier(
                    Restored(copy_of(self._state), None, 1, (), settings)
                )
        self._state.become(restored.state)
        self._lists.replace(restored.lists)
        self._on_disk.floor = max(self._on_disk.floor, floor)
        if own:
            self._state.sequence = restored.state.sequence
            self._on_disk.loaded(restored)
            self._earlier = None
            self._loaded = True
            if saving is not None:
                saving.earlier = saving.look = None
        else:
            self._on_disk.replaced = True
            self._on_disk.source = source

    def _actor_name(self) -> str:
        name = f"agent-{self._profile.agent_id}"
        # Agents that save nothing may share a name.
        return name if self._profile.settings.autosave else f"{name}-{os.urandom(4).hex()}"

    def _moved(self) -> None:
        self._last_claim = self._earlier = None
        self._on_disk = OnDisk()
        self._loaded = False
