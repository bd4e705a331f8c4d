"""A thousand agents at full speed for an hour: ``make soak-agents``, or ``python -m tests.soak_agents --seconds 3600``.

After a warm-up, which is a quarter of the time, it looks every ten seconds: at memory, descriptors, threads, tasks and
journals, at steps a second, at how long runs and saves take, and at the loop's longest gap. Five times in all it has
everybody stand still, and counts exactly. At the end it prints a table of the four quarters, and fails with code 1
where something grew, or became slower, by more than ``flatness.TOLERANCES`` allow. With Ctrl-C it prints what there is.
The samples stand in ``.soak-agents.jsonl``, a line each.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import logging
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, TypeVar

import msgspec
from tests.support.colony import Colony
from tests.support.flatness import Gap, Held, Sample, bytes_in, not_flat, quantile, table

from overwinter.persistence import journal_file, replay

if TYPE_CHECKING:
    from collections.abc import Callable

ArgumentT = TypeVar("ArgumentT")
ResultT = TypeVar("ResultT")

SAMPLES = Path(".soak-agents.jsonl")
_WARM_UP = 0.25
_QUARTERS = 4
_LONGEST_TO_STAND_STILL = 300.0  # seconds


class Warned(logging.Handler):
    """How many warnings there were, and the last of them, in the place of a line each."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.count, self.last = 0, ""

    def emit(self, record: logging.LogRecord) -> None:
        """Count it."""
        self.count += 1
        self.last = record.getMessage()


class Soak:
    """One soak, and what it has seen so far.

    :param every: seconds between two samples.
    :param samples_to: where they are written, as they come.
    """

    def __init__(self, colony: Colony, *, every: float, samples_to: Path) -> None:
        self.colony = colony
        self.samples: list[Sample] = []
        self.still: list[Held] = []
        self._every = every
        self._file = samples_to
        self._gap = Gap()
        self._began = self._since = time.monotonic()
        self._calls = 0
        # One thread of its own, so that the number of threads tells of overwinter alone.
        self._beside = ThreadPoolExecutor(1)

    async def run(self, seconds: float) -> None:
        """Work for so long, and look; cancelled, the agents are saved, and what was seen stays."""
        self._file.write_bytes(b"")
        await self._aside(bytes_in, self.colony.workspace)
        async with self.colony.at_work(), asyncio.TaskGroup() as tasks:
            watch = tasks.create_task(self._gap.watch())
            await asyncio.sleep(seconds * _WARM_UP)
            await self._stand_still()
            for _ in range(_QUARTERS):
                await self._look_for(seconds * (1 - _WARM_UP) / _QUARTERS)
                await self._stand_still()
            watch.cancel()

    async def _look_for(self, seconds: float) -> None:
        self._begin()
        end = self._since + seconds
        while (left := end - time.monotonic()) > self._every / 2:
            await asyncio.sleep(min(left, self._every))
            self.samples.append(await self._sample())
            self._begin()

    def _begin(self) -> None:
        self._since, self._calls = time.monotonic(), self.colony.model.calls
        del self.colony.runs[:], self.colony.saves[:]
        self._gap.taken()

    async def _sample(self) -> Sample:
        colony, now = self.colony, time.monotonic()
        sample = Sample(
            **msgspec.structs.asdict(Held.now(collected=False)),
            at=now - self._began,
            steps=(colony.model.calls - self._calls) / (now - self._since),
            run_median=median(colony.runs or [0.0]),
            run_p99=quantile(colony.runs, 0.99),
            save_median=median(colony.saves or [0.0]),
            save_p99=quantile(colony.saves, 0.99),
            gap=self._gap.taken(),
            journals=await self._aside(bytes_in, colony.workspace),
        )
        await self._aside(self._write, sample)
        return sample

    async def _stand_still(self) -> None:
        async with asyncio.timeout(_LONGEST_TO_STAND_STILL), self.colony.still():
            self.still.append(Held.now(collected=True))
            await self._aside(self._write, self.still[-1])
        held = self.still[-1]
        tell(
            f"{time.monotonic() - self._began:5.0f} s: {self.colony.model.calls:,} steps; standing still "
            f"{held.memory / 1e6:.1f} MB, {held.descriptors} descriptors, {held.threads} threads, {held.tasks} tasks"
        )

    async def _aside(self, work: Callable[[ArgumentT], ResultT], argument: ArgumentT) -> ResultT:
        return await asyncio.get_running_loop().run_in_executor(self._beside, work, argument)

    def _write(self, held: Held) -> None:
        with self._file.open("ab") as file:
            file.write(msgspec.json.encode(held) + b"\n")

    def report(self, *, counts_only: bool) -> list[str]:
        """Print the table; what is not flat."""
        found = not_flat([] if counts_only else self.samples, self.still)
        tell(table(self.samples))
        for each in found:
            tell(f"NOT FLAT: {each}")
        return found


def main() -> None:
    """Soak, and tell."""
    # A megabyte would take an agent half an hour; so it takes a conversation, and what is past is dropped all the time.
    for module in (journal_file, replay):
        vars(module)["SEGMENT_BYTES"] = 1 << 16
    warned = Warned()
    logging.getLogger("overwinter").addHandler(warned)
    options = argparse.ArgumentParser(
        description="Have agents work at full speed, and see that nothing grows."
    )
    options.add_argument("--seconds", type=float, default=3600.0)
    options.add_argument("--agents", type=int, default=1000)
    options.add_argument("--runs", type=int, default=20, help="in one conversation")
    options.add_argument("--every", type=float, default=10.0, help="seconds between two samples")
    options.add_argument("--samples", type=Path, default=SAMPLES, help="the file they go to")
    options.add_argument("--counts-only", action="store_true", help="compare what is counted, not speed")
    chosen = options.parse_args()
    with tempfile.TemporaryDirectory(prefix="overwinter-soak-") as folder:
        colony = Colony(Path(folder) / "agent_workspace", chosen.agents, runs=chosen.runs)
        soak = Soak(colony, every=chosen.every, samples_to=chosen.samples)
        whole = False
        with contextlib.suppress(KeyboardInterrupt):
            asyncio.run(soak.run(chosen.seconds))
            whole = True
        not_kept = soak.report(counts_only=chosen.counts_only)
        tell(f"{warned.count} warnings{', the last: ' if warned.count else ''}{warned.last}")
    if not whole:
        sys.exit("interrupted")
    sys.exit(1 if not_kept else 0)


def tell(text: str) -> None:
    """Say it at once."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
