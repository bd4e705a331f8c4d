"""Whether what a process needs stays the same: samples of it, their quarters, and how far these may be apart."""

from __future__ import annotations

import asyncio
import gc
import os
import resource
import sys
import threading
import time
from itertools import pairwise
from pathlib import Path
from statistics import fmean, linear_regression, median
from typing import TYPE_CHECKING, NamedTuple

import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

__all__ = ["Counts", "Gap", "Held", "Sample", "bytes_in", "not_flat", "quantile", "quarters", "table"]


_DESCRIPTORS = Path("/proc/self/fd" if sys.platform == "linux" else "/dev/fd")


class Counts(NamedTuple):
    """What of a process can be counted: open descriptors, threads, and tasks of the running loop."""

    descriptors: int
    threads: int
    tasks: int

    @classmethod
    def now(cls) -> Counts:
        """By the system's own count."""
        descriptors = sum(1 for _ in _DESCRIPTORS.iterdir()) - 1
        return cls(descriptors, threading.active_count(), len(asyncio.all_tasks()))


class Held(msgspec.Struct, frozen=True, kw_only=True):
    """What a process holds: bytes of memory, and what can be counted."""

    memory: int
    descriptors: int
    threads: int
    tasks: int

    @classmethod
    def now(cls, *, collected: bool) -> Held:
        """By the system's own count; ``collected``, without what the garbage collector would find."""
        if collected:
            gc.collect()
        return cls(memory=_resident(), **Counts.now()._asdict())


class Sample(Held, frozen=True, kw_only=True):
    """How it went for some seconds: steps a second, and in seconds a run, a save, and the loop's longest gap."""

    at: float
    steps: float
    run_median: float
    run_p99: float
    save_median: float
    save_p99: float
    gap: float
    journals: int


class Gap:
    """The longest time that the loop was away, since it was last asked for.

    It looks every five milliseconds; cancel `watch` to end it.
    """

    def __init__(self) -> None:
        self._longest = 0.0

    async def watch(self) -> None:
        """Look until cancelled."""
        while True:
            began = time.perf_counter()
            await asyncio.sleep(0.005)
            self._longest = max(self._longest, time.perf_counter() - began - 0.005)

    def taken(self) -> float:
        """Seconds; from now on it counts anew."""
        longest, self._longest = self._longest, 0.0
        return longest


class Tolerance(msgspec.Struct, frozen=True):
    """How far the last quarter may be from the first: a part of it, and an amount beside it.

    A figure that is to stay large, as a speed, has ``falls``.
    """

    part: float
    amount: float
    falls: bool = False

    def is_kept(self, first: float, last: float) -> bool:
        """Whether it is."""
        if self.falls:
            first, last = last, first
        return last <= first * (1 + self.part) + self.amount


_MEGA = 1e6
#: Of the medians of the first quarter and the last. On a machine that others use, times vary more than memory.
TOLERANCES = {
    "memory": Tolerance(0.05, 8 * _MEGA),
    "descriptors": Tolerance(0.0, 2),
    "threads": Tolerance(0.0, 6),  # several look at files at once, for as long as there are many
    "tasks": Tolerance(0.05, 10),
    "journals": Tolerance(0.10, 16 * _MEGA),
    "steps": Tolerance(0.25, 0, falls=True),
    "run_median": Tolerance(0.25, 0.005),
    "run_p99": Tolerance(0.50, 0.020),
    "save_median": Tolerance(0.25, 0.005),
    "save_p99": Tolerance(0.50, 0.020),
    "gap": Tolerance(0.50, 0.050),
}


def quarters(samples: Sequence[Sample]) -> list[Sequence[Sample]]:
    """The samples in four parts, as even as may be; fewer where there are fewer samples."""
    parts = min(4, len(samples))
    edges = [round(number * len(samples) / parts) for number in range(parts + 1)] if parts else []
    return [samples[begin:end] for begin, end in pairwise(edges)]


def not_flat(samples: Sequence[Sample], still: Sequence[Held]) -> list[str]:
    """What is not flat, a sentence each.

    :param samples: in the midst of work. The medians of their first and last quarters are compared, and memory's
        slope, by least squares, too.
    :param still: while nobody worked: the same descriptors, threads and tasks each time, exactly.
    """
    found: list[str] = []
    parts = quarters(samples)
    if len(parts) > 1:
        for name, tolerance in TOLERANCES.items():
            first, last = (median(_column(part, name)) for part in (parts[0], parts[-1]))
            if not tolerance.is_kept(first, last):
                found.append(
                    f"{name}: {_shown(name, first)} in the first quarter, {_shown(name, last)} in the last"
                )
        memory, times = _column(samples, "memory"), _column(samples, "at")
        grown = linear_regression(times, memory).slope * (times[-1] - times[0])
        if not TOLERANCES["memory"].is_kept(fmean(memory), fmean(memory) + grown):
            found.append(f"memory: its slope makes {_shown('memory', grown)} of the whole time")
    for name in ("descriptors", "threads", "tasks"):
        counted = [getattr(each, name) for each in still]
        if len(set(counted)) > 1:
            found.append(f"{name} while nobody works: {', '.join(map(str, counted))}")
    if still and not TOLERANCES["memory"].is_kept(still[0].memory, still[-1].memory):
        found.append(
            f"memory while nobody works: {', '.join(_shown('memory', each.memory) for each in still)}"
        )
    return found


def table(samples: Sequence[Sample]) -> str:
    """A line for each quarter: medians, and of the gap the longest."""
    lines = [" ".join(f"{name:>12}" for name in ("quarter", *TOLERANCES))]
    for number, part in enumerate(quarters(samples), 1):
        cells = [str(number)]
        for name in TOLERANCES:
            column = _column(part, name)
            cells.append(_shown(name, max(column) if name == "gap" else median(column)))
        lines.append(" ".join(f"{cell:>12}" for cell in cells))
    return "\n".join(lines)


def quantile(values: Iterable[float], part: float) -> float:
    """The value that so large a part of them does not exceed; 0 where there is none."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(part * len(ordered)))] if ordered else 0.0


def bytes_in(folder: Path) -> int:
    """Of all files in it and below; what goes while it is counted, counts nothing. Blocking."""
    total, folders = 0, [str(folder)]
    while folders:
        try:
            with os.scandir(folders.pop()) as entries:
                for entry in entries:
                    if entry.is_dir(follow_symlinks=False):
                        folders.append(entry.path)
                    else:
                        total += entry.stat(follow_symlinks=False).st_size
        except OSError:
            continue
    return total


def _column(samples: Sequence[Sample], name: str) -> list[float]:
    return [float(getattr(each, name)) for each in samples]


def _shown(name: str, value: float) -> str:
    if name in ("memory", "journals"):
        return f"{value / _MEGA:.1f} MB"
    if name in ("descriptors", "threads", "tasks", "steps"):
        return f"{value:.0f}"
    return f"{value * 1000:.1f} ms"


def _resident() -> int:
    """Bytes; where the system does not tell, the most it ever was."""
    try:
        return int(Path("/proc/self/statm").read_text("ascii").split()[1]) * resource.getpagesize()
    except OSError:
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak if sys.platform == "darwin" else peak * 1024
