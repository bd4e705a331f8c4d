"""An agent at work on disks that really fail, and really come back: no tool that may not be repeated starts meanwhile.

Each needs something of the machine (Linux, strace, root, a C compiler); where it is missing the test is skipped, and
says so.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import sys
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio
import pytest
from tests.faults.test_agents_disk import in_a_mount, spend
from tests.support.processes import (
    Child,
    assert_nothing_lost,
    assert_well_formed,
    hear,
    read_everything,
    say,
    temporaries,
)
from tests.support.tracing import traced

from overwinter import Agent, Runtime, tool
from overwinter.testing import ScriptedModel

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from overwinter.agents.profile import Durability

pytestmark = pytest.mark.skipif(
    sys.platform != "linux", reason="REAL FAULTS NOT TESTED: they are injected with the tools of Linux"
)

call = ScriptedModel.call
LONG = "word " * 6000  # 30 kB, more than a filesystem has left in pages that are begun
charged: list[str] = []


@tool
async def charge(what: str) -> str:
    """Do what must not be done twice."""
    charged.append(what)
    return f"{what} is charged"


@tool(idempotent=True)
def look(what: str) -> str:
    """Do what may be repeated."""
    return f"{what} is there"


async def the_test() -> None:
    """Wait until the test says something."""
    await asyncio.get_running_loop().run_in_executor(None, hear)


class BreaksInside:
    """Faults that a process puts into its own disk."""

    def __init__(self, kind: str, workspace: Path) -> None:
        self._kind = kind
        self._workspace = workspace
        self._ballast = workspace

    def begin(self) -> None:
        if self._kind == "full":
            self._ballast = spend(self._workspace.parent, "bytes")
        elif self._kind == "a limit on the size of files":
            import resource

            _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
            resource.setrlimit(resource.RLIMIT_FSIZE, (16, hard))
        elif self._kind == "read-only":
            for folder in (self._workspace / ".runtimes").iterdir():
                subprocess.run(["mount", "--bind", folder, folder], check=True)
                subprocess.run(["mount", "-o", "remount,bind,ro", folder], check=True)

    def end(self) -> None:
        if self._kind == "full":
            shutil.rmtree(self._ballast)
        elif self._kind == "a limit on the size of files":
            import resource

            _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
            resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
        elif self._kind == "read-only":
            for folder in (self._workspace / ".runtimes").iterdir():
                subprocess.run(["umount", folder], check=True)


def charge_on_a_bad_disk(root: str, durability: Durability, kind: str) -> None:
    """A program: a run that comes to a tool which may not be repeated while the disk fails; then the disk is mended."""
    workspace = Path(root) / "agent_workspace"
    breaks = BreaksInside(kind, workspace)

    async def main() -> None:
        async with Runtime(workspace) as runtime:
            first, _ = worker(durability)
            await runtime.spawn(first)
            await first.run("first")
            await first.save()
        async with Runtime(workspace) as runtime:
            agent, model = worker(durability)
            await runtime.spawn(agent)
            await agent.load()
            before, state_file = read_everything(workspace)["worker"], agent.state_path.read_bytes()
            charged.clear()
            say("ready", os.getpid())
            await the_test()
            breaks.begin()
            run = asyncio.ensure_future(agent.run(LONG))
            with anyio.fail_after(60):
                while agent.status != "storage":
                    await asyncio.sleep(0.001)
            # Now it has time enough to do what it must not do.
            await asyncio.sleep(0.2)
            statistics = runtime.statistics().persistence
            say("waits", [agent.status, len(charged), statistics.failing, statistics.last_error])
            say("kept", agent.state_path.read_bytes() == state_file)
            await the_test()
            breaks.end()
            with anyio.fail_after(60):
                say("text", (await run).text)
                await agent.save()
            say("charged", charged)
            say("mended", not runtime.statistics().persistence.failing)
        after = read_everything(workspace)["worker"]
        assert_nothing_lost(before.state, after.state)
        assert_well_formed(model.requests[-1].messages)
        say("recovered", after.state.conversation == [*agent.state.conversation])
        say("temporaries", [str(path) for path in temporaries(workspace)])

    asyncio.run(main())


def worker(durability: Durability) -> tuple[Agent[str], ScriptedModel]:
    step: list[Any] = ["Both.", call("look", {"what": "it"}), call("charge", {"what": "it"})]
    model = ScriptedModel([step, "Done."])
    return Agent("worker", model=model, tools=[charge, look], autosave=True, durability=durability), model


def waits_for_the_disk(child: Child, fault: AbstractContextManager[None], because: str) -> None:
    """What holds on any disk that fails and comes back."""
    with fault:
        child.tell("break it")
        status, calls, failing, last_error = child.expect("waits")
        assert (status, calls, failing) == ("storage", 0, True)
        assert because in last_error
        assert child.expect("kept") is True
    child.tell("it is mended")
    assert child.expect("text") == "Done."
    assert child.expect("charged") == ["it"]
    assert child.expect("mended") is True
    assert child.expect("recovered") is True
    assert child.expect("temporaries") == []
    ended = child.ended()
    assert ended.code == 0, ended.stderr
    assert "Saving fails" in ended.stderr


@pytest.mark.parametrize("durability", ["async", "sync"])
@pytest.mark.parametrize(
    ("calls", "error", "because"),
    [("fsync,fdatasync", "EIO", "Input/output error"), ("fsync,fdatasync", "ENOSPC", "No space left")],
)
def test_while_fsync_fails_no_tool_starts_that_may_not_be_repeated(
    tmp_path: Path, durability: Durability, calls: str, error: str, because: str
) -> None:
    """F49: while fsync really fails (strace), a run waits with status "storage" before a tool that may not be repeated,
    it is reported, the old files are good, and the run goes on when the disk does."""
    with Child(charge_on_a_bad_disk, str(tmp_path), durability, "") as child:
        pid = child.expect("ready")
        waits_for_the_disk(child, traced(pid, calls, f"error={error}"), because)


@pytest.mark.parametrize("durability", ["async", "sync"])
def test_on_a_full_filesystem_no_tool_starts_that_may_not_be_repeated(
    tmp_path: Path, durability: Durability
) -> None:
    """F49: ... on a filesystem of 512 kB that is full, until there is room."""
    prefix = in_a_mount('mount -t tmpfs -o size=512k t "$0"', tmp_path)
    with Child(charge_on_a_bad_disk, str(tmp_path), durability, "full", prefix=prefix) as child:
        child.expect("ready")
        waits_for_the_disk(child, nullcontext(), "No space left")


def test_on_a_read_only_filesystem_no_tool_starts_that_may_not_be_repeated(tmp_path: Path) -> None:
    """F49: ... where the runtime's log is on a filesystem that was remounted read-only."""
    prefix = in_a_mount("true", tmp_path)
    with Child(charge_on_a_bad_disk, str(tmp_path), "async", "read-only", prefix=prefix) as child:
        child.expect("ready")
        waits_for_the_disk(child, nullcontext(), "Read-only file system")


def test_beyond_a_limit_on_files_no_tool_starts_that_may_not_be_repeated(tmp_path: Path) -> None:
    """F49: ... where files may not grow (RLIMIT_FSIZE)."""
    with Child(charge_on_a_bad_disk, str(tmp_path), "async", "a limit on the size of files") as child:
        child.expect("ready")
        waits_for_the_disk(child, nullcontext(), "File too large")


def run_on_a_bad_disk(root: str, durability: Durability) -> None:
    """A program: a run from beginning to end, beside faults for which nothing waits."""
    workspace = Path(root) / "agent_workspace"

    async def main() -> None:
        async with Runtime(workspace) as runtime:
            agent, _ = worker(durability)
            await runtime.spawn(agent)
            say("ready", os.getpid())
            await the_test()
            with anyio.fail_after(60):
                say("text", (await agent.run("work")).text)
            with anyio.move_on_after(60):
                while not runtime.statistics().persistence.failing:
                    await asyncio.sleep(0.001)
            say("failing", [runtime.statistics().persistence.last_error, charged])
            await the_test()
            await agent.save()
            say("saved")
        say(
            "recovered",
            read_everything(workspace)["worker"].state.conversation == [*agent.state.conversation],
        )

    asyncio.run(main())


def goes_on_beside(child: Child, fault: AbstractContextManager[None], because: str) -> None:
    """What holds where nothing waits for the disk."""
    with fault:
        child.tell("work")
        assert child.expect("text") == "Done."
        last_error, calls = child.expect("failing")
        assert because in last_error
        assert calls == ["it"]
    child.tell("it is mended")
    child.expect("saved")
    assert child.expect("recovered") is True
    assert child.ended().code == 0


def test_while_files_cannot_be_renamed_a_run_goes_on(tmp_path: Path) -> None:
    """F50: while rename is refused (strace, EACCES) a run goes on by its journal, tools start, it is reported, and the
    files are replaced when they can be."""
    with Child(run_on_a_bad_disk, str(tmp_path), "sync") as child:
        pid = child.expect("ready")
        goes_on_beside(child, traced(pid, "rename,renameat,renameat2", "error=EACCES"), "Permission denied")


def test_in_exit_a_run_goes_on_while_the_disk_fails(tmp_path: Path) -> None:
    """F50: ... and in "exit" it goes on whatever fails (strace, EIO from fsync), and is saved when the disk works."""
    with Child(run_on_a_bad_disk, str(tmp_path), "exit") as child:
        pid = child.expect("ready")
        goes_on_beside(child, traced(pid, "fsync", "error=EIO"), "Input/output error")


SHIM = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <sys/stat.h>
#include <unistd.h>

/* Of everything that is written to a file, the system takes a third, and at least a byte. */
ssize_t write(int fd, const void *data, size_t size) {
    static ssize_t (*real)(int, const void *, size_t);
    struct stat status;
    if (!real) real = (ssize_t (*)(int, const void *, size_t))dlsym(RTLD_NEXT, "write");
    if (size > 1 && fstat(fd, &status) == 0 && S_ISREG(status.st_mode)) size = (size + 2) / 3;
    return real(fd, data, size);
}
"""


@pytest.fixture
def shim(tmp_path: Path) -> dict[str, str]:
    """The environment in which writes are short."""
    source, library = tmp_path / "shim.c", tmp_path / "shim.so"
    source.write_text(SHIM)
    command = ["gcc", "-shared", "-fPIC", "-O2", "-o", str(library), str(source), "-ldl"]
    try:
        subprocess.run(command, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"SHORT WRITES NOT TESTED: there is no C compiler that works here ({error})")
    return {"LD_PRELOAD": str(library)}


def run_and_end(root: str) -> None:
    """A program: a run that is saved, and one write that does not look at what it returns."""
    workspace = Path(root) / "agent_workspace"

    async def main() -> None:
        async with Runtime(workspace) as runtime:
            agent, _ = worker("sync")
            await runtime.spawn(agent)
            text = (await agent.run(LONG)).text
            await agent.save()
        async with Runtime(workspace) as runtime:
            other, _ = worker("sync")
            await runtime.spawn(other)
            await other.load()
            say("loaded", [text, other.state.conversation == agent.state.conversation])

    asyncio.run(main())
    with (Path(root) / "naive").open("wb", buffering=0) as file:
        file.write(LONG.encode())


def test_writes_that_are_cut_short_by_the_system_lose_nothing(tmp_path: Path, shim: dict[str, str]) -> None:
    """F51: where every write to a file is cut short, all is on disk and whole; a naive writer loses most of it."""
    with Child(run_and_end, str(tmp_path), environment=shim) as child:
        assert child.expect("loaded") == ["Done.", True]
        assert child.ended().code == 0
    saved = read_everything(tmp_path / "agent_workspace")["worker"]
    assert saved.state.conversation[0].content == LONG
    assert (tmp_path / "naive").stat().st_size < len(LONG)
