"""Saves in processes of their own, on disks that really fail: what the system does, and not what a fake does.

Each needs something of the machine (Linux, strace, root); where it is missing the test is skipped, and says so.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from overwinter import errors
from overwinter.persistence import is_temporary, replace_file, sweep_temporaries

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

pytestmark = pytest.mark.skipif(
    sys.platform != "linux", reason="REAL FAULTS NOT TESTED: they are injected with the tools of Linux"
)

OLD = b"old " * 100
SIZE = 20_000
NOBODY = 65534

SAVER = """
import json, os, sys
from pathlib import Path
from overwinter.errors import SaveError
from overwinter.persistence.atomic import replace_file

path, settings = Path(sys.argv[1]), json.loads(sys.argv[2])
if "fsize" in settings:
    import resource
    resource.setrlimit(resource.RLIMIT_FSIZE, (settings["fsize"], settings["fsize"]))
if settings.get("uid", os.geteuid()) != os.geteuid():
    os.setgroups([])
    os.setgid(settings["uid"])
    os.setuid(settings["uid"])
held = len(os.listdir("/proc/self/fd"))
try:
    if settings.get("naive"):
        with open(path, "wb") as file:
            file.write(b"n" * settings["size"])
    else:
        replace_file(path, [b"n" * settings["size"]], keep_previous=path.with_name("previous"))
except (SaveError, OSError) as error:
    outcome = type(error).__name__
    code = getattr(error, "errno", None) or getattr(error.__cause__, "errno", None)
    print(json.dumps({"outcome": outcome, "errno": code, "text": str(error)}))
else:
    print(json.dumps({"outcome": "saved"}))
assert len(os.listdir("/proc/self/fd")) == held
"""


def save(path: Path, *, through: Sequence[str] = (), **settings: Any) -> tuple[dict[str, Any], int]:
    """Save in a process of its own, run by the command *through*; what it says, and how it ended."""
    settings.setdefault("size", SIZE)
    source = str(Path(errors.__file__).parents[1])
    done = subprocess.run(
        [*through, sys.executable, "-c", SAVER, str(path), json.dumps(settings)],
        env={**os.environ, "PYTHONPATH": source, "PYTHONDONTWRITEBYTECODE": "1"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode in (0, -signal.SIGKILL, 128 + signal.SIGKILL), done.stderr
    return (json.loads(done.stdout) if done.stdout else {}), done.returncode


@cache
def works(*command: str) -> bool:
    try:
        return subprocess.run(command, capture_output=True, timeout=60, check=False).returncode == 0
    except OSError:
        return False


def strace(*calls: str, inject: str) -> list[str]:
    """The command that injects a fault into the first of *calls*, or a skip where that cannot be."""
    if not works("strace", "-qqfo", "/dev/null", "-e", "trace=fsync", "true"):
        pytest.skip("REAL FAULTS NOT TESTED: strace is not installed, or may not trace here")
    names = ",".join(calls)
    return ["strace", "-qqfo", "/dev/null", "-e", f"trace={names}", "-e", f"inject={names}:{inject}"]


def mounted(options: str, at: Path, *, before_save: str = "true") -> list[str]:
    """The command that runs another on a small filesystem in memory, mounted for it alone, or a skip."""
    if not works("unshare", "-m", "mount", "-t", "tmpfs", "tmpfs", str(at)):
        pytest.skip("REAL FAULTS NOT TESTED: only root can mount a filesystem for one process (unshare -m)")
    script = f"""
        mount -t tmpfs {options} tmpfs "$0" && cp "$0".old/* "$0"/ && {before_save} && "$@"
        status=$?
        for left in "$0"/* "$0"/.overwinter*; do test -e "$left" && cp "$left" "$0".new/; done
        exit $status
    """
    return ["unshare", "-m", "sh", "-c", script, str(at)]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "queen_state.json"
    path.write_bytes(OLD)
    return path


@pytest.fixture
def volume(tmp_path: Path) -> Path:
    """Where a filesystem is mounted, with what is in ``.old``; what is on it at the end is copied to ``.new``."""
    at = tmp_path / "volume"
    for folder in (at, tmp_path / "volume.old", tmp_path / "volume.new"):
        folder.mkdir()
    (tmp_path / "volume.old" / "queen_state.json").write_bytes(OLD)
    return at


def content(folder: Path) -> dict[str, bytes]:
    return {entry.name: entry.read_bytes() for entry in folder.iterdir()}


NEW = b"n" * SIZE
RENAMES = ("rename", "renameat", "renameat2")
LINKS = ("link", "linkat")


def test_without_a_fault_the_new_file_is_there_and_the_old_one_beside_it(path: Path) -> None:
    """P14: the saver itself works."""
    assert save(path)[0] == {"outcome": "saved"}
    assert content(path.parent) == {path.name: NEW, "previous": OLD}


def test_an_fsync_that_fails_leaves_the_old_file(path: Path) -> None:
    """P17: EIO from the file's own fsync."""
    said, _ = save(path, through=strace("fsync", inject="error=EIO:when=1"))
    assert said["outcome"] == "SaveFailed"
    assert content(path.parent) == {path.name: OLD}


def test_a_folder_that_cannot_be_synced_is_told_apart(path: Path) -> None:
    """P16: EIO from the folder's fsync, when the new file is in place."""
    said, _ = save(path, through=strace("fsync", inject="error=EIO:when=2"))
    assert said["outcome"] == "SaveNotDurable"
    assert content(path.parent) == {path.name: NEW, "previous": OLD}


@pytest.mark.parametrize("when", [1, 2], ids=["of the previous generation", "of the file"])
def test_a_rename_that_is_refused_leaves_the_old_file(path: Path, when: int) -> None:
    """P15: EACCES."""
    said, _ = save(path, through=strace(*RENAMES, inject=f"error=EACCES:when={when}"))
    assert (said["outcome"], "Make the folder writable" in said["text"]) == ("SaveFailed", True)
    assert content(path.parent) == {path.name: OLD} | ({"previous": OLD} if when == 2 else {})


def test_a_filesystem_without_links_is_served_by_a_copy(path: Path) -> None:
    """P19: EPERM from link."""
    assert save(path, through=strace(*LINKS, inject="error=EPERM"))[0] == {"outcome": "saved"}
    assert content(path.parent) == {path.name: NEW, "previous": OLD}


@pytest.mark.parametrize(
    ("calls", "when", "expected"),
    [
        (("fsync",), 1, OLD),
        (LINKS, 1, OLD),
        (RENAMES, 1, OLD),
        (RENAMES, 2, OLD),
        (("fsync",), 2, NEW),
    ],
    ids=["before its fsync", "before the link", "before the first rename", "before the rename", "after it"],
)
def test_kill_9_at_any_call_leaves_the_old_file_or_the_new_one(
    path: Path, calls: tuple[str, ...], when: int, expected: bytes
) -> None:
    """P14: and a temporary at most, which the next owner sweeps."""
    said, status = save(path, through=strace(*calls, inject=f"signal=KILL:when={when}"))
    assert said == {}
    assert status != 0
    left = content(path.parent)
    assert left.pop(path.name) == expected
    assert left.pop("previous", OLD) == OLD
    assert all(is_temporary(name) for name in left)
    assert sweep_temporaries(path.parent) == len(left)
    replace_file(path, [b"next"])
    assert path.read_bytes() == b"next"


@pytest.mark.parametrize("options", ["-o size=16k", "-o nr_inodes=2"], ids=["no space", "no inodes"])
def test_a_full_disk_leaves_the_old_file(volume: Path, options: str) -> None:
    """P15: ENOSPC, and what to do about it."""
    said, _ = save(volume / "queen_state.json", through=mounted(options, volume))
    assert (said["outcome"], "Free some space" in said["text"]) == ("SaveFailed", True)
    assert content(volume.with_name("volume.new")) == {"queen_state.json": OLD}


def test_a_disk_that_was_remounted_read_only_leaves_the_old_file(volume: Path) -> None:
    """P15: EROFS, as a kernel does after errors."""
    through = mounted("-o size=1m", volume, before_save='mount -o remount,ro "$0"')
    said, _ = save(volume / "queen_state.json", through=through)
    assert (said["outcome"], "Remount" in said["text"]) == ("SaveFailed", True)
    assert content(volume.with_name("volume.new")) == {"queen_state.json": OLD}


def test_a_limit_on_the_size_of_files_leaves_the_old_file(path: Path) -> None:
    """P15: EFBIG, after a part was written."""
    said, _ = save(path, fsize=4096)
    assert (said["outcome"], "ulimit -f" in said["text"]) == ("SaveFailed", True)
    assert content(path.parent) == {path.name: OLD}


@pytest.fixture
def locked_folder() -> Iterator[Path]:
    """A folder in which its owner may not write, open to the eyes of others."""
    folder = Path(tempfile.mkdtemp(prefix="overwinter-test-"))
    (folder / "queen_state.json").write_bytes(OLD)
    try:
        if os.geteuid() == 0:
            os.chown(folder, NOBODY, NOBODY)
            os.chown(folder / "queen_state.json", NOBODY, NOBODY)
        folder.chmod(0o500)
        yield folder
    finally:
        folder.chmod(0o700)
        shutil.rmtree(folder)


def test_a_folder_that_may_not_be_written_leaves_the_old_file(locked_folder: Path) -> None:
    """P15: EACCES, to an unprivileged user."""
    uid = NOBODY if os.geteuid() == 0 else os.geteuid()
    said, _ = save(locked_folder / "queen_state.json", uid=uid)
    assert (said["outcome"], "Make the folder writable" in said["text"]) == ("SaveFailed", True)
    assert content(locked_folder) == {"queen_state.json": OLD}


def test_a_naive_writer_loses_the_file_to_the_same_faults(path: Path, volume: Path) -> None:
    """P15: the negative control."""
    said, _ = save(path, fsize=4096, naive=True)
    assert said["outcome"] == "OSError"
    assert path.read_bytes() not in (OLD, NEW)
    save(volume / "queen_state.json", through=mounted("-o size=16k", volume), naive=True)
    assert content(volume.with_name("volume.new"))["queen_state.json"] not in (OLD, NEW)
