"""One agent, one writer."""

from __future__ import annotations

import errno
import os
import shutil
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import msgspec
import pytest
from tests.support.disk import FailingDisk, temporaries_in

from overwinter.errors import AgentInUse, SchemaTooNew, StaleState, WorkspaceError
from overwinter.persistence import (
    FILES,
    AgentFolder,
    FileLock,
    FileOperations,
    RuntimeLock,
    Workspace,
    create_folder,
)
from overwinter.persistence import lease as leases
from overwinter.persistence import lock as lock_module
from overwinter.persistence.lease import Claim, read_lease
from overwinter.persistence.lock import locked
from overwinter.persistence.replay import replay_dead_runtimes

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

NOW = datetime(2030, 1, 1, tzinfo=UTC)
FIRST, SECOND = "a" * 16, "b" * 16


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    workspace = Workspace(tmp_path)
    create_folder(workspace.runtimes_dir)
    return workspace


@pytest.fixture
def folder(workspace: Workspace) -> AgentFolder:
    folder = workspace.folder("writer", "id-of-writer")
    create_folder(folder.path)
    return folder


def started(workspace: Workspace, runtime_id: str) -> RuntimeLock:
    runtime = RuntimeLock(workspace, runtime_id)
    runtime.acquire(NOW)
    return runtime


def died(runtime: RuntimeLock) -> None:
    """What the death of its process does to a runtime."""
    runtime._lock.release()


def claim(
    folder: AgentFolder,
    runtime: RuntimeLock,
    *,
    incarnation: str = "one",
    known: int | None = None,
    **more: object,
) -> Claim:
    return leases.claim(
        folder,
        runtime,
        files=FILES,
        now=NOW,
        incarnation=incarnation,
        known_sequence=known,
        **more,  # type: ignore[arg-type]
    )


def test_a_lease_says_who_holds_the_agent(workspace: Workspace, folder: AgentFolder) -> None:
    runtime = started(workspace, FIRST)
    held = claim(folder, runtime)
    written = read_lease(folder.lease_path, FILES)
    assert written == held.lease
    assert written is not None
    assert (written.runtime_id, written.pid, written.agent_name) == (FIRST, os.getpid(), "writer")
    assert written.host
    assert not written.released
    assert (held.sequence, held.taken_over_from) == (0, "")
    who = msgspec.json.decode((workspace.runtimes_dir / FIRST / "lock").read_bytes())
    assert (who["pid"], who["runtime_id"]) == (os.getpid(), FIRST)


def test_a_second_runtime_is_told_who_holds_the_agent(workspace: Workspace, folder: AgentFolder) -> None:
    """S5: A second runtime of the same process gets AgentInUse, which names the holder's pid and host."""
    first, second = started(workspace, FIRST), started(workspace, SECOND)
    claim(folder, first)
    with pytest.raises(AgentInUse, match="'writer' is in use") as caught:
        claim(folder, second)
    assert (caught.value.pid, caught.value.runtime_id) == (os.getpid(), FIRST)
    assert caught.value.host == first.host


def test_a_runtime_cannot_claim_an_agent_twice(workspace: Workspace, folder: AgentFolder) -> None:
    """S5: A second claim of the same runtime gets AgentInUse as well."""
    runtime = started(workspace, FIRST)
    claim(folder, runtime)
    with pytest.raises(AgentInUse):
        claim(folder, runtime)


def test_a_released_agent_is_free_for_the_next(workspace: Workspace, folder: AgentFolder) -> None:
    first, second = started(workspace, FIRST), started(workspace, SECOND)
    held = claim(folder, first)
    leases.release(held, 7, first, files=FILES)
    leases.release(held, 9, first, files=FILES)
    again = claim(folder, second)
    assert again.sequence == 7
    assert again.lease.token != held.lease.token
    leases.release(held, 11, first, files=FILES)
    assert read_lease(folder.lease_path, FILES) == again.lease, "what is held no more is not released"


def test_the_agent_of_a_dead_runtime_is_taken_over(workspace: Workspace, folder: AgentFolder) -> None:
    """S6: What a dead runtime held can be claimed at once; what it left behind is brought in first."""
    first, second = started(workspace, FIRST), started(workspace, SECOND)
    claim(folder, first)
    died(first)
    replayed: list[str] = []

    def replay(runtime_id: str) -> list[str]:
        replayed.append(runtime_id)
        return ["a remark"]

    taken = claim(folder, second, replay=replay)
    assert (taken.taken_over_from, taken.sequence, taken.remarks) == (FIRST, None, ("a remark",))
    assert replayed == [FIRST]


def test_an_agent_whose_runtime_left_nothing_is_taken_over(workspace: Workspace, folder: AgentFolder) -> None:
    first, second = started(workspace, FIRST), started(workspace, SECOND)
    claim(folder, first)
    first.release()
    assert not (workspace.runtimes_dir / FIRST).exists()
    assert claim(folder, second).taken_over_from == FIRST


@pytest.mark.parametrize(("left", "asked"), [("nothing", 1), ("a log", 3)])
def test_a_dead_runtime_is_asked_about_once_when_it_left_nothing(
    workspace: Workspace, folder: AgentFolder, left: str, asked: int
) -> None:
    """S6, J15: A thousand of its agents are taken over for one look at it; what it left is looked for with each."""
    first, second = started(workspace, FIRST), started(workspace, SECOND)
    others = [workspace.folder(name, f"id-of-{name}") for name in ("other", "another")]
    for each in others:
        create_folder(each.path)
    for each in (folder, *others):
        claim(each, first)
    first.release()
    if left == "a log":
        (workspace.runtimes_dir / FIRST).mkdir()
    replayed: list[str] = []

    def replay(runtime_id: str) -> list[str]:
        replayed.append(runtime_id)
        return []

    taken = [leases.claim(each, second, files=FILES, now=NOW, replay=replay) for each in (folder, *others)]
    assert [each.taken_over_from for each in taken] == [FIRST] * 3
    assert [each.sequence for each in taken] == [None] * 3
    assert replayed == [FIRST] * asked


def test_a_dead_runtime_of_which_the_disk_tells_nothing_is_asked_about_again(
    workspace: Workspace, folder: AgentFolder
) -> None:
    """S6: What cannot be looked at is not taken to be gone, and the claim can be tried again."""
    first, second = started(workspace, FIRST), started(workspace, SECOND)
    claim(folder, first)
    first.release()

    class Disk(FileOperations):
        def list(self, path: Path) -> Sequence[str]:
            if path.name == FIRST:
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
            return super().list(path)

    with pytest.raises(WorkspaceError, match="Permission"):
        leases.claim(folder, second, files=Disk(), now=NOW)
    assert not second.gone
    assert claim(folder, second).taken_over_from == FIRST
    assert second.gone == {FIRST}


def test_a_runtime_of_another_user_is_taken_to_be_alive(
    workspace: Workspace, folder: AgentFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = started(workspace, FIRST), started(workspace, SECOND)
    claim(folder, first)
    died(first)

    def refuse(self: FileLock, *, create: bool = True) -> bool:
        if FIRST in str(self.path):
            raise PermissionError(errno.EACCES, "Permission denied")
        return real(self, create=create)

    real = FileLock.try_acquire
    monkeypatch.setattr(FileLock, "try_acquire", refuse)
    with pytest.raises(AgentInUse):
        claim(folder, second)


@pytest.mark.parametrize(
    "content", [b"", b"{", b"\xff\xfe", b'{"schema_version": 1}', b'{"schema_version": "1"}']
)
def test_a_torn_lease_belongs_to_nobody(workspace: Workspace, folder: AgentFolder, content: bytes) -> None:
    folder.lease_path.write_bytes(content)
    held = claim(folder, started(workspace, FIRST))
    assert read_lease(folder.lease_path, FILES) == held.lease


def test_a_lease_of_a_later_version_is_left_alone(workspace: Workspace, folder: AgentFolder) -> None:
    folder.lease_path.write_bytes(b'{"schema_version": 2, "owner": "who knows"}')
    with pytest.raises(SchemaTooNew):
        claim(folder, started(workspace, FIRST))
    assert b"who knows" in folder.lease_path.read_bytes()


def test_a_runtime_id_in_a_lease_is_no_path(workspace: Workspace, folder: AgentFolder) -> None:
    runtime = started(workspace, FIRST)
    held = claim(folder, runtime)
    evil = msgspec.structs.replace(held.lease, runtime_id="../../outside")
    folder.lease_path.write_bytes(msgspec.json.encode(evil))
    assert claim(folder, started(workspace, SECOND)).taken_over_from == "../../outside"


def test_names_that_utf8_cannot_hold_are_claimed_like_any(workspace: Workspace) -> None:
    folder = workspace.folder("lone \ud800", "id \udfff")
    create_folder(folder.path)
    held = claim(folder, started(workspace, FIRST))
    assert read_lease(folder.lease_path, FILES) == held.lease


# Who comes back.


def test_who_comes_back_to_what_nobody_touched_goes_on(workspace: Workspace, folder: AgentFolder) -> None:
    runtime = started(workspace, FIRST)
    held = claim(folder, runtime)
    leases.release(held, 5, runtime, files=FILES)
    assert claim(folder, runtime, known=5, last=held).sequence == 5


def test_who_comes_back_to_what_another_wrote_is_told(workspace: Workspace, folder: AgentFolder) -> None:
    """S8: Reacquiring an agent that another has written meanwhile raises StaleState, and claims nothing."""
    first, second = started(workspace, FIRST), started(workspace, SECOND)
    held = claim(folder, first)
    leases.release(held, 5, first, files=FILES)
    other = claim(folder, second)
    leases.release(other, 6, second, files=FILES)
    with pytest.raises(StaleState, match=r"sequence 6.*sequence 5.*load\(\)"):
        claim(folder, first, known=5, last=held)
    with pytest.raises(StaleState):
        claim(folder, first, known=5)
    assert not first.claims
    assert claim(folder, second, known=6, last=other).sequence == 6


def test_who_comes_back_after_a_mere_reader_goes_on(workspace: Workspace, folder: AgentFolder) -> None:
    """S8: Holding an agent without writing it makes nobody's memory stale."""
    first, second = started(workspace, FIRST), started(workspace, SECOND)
    held = claim(folder, first)
    leases.release(held, 5, first, files=FILES)
    leases.release(claim(folder, second), 5, second, files=FILES)
    assert claim(folder, first, known=5, last=held).sequence == 5


def test_who_comes_back_after_one_that_died_is_told(workspace: Workspace, folder: AgentFolder) -> None:
    """S8: What an owner wrote that died is not known, and taken to be news."""
    first, second = started(workspace, FIRST), started(workspace, SECOND)
    held = claim(folder, first)
    leases.release(held, 5, first, files=FILES)
    claim(folder, second)
    died(second)
    with pytest.raises(StaleState, match=f"process {os.getpid()} .* ended without releasing"):
        claim(folder, first, known=5, last=held)


def test_who_comes_back_to_a_folder_made_anew_is_told(workspace: Workspace, folder: AgentFolder) -> None:
    """S8: A folder that was removed is not the one that was held, whoever made it anew."""
    runtime = started(workspace, FIRST)
    held = claim(folder, runtime)
    leases.release(held, 5, runtime, files=FILES)
    shutil.rmtree(folder.path)
    create_folder(folder.path)
    with pytest.raises(StaleState, match="removed"):
        claim(folder, runtime, known=5, last=held, incarnation="two")
    leases.release(claim(folder, runtime, incarnation="two"), 5, runtime, files=FILES)
    with pytest.raises(StaleState, match="removed"):
        claim(folder, runtime, known=5, last=held, incarnation="two")


def test_who_never_saved_may_come_back_to_nothing(workspace: Workspace, folder: AgentFolder) -> None:
    assert claim(folder, started(workspace, FIRST), known=0).sequence == 0


def test_who_comes_back_after_its_own_runtime_died_goes_on(workspace: Workspace, folder: AgentFolder) -> None:
    """S8: While the folder still shows one's own claim, nobody else has written, released or not."""
    first, second = started(workspace, FIRST), started(workspace, SECOND)
    held = claim(folder, first)
    died(first)
    again = claim(folder, second, known=5, last=held)
    assert (again.sequence, again.taken_over_from) == (5, FIRST)


# A disk that refuses.


def test_a_release_that_the_disk_refused_is_remembered(workspace: Workspace, folder: AgentFolder) -> None:
    """S9: A release that the disk refuses frees the agent in its runtime, which remembers the sequence."""
    disk = FailingDisk()
    runtime = started(workspace, FIRST)
    held = claim(folder, runtime)
    disk.broken = {"open", "overwrite"}
    with pytest.raises(WorkspaceError, match="No space left"):
        leases.release(held, 5, runtime, files=disk)
    with pytest.raises(AgentInUse):
        claim(folder, started(workspace, SECOND))
    with pytest.raises(StaleState, match="sequence 5"):
        claim(folder, runtime, known=4)
    again = claim(folder, runtime, known=5)
    assert again.sequence == 5
    assert not runtime.unwritten


def test_a_lease_is_written_in_the_place_of_the_last(workspace: Workspace, folder: AgentFolder) -> None:
    disk = FailingDisk()
    runtime = started(workspace, FIRST)
    held = claim(folder, runtime)
    leases.release(held, 5, runtime, files=disk)
    again = leases.claim(folder, runtime, files=disk, now=NOW)
    assert disk.done.count("overwrite") == 2
    assert "replace" not in disk.done
    assert read_lease(folder.lease_path, FILES) == again.lease
    disk.broken = {"overwrite"}
    leases.release(again, 6, runtime, files=disk)
    assert "replace" in disk.done, "where that cannot be, it is renamed into its place"
    found = read_lease(folder.lease_path, FILES)
    assert found is not None
    assert (found.released, found.sequence) == (True, 6)


@pytest.mark.parametrize("operation", ["read", "open", "write", "replace"])
def test_a_claim_that_the_disk_refuses_leaves_nothing(
    workspace: Workspace, folder: AgentFolder, operation: str
) -> None:
    disk = FailingDisk()
    disk.broken = {operation}
    runtime = started(workspace, FIRST)
    with pytest.raises(WorkspaceError, match="No space left"):
        leases.claim(folder, runtime, files=disk, now=NOW)
    assert not runtime.claims
    assert not folder.lease_path.exists()
    assert not temporaries_in(workspace.root)
    claim(folder, runtime)


def test_a_release_whose_folder_is_gone_is_no_error(workspace: Workspace, folder: AgentFolder) -> None:
    runtime = started(workspace, FIRST)
    held = claim(folder, runtime)
    shutil.rmtree(folder.path)
    leases.release(held, 5, runtime, files=FILES)
    assert not folder.path.exists()


def test_a_release_never_overwrites_anothers_lease(workspace: Workspace, folder: AgentFolder) -> None:
    first, second = started(workspace, FIRST), started(workspace, SECOND)
    held = claim(folder, first)
    shutil.rmtree(folder.path)
    create_folder(folder.path)
    other = claim(folder, second)
    leases.release(held, 5, first, files=FILES)
    assert read_lease(folder.lease_path, FILES) == other.lease


# The runtime's own lock.


def test_a_runtime_leaves_no_folder_behind(workspace: Workspace) -> None:
    runtime = started(workspace, FIRST)
    assert runtime.held
    runtime.release()
    runtime.release()
    assert not runtime.held
    assert list(workspace.runtimes_dir.iterdir()) == []


def test_two_runtimes_of_one_id_cannot_be(workspace: Workspace) -> None:
    started(workspace, FIRST).check_process()
    with pytest.raises(WorkspaceError, match="another live runtime"):
        started(workspace, FIRST)


def test_a_runtime_that_cannot_say_who_it_is_does_not_start(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(self: FileLock, content: bytes) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(FileLock, "write", full)
    with pytest.raises(WorkspaceError, match="No space left"):
        started(workspace, FIRST)
    assert list(workspace.runtimes_dir.iterdir()) == []


def test_a_filesystem_without_locks_is_named(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_locks(fd: int) -> bool:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(lock_module, "_lock", no_locks)
    with pytest.raises(WorkspaceError, match="No locks available"):
        started(workspace, FIRST)


def test_what_dead_runtimes_left_is_swept(workspace: Workspace) -> None:
    """S12: Locks of dead runtimes are swept, but none that lives, nor a folder with more in it than a log."""
    mine, alive, dead, logged = (started(workspace, digit * 16) for digit in "0123")
    died(dead)
    died(logged)
    (logged.folder / "a file").write_bytes(b"who knows")
    (workspace.runtimes_dir / "not a runtime").mkdir()
    (workspace.runtimes_dir / ("4" * 16)).write_bytes(b"a file")
    assert replay_dead_runtimes(workspace, keep=mine.runtime_id) == ()
    left = {entry.name for entry in workspace.runtimes_dir.iterdir()}
    assert left == {mine.runtime_id, alive.runtime_id, logged.runtime_id, "not a runtime", "4" * 16}
    assert (logged.folder / "lock").exists()


def test_claims_wait_for_the_mutex(
    workspace: Workspace, folder: AgentFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """S4: A claim does not go on without the workspace's mutex."""
    runtime = started(workspace, FIRST)
    monkeypatch.setattr(leases, "locked", lambda path: locked(path, patience=0.0))
    with locked(workspace.mutex_path), pytest.raises(WorkspaceError, match="mutex"):
        claim(folder, runtime)
