"""Whether memory stays flat over many items: ``python benchmarks/map_reduce.py [ITEMS] [AT_ONCE] [CHARACTERS]``.

A ``MapReduce`` that is saved does the items, of so many characters each, as many at once as are told; the model answers
each with as many characters, at once. The process's resident memory is printed at each tenth of the items, beside what
the items' and the answers' own texts take by then, which the swarm keeps.
"""

from __future__ import annotations

import asyncio
import gc
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from overwinter import Agent, MapReduce, Message, ModelReply, ModelRequest, Usage

if TYPE_CHECKING:
    from collections.abc import Callable

_PAGE = 4096


class Quick:
    """A model that answers at once, and counts how often."""

    name = "quick"
    price = None

    def __init__(self, each: int, characters: int, told: Callable[[str], object]) -> None:
        self._told = told
        self._each = each
        self._characters = characters
        self._began = time.perf_counter()
        self.answered = 0
        self.measured: list[float] = []

    async def prepare(self) -> None:
        """Nothing needs to be loaded."""

    async def complete(
        self, request: ModelRequest, *, on_text: Callable[[str], None] | None = None
    ) -> ModelReply:
        """Answer with as many characters as the items have."""
        await asyncio.sleep(0)
        self.answered += 1
        if self.answered % self._each == 0:
            self._measure()
        text = f"{self.answered:>{self._characters}}"
        return ModelReply(message=Message("assistant", text), usage=Usage(calls=1), model=self.name)

    def _measure(self) -> None:
        now = resident()
        self.measured.append(now)
        seconds = time.perf_counter() - self._began
        texts = 2 * self.answered * self._characters / 1e6
        self._told(
            f"{self.answered:>7,} items  {now:7.1f} MB resident  {texts:6.1f} MB of texts  {seconds:6.1f} s"
        )


def resident() -> float:
    """The memory that this process holds, in millions of bytes."""
    gc.collect()
    return int(Path("/proc/self/statm").read_text("ascii").split()[1]) * _PAGE / 1e6


async def measure(
    items: int, at_once: int, characters: int, told: Callable[[str], object] = lambda _: None
) -> list[float]:
    """Do the items; the megabytes at each tenth of them."""
    model = Quick(max(1, items // 10), characters, told)
    with tempfile.TemporaryDirectory() as folder:
        mapper = Agent("mapper", model=model)
        swarm = MapReduce("many", mapper, len_of_all, at_once=at_once, autosave=True, workspace_dir=folder)
        told(f"{'before':>13}  {resident():7.1f} MB resident")
        result = await swarm.run([f"{number:>{characters}}" for number in range(items)])
        told(f"{len(result.members):,} results, {result.text} characters")
    return model.measured


def main(items: int, at_once: int, characters: int) -> None:
    """Do the items and print what is measured."""
    measured = asyncio.run(measure(items, at_once, characters, lambda line: print(line, flush=True)))
    first, last = measured[0], measured[-1]
    grown = (last - first) * 1e6 / (items * 0.9)
    print(f"{last / first:.2f} times the memory of the first tenth at the end; {grown:,.0f} bytes an item")


def len_of_all(texts: list[str]) -> str:
    """How long all results are."""
    return f"{sum(map(len, texts)):,}"


if __name__ == "__main__":
    given = [int(argument) for argument in sys.argv[1:4]]
    main(*given, *(10_000, 100, 200)[len(given) :])
