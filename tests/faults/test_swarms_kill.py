"""Swarms of every pattern, killed with SIGKILL and resumed by new processes, come to what they would have come to.

What members were asked stands in a ledger that they write themselves, and what was recorded is read from the files
without overwinter's readers. ``make soak`` kills them at many more instants.
"""

from __future__ import annotations

import os
import sys
import time
from collections import Counter
from typing import TYPE_CHECKING

import pytest
from tests.support.killing import Broken
from tests.support.processes import Child, memory_folder
from tests.support.swarms_killing import SwarmCampaign, Undisturbed
from tests.support.swarms_lives import swarm_lives
from tests.support.swarms_patterns import PATTERNS
from tests.support.swarms_rounds import WORKSPACES, swarms_killed_at_random

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.support.hive import Level

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork and no kill -9")

BOUNDARIES = ("member_started", "member_finished")
MOST_POINTS = 100


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    with memory_folder(tmp_path) as chosen:
        yield chosen


@pytest.fixture(scope="module")
def child() -> Iterator[Child]:
    """One process for all tests here, which forks a life when it is told to."""
    with Child(swarm_lives) as program:
        yield program


def undisturbed(child: Child, folder: Path, pattern: str) -> Undisturbed:
    found = SwarmCampaign(folder / "undisturbed", "sync", (pattern,)).undisturbed(child)
    assert set(found.asked.values()) == {1}, "no two calls of a run are alike, so that one repeated is seen"
    return found


@pytest.mark.parametrize("pattern", PATTERNS)
def test_killed_at_any_boundary_of_its_members_a_swarm_comes_to_what_it_would_have(
    folder: Path, child: Child, pattern: str
) -> None:
    """Z1: a swarm of any pattern, of swarms in swarms too, that is killed as a member's work begins or ends and is
    resumed by another process has the result of a run that nobody disturbed, text, members' texts and usage; what a
    member finished is not done again, and no recorded call of a model, function or condition is repeated."""
    began = time.monotonic()
    expected = undisturbed(child, folder, pattern)
    hit: Counter[str] = Counter()
    for kind in BOUNDARIES:
        for number in range(1, MOST_POINTS):
            campaign = SwarmCampaign(folder / f"{kind}-{number}", "sync", (pattern,))
            point = campaign.dies(child, kind, number)
            if not point:
                break
            hit[kind] += 1
            campaign.finished(child, expected)
    works = expected.works.total()
    assert hit == dict.fromkeys(BOUNDARIES, works), "each boundary was hit"
    sys.stdout.write(
        f"{pattern}: {works} works, killed {hit.total()} times, {time.monotonic() - began:.1f} s\n"
    )


@pytest.mark.parametrize("seed", [1, 2, 3, 4])
@pytest.mark.parametrize("durability", ["sync", "async"])
def test_killed_at_any_instant_and_again_as_they_resume_swarms_come_to_what_they_would_have(
    folder: Path, child: Child, durability: Level, seed: int
) -> None:
    """Z2: swarms of all patterns, at work at the same time and killed at random instants, and again while they
    resume, have the results of undisturbed runs; in "sync" nothing that a member or the swarm was told is lost, and
    in "async" no call is repeated whose answer had reached the disk."""
    began = time.monotonic()
    counted = swarms_killed_at_random(child, folder, durability, seed)
    figures = ", ".join(f"{count} {what}" for what, count in counted.items())
    sys.stdout.write(f"{durability!r}, seed {seed}: {figures}; {time.monotonic() - began:.1f} s\n")
    assert counted["kills"] >= WORKSPACES
    assert counted["work done when killed"] > 0


@pytest.mark.parametrize("pattern", PATTERNS)
def test_the_same_kills_are_noticed_where_a_swarm_keeps_no_records(
    folder: Path, child: Child, pattern: str
) -> None:
    """Z1: ... the negative control: where a swarm forgets what was done, its members are seen to do it again."""
    expected = undisturbed(child, folder, pattern)
    # A member that keeps records of its own does not do it again, so the last boundary may show nothing.
    for number in range(expected.works.total(), 0, -1):
        campaign = SwarmCampaign(folder / str(number), "sync", (pattern,), without="the swarm's records")
        assert campaign.dies(child, "member_finished", number)
        with pytest.raises(Broken) as broken:
            campaign.finished(child, expected)
        if "asked again, although the answer was recorded" in str(broken.value):
            return
    raise AssertionError("nothing was noticed")
