"""A plain actor with a snapshot of its own: it counts on, from one run of the program to the next.

    python examples/counter_actor.py        # Counted 100 words in this run, 100 in 1 run(s).
    python examples/counter_actor.py        # Counted 100 words in this run, 200 in 2 run(s).

No agent and no model is in it. The snapshot stands in ``$WORKSPACE_DIR/actors/counter-.../counter_state.json``.
"""

from __future__ import annotations

import asyncio

import msgspec

from overwinter import Actor, Runtime, Snapshot


class Add(msgspec.Struct, frozen=True):
    """So many words more."""

    words: int


class Report(msgspec.Struct, frozen=True):
    """How many are there? Answered with a ``Tally``."""


class Tally(msgspec.Struct, frozen=True):
    """What the counter remembers."""

    words: int = 0
    runs: int = 0


class Counter(Actor[Add | Report]):
    """Counts words; one message at a time, so that no count is lost and nothing needs a lock."""

    _tally: Snapshot[Tally]

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime

    async def on_start(self) -> None:
        self._tally = await self._runtime.snapshot("counter", type=Tally, default=Tally())
        await self._tally.save(Tally(self._tally.value.words, self._tally.value.runs + 1))

    async def receive(self, message: Add | Report) -> Tally:
        tally = self._tally.value
        match message:
            case Add(words):
                # Saved behind: of a hundred marks in a row, the disk sees a few. `await save(...)` would wait for it.
                self._tally.mark(Tally(tally.words + words, tally.runs))
            case Report():
                pass
        return self._tally.value

    async def on_stop(self) -> None:
        await self._tally.aclose()

    async def on_restart(self, error: Exception) -> None:
        print(f"Counting on after {error!r}")  # in a new Counter, which opens the snapshot again
        await self._tally.aclose()


async def main() -> None:
    async with Runtime() as runtime:
        counter = await runtime.spawn(lambda: Counter(runtime), name="counter")
        for _ in range(100):
            await counter.tell(Add(1))
        tally: Tally = await counter.ask(Report(), timeout=10)
        print(f"Counted 100 words in this run, {tally.words} in {tally.runs} run(s).")


if __name__ == "__main__":
    asyncio.run(main())
