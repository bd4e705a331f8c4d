"""Who may write an agent's folder: one live runtime, and it is named there.

A runtime holds one lock, on a file of its own; the lock dies with its process. A claim is a small file in the
agent's folder which names the runtime that holds the agent, so that an agent costs no open file. Whoever
changes claims does so under the workspace's mutex. Everything here blocks: call it in a thread.
"""

from __future__ import annotations

import os
from contextlib import suppress
from typing import TYPE_CHECKING

import msgspec

from overwinter.errors import AgentInUse, SchemaTooNew, StaleState
from overwinter.persistence.journal import JournalEnd, mend
from overwinter.persistence.lock import locked
from overwinter.persistence.names import storable_name
from overwinter.persistence.runtime_lock import is_alive, is_runtime_id, workspace_errors
from overwinter.persistence.workspace import AgentFolder, sweep_temporaries

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import datetime
    from pathlib import Path

    from overwinter.persistence.files import FileOperations
    from overwinter.persistence.runtime_lock import RuntimeLock

__all__ = ["Claim", "Lease", "claim", "claim_locked", "read_lease", "release"]


_LEASE_VERSION = 1
_ROOM = 512  # a lease is filled up to so many bytes, or a multiple, so that the next one fits in its place


class Lease(msgspec.Struct, frozen=True):
    """The claim as it stands in the folder's ``.lease.json``.

    ``token`` is new with each claim: while it is the same, nobody else has held the agent. ``sequence`` is
    what the files held when the agent was released; as long as ``released`` is false it is that of the owner
    before.
    """

    schema_version: int
    agent_id: str
    agent_name: str
    incarnation: str
    runtime_id: str
    token: str
    pid: int
    host: str
    claimed: str
    sequence: int | None
    released: bool = False


class Claim(msgspec.Struct, frozen=True):
    """One agent, held by one runtime.

    ``sequence`` is the one the agent was released with before, or None where an owner died and only the files
    know. ``taken_over_from`` is the id of the runtime that died while it held the agent, or "". ``journal``
    is where its journal ends, and ``remarks`` say what was found damaged there and cut off.
    """

    folder: AgentFolder
    lease: Lease
    sequence: int | None = None
    taken_over_from: str = ""
    journal: JournalEnd = JournalEnd()
    remarks: tuple[str, ...] = ()


def claim(
    folder: AgentFolder,
    runtime: RuntimeLock,
    *,
    files: FileOperations,
    now: datetime,
    incarnation: str = "",
    known_sequence: int | None = None,
    last: Claim | None = None,
    replay: Callable[[str], Sequence[str]] | None = None,
) -> Claim:
    """Make ``runtime`` the owner of the agent in ``folder``, and sweep what a dead one left half written.

    A claim of a runtime that is gone is taken over, after ``replay(its id)`` has brought in what it left
    behind, and returned remarks on it. Whoever held the agent before says so by ``known_sequence``, the
    sequence of what it knows, and by ``last``, the claim it had; nobody can have written in between while the
    folder still shows that one.

    :raises AgentInUse: a live runtime holds it, this one included.
    :raises StaleState: somebody else has written since, or may have.
    :raises SchemaTooNew: a later overwinter held it last.
    :raises WorkspaceError: the folder cannot be read or written.
    """
    with workspace_errors(folder.path), locked(runtime.workspace.mutex_path):
        return claim_locked(
            folder,
            runtime,
            files=files,
            now=now,
            incarnation=incarnation,
            known_sequence=known_sequence,
            last=last,
            replay=replay,
        )


def claim_locked(
    folder: AgentFolder,
    runtime: RuntimeLock,
    *,
    files: FileOperations,
    now: datetime,
    incarnation: str = "",
    known_sequence: int | None = None,
    last: Claim | None = None,
    replay: Callable[[str], Sequence[str]] | None = None,
) -> Claim:
    """:func:`claim`, by whoever holds the workspace's mutex.

    :raises OSError: the folder cannot be read or written.
    """
    runtime.check_process()
    found = read_lease(folder.lease_path, files)
    sequence, died = _settle_owner(found, folder, runtime)
    remarks: tuple[str, ...] = ()
    if died and died not in runtime.gone:
        remarks = () if replay is None else tuple(replay(died))
        if is_runtime_id(died) and _is_gone(runtime.workspace.runtimes_dir / died, files):
            # It left nothing, and its id is never used again: its other agents need not be asked about it.
            runtime.gone.add(died)
    if known_sequence is not None:
        _check_fresh(found, folder, sequence, known_sequence, last)
        sequence = known_sequence
    # Nobody holds it: what looks like a temporary was left by a writer that died.
    sweep_temporaries(folder.path, files=files)
    journal = mend(folder.journal_dir, files=files)
    if journal.torn:
        remarks = (*remarks, journal.torn)
    lease = Lease(
        schema_version=_LEASE_VERSION,
        agent_id=storable_name(folder.agent_id),
        agent_name=storable_name(folder.name),
        incarnation=incarnation,
        runtime_id=runtime.runtime_id,
        token=os.urandom(8).hex(),
        pid=runtime.pid,
        host=runtime.host,
        claimed=now.isoformat(),
        sequence=sequence,
    )
    _write(folder.lease_path, lease, files)
    if found is not None:
        runtime.unwritten.pop(found.token, None)
    held = Claim(folder, lease, sequence, died, journal, remarks)
    runtime.claims[lease.token] = held
    return held


def release(held: Claim, sequence: int | None, runtime: RuntimeLock, *, files: FileOperations) -> None:
    """Let go of the agent and note the ``sequence`` its files have now; a claim not held is left alone.

    :raises WorkspaceError: the disk refused; the runtime has let go nevertheless and may claim it again,
        others may when this runtime has ended.
    """
    token = held.lease.token
    if runtime.claims.pop(token, None) is None:
        return
    runtime.unwritten[token] = sequence
    with workspace_errors(held.folder.path), locked(runtime.workspace.mutex_path):
        found = read_lease(held.folder.lease_path, files)
        if found is not None and found.token == token:
            _write(
                held.folder.lease_path,
                msgspec.structs.replace(found, sequence=sequence, released=True),
                files,
            )
    del runtime.unwritten[token]


def read_lease(path: Path, files: FileOperations) -> Lease | None:
    """The lease at ``path``; None when there is none, or none that can be read as one.

    :raises SchemaTooNew: a later overwinter wrote it.
    """
    try:
        content = files.read_bytes(path)
        version = msgspec.json.decode(content, type=_Versioned).schema_version
        if version <= _LEASE_VERSION:
            return msgspec.json.decode(content, type=Lease)
    except FileNotFoundError:
        return None
    except (msgspec.DecodeError, UnicodeDecodeError):
        # Leases are not synced: after a power cut one may be torn, and then every owner is gone too.
        return None
    raise SchemaTooNew(path, version, _LEASE_VERSION)


def _settle_owner(found: Lease | None, folder: AgentFolder, runtime: RuntimeLock) -> tuple[int | None, str]:
    """The sequence the files are known to have, and the id of an owner that died; or ``AgentInUse``."""
    if found is None:
        return 0, ""
    if found.released:
        return found.sequence, ""
    if found.runtime_id == runtime.runtime_id:
        if found.token in runtime.claims:
            raise _in_use(found, folder)
        return runtime.unwritten.get(found.token), ""
    if found.runtime_id not in runtime.gone and is_alive(found.runtime_id, runtime.workspace):
        raise _in_use(found, folder)
    return None, found.runtime_id


def _is_gone(folder: Path, files: FileOperations) -> bool:
    # Not by ``exists``, which a disk that fails answers with no.
    try:
        files.list(folder)
    except FileNotFoundError:
        return True
    return False


def _in_use(found: Lease, folder: AgentFolder) -> AgentInUse:
    kind = "agent"
    if folder.path.parent.name == "actors":
        kind = "board" if folder.session == "board" else "snapshot"
    return AgentInUse(folder.name, pid=found.pid, host=found.host, runtime_id=found.runtime_id, kind=kind)


def _check_fresh(
    found: Lease | None, folder: AgentFolder, sequence: int | None, known: int, last: Claim | None
) -> None:
    if found is not None and last is not None and found.token == last.lease.token:
        return
    if (found is None and known) or (
        found is not None and last is not None and found.incarnation != last.lease.incarnation
    ):
        what = "its folder was removed"
    elif found is not None and sequence is None:
        what = f"process {found.pid} on {found.host} held it and ended without releasing it"
    elif sequence != known:
        what = f"its files have sequence {sequence}"
    else:
        return
    raise StaleState(
        f"agent {folder.name!r} in {folder.path} was written by somebody else since it was last held here: "
        f"{what}, and what is in memory has sequence {known}. Call load() and go on from there."
    )


class _Versioned(msgspec.Struct):
    schema_version: int


def _write(path: Path, lease: Lease, files: FileOperations) -> None:
    content = msgspec.json.encode(lease)
    content = content.ljust(-(-(len(content) + 1) // _ROOM) * _ROOM - 1) + b"\n"
    with suppress(OSError):
        # In place, for a rename over a file costs twenty times as much (ext4 then writes the new one out). A block that
        # is written in one call is whole, whenever the process is killed, and power cuts are another matter: below.
        if files.overwrite(path, content) == len(content):
            return
    # Renamed and not synced: after a power cut every owner is dead, whatever the lease says.
    temporary = path.with_name(f".overwinter-{os.urandom(8).hex()}.tmp")
    fd = files.open_new(temporary)
    try:
        try:
            left = memoryview(content)
            while left:
                left = left[files.write(fd, left) :]
        finally:
            files.close(fd)
        files.replace(temporary, path)
    except BaseException:
        with suppress(OSError):
            files.unlink(temporary)
        raise
