"""Measures overwinter beside its baselines: ``python -m benchmarks [ROWS...] [--rounds N] [--json FILE] [--quick]``."""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from benchmarks.contest import Size
from benchmarks.harness import SUBJECTS, chosen, measure, result_of
from benchmarks.table import as_data, as_table, circumstances

if TYPE_CHECKING:
    from collections.abc import Sequence

_ROUNDS, _QUICK_TURNS = 3, 2
_WIDTH = 150  # of what is not a terminal


def main(arguments: list[str] | None = None, subjects: Sequence[str] = SUBJECTS) -> int:
    """Measure what is asked for, print the table, and write the JSON."""
    options = _parser(subjects).parse_args(arguments)
    size = Size(options.size)
    rounds = options.rounds or (1 if options.quick else _ROUNDS)
    turns = _QUICK_TURNS if options.quick else None
    if options.cpu:
        os.environ["OVERWINTER_BENCH_CPU"] = "1"
    try:
        contests = chosen(options.rows, subjects, quick=options.quick)
    except LookupError as error:
        print(error.args[0], file=sys.stderr)
        return 2
    console, news = Console(width=None if sys.stdout.isatty() else _WIDTH), Console(stderr=True)
    before, began = circumstances(), time.perf_counter()
    with news.status("beginning") as status:
        measure(contests, size, rounds, status.update if news.is_terminal else news.print, turns)
    seconds = time.perf_counter() - began
    results = [result_of(row, taken) for taken in contests for row in taken.contest.rows]
    data = as_data(results, before, seconds) | {
        "seconds": {one.contest.name: one.seconds for one in contests}
    }
    console.print(as_table(results, _title(data["circumstances"], rounds, cpu=options.cpu)))
    if options.json:
        options.json.write_text(json.dumps(data, indent=2) + "\n", "utf-8")
    return 0


def _title(about: dict[str, object], rounds: int, *, cpu: bool) -> str:
    measured = "seconds of the processor" if cpu else "seconds of the clock"
    return (
        f"{about['time']}, Python {about['python']}, {about['system']}, {about['cores']} cores, load {about['load']} "
        f"before and {about['load_after']} after; medians, {rounds} processes a row at most, {measured}"
    )


def _parser(subjects: Sequence[str]) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("python -m benchmarks", description=__doc__)
    parser.add_argument(
        "rows", nargs="*", help=f"subjects ({', '.join(subjects)}), contests or rows; else all"
    )
    parser.add_argument("--rounds", type=int, default=0, help=f"processes for each contest ({_ROUNDS})")
    parser.add_argument("--json", type=Path, help="write the figures there too")
    parser.add_argument(
        "--quick", action="store_true", help="one round, two turns, without the slowest: a first impression"
    )
    parser.add_argument("--size", choices=[*Size], default=Size.FULL, help=argparse.SUPPRESS)
    parser.add_argument(
        "--cpu", action="store_true", help="processor time in the place of the wall's, for noisy hours"
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
