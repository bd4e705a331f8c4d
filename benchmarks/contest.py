"""What a benchmark is made of: contests, their candidates, the rows that come of them, and their goals."""

from __future__ import annotations

import gc
import os
import time
from dataclasses import dataclass
from enum import StrEnum
from statistics import median
from typing import TYPE_CHECKING, Literal, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

__all__ = [
    "Contest",
    "Figures",
    "Goal",
    "Measure",
    "Row",
    "Size",
    "Skipped",
    "Turn",
    "baseline_of",
    "clock",
    "ratio_of",
    "take_turns",
    "value_of",
]

Figures: TypeAlias = "Mapping[str, float]"
Turn: TypeAlias = "dict[str, dict[str, float]]"  # candidate, figure, value


class Size(StrEnum):
    """How much is done in one measurement: what its rows say, or so little that it is only seen to work."""

    FULL = "full"
    TINY = "tiny"

    def of(self, full: int, tiny: int) -> int:
        """The number that belongs to this size."""
        return full if self is Size.FULL else tiny


Measure: TypeAlias = "Callable[[Size], Figures]"


class Skipped(Exception):
    """A candidate cannot be measured here, and says why."""


@dataclass(frozen=True)
class Goal:
    """A bound on a row's value, or on its ratio to the baseline."""

    of: Literal["value", "ratio"]
    bound: float
    at: Literal["least", "most"]

    def reached(self, value: float) -> bool:
        """Whether *value* is within the bound."""
        return value >= self.bound if self.at == "least" else value <= self.bound


@dataclass(frozen=True)
class Row:
    """One line of the table: a figure of a candidate, beside that of a baseline.

    :ivar against: the candidate that it is compared with, or "".
    :ivar against_figure: the baseline's figure, where it has another name.
    :ivar beside: what the baseline is called, where that is not the candidate's name.
    """

    key: str
    what: str
    figure: str
    unit: str
    of: str = "overwinter"
    against: str = ""
    against_figure: str = ""
    beside: str = ""
    goals: tuple[Goal, ...] = ()


@dataclass(frozen=True)
class Contest:
    """Candidates that do the same work in turn, in one process, and the rows that come of it.

    :ivar turns: how often each has its turn in one process.
    :ivar rounds: the most processes that are used for it, one after the other; 0 leaves that to the caller.
    :ivar warm_up: whether each candidate does a little of the work first.
    :ivar slow: whether a quick run does without it.
    """

    name: str
    candidates: Mapping[str, Measure]
    rows: tuple[Row, ...]
    turns: int = 3
    rounds: int = 0
    warm_up: bool = True
    slow: bool = False


def clock() -> float:
    """Seconds: of the wall, or those of the processor that this process has used, as ``--cpu`` asks."""
    return time.process_time() if os.environ.get("OVERWINTER_BENCH_CPU") else time.perf_counter()


def take_turns(contest: Contest, size: Size, turns: int) -> tuple[list[Turn], dict[str, str]]:
    """Measure all candidates so many times in turn; what each turn said, and who was skipped and why.

    Who begins changes with each turn. Garbage is collected before each measurement, so that nobody pays for another.
    """
    skipped: dict[str, str] = {}
    taken: list[Turn] = []
    if contest.warm_up:
        for name, measure in contest.candidates.items():
            _measure(name, measure, Size.TINY, skipped)
    names = list(contest.candidates)
    for number in range(turns):
        turn: Turn = {}
        start = number % len(names)
        for name in (*names[start:], *names[:start]):
            figures = None if name in skipped else _measure(name, contest.candidates[name], size, skipped)
            if figures is not None:
                turn[name] = dict(figures)
        taken.append(turn)
    return taken, skipped


def _measure(name: str, measure: Measure, size: Size, skipped: dict[str, str]) -> Figures | None:
    gc.collect()
    try:
        return measure(size)
    except Skipped as reason:
        skipped[name] = str(reason)
        return None


def value_of(row: Row, turns: Sequence[Turn]) -> float | None:
    """The median of the row's figure, or None where it was never measured."""
    found = [turn[row.of][row.figure] for turn in turns if row.of in turn]
    return median(found) if found else None


def baseline_of(row: Row, turns: Sequence[Turn]) -> float | None:
    """The median of the baseline's figure, or None where there is none."""
    figure = row.against_figure or row.figure
    found = [turn[row.against][figure] for turn in turns if row.against in turn]
    return median(found) if found else None


def ratio_of(row: Row, turns: Sequence[Turn]) -> float | None:
    """The median of the row's figure over the baseline's of the same turn."""
    figure = row.against_figure or row.figure
    found = [
        turn[row.of][row.figure] / turn[row.against][figure]
        for turn in turns
        if row.of in turn and row.against in turn
    ]
    return median(found) if found else None
