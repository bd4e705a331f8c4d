"""A kill at each point of an agent's work: at every event, and at every operation on the disk, one after the other.

There are no hooks for this in overwinter: events are watched, and operations on files counted, as anybody can.
"""

from __future__ import annotations

import os
import sys
import time
from collections import Counter
from itertools import count
from typing import TYPE_CHECKING

import pytest
from tests.support.hive import lives
from tests.support.killing import Campaign
from tests.support.processes import Child, memory_folder

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.support.hive import Level

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork and no kill -9")

MOST_POINTS = 1000
IN_A_ROW = 3
EVENTS = {
    "run_started",
    "model_started",
    "text_delta",
    "reply_received",
    "tool_started",
    "tool_finished",
    "saved",
    "run_ended",
}
OPERATIONS = {
    "mkdir",
    "open_new",
    "half a write",
    "overwrite",
    "write",
    "fsync",
    "link",
    "replace",
    "sync_folder",
    "unlink",
}


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    with memory_folder(tmp_path) as chosen:
        yield chosen


def at_each_point(what: str, die_at: Callable[[int], str]) -> Counter[str]:
    """Die at the first point, at the second, ... until some come through; how often each kind of point was hit."""
    began = time.monotonic()
    hit: Counter[str] = Counter()
    came_through = 0
    for number in range(1, MOST_POINTS):
        point = die_at(number)
        # What a thread does may come a point earlier or later, so once is not enough.
        came_through = 0 if point else came_through + 1
        if came_through == IN_A_ROW:
            figures = ", ".join(f"{count} {kind}" for kind, count in sorted(hit.items()))
            took = time.monotonic() - began
            sys.stdout.write(f"{what}: killed at each of {hit.total()} points in {took:.1f} s: {figures}\n")
            return hit
        if point:
            hit[point] += 1
    raise AssertionError(f"after {MOST_POINTS} points it still did not come through")


@pytest.mark.parametrize("durability", ["async", "sync"])
def test_killed_at_any_event_a_run_is_finished_and_nothing_is_done_again(
    folder: Path, durability: Level
) -> None:
    """F46: killed at each event of a run in turn, an agent loses nothing acknowledged, repeats nothing recorded, and
    its run is finished."""
    with Child(lives) as child:
        tries = count()

        def die_at(number: int) -> str:
            campaign = Campaign(folder / str(next(tries)), durability, number, agents=1)
            point = campaign.dies(child, die_at_event=number, stream=True)
            campaign.finished(child)
            return point

        hit = at_each_point(f"events, {durability!r}", die_at)
        # Saves that came together put the last event a place earlier just then: it is looked for again.
        last = hit.total() + 1
        for number in (*range(last, last - 5, -1),) * 5:
            if hit.keys() == EVENTS:
                break
            if point := die_at(number):
                hit[point] += 1
    assert hit.keys() == EVENTS


@pytest.mark.parametrize("durability", ["async", "sync"])
def test_killed_at_any_operation_of_the_disk_a_run_is_finished_and_nothing_is_done_again(
    folder: Path, durability: Level
) -> None:
    """F12, F47: killed at each operation on the disk in turn, from the claim to the release, an agent loses nothing
    acknowledged, repeats nothing recorded, and its run is finished; what was half written is swept."""
    with Child(lives) as child:

        def die_at(number: int) -> str:
            campaign = Campaign(folder / str(number), durability, number, agents=1)
            point = campaign.dies(child, die_at_operation=number)
            campaign.finished(child)
            return point

        hit = at_each_point(f"operations, {durability!r}", die_at)
        # How many there are differs by one or two from life to life, and the lease's is the last of each.
        campaign = Campaign(folder / "the last", durability, 0, agents=1)
        hit[campaign.dies(child, die_at_operation=1, of_kind="overwrite")] += 1
        campaign.finished(child)
    assert hit.keys() == OPERATIONS


def test_killed_at_any_operation_of_a_takeover_the_next_one_takes_over(folder: Path) -> None:
    """F48: killed at each operation on the disk while it takes over from a process that was killed itself, it leaves
    everything to the next, and nothing is lost or done again."""
    with Child(lives) as child:

        def die_at(number: int) -> str:
            campaign = Campaign(folder / str(number), "sync", 7, agents=2)
            assert campaign.dies(child, die_at_event=18)
            point = campaign.dies(child, die_at_operation=number, only_come_up=True)
            campaign.finished(child)
            return point

        hit = at_each_point("operations of a takeover", die_at)
    assert hit.keys() >= {"open_new", "half a write", "write", "fsync", "overwrite", "sync_folder", "unlink"}
