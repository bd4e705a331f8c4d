"""The storage of one runtime: the only way from its event loop to the disk."""

from __future__ import annotations

import asyncio
import logging
import os
from importlib import import_module
from typing import TYPE_CHECKING, ParamSpec, TypeVar

from overwinter.errors import ActorStopped, AskTimeout, FlushTimeout, RuntimeClosed, SaveError, WorkspaceError
from overwinter.persistence.actor import PersistenceActor
from overwinter.persistence.batch import BatchWriter
from overwinter.persistence.claims import Claims
from overwinter.persistence.files import FILES, FileOperations, probe_files
from overwinter.persistence.health import DiskHealth, StorageEvent
from overwinter.persistence.messages import Flush, Flushed, PersistenceMessage, ReplaceDocument, Saved
from overwinter.persistence.record_keeping import RecordKeeping
from overwinter.persistence.replay import replay_dead_runtimes
from overwinter.persistence.runtime_lock import RuntimeLock
from overwinter.persistence.statistics import PersistenceStatistics
from overwinter.persistence.threads import DiskThreads
from overwinter.persistence.waiting import done_in_thread, to_its_end, within
from overwinter.persistence.workspace import AgentFolder, Workspace, create_folder
from overwinter.runtime import Resume, SystemClock

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from overwinter.persistence.lease import Claim
    from overwinter.runtime import ActorRef, ActorSystem, Clock

__all__ = ["PersistenceStatistics", "Storage"]

P = ParamSpec("P")
T = TypeVar("T")

logger = logging.getLogger("overwinter.persistence")

_MAX_PENDING_BYTES = 64 << 20
_FLUSH_TIMEOUT = 10.0


class Storage:
    """Saves documents, holds claims and runs blocking work, for one runtime in one workspace.

    :param clock: where deadlines come from; the system's unless given.
    :param files: the operations on files; those that suit the workspace's filesystem unless given.
    :param max_pending_bytes: about what may wait for the disk; beyond that senders wait.
    :param flush_timeout: seconds that ``flush`` and ``aclose`` give the disk unless told otherwise.

    Nothing of the system is called on the event loop: one thread writes batches, another opens and loads. In
    a child forked from its process every use raises ``ForkedRuntime``.
    """

    def __init__(
        self,
        workspace: Workspace,
        *,
        clock: Clock | None = None,
        files: FileOperations | None = None,
        max_pending_bytes: int = _MAX_PENDING_BYTES,
        flush_timeout: float = _FLUSH_TIMEOUT,
    ) -> None:
        self.workspace = workspace
        self.clock: Clock = clock if clock is not None else SystemClock()
        self.flush_timeout = flush_timeout
        self.health = DiskHealth()
        self._max_pending_bytes = max_pending_bytes
        self._files = files
        self._session: _Session | None = None
        self._last = PersistenceStatistics()
        self._closing: asyncio.Task[None] | None = None

    @property
    def files(self) -> FileOperations:
        """The operations on files, for functions given to ``call``."""
        return self._files if self._files is not None else FILES

    @property
    def runtime_id(self) -> str:
        """The id by which claims name this storage, new with each opening; ``RuntimeClosed`` if not open."""
        return self._current().lock.runtime_id

    @property
    def failing(self) -> bool:
        """Whether the disk holds less than it should, as far as is known."""
        return bool(self.health.failing)

    async def open(self, system: ActorSystem) -> None:
        """Create the workspace, take this runtime's lock, and spawn the persistence actor on ``system``.

        Cancelled or failed, it leaves nothing behind.

        :raises WorkspaceError: the workspace cannot be used.
        :raises NameTaken: the system has a storage already.
        """
        if self._session is not None:
            raise RuntimeError("this storage is open already")
        lock = RuntimeLock(self.workspace, os.urandom(8).hex())
        threads = DiskThreads()
        try:
            files = await threads.call(_open_now, lock, self.clock.now(), self._files)
            records = RecordKeeping(
                lock, threads, files, self.clock, self.health, max_bytes=self._max_pending_bytes
            )
            actor = PersistenceActor(
                BatchWriter(files, threads.writer),
                self.health,
                records,
                max_pending_bytes=self._max_pending_bytes,
            )
            ref = await system.spawn(actor, name="persistence", supervision=Resume(), mailbox_capacity=None)
        except BaseException:
            # Behind the opening, which may still be going on in its thread.
            threads.end(lock.release)
            raise
        self._files = files
        self._closing = None
        self._session = _Session(
            lock,
            threads,
            actor,
            ref,
            Claims(lock, threads, files, self.clock, actor, ref, records),
            records,
        )

    async def aclose(self) -> None:
        """Write what is pending and give the lock back, within ``flush_timeout`` seconds.

        Whoever still waits for a save then gets ``RuntimeClosed``. If the disk does not answer in time, the
        lock is kept until it does or the process ends, so that no late write can hit another writer's file.
        Cancelled, it goes on to its end and is cancelled then. Idempotent.
        """
        session = self._session
        if session is None:
            return
        if session.lock.forked:
            self._session = None
            return
        if self._closing is None:
            session.closing = True
            self._closing = asyncio.get_running_loop().create_task(self._close(session))
        await to_its_end(self._closing)

    async def replace(self, document: ReplaceDocument) -> Saved:
        """Have the document written; return when it, or a newer one of the same path, is safely on disk.

        Cancelled, it leaves the file whole: the old one, or the new one if its write had begun.

        :raises SaveRejected: its metadata cannot be stored.
        :raises SaveFailed: the disk refused; the old file is intact.
        :raises SaveNotDurable: it is written, but its folder could not be synced.
        :raises RuntimeClosed: the storage was closed before its outcome was known.
        """
        session = self._current()
        try:
            saved: Saved = await session.ref.ask(document)
        except ActorStopped as error:
            raise RuntimeClosed(
                f"the storage was closed before {document.path} was seen to be saved"
            ) from error
        return saved

    async def flush(self, timeout: float | None = None) -> None:  # noqa: ASYNC109
        """Return when everything sent before is safely on disk.

        :param timeout: seconds; ``flush_timeout`` of the storage unless given.
        :raises FlushTimeout: the disk did not answer in time; writing goes on.
        :raises SaveError: some file could not be saved; the first is named. Writing it anew is its owner's
            business.
        """
        session = self._current()
        seconds = self.flush_timeout if timeout is None else timeout
        try:
            flushed: Flushed = await session.ref.ask(Flush(), timeout=seconds)
        except AskTimeout as error:
            raise FlushTimeout(
                f"after {seconds:g} seconds {_counted(session)} are not on disk yet; they are still being "
                "tried. The disk is slow or does not answer."
            ) from error
        except ActorStopped as error:
            raise RuntimeClosed("the storage was closed before everything was seen to be saved") from error
        if flushed.failing:
            raise _not_on_disk(flushed)

    async def call(self, function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Run a blocking function in the storage's own thread, behind those before it.

        Cancelled, it returns at once: the call is withdrawn, or goes on unseen when it has begun.
        """
        return await self._current().threads.call(function, *args, **kwargs)

    async def claim(
        self,
        folder: AgentFolder,
        *,
        known_sequence: int | None = None,
        last: Claim | None = None,
        timeout: float = 0.0,  # noqa: ASYNC109
    ) -> Claim:
        """Open the agent's folder for writing: create it, see to its identity, take its lease, sweep it.

        The claim's ``folder`` is the one to use: where the ids of two agents begin alike it is not
        ``folder``. Who held the agent before gives ``known_sequence`` and ``last`` (see
        :func:`overwinter.persistence.lease.claim`). Cancelled, it holds nothing.

        :param timeout: seconds to wait for another holder to let go.
        :raises AgentInUse: it has another holder, in this process or elsewhere.
        :raises StaleState: somebody else wrote meanwhile.
        :raises WorkspaceError: the folder cannot be used.
        :raises CorruptState: its identity is damaged.
        """
        held, _ = await self._current().claims.claim(folder, known_sequence, last, timeout, lambda _: None)
        return held

    async def claim_and_read(
        self,
        folder: AgentFolder,
        read: Callable[[Claim], T],
        *,
        timeout: float = 0.0,  # noqa: ASYNC109
    ) -> tuple[Claim, T]:
        """:meth:`claim`, by somebody who never held the agent, and what *read* makes of it in the storage's thread.

        Where thousands are claimed, this spares a turn of thread and loop for each. What *read* raises is raised, and
        nothing is held then.
        """
        return await self._current().claims.claim(folder, None, None, timeout, read)

    async def release(self, held: Claim, sequence: int | None) -> None:
        """Let the agent go once nothing is pending for its folder; ``sequence`` is what its files have then.

        It never fails: what the disk refuses is logged, and the agent is free when this runtime ends, as it
        is when the storage is closed. It is not waited for beyond ``flush_timeout``; then, and when
        cancelled, it goes on behind.
        """
        session = self._session
        if session is None or session.closing:
            return
        session.lock.check_process()
        self.health.forget(held.folder.path)
        await session.claims.release(held, sequence, self.flush_timeout)

    @property
    def records(self) -> RecordKeeping:
        """Where records go, for the journal writers; ``RuntimeClosed`` if not open."""
        return self._current().records

    async def gather(self, folder: AgentFolder, *, sync: bool = False) -> None:
        """Return when all records of the folder that were appended are in its journal, to be read there.

        With ``sync`` they are there for good, so that its segments may be dropped. For a folder that this storage
        does not hold, at once. A disk that fails is waited for; cancellable.

        :raises RuntimeClosed: the storage was closed before.
        """
        await self._current().records.gather(folder.path, sync=sync)

    def watch(self, listener: Callable[[StorageEvent], object]) -> Callable[[], None]:
        """Tell ``listener`` when a file cannot be saved and when it can be again; returns what ends that."""
        return self.health.watch(listener)

    def statistics(self) -> PersistenceStatistics:
        """What was done since the last opening, and what stands out."""
        session = self._session
        if session is None:
            return self._last
        actor = session.actor
        return PersistenceStatistics(
            saves=actor.saves,
            batches=actor.batches,
            bytes_written=actor.bytes_written,
            superseded=actor.superseded,
            failures=self.health.failures,
            failing=self.failing,
            last_error=self.health.last_error,
            pending=actor.pending,
            pending_bytes=actor.pending_bytes,
            claims=len(session.lock.claims),
            records=session.records.log.records,
            pending_records=session.records.log.pending,
            log_batches=session.records.log.batches,
            log_syncs=session.records.log.syncs,
            log_bytes=session.records.log.bytes,
        )

    def _current(self) -> _Session:
        session = self._session
        if session is None or session.closing:
            raise RuntimeClosed("the storage is not open; use it inside `async with Runtime() as runtime:`")
        session.lock.check_process()
        return session

    async def _close(self, session: _Session) -> None:
        deadline = self.clock.monotonic() + self.flush_timeout
        try:
            await self._write_the_rest(session)
            await self._move_the_rest(session, deadline)
            await session.ref.stop(timeout=max(0.0, deadline - self.clock.monotonic()))
        finally:
            self._last = self.statistics()
            last_logged = session.records.close()
            ended = done_in_thread(session.threads.end(session.lock.release, last_logged=last_logged))
            self._session = None
        if not await within(self.clock, max(0.0, deadline - self.clock.monotonic()), ended):
            logger.warning(
                "%s: the disk has not answered; its agents stay locked until it does or this process ends.",
                self.workspace.root,
            )

    async def _move_the_rest(self, session: _Session, deadline: float) -> None:
        if session.records.complete:
            return
        finishing = asyncio.get_running_loop().create_task(session.records.finish())
        try:
            await within(self.clock, max(0.0, deadline - self.clock.monotonic()), finishing)
        finally:
            finishing.cancel()
        if not session.records.complete:
            logger.error(
                "Closing although not all records are in their journals; what is in %s is brought in when "
                "the workspace is next opened.",
                session.lock.folder,
            )

    async def _write_the_rest(self, session: _Session) -> None:
        try:
            flushed: Flushed = await session.ref.ask(Flush(), timeout=self.flush_timeout)
        except ActorStopped:
            return
        except AskTimeout:
            logger.error(  # noqa: TRY400  (a traceback says nothing about a slow disk)
                "Closing although %s are not on disk after %g seconds; what is there is older.",
                _counted(session),
                self.flush_timeout,
            )
            session.actor.give_up()
            return
        except BaseException:
            session.actor.give_up()
            raise
        if flushed.failing:
            logger.error("Closing although not everything is on disk: %s", _not_on_disk(flushed))


class _Session:
    """What lives from opening to closing."""

    def __init__(
        self,
        lock: RuntimeLock,
        threads: DiskThreads,
        actor: PersistenceActor,
        ref: ActorRef[PersistenceMessage],
        claims: Claims,
        records: RecordKeeping,
    ) -> None:
        self.lock = lock
        self.threads = threads
        self.actor = actor
        self.ref = ref
        self.claims = claims
        self.records = records
        self.closing = False


def _open_now(lock: RuntimeLock, now: datetime, files: FileOperations | None) -> FileOperations:
    # Here, so that the loop does not wait for what BatchWriter needs.
    import_module("aiofiles.os")

    workspace = lock.workspace
    for folder in (workspace.root, workspace.runtimes_dir):
        create_folder(folder, files=files or FILES)
    lock.acquire(now)
    try:
        replay_dead_runtimes(workspace, files=files or FILES, keep=lock.runtime_id)
        return files or probe_files(workspace.root)
    except OSError as error:
        raise WorkspaceError(f"{workspace.root} cannot be used: {error}") from error


def _counted(session: _Session) -> str:
    files, records = session.actor.pending, session.records.log.unsynced
    return f"{files} files" if not records else f"{files} files and {records} records"


def _not_on_disk(flushed: Flushed) -> SaveError:
    path, reason = next(iter(flushed.failing.items()))
    others = len(flushed.failing) - 1
    return SaveError(reason if not others else f"{reason} And {others} other files.", path)
