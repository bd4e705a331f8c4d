"""The kill loop: SIGKILL, 216 times, at random instants of twenty agents at work; nothing recorded is lost or redone.

``make soak`` is the same with 10,000 kills. A failure names its durability and its seed; with these it comes again,
as far as the machine's timing lets it.
"""

from __future__ import annotations

import os
import sys
import time
from typing import TYPE_CHECKING

import pytest
from tests.support.hive import AGENTS
from tests.support.killing import Broken, Campaign
from tests.support.processes import memory_folder

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Iterator
    from pathlib import Path

    from tests.support.hive import LeftOut, Level

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork and no kill -9")

KILLS = 24  # a campaign


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    with memory_folder(tmp_path) as chosen:
        yield chosen


def campaign(
    folder: Path,
    durability: Level,
    seed: int,
    without: LeftOut = "",
) -> Counter[str]:
    """One campaign, told in a line."""
    began = time.monotonic()
    chosen = Campaign(folder, durability, seed, without=without)
    try:
        chosen.run(KILLS)
    finally:
        figures = ", ".join(f"{count} {what}" for what, count in chosen.counted.items())
        sys.stdout.write(
            f"{durability!r}, seed {seed}: {KILLS} kills, {time.monotonic() - began:.1f} s; {figures}\n"
        )
    return chosen.counted


@pytest.mark.parametrize("seed", [1, 2, 3])
@pytest.mark.parametrize("durability", ["sync", "async"])
def test_killed_at_any_instant_nothing_recorded_is_lost_or_done_again(
    folder: Path, durability: Level, seed: int
) -> None:
    """F12, F41, F42, F43, F44: after kill -9 at any instant of twenty agents at work, everything acknowledged is on
    disk and whole, no agent is locked, no sequence has gone backwards, what was half written is swept when the agents
    are opened, no recorded model call or tool call is made again, no tool that may not be repeated runs twice, and
    every run is finished in the end."""
    counted = campaign(folder, durability, seed)
    assert_it_has_teeth(counted)


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_in_exit_what_was_saved_is_neither_lost_nor_done_again(folder: Path, seed: int) -> None:
    """F45: in "exit" a kill costs the run's steps since the last save and nothing that was saved; every run is
    finished in the end."""
    counted = campaign(folder, "exit", seed)
    assert_it_has_teeth(counted)


def assert_it_has_teeth(counted: Counter[str]) -> None:
    """The kills hit work, and some of them a process that was still coming up."""
    assert counted["kills with tools at work"] > KILLS // 6
    assert counted["kills with models being asked"] > KILLS // 6
    assert counted["acknowledged records checked"] > 100
    assert counted["runs finished"] > 2 * AGENTS


def test_the_same_loop_fails_where_starts_are_not_recorded(folder: Path) -> None:
    """F43: ... the negative control: without start records a tool that may not be repeated runs twice."""
    with pytest.raises(Broken, match="a tool that may not be repeated ran 2 times"):
        campaign(folder, "async", 1, without="start records")


def test_the_same_loop_fails_where_nobody_waits_for_the_disk(folder: Path) -> None:
    """F41: ... the negative control: where "sync" does not wait, what was acknowledged is lost,
    and done again."""
    with pytest.raises(Broken, match=r"acknowledged (.+) and not on disk|not be repeated ran 2 times"):
        campaign(folder, "sync", 1, without="waiting for the disk")
