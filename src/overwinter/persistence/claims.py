"""The claims of one storage, seen from its event loop."""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from typing import TYPE_CHECKING, Any, TypeVar

from overwinter.errors import ActorStopped, AgentInUse, OverwinterError, PersistenceError, RuntimeClosed
from overwinter.persistence import lease
from overwinter.persistence.hops import Hops
from overwinter.persistence.identity import create_identities, open_identity
from overwinter.persistence.lock import locked
from overwinter.persistence.messages import Flush
from overwinter.persistence.replay import replay_runtime
from overwinter.persistence.runtime_lock import workspace_errors
from overwinter.persistence.waiting import within

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import datetime
    from pathlib import Path

    from overwinter.persistence.actor import PersistenceActor
    from overwinter.persistence.files import FileOperations
    from overwinter.persistence.lease import Claim
    from overwinter.persistence.messages import PersistenceMessage
    from overwinter.persistence.record_keeping import RecordKeeping
    from overwinter.persistence.runtime_lock import RuntimeLock
    from overwinter.persistence.threads import DiskThreads
    from overwinter.persistence.workspace import AgentFolder
    from overwinter.runtime import ActorRef, Clock

__all__ = ["Claims"]

T = TypeVar("T")

logger = logging.getLogger("overwinter.persistence")

_PAUSE = 0.05
_MANY = 4  # claims at once, from which on it is worth looking which of their folders are new
_TOGETHER = 128  # of them, so that others have their turn between
_LONGEST_HOLD = 0.1  # seconds for which other processes are kept from claiming what they want


class Claims:
    """Takes and gives back leases in the opener's thread."""

    def __init__(
        self,
        lock: RuntimeLock,
        threads: DiskThreads,
        files: FileOperations,
        clock: Clock,
        actor: PersistenceActor,
        ref: ActorRef[PersistenceMessage],
        records: RecordKeeping,
    ) -> None:
        self._lock = lock
        self._files = files
        self._clock = clock
        self._actor = actor
        self._ref = ref
        self._records = records
        self._hops: Hops[tuple[Claim, Any]] = Hops(
            threads.opener, on_orphan=self._unclaim, ahead=self._make_new
        )
        self._goodbyes: Hops[None] = Hops(threads.opener, on_orphan=lambda _: None)
        self._on_disk: dict[Path, str] = {}  # the incarnations that were made ahead of their claims
        self._releasing: dict[tuple[Path, str], tuple[asyncio.Task[None], float]] = {}

    async def claim(
        self,
        folder: AgentFolder,
        known_sequence: int | None,
        last: Claim | None,
        seconds: float,
        read: Callable[[Claim], T],
    ) -> tuple[Claim, T]:
        """Claim the folder, waiting for another holder for at most ``seconds``, and read what is there.

        A release of it that is under way here is waited for as long as it was given itself. When that fails, the
        folder is not held.
        """
        under_way = self._releasing.get(_whose(folder))
        if under_way is not None:
            releasing, given = under_way
            await within(self._clock, max(given, seconds), releasing)
        deadline = self._clock.monotonic() + seconds
        while True:
            try:
                held, found = await self._claim_once(folder, known_sequence, last, read)
            except AgentInUse:
                left = deadline - self._clock.monotonic()
                if left <= 0:
                    raise
            else:
                self._records.open(held)
                return held, found
            await self._clock.sleep(min(left, _PAUSE))

    async def release(self, held: Claim, sequence: int | None, seconds: float) -> None:
        """Give the claim back once nothing is pending for its folder; wait for at most ``seconds``."""
        whose = _whose(held.folder)
        releasing = asyncio.get_running_loop().create_task(self._release(held, sequence))
        self._releasing[whose] = releasing, seconds
        releasing.add_done_callback(lambda _: self._releasing.pop(whose, None))
        if not await within(self._clock, seconds, releasing):
            logger.warning("%s is released as soon as the disk answers.", held.folder.path)

    async def _claim_once(
        self,
        folder: AgentFolder,
        known_sequence: int | None,
        last: Claim | None,
        read: Callable[[Claim], T],
    ) -> tuple[Claim, T]:
        now = self._clock.now()
        claimed: tuple[Claim, T] = await self._hops.call(
            lambda: self._claim_and_read(folder, now, known_sequence, last, read), folder
        )
        return claimed

    def _make_new(self, folders: Sequence[AgentFolder]) -> int:
        """Make what is missing of these folders, several at once, before they are claimed one after the other."""
        self._on_disk = {}
        if len(folders) < _MANY:
            return len(folders)
        try:
            with workspace_errors(self._lock.workspace.root), locked(self._lock.workspace.mutex_path):
                self._lock.check_process()
                made = create_identities(
                    folders[:_TOGETHER], now=self._clock.now(), files=self._files, seconds=_LONGEST_HOLD
                )
        except OverwinterError:
            # Each claim meets with that as well, and says it.
            return len(folders)
        self._on_disk = dict(zip((folder.path for folder in folders), made, strict=False))
        return len(made)

    def _claim_and_read(
        self,
        folder: AgentFolder,
        now: datetime,
        known_sequence: int | None,
        last: Claim | None,
        read: Callable[[Claim], T],
    ) -> tuple[Claim, T]:
        held = self._claim_now(folder, now, known_sequence, last)
        try:
            return held, read(held)
        except BaseException:
            self._release_now(held, held.sequence)
            raise

    def _claim_now(
        self, folder: AgentFolder, now: datetime, known_sequence: int | None, last: Claim | None
    ) -> Claim:
        # The identity too: a claim beside it would sweep its temporary file.
        with workspace_errors(folder.path), locked(self._lock.workspace.mutex_path):
            on_disk = self._on_disk.pop(folder.path, "")
            folder, identity = open_identity(folder, now=now, files=self._files, on_disk=on_disk)
            return lease.claim_locked(
                folder,
                self._lock,
                files=self._files,
                now=now,
                incarnation=identity.incarnation,
                known_sequence=known_sequence,
                last=last,
                replay=lambda died: replay_runtime(
                    self._lock.workspace, died, files=self._files, wanted=folder.path
                ),
            )

    def _unclaim(self, claimed: tuple[Claim, Any]) -> None:
        """It was claimed for somebody who has gone."""
        held, _ = claimed
        self._release_now(held, held.sequence)

    async def _release(self, held: Claim, sequence: int | None) -> None:
        if self._actor.is_busy_in(held.folder.path):
            # Released before its last write, another writer's file could be hit by that.
            try:
                await self._ref.ask(Flush())
            except ActorStopped:
                return
        # Of a storage that is closed, every claim goes with its lock.
        with suppress(RuntimeClosed):
            # The next owner reads the journal, and not this runtime's log.
            await self._records.let_go(held)
            await self._goodbyes.call(lambda: self._release_now(held, sequence))

    def _release_now(self, held: Claim, sequence: int | None) -> None:
        try:
            lease.release(held, sequence, self._lock, files=self._files)
        except PersistenceError as error:
            logger.warning(
                "%s could not be released: %s Other processes can have it when this runtime has ended.",
                held.folder.path,
                error,
            )


def _whose(folder: AgentFolder) -> tuple[Path, str]:
    """What is the same for the folder asked for and the one that was claimed (see ``open_identity``)."""
    return folder.path.parent, folder.agent_id
