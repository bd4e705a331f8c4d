"""How what happens to an agent gets into its journal, and its two files are kept up to date."""

from __future__ import annotations

import asyncio
import logging
from math import inf
from typing import TYPE_CHECKING, Any, ParamSpec, Protocol, TypeVar

from anyio import create_task_group

from overwinter.agents import events
from overwinter.agents.copying import copy_of
from overwinter.agents.deadline import deadline
from overwinter.agents.documents import ENCODED_A_TURN, Documents, EncodedLists
from overwinter.agents.earlier import keep_earlier
from overwinter.agents.forgetting import forget_past
from overwinter.agents.journal_records import (
    RunEnded,
    StartedAnew,
    StateReplaced,
    TaskAccepted,
    encode_record,
)
from overwinter.errors import OverwinterError
from overwinter.persistence.autosaver import Autosaver
from overwinter.persistence.journal_writer import JournalWriter

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from overwinter.agents.earlier import Earlier
    from overwinter.agents.journal_records import JournalRecord
    from overwinter.agents.on_disk import OnDisk
    from overwinter.agents.run_index import RunIndex
    from overwinter.agents.stage import Stage
    from overwinter.agents.state import AgentState
    from overwinter.persistence import Claim, FileOperations, ReplaceDocument, Saved, Storage

__all__ = ["Keeper", "Saving"]

logger = logging.getLogger("overwinter.agents")

P = ParamSpec("P")
T = TypeVar("T")

_CONFIG_INTERVAL = 0.25
_LOOK_EVERY = 1 << 20
_FEW = 8  # elements that cost less than the rest of the document
_LAST_ATTEMPTS = 3  # of a disk that may have failed just once; nobody tries again afterwards


class Keeper(Protocol):
    """Who knows an agent's earlier conversations, beyond its stay on a runtime."""

    def earlier_kept(self, state: AgentState, path: Path) -> None:
        """What a fresh agent left behind was kept at *path*."""

    async def index_of_runs(self) -> RunIndex:
        """Which conversation of ``history/`` holds which run."""
        ...


class Saving:
    """Saves one agent while it is claimed: its journal, ``config.json`` and ``{agent_name}_state.json``.

    Every record goes to the journal, behind the run; :meth:`calls_begin` and, in ``"sync"``, each step wait for it. The
    state file is written when the agent is first asked something, when a run is cut off, by :meth:`save`, and when the
    journal has outgrown it. Nothing but :meth:`save` raises: a disk that fails is reported, and tried again.

    :param earlier: what a fresh agent is about to leave behind; ``look`` finds it where a load was to, and did not.
    :ivar preparing: held while it is made out what stands in the folder, and by whoever takes another state over.
    """

    def __init__(
        self,
        *,
        stage: Stage,
        keeper: Keeper,
        storage: Storage,
        claim: Claim,
        lists: EncodedLists,
        on_disk: OnDisk,
        look: Callable[[], Awaitable[Earlier | None]] | None = None,
        earlier: Earlier | None = None,
    ) -> None:
        self._stage = stage
        self._profile = profile = stage.profile
        self._state = state = stage.state
        self._storage = storage
        self._keeper = keeper
        self._on_disk = on_disk
        self._prepared = False
        self._held_back: list[JournalRecord] = []
        self._writer: JournalWriter | None = None
        self.preparing = asyncio.Lock()
        self.earlier = earlier
        self.look = look
        self.claim = claim
        self.folder = claim.folder
        self._durability = profile.settings.durability
        self._documents = Documents(profile, state, self.folder, storage.clock, lists)
        self._config = Autosaver(
            storage,
            self._documents.config,
            min_interval=_CONFIG_INTERVAL,
            on_saved=self._was_saved,
            on_error=self._config_not_saved,
        )
        self._states = Autosaver(
            storage,
            self._state_document,
            prepare=self._encode,
            on_saved=self._was_saved,
            on_error=self._state_not_saved,
        )

    @property
    def failing(self) -> str:
        """Why the newest of what happened is not on disk, or an empty string."""
        journal = self._writer.error if self._writer is not None else None
        return str(journal or self._states.error or "")

    @property
    def waiting(self) -> bool:
        """Whether a run waits for a disk that fails."""
        return self._writer is not None and self._writer.waiting

    @property
    def files(self) -> FileOperations:
        """The operations on files with which it is saved."""
        return self._storage.files

    async def call(self, function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Run a blocking function in the storage's own thread."""
        return await self._storage.call(function, *args, **kwargs)

    async def gather(self) -> None:
        """Return when the journal's file holds everything that was recorded, so that it can be read."""
        self._send_held_back()
        if self._writer is not None:
            await self._writer.settle(sync=False)
        await self._storage.gather(self.folder)

    def let_go(self) -> None:
        """Keep no more records for now; what happens until :meth:`prepare` is kept by the state itself."""
        self._send_held_back()
        self._prepared = False
        self._writer = None
        self._state.keep = None

    async def prepare(self) -> None:
        """See to it that what happens from now on is kept, and that nothing that was there before is lost.

        :raises WorkspaceError: what stands in the folder could not be kept.
        """
        async with self.preparing:
            if self._prepared:
                return
            await self.look_first()
            if self.earlier is not None:
                earlier = self.earlier
                kept = await self.call(
                    keep_earlier, self.folder, earlier, files=self.files, now=self._storage.clock.now()
                )
                self.earlier = None
                self._keeper.earlier_kept(earlier.state, kept)
            if self._profile.settings.autosave:
                await self._open_journal()
            self._prepared = True

    async def look_first(self) -> None:
        """See what stands in the folder, if nobody has looked yet; within ``preparing``."""
        if self.look is not None:
            self.earlier, self.look = await self.look(), None

    def accepted(self) -> None:
        """A task was accepted, after :meth:`prepare`; the agent is found on disk from now on."""
        if not self._on_disk.file_size:
            self._states.mark()

    async def began(self) -> None:
        """A run began, or went on: from now on a process that dies leaves a run to resume."""
        await self.prepare()
        self.accepted()
        await self._recorded()

    async def calls_begin(self, *, may_repeat: bool) -> None:
        """Tools are about to run. Unless all may be repeated, that is on the disk when this returns.

        While the disk fails it waits, and so does the run.
        """
        if self._writer is not None and (
            self._durability == "sync" or (self._durability == "async" and not may_repeat)
        ):
            await self._writer.settle(sync=True)

    async def certain(self) -> None:
        """What happened so far is on the disk when this returns, at every level. While the disk fails it waits."""
        self._send_held_back()
        if self._writer is not None:
            await self._writer.settle(sync=True)

    async def step(self) -> None:
        """A step ended. In ``"sync"`` this returns when it is on disk."""
        if self._durability != "exit":
            self._config.mark()
            if self._on_disk.far_behind:
                self._states.mark()
        await self._recorded()

    async def run_ended(self, *, wait: bool) -> None:
        """A run ended. With ``wait``, as when it was cut off, all of it is on disk when this returns, or has failed."""
        await self.prepare()
        self._send_held_back()
        self._config.mark()
        if wait or self._on_disk.outgrown:
            self._states.mark()
        if wait:
            await self._settle()
        else:
            await self._recorded()
        await self._drop_past()

    async def _drop_past(self) -> None:
        """Drop what the retention does not keep; looked at after each megabyte, and at the first run's end."""
        retention, disk = self._profile.settings.retention, self._on_disk
        if not self._writer or self.waiting or retention.keeps_everything or disk.unchecked < _LOOK_EVERY:
            return
        little = disk.unchecked == inf and self.claim.journal.segment <= 1
        disk.unchecked = 0
        if little and retention.only_much_matters:
            return
        await forget_past(self._storage, self.folder, self._profile, self._state, self._keeper.index_of_runs)

    async def save(self) -> Path:
        """Save everything now and return the path of the state file.

        :raises SaveError: a file could not be saved; what it held before is intact.
        """
        await self.prepare()
        self._send_held_back()
        if not self._profile.settings.autosave:
            # No journal tells of it, so the file must stand above all that any journal says.
            state = self._state
            state.sequence = max(state.sequence, self._on_disk.floor, self.claim.journal.sequence) + 1
        self._config.mark()
        if not await self._is_saved():
            self._states.mark()
        await self._states.settle()
        await self._config.settle()
        return self.folder.state_path

    async def _is_saved(self) -> bool:
        """Whether the state file holds just this, or soon will; writing it again would cost the generation before."""
        if self._on_disk.folded != self._state.sequence:
            return False
        return self._states.unsaved or await self.call(self.folder.state_path.exists)

    async def aclose(self) -> None:
        """Bring what is not there yet to the disk and let go of the agent. A disk that refuses is reported."""
        with deadline(self._storage.clock, self._storage.flush_timeout):
            await self._save_the_rest()
        self.let_go()
        await self._config.aclose()
        await self._states.aclose()
        # A fresh agent of which nothing was asked has left everything as it was.
        state = self._state if self.earlier is None else self.earlier.state
        sequence = state.sequence if self.look is None else self.claim.sequence
        try:
            await self._storage.release(self.claim, sequence)
        except OverwinterError as error:
            logger.warning("agent %r could not be released: %s", self._profile.name, error)

    async def _recorded(self) -> None:
        if self._writer is None:
            return
        if self._durability == "sync":
            await self._writer.settle(sync=True)
        elif self._writer.full:
            await self._writer.room()

    async def _open_journal(self) -> None:
        """Have the journal go on from what it holds, after a record that says so where the state is another one."""
        state, disk = self._state, self._on_disk
        end = self._storage.records.journal_of(self.claim).appended
        writer = JournalWriter(self._storage, self.claim, max(state.sequence, end, disk.floor))
        if disk.replaced or writer.sequence != end or state.sequence != end:
            base: JournalRecord = StartedAnew(at=self._storage.clock.now().isoformat())
            if not state.is_new or len(state.memory):
                # A copy, because it is encoded in a thread, and tasks may be taken back meanwhile.
                base = StateReplaced(
                    at=self._storage.clock.now().isoformat(), body=copy_of(state).body(), source=disk.source
                )
                state.unsent = []
            writer.append(await self._storage.call(encode_record, base), base=True)
            disk.file_size = disk.tail = 0
            disk.replaced = False
            disk.source = ""
        self._writer = writer
        state.sequence = writer.sequence
        waiting, state.unsent = state.unsent or [], []
        state.keep = self._keep
        for record in waiting:
            self._send(record)

    def _keep(self, record: JournalRecord) -> None:
        if self._durability == "exit" and not isinstance(record, (TaskAccepted, RunEnded)):
            self._held_back.append(record)
            return
        if self._held_back:
            self._send_held_back()
        self._send(record)

    def _send_held_back(self) -> None:
        held_back, self._held_back = self._held_back, []
        for record in held_back:
            self._send(record)

    def _send(self, record: JournalRecord) -> None:
        assert self._writer is not None
        encoded = encode_record(record)
        self._on_disk.tail += len(encoded)
        self._on_disk.unchecked += len(encoded)
        self._state.sequence = self._writer.append(encoded)

    def _state_document(self) -> ReplaceDocument:
        self._send_held_back()
        document = self._documents.state()
        self._on_disk.tail = 0
        self._on_disk.folded = self._state.sequence
        return document

    async def _save_the_rest(self) -> None:
        if self._state.unsent:
            try:
                await self.prepare()
            except OverwinterError as error:
                logger.warning("agent %r: %s", self._profile.name, error)
        self._send_held_back()
        for _ in range(_LAST_ATTEMPTS):
            await self._settle()
            if not (self._config.unsaved or self._states.unsaved):
                return

    async def _settle(self) -> None:
        # All at once, so that they reach the disk together.
        async with create_task_group() as tasks:
            tasks.start_soon(self._settle_one, self._config)
            tasks.start_soon(self._settle_one, self._states)

    async def _settle_one(self, autosaver: Autosaver) -> None:
        try:
            await autosaver.settle()
        except OverwinterError as error:
            logger.debug("agent %r goes on unsaved: %s", self._profile.name, error)

    async def _encode(self) -> None:
        """Encode what was added, with all other agents' in turn: together they would hold the loop."""
        some = self._documents.unencoded
        while some:
            some = min(some, ENCODED_A_TURN)
            await self._stage.runtime.encoding.take(some)
            self._documents.encode_some(some)
            some = self._documents.unencoded
            if some <= _FEW:
                # Said while it waited. A run that is quicker than its turn would never be caught up with.
                break

    def _was_saved(self, saved: Saved) -> None:
        if saved.path == str(self.folder.state_path):
            self._on_disk.file_size = saved.bytes
        self._emit(events.Saved, path=saved.path, bytes=saved.bytes, sequence=saved.sequence)
        if self._state.status != "running" and not (self._config.unsaved or self._states.unsaved):
            self._documents.rest()

    def _config_not_saved(self, error: Exception) -> None:
        self._was_not_saved(self.folder.config_path, error)

    def _state_not_saved(self, error: Exception) -> None:
        self._was_not_saved(self.folder.state_path, error)

    def _was_not_saved(self, path: Path, error: Exception) -> None:
        self._emit(events.SaveFailing, path=str(path), error=str(error))

    def _emit(self, event: type[events.Event], **fields: Any) -> None:
        state = self._state
        # Also where nobody hears it: what is saved is counted.
        self._stage.publish(
            event(agent_name=self._profile.name, run_id=state.run_id, loop=state.loop_count, **fields)
        )
