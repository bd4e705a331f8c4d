"""Swarms of all patterns, killed at random instants and again as they resume: rounds for the tests and for the soak."""

from __future__ import annotations

import random
from collections import Counter
from typing import TYPE_CHECKING, Any

from tests.support.swarms_killing import SwarmCampaign
from tests.support.swarms_patterns import PATTERNS

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.hive import Level
    from tests.support.processes import Child

__all__ = ["KILLS", "WORKSPACES", "swarms_killed_at_random"]

WORKSPACES = 2  # a seed
KILLS = 3  # a workspace


def swarms_killed_at_random(child: Child, folder: Path, durability: Level, seed: int) -> Counter[str]:
    """Kill them, let them finish, and hold what comes of it against undisturbed runs; what was met on the way.

    :param child: a process that runs ``swarm_lives``.
    :raises Broken: something that was promised did not hold.
    """
    chance = random.Random(seed)
    settings: dict[str, Any] = {"tasks": 2, "slowness": 0.004}
    reference = SwarmCampaign(folder / "undisturbed", durability, tuple(PATTERNS), **settings)
    expected = reference.undisturbed(child)
    counted: Counter[str] = Counter()
    for number in range(WORKSPACES):
        campaign = SwarmCampaign(
            folder / str(number),
            durability,
            tuple(PATTERNS),
            seed=seed * 100 + number,
            length=reference.length,
            **settings,
        )
        for _ in range(KILLS):
            campaign.killed(child, chance.choice([0.0, *(chance.uniform(0.0, 0.4) for _ in range(4))]))
        campaign.finished(child, expected, all_at_once=number % 2 == 1)
        counted += campaign.counted
    return counted
