"""The soak of ``tests.soak_agents``, short: agents that come and go leave nothing behind in their process."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest
from tests.support.flatness import Held, Sample, not_flat, quarters

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.skipif(
    sys.platform == "win32", reason="descriptors are counted in a file system of POSIX systems"
)
def test_agents_that_come_and_go_leave_no_descriptor_no_thread_and_no_task(tmp_path: Path) -> None:
    """F59: spawned, passivated and woken up, and in swarms; and memory stays within 5 % and 8 MB."""
    samples = tmp_path / "samples.jsonl"
    options = ("--seconds", "6", "--agents", "40", "--runs", "4", "--every", "0.5", "--samples", str(samples))
    done = subprocess.run(
        [sys.executable, "-m", "tests.soak_agents", *options, "--counts-only"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("standing still") == 5
    assert len(samples.read_bytes().splitlines()) > 5


def held(**changed: int) -> Held:
    return msgspec.convert({"memory": 10**8, "descriptors": 10, "threads": 5, "tasks": 900, **changed}, Held)


def sample(at: float, **changed: float) -> Sample:
    times = dict.fromkeys(("run_median", "run_p99", "save_median", "save_p99", "gap"), 0.1)
    there = {**msgspec.structs.asdict(held()), **times, "steps": 1000.0, "journals": 10**9}
    return msgspec.convert({"at": at, **there, **changed}, Sample)


def test_what_stays_the_same_is_flat() -> None:
    samples = [sample(at, memory=10**8 + int(at) % 3 * 10**6, run_p99=0.1 + at % 2 / 50) for at in range(40)]
    assert not_flat(samples, [held()] * 5) == []
    assert [len(part) for part in quarters(samples[:10])] == [2, 3, 3, 2]
    assert not_flat([], []) == []


@pytest.mark.parametrize("name", ["descriptors", "threads", "tasks"])
def test_one_too_many_while_nobody_works_is_seen(name: str) -> None:
    counted = [held(), held(), held(**{name: getattr(held(), name) + 1})]
    assert [found.partition(":")[0] for found in not_flat([], counted)] == [f"{name} while nobody works"]


def test_what_grows_or_becomes_slower_is_seen() -> None:
    leaks = [sample(at, memory=10**8 + int(at) * 10**6) for at in range(40)]
    assert [found.partition(":")[0] for found in not_flat(leaks, [])] == ["memory", "memory"]
    for name, first, last in (("steps", 1000.0, 700.0), ("run_p99", 0.1, 0.2), ("gap", 0.1, 0.3)):
        slower = [sample(at, **{name: first if at < 20 else last}) for at in range(40)]
        assert [found.partition(":")[0] for found in not_flat(slower, [])] == [name]
