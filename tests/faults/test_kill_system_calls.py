"""A kill at each system call of a save, one after the other, with strace."""

from __future__ import annotations

import asyncio
import os
import sys
import time
import traceback
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from tests.support.processes import Child, hear, memory_folder, read_everything, say, temporaries
from tests.support.tracing import need_strace, traced

from overwinter import Agent, Runtime
from overwinter.persistence import is_temporary, replace_file, sweep_temporaries
from overwinter.testing import ScriptedModel

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

pytestmark = pytest.mark.skipif(
    sys.platform != "linux", reason="REAL FAULTS NOT TESTED: they are injected with the tools of Linux"
)

# All that open, change, look at or close files, save for reading; strace counts each by itself, in each thread.
CALLS = [
    *(
        "openat",
        "write",
        "fsync",
        "fdatasync",
        "close",
        "ftruncate",
        "truncate",
        "lseek",
        "flock",
        "getdents64",
    ),
    *("rename", "renameat", "renameat2", "link", "linkat", "unlink", "unlinkat", "mkdir", "mkdirat", "rmdir"),
    *("fchmod", "newfstatat"),
]
MOST_CALLS = 100
OLD, NEW = b"old " * 100, b"new " * 5000


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    need_strace()
    with memory_folder(tmp_path) as chosen:
        yield chosen


def replace_a_file(folder: str) -> None:
    """Replace a file, as every document is."""
    path = Path(folder, "queen_state.json")
    say("ready", os.getpid())
    assert hear() == "go"
    replace_file(path, [NEW], keep_previous=path.with_name("previous"))
    say("saved")
    hear()


def save_an_agent(folder: str) -> None:
    """Save an agent that has something to save."""

    async def main() -> None:
        async with Runtime(folder) as runtime:
            agent = Agent("queen", model=ScriptedModel(["one", "two"]), autosave=True, durability="sync")
            await runtime.spawn(agent)
            await agent.run("first")
            await agent.save()
            await agent.run("second")
            agent.memory.set("changed", "so that the state file is written")
            say("ready", os.getpid())
            assert await asyncio.get_running_loop().run_in_executor(None, hear) == "go"
            await agent.save()
            say("saved")
            await asyncio.get_running_loop().run_in_executor(None, hear)

    asyncio.run(main())


def in_turn() -> None:
    """A program: for each line it hears, a process that does it: ``name folder``."""
    works = {work.__name__: work for work in (replace_a_file, save_an_agent)}
    while line := hear():
        if line == "end":
            continue  # meant for one that was killed when it had just said that it was saved
        pid = os.fork()
        if pid == 0:
            name, _, folder = line.partition(" ")
            try:
                works[name](folder)
            except BaseException:
                traceback.print_exc()
                raise
            finally:
                os._exit(0)
        os.waitpid(pid, 0)
        say("died")


def killed_at_each_call(
    work: Callable[[str], None],
    folder: Path,
    prepare: Callable[[Path], None],
    check: Callable[[Path, bool], None],
) -> Counter[str]:
    """For each call by name: kill at the first, at the second, ... until it comes through; how often each was hit."""
    began, hit = time.monotonic(), Counter[str]()
    with Child(in_turn) as child:
        for call in CALLS:
            for number in range(1, MOST_CALLS):
                place = folder / f"{call}-{number}"
                place.mkdir()
                prepare(place)
                saved = came_through(child, work, place, f"?{call}", number)
                check(place, saved)
                if saved:
                    break
                hit[call] += 1
    figures = ", ".join(f"{count} {name}" for name, count in sorted(hit.items()))
    took = time.monotonic() - began
    sys.stdout.write(f"{work.__name__}: killed at each of {hit.total()} calls in {took:.1f} s: {figures}\n")
    assert all(count < MOST_CALLS - 1 for count in hit.values())
    return hit


def came_through(child: Child, work: Callable[[str], None], place: Path, call: str, number: int) -> bool:
    """Do it with a kill at that call, if there are so many; whether it was done."""
    child.tell(f"{work.__name__} {place}")
    pid = child.expect("ready")
    with traced(pid, call, f"signal=KILL:when={number}"):
        child.tell("go")
        word, _ = child.next_word() or ("", None)
    if word == "saved":
        child.tell("end")
        child.expect("died")
        return True
    assert word == "died"
    return False


def test_killed_at_each_system_call_a_replace_leaves_the_old_file_or_the_new_one(folder: Path) -> None:
    """F52: killed at each system call of a replacement in turn, the old file or the new one is there, whole, and a
    temporary at most, which the next owner sweeps."""

    def prepare(place: Path) -> None:
        (place / "queen_state.json").write_bytes(OLD)

    def check(place: Path, saved: bool) -> None:
        left = {entry.name: entry.read_bytes() for entry in place.iterdir()}
        content = left.pop("queen_state.json")
        assert content in ((NEW,) if saved else (OLD, NEW))
        assert left.pop("previous", OLD) == OLD
        assert all(is_temporary(name) for name in left)
        assert sweep_temporaries(place) == len(left)

    hit = killed_at_each_call(replace_a_file, folder, prepare, check)
    assert hit.keys() >= {"openat", "write", "fsync", "close"}
    assert sum(count for name, count in hit.items() if name.startswith("rename")) > 1
    assert any(name.startswith("rename") for name in hit)
    assert any(name.startswith("link") for name in hit)


def test_killed_at_each_system_call_a_save_of_an_agent_loses_nothing(folder: Path) -> None:
    """F52: ... and killed at each system call of save(), of any thread, an agent has all that had been acknowledged."""

    def check(place: Path, saved: bool) -> None:
        found = read_everything(place)["queen"]
        assert not saved or [entry.content for entry in found.state.conversation][-1] == "two"
        agent = Agent("queen", model=ScriptedModel([]), autosave=True, workspace_dir=place)
        asyncio.run(agent.load())
        assert [entry.content for entry in agent.state.conversation] == ["first", "one", "second", "two"]
        asyncio.run(agent.save())
        assert not temporaries(place)

    hit = killed_at_each_call(save_an_agent, folder, lambda place: None, check)
    assert hit.keys() >= {"openat", "write", "fsync", "close"}
    assert sum(count for name, count in hit.items() if name.startswith("rename")) > 1
