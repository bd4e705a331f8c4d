"""Faults put into the system calls of a process that runs, with strace, and taken out again."""

from __future__ import annotations

import subprocess
from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Generator
    from pathlib import Path

__all__ = ["need_strace", "traced"]

_SECONDS = 60.0


@cache
def _works() -> str:
    command = ["strace", "-qqfo", "/dev/null", "-e", "trace=fsync", "true"]
    try:
        subprocess.run(command, check=True, capture_output=True, timeout=_SECONDS)
    except (OSError, subprocess.SubprocessError) as error:
        return str(error)
    return ""


def need_strace() -> None:
    """Skip the test, loudly, where strace is not, or may not trace."""
    if error := _works():
        pytest.skip(f"REAL FAULTS NOT TESTED: strace is not installed, or may not trace here ({error})")


@contextmanager
def traced(pid: int, calls: str, fault: str, told: Path | None = None) -> Generator[None]:
    """While this lasts, the *calls* (names with commas between) of the process and all its threads have the *fault*.

    :param fault: as in ``strace -e inject``, such as ``error=EIO`` or ``signal=KILL:when=3``.
    :param told: a file in which each call is told, a line each.
    """
    need_strace()
    options = ["-e", f"trace={calls}", "-e", f"inject={calls}:{fault}", "-o", str(told or "/dev/null")]
    tracer = subprocess.Popen(
        ["strace", "-f", *options, "-p", str(pid)],
        stdin=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert tracer.stderr is not None
        said = tracer.stderr.readline()
        assert "attached" in said, said
        yield
    finally:
        # On this signal it lets go of the process, which goes on without faults.
        tracer.terminate()
        tracer.communicate(timeout=_SECONDS)
