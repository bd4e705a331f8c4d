"""Which agents of a workspace have something left to do, found out without taking hold of any."""

from __future__ import annotations

import logging
from contextlib import suppress
from functools import cache
from typing import TYPE_CHECKING, Literal, TypeAlias

import msgspec
from msgspec import Struct, field

from overwinter.agents import journal_records as journal
from overwinter.agents.records import AcceptedTask, Status
from overwinter.errors import OverwinterError, WorkspaceError
from overwinter.persistence.document import METADATA_KEY, SCHEMA_VERSION
from overwinter.persistence.identity import list_folders
from overwinter.persistence.journal import read_journal
from overwinter.persistence.lease import read_lease
from overwinter.persistence.lock import locked
from overwinter.persistence.replay import replay_dead_runtimes
from overwinter.persistence.runtime_lock import is_alive

if TYPE_CHECKING:
    from collections.abc import Iterator

    from overwinter.persistence import AgentFolder, FileOperations, Workspace

__all__ = ["UnfinishedAgent", "find_unfinished"]

logger = logging.getLogger("overwinter.agents")


class UnfinishedAgent(Struct, frozen=True, kw_only=True):
    """An agent at rest with something left to do: a run that was cut off or is paused, or tasks that never began.

    It may be a swarm. Members that were cut off in the run of a swarm which is unfinished itself are not told of: their
    swarm goes on with them.

    :ivar kind: ``agent`` or ``swarm``.
    :ivar status: of its last run: ``interrupted``, ``paused`` or ``failed``; ``idle`` or ``finished`` where only
        accepted tasks are left.
    :ivar run_id: the run to resume, or the first that was accepted.
    :ivar task: that run's; empty where others came after it, and the state file is older than its resumption.
    :ivar stop_reason: of a paused run its limit, or for what a person is waited for.
    :ivar accepted: how many tasks were accepted and have not begun.
    :ivar folder: the agent's own.
    """

    agent_name: str
    session: str
    agent_id: str
    status: Status
    run_id: str
    task: str
    stop_reason: str = ""
    accepted: int = 0
    folder: str = ""
    kind: Literal["agent", "swarm"] = "agent"


def find_unfinished(workspace: Workspace, *, files: FileOperations, own: str = "") -> list[UnfinishedAgent]:
    """The swarms and agents of *workspace* that nobody holds and that have something left to do, by folder. Blocking.

    Only what tells of runs is read of their files, and nothing is verified; loading them does that. Agents that cannot
    be read are left out, and said so in the log. What dead runtimes left in their logs is brought in first.

    :param own: the id of a runtime of this process whose log is left alone.
    :raises WorkspaceError: the workspace cannot be read.
    """
    try:
        replay_dead_runtimes(workspace, files=files, keep=own)
    except WorkspaceError as error:
        logger.warning("what dead processes left could not be looked at: %s", error)
    alive = _Alive(workspace, files)
    found: list[UnfinishedAgent] = []
    parts: list[str] = []  # what the run ids begin with that are part of a swarm's run
    for kind in ("swarms", "agents"):
        for folder in list_folders(workspace, kind, files=files):
            try:
                glance = _glance(folder, files)
                if not glance.unfinished:
                    continue
                told = glance.told(folder, "swarm" if kind == "swarms" else "agent")
                if kind == "swarms":
                    parts.append(f"{told.run_id}:")
                if not alive.holder_of(folder):
                    found.append(told)
            except (OverwinterError, OSError, msgspec.MsgspecError) as error:
                logger.warning("%s is left out of what is unfinished: %s", folder.path, error)
    prefixes = tuple(parts)
    return [told for told in found if not told.run_id.startswith(prefixes)]


class _Run(Struct):
    run_id: str
    task: str
    stop_reason: str = ""


class _Versions(Struct):
    sequence: int
    schema_version: int


class _Head(Struct):
    """What of a state file is looked at."""

    metadata: _Versions = field(name=METADATA_KEY)
    status: Status = "idle"
    run: _Run | None = None
    accepted: list[AcceptedTask] = []


class _Body(Struct):
    status: Status = "idle"
    run: _Run | None = None
    accepted: list[AcceptedTask] = []


class _Replaced(Struct, tag_field="type", tag="state_replaced"):
    body: _Body


_Telling: TypeAlias = (
    journal.TaskAccepted
    | journal.TaskWithdrawn
    | journal.RunBegan
    | journal.RunResumed
    | journal.RunEnded
    | journal.StartedAnew
    | _Replaced
)
_TYPES = (
    b'{"type":"task_',
    b'{"type":"run_',
    b'{"type":"started_anew"',
    b'{"type":"state_replaced"',
)


@cache
def _head_decoder() -> msgspec.json.Decoder[_Head]:
    return msgspec.json.Decoder(_Head)


@cache
def _record_decoder() -> msgspec.json.Decoder[_Telling]:
    return msgspec.json.Decoder(_Telling)


class _Glance:
    """The runs of an agent, and nothing else: a fold over the few records that tell of them."""

    def __init__(self) -> None:
        self.sequence = 0
        self._status: Status = "idle"
        self._run: _Run | None = None
        self._accepted: list[AcceptedTask] = []
        self._tasks: dict[str, str] = {}

    @property
    def unfinished(self) -> bool:
        return bool(self._accepted) or self._status in ("running", "paused", "interrupted", "failed")

    def start_from(self, head: _Head) -> None:
        self.sequence = head.metadata.sequence
        self._restore(_Body(head.status, head.run, head.accepted))

    def apply(self, record: _Telling) -> None:
        match record:
            case journal.TaskAccepted():
                self._accepted.append(AcceptedTask(record.run_id, record.task, record.at))
                self._tasks[record.run_id] = record.task
            case journal.TaskWithdrawn():
                self._drop(record.run_id)
            case journal.RunBegan():
                self._run = _Run(record.run_id, self._drop(record.run_id))
                self._status = "running"
            case journal.RunResumed():
                if self._run is None or self._run.run_id != record.run_id:
                    self._run = _Run(record.run_id, self._tasks.get(record.run_id, ""))
                self._status = "running"
            case journal.RunEnded():
                self._status = record.status
                if self._run is not None:
                    self._run.stop_reason = record.stop_reason
            case journal.StartedAnew():
                self._restore(_Body())
            case _Replaced():
                self._restore(record.body)

    def told(self, folder: AgentFolder, kind: Literal["agent", "swarm"]) -> UnfinishedAgent:
        status: Status = "interrupted" if self._status == "running" else self._status
        run = self._run
        if status not in ("interrupted", "paused", "failed") and self._accepted:
            run = _Run(self._accepted[0].run_id, self._accepted[0].task)
        return UnfinishedAgent(
            agent_name=folder.name,
            session=folder.session,
            agent_id=folder.agent_id,
            status=status,
            run_id="" if run is None else run.run_id,
            task="" if run is None else run.task,
            stop_reason=run.stop_reason if run is not None and status == "paused" else "",
            accepted=len(self._accepted),
            folder=str(folder.path),
            kind=kind,
        )

    def _restore(self, body: _Body) -> None:
        self._status = body.status
        self._run = body.run
        self._accepted = list(body.accepted)

    def _drop(self, run_id: str) -> str:
        """The task of an accepted run, which is accepted no more."""
        for task in self._accepted:
            if task.run_id == run_id:
                self._accepted.remove(task)
                return task.task
        return ""


def _glance(folder: AgentFolder, files: FileOperations) -> _Glance:
    glance = _Glance()
    for head in _heads(folder, files):
        glance.start_from(head)
        break
    for line in read_journal(folder.journal_dir, files=files, after=glance.sequence).lines:
        if line.record.startswith(_TYPES):
            glance.apply(_record_decoder().decode(line.record))
    return glance


def _heads(folder: AgentFolder, files: FileOperations) -> Iterator[_Head]:
    """The state file, and its previous generation, as far as they can be read."""
    for path in (folder.state_path, folder.previous_path):
        with suppress(FileNotFoundError, msgspec.MsgspecError):
            head = _head_decoder().decode(files.read_bytes(path))
            if head.metadata.schema_version <= SCHEMA_VERSION:
                yield head


class _Alive:
    """Which runtimes live; each is looked at once."""

    def __init__(self, workspace: Workspace, files: FileOperations) -> None:
        self._workspace = workspace
        self._files = files
        self._known: dict[str, bool] = {}

    def holder_of(self, folder: AgentFolder) -> bool:
        """Whether a live runtime holds the agent."""
        lease = read_lease(folder.lease_path, self._files)
        if lease is None or lease.released:
            return False
        if lease.runtime_id not in self._known:
            # Who claims an agent tries this lock too: within the mutex nobody takes us for its owner.
            with locked(self._workspace.mutex_path):
                self._known[lease.runtime_id] = is_alive(lease.runtime_id, self._workspace)
        return self._known[lease.runtime_id]
