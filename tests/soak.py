"""The kill loop for hours: ``make soak``, or ``python -m tests.soak [KILLS]``.

Campaigns of 40 kills, in turn in "sync", "async" and "exit", each with a seed of its own; and after each of them swarms
of all patterns, in "sync" or "async", killed as they work and again as they resume. How far it came stands in
``.soak.json``; started again it goes on from there, and with ``--anew`` from the beginning. A promise that breaks ends
it with code 1, and the workspace stays for a look.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
from tests.support.killing import LEVELS, Broken, Campaign
from tests.support.processes import Child, memory_folder
from tests.support.swarms_lives import swarm_lives
from tests.support.swarms_rounds import swarms_killed_at_random

if TYPE_CHECKING:
    from tests.support.hive import Level

KILLS = 10_000
A_CAMPAIGN = 40
PROGRESS = Path(".soak.json")


class Progress(msgspec.Struct, kw_only=True):
    """How far a soak came."""

    seed: int
    campaigns: int = 0
    kills: int = 0
    seconds: float = 0.0
    counted: dict[str, int] = {}


def main() -> None:
    """Kill so many times in all, counting what earlier starts did."""
    options = argparse.ArgumentParser(
        description="Kill a swarm at random instants, and check what it promised."
    )
    options.add_argument("kills", nargs="?", type=int, default=KILLS)
    options.add_argument("--seed", type=int, default=None, help="of the first campaign")
    options.add_argument("--anew", action="store_true", help="forget how far it came")
    chosen = options.parse_args()
    progress = Progress(seed=chosen.seed if chosen.seed is not None else int(time.time()))
    if PROGRESS.exists() and not chosen.anew:
        progress = msgspec.json.decode(PROGRESS.read_bytes(), type=Progress)
        tell(f"going on after {progress.kills} kills")
    while progress.kills < chosen.kills:
        one_campaign(progress, min(A_CAMPAIGN, chosen.kills - progress.kills))
    PROGRESS.unlink(missing_ok=True)
    tell(
        f"\n{progress.kills} kills in {progress.seconds:.0f} s from seed {progress.seed}, no promise broken:"
    )
    for what, count in progress.counted.items():
        tell(f"{count:>12,} {what}")


def one_campaign(progress: Progress, kills: int) -> None:
    """The next campaign; it is remembered when it has come through."""
    began = time.monotonic()
    durability, seed = LEVELS[progress.campaigns % len(LEVELS)], progress.seed + progress.campaigns
    with memory_folder(Path(tempfile.gettempdir())) as memory:
        folder = memory / "soak"
        folder.mkdir()
        try:
            campaign = Campaign(folder / "agents", durability, seed)
            campaign.run(kills)
            with Child(swarm_lives) as child:
                level: Level = "sync" if durability == "exit" else durability
                swarms = swarms_killed_at_random(child, folder / "swarms", level, seed)
        except Broken as error:
            kept = Path(tempfile.mkdtemp(prefix="overwinter-soak-")) / "soak"
            shutil.copytree(folder, kept)
            sys.exit(f"\nBROKEN: {error}\nWhat stands there is in {kept}")
        finally:
            shutil.rmtree(folder, ignore_errors=True)
    counted = campaign.counted + Counter({f"{what}, of swarms": count for what, count in swarms.items()})
    progress.campaigns += 1
    progress.kills += kills + swarms["kills"]
    progress.seconds += time.monotonic() - began
    progress.counted = Counter(progress.counted) + counted
    PROGRESS.write_bytes(msgspec.json.encode(progress))
    tell(f"\r{progress.kills} kills, {progress.seconds:.0f} s, seed {seed} {durability:<6}", end="")


def tell(text: str, end: str = "\n") -> None:
    """Say it at once."""
    sys.stdout.write(text + end)
    sys.stdout.flush()


if __name__ == "__main__":
    main()
