"""Locks that die with their process."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from overwinter.errors import ForkedRuntime, WorkspaceError
from overwinter.persistence import lock as lock_module
from overwinter.persistence.lock import FileLock, locked

pytestmark = pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning")

needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")

HOLDER = """
import sys
from pathlib import Path
from overwinter.persistence.lock import FileLock
lock = FileLock(Path(sys.argv[1]))
print(lock.try_acquire(), flush=True)
sys.stdin.readline()
"""


def in_child(check: object) -> int:
    """Run ``check`` in a forked child and return its exit status: 0 when it returned true."""
    assert callable(check)
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            status = 0 if check() else 2
        finally:
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def test_a_lock_is_held_once_even_within_one_process(tmp_path: Path) -> None:
    """S1: Two locks on one path exclude each other, in one process too."""
    first, second = FileLock(tmp_path / "lock"), FileLock(tmp_path / "lock")
    assert first.try_acquire()
    assert first.try_acquire(), "taking it again is no error"
    assert first.held
    assert not second.try_acquire()
    assert not second.held
    first.release()
    first.release()
    assert second.try_acquire()
    second.release()


def test_a_lock_is_seen_by_another_process_and_freed_by_its_death(tmp_path: Path) -> None:
    """S2: A lock is free the moment the process that holds it is gone, however it went."""
    path = tmp_path / "lock"
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "True\n"
        mine = FileLock(path)
        assert not mine.try_acquire()
        holder.kill()
        holder.wait()
        assert mine.try_acquire()
        mine.release()


@needs_fork
def test_a_forked_child_neither_holds_nor_frees_the_lock(tmp_path: Path) -> None:
    """S3: A forked child closes its copy of a lock without unlocking it, and is told so when it uses it."""
    path = tmp_path / "lock"
    mine = FileLock(path)
    assert mine.try_acquire()

    def child_sees_a_lock_that_is_not_its_own() -> bool:
        mine.release()
        with pytest.raises(ForkedRuntime, match="spawn"):
            mine.try_acquire()
        with pytest.raises(ForkedRuntime):
            mine.check_process()
        return mine.forked and not mine.held and not FileLock(path).try_acquire()

    assert in_child(child_sees_a_lock_that_is_not_its_own) == 0
    assert mine.held
    assert not mine.forked
    assert not FileLock(path).try_acquire()
    mine.release()


@needs_fork
def test_a_child_that_lives_on_does_not_keep_the_lock(tmp_path: Path) -> None:
    """S3: A child that outlives its parent's lock does not keep it."""
    path = tmp_path / "lock"
    mine = FileLock(path)
    assert mine.try_acquire()
    wait, go = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(go)
        os.read(wait, 1)
        os._exit(0)
    try:
        # Closing without unlocking is what the death of a process does.
        assert mine._fd is not None
        os.close(mine._fd)
        mine._fd = None
        # The child may not have run yet.
        other = FileLock(path)
        other.acquire(patience=30.0)
        other.release()
    finally:
        os.close(go)
        os.close(wait)
        os.waitpid(pid, 0)


@needs_fork
def test_a_lock_new_in_the_child_works_there(tmp_path: Path) -> None:
    def child_takes_its_own() -> bool:
        own = FileLock(tmp_path / "lock")
        return own.try_acquire() and own.held and not own.forked

    assert in_child(child_takes_its_own) == 0


@needs_fork
def test_a_fork_does_not_wait_for_a_lock_that_is_being_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Busy:
        def __init__(self) -> None:
            self.asked_to_wait: list[float] = []

        def acquire(self, timeout: float) -> bool:
            self.asked_to_wait.append(timeout)
            return False

    busy = Busy()
    monkeypatch.setattr(lock_module, "_guard", busy)
    assert in_child(lambda: FileLock(tmp_path / "lock").try_acquire()) == 0
    assert busy.asked_to_wait == [1.0]


def test_a_released_lock_can_take_its_file_with_it(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    lock = FileLock(path)
    assert lock.try_acquire()
    lock.release(remove=True)
    assert not path.exists()


def test_a_lock_whose_file_was_removed_while_it_was_taken_is_taken_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "lock"
    real_lock = lock_module._lock
    removed: list[int] = []

    def lock_after_removal(fd: int) -> bool:
        if len(removed) < 2:
            removed.append(fd)
            path.unlink()
            if len(removed) == 2:
                path.write_bytes(b"another's")
        return real_lock(fd)

    monkeypatch.setattr(lock_module, "_lock", lock_after_removal)
    lock = FileLock(path)
    assert lock.try_acquire()
    assert len(removed) == 2
    assert not FileLock(path).try_acquire()
    lock.release()


def test_a_lock_that_must_exist_is_not_created(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        FileLock(tmp_path / "lock").try_acquire(create=False)
    assert not (tmp_path / "lock").exists()


@pytest.mark.skipif(sys.platform != "linux", reason="counts descriptors in /proc")
def test_a_lock_that_fails_leaves_no_descriptor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_locks_here(fd: int) -> bool:
        raise OSError(38, "Function not implemented")

    monkeypatch.setattr(lock_module, "_lock", no_locks_here)
    before = descriptors()
    with pytest.raises(OSError, match="not implemented"):
        FileLock(tmp_path / "lock").try_acquire()
    with pytest.raises(FileNotFoundError):
        FileLock(tmp_path / "nowhere" / "lock").try_acquire()
    assert descriptors() == before


@pytest.mark.skipif(os.name == "nt", reason="modes of POSIX")
def test_a_lock_file_is_private_and_never_a_link(tmp_path: Path) -> None:
    lock = FileLock(tmp_path / "lock")
    assert lock.try_acquire()
    assert stat.S_IMODE((tmp_path / "lock").stat().st_mode) == 0o600
    lock.release()
    (tmp_path / "link").symlink_to(tmp_path / "lock")
    with pytest.raises(OSError):
        FileLock(tmp_path / "link").try_acquire()


def test_what_is_written_into_a_lock_can_be_read_while_it_is_held(tmp_path: Path) -> None:
    lock = FileLock(tmp_path / "lock")
    assert lock.try_acquire()
    lock.write(b"a longer first content")
    lock.write(b"who")
    assert (tmp_path / "lock").read_bytes() == b"who"
    lock.release()


def test_a_mutex_is_handed_from_one_thread_to_the_next(tmp_path: Path) -> None:
    path = tmp_path / "mutex"
    inside: list[str] = []
    entered = threading.Event()

    def work() -> None:
        entered.set()
        with locked(path):
            inside.append("second")

    with locked(path):
        thread = threading.Thread(target=work)
        thread.start()
        entered.wait()
        inside.append("first")
    thread.join()
    assert inside == ["first", "second"]


def test_waiting_for_a_mutex_pauses_longer_and_longer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "mutex"
    holder = FileLock(path)
    assert holder.try_acquire()
    pauses: list[float] = []

    def pause(seconds: float) -> None:
        pauses.append(seconds)
        if len(pauses) == 8:
            holder.release()

    monkeypatch.setattr("overwinter.persistence.lock.time.sleep", pause)
    with locked(path):
        assert pauses[:3] == [0.0005, 0.001, 0.002]
        assert pauses[-1] == 0.02


def test_a_mutex_that_is_never_freed_is_given_up(tmp_path: Path) -> None:
    """S4: Nobody waits for ever for the workspace's mutex; the error names its file."""
    path = tmp_path / "mutex"
    with locked(path), pytest.raises(WorkspaceError, match="mutex"), locked(path, patience=0.0):
        pytest.fail("entered twice")
    with locked(path, patience=0.0):
        pass


def test_leaving_a_lock_in_a_child_does_not_unlock_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """S3: What a child does after a fork, done here: a copy of the descriptor keeps the lock."""
    path = tmp_path / "lock"
    mine, waiting = FileLock(path), FileLock(path)
    monkeypatch.setattr(lock_module, "_guard", threading.Lock())
    monkeypatch.setattr(lock_module, "_open_locks", {mine, waiting})
    assert mine.try_acquire()
    assert mine._fd is not None
    parents = os.dup(mine._fd)
    lock_module._fork.finish_in_child()
    assert mine.forked
    assert waiting.forked
    assert not mine.held
    with pytest.raises(ForkedRuntime, match="spawn"):
        mine.try_acquire()
    assert not FileLock(path).try_acquire()
    os.close(parents)
    again = FileLock(path)
    assert again.try_acquire()
    again.release()


def test_closing_what_was_closed_is_no_error(tmp_path: Path) -> None:
    lock = FileLock(tmp_path / "lock")
    lock._close()
    assert not lock.held
