"""Runs contests, each in processes of its own and all of them in turn, and gathers their rows."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.contest import Contest, Size, baseline_of, ratio_of, take_turns, value_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from benchmarks.contest import Row, Turn

__all__ = ["SUBJECTS", "Result", "Taken", "contests_of", "measure", "result_of"]

SUBJECTS = (
    "messages",
    "actors",
    "agents",
    "steps",
    "gaps",
    "records",
    "conversation",
    "calls",
    "imports",
    "restarts",
    "crowds",
)
ROOT = Path(__file__).resolve().parent.parent


@dataclass
class Taken:
    """What one contest's turns have said so far."""

    subject: str
    contest: Contest
    turns: list[Turn] = field(default_factory=list)
    skipped: dict[str, str] = field(default_factory=dict)
    seconds: float = 0.0


@dataclass(frozen=True)
class Result:
    """A row with its figures: medians over all turns, and the median of the ratios within each turn.

    ``reached`` is None where there is no goal, or nothing was measured; ``why`` says why not.
    """

    row: Row
    value: float | None
    baseline: float | None
    ratio: float | None
    reached: bool | None
    turns: int
    why: str = ""


def contests_of(subject: str) -> tuple[Contest, ...]:
    """The contests of one module of ``benchmarks``."""
    found: tuple[Contest, ...] = import_module(f"benchmarks.{subject}").CONTESTS
    return found


def chosen(words: Sequence[str], subjects: Sequence[str] = SUBJECTS, *, quick: bool = False) -> list[Taken]:
    """The contests that *words* name: subjects, contests, or keys of rows; all of them without a word, but
    the slow ones if it is to be *quick*.

    :raises LookupError: nothing has such a name.
    """
    everything = [Taken(subject, contest) for subject in subjects for contest in contests_of(subject)]
    for word in words:
        if not any(_is_meant(taken, word) for taken in everything):
            raise LookupError(f"nothing is called {word!r}; subjects: {', '.join(subjects)}")
    if not words:
        return [one for one in everything if not (quick and one.contest.slow)]
    return [one for one in everything if any(_is_meant(one, word) for word in words)]


def _is_meant(taken: Taken, word: str) -> bool:
    return word in (taken.subject, taken.contest.name, *(row.key for row in taken.contest.rows))


def measure(
    all_of: Sequence[Taken],
    size: Size,
    rounds: int,
    told: Callable[[str], object],
    most_turns: int | None = None,
) -> None:
    """Run each contest in *rounds* processes, of *most_turns* each; a round goes through all before the next begins.

    So what disturbs the machine for a minute disturbs every row a little, and not one of them altogether.
    """
    for number in range(rounds):
        for taken in all_of:
            contest = taken.contest
            if number < (contest.rounds or rounds):
                told(f"round {number + 1} of {rounds}: {contest.name}")
                _in_a_process(taken, size, min(contest.turns, most_turns or contest.turns))


def _in_a_process(taken: Taken, size: Size, turns: int) -> None:
    command = [
        sys.executable,
        "-m",
        "benchmarks.harness",
        taken.subject,
        taken.contest.name,
        size,
        str(turns),
    ]
    began = time.perf_counter()
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, env=os.environ, check=False)
    taken.seconds += time.perf_counter() - began
    if done.returncode:
        taken.skipped |= dict.fromkeys(taken.contest.candidates, f"its process ended with {done.returncode}")
        return
    said = json.loads(done.stdout.splitlines()[-1])
    taken.turns += said["turns"]
    taken.skipped |= said["skipped"]


def result_of(row: Row, taken: Taken) -> Result:
    """The row as the turns have it."""
    value, ratio = value_of(row, taken.turns), ratio_of(row, taken.turns)
    known = {"value": value, "ratio": ratio}
    judged = [goal.reached(measured) for goal in row.goals if (measured := known[goal.of]) is not None]
    complete = bool(row.goals) and len(judged) == len(row.goals)
    reasons = {taken.skipped[name]: None for name in (row.of, row.against) if name in taken.skipped}
    return Result(
        row=row,
        value=value,
        baseline=baseline_of(row, taken.turns),
        ratio=ratio,
        reached=all(judged) if complete else None,
        turns=sum(row.of in turn for turn in taken.turns),
        why="; ".join(reasons),
    )


def main(subject: str, name: str, size: str, turns: str) -> None:
    """Be one of the processes: measure one contest, and print what came of it as one line of JSON."""
    contest = next(one for one in contests_of(subject) if one.name == name)
    taken, skipped = take_turns(contest, Size(size), int(turns))
    print(json.dumps({"turns": taken, "skipped": skipped}), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
