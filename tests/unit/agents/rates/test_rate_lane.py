"""The way to one model: moments that random events seldom hit."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import anyio
import pytest

from overwinter import RateLimit, RetryPolicy
from overwinter.agents.rates.lane import Lane
from overwinter.testing import FakeClock

if TYPE_CHECKING:
    from overwinter.agents.rates.place import Place

pytestmark = pytest.mark.anyio

POLICY = RetryPolicy()


def a_lane(limit: RateLimit) -> Lane:
    return Lane("m", limit, clock=FakeClock(), rest=lambda _: None)


def begin(lane: Lane, order: list[str], who: str, name: str) -> asyncio.Task[Place]:
    async def enter() -> Place:
        place = await lane.enter(who, 0, POLICY)
        order.append(name)
        return place

    return asyncio.get_running_loop().create_task(enter())


async def test_a_cancelled_call_does_not_cost_its_agent_the_turn() -> None:
    """G8: a call that waits and is cancelled, paused or stopped withdraws at once, and nobody loses a turn by that."""
    lane, order = a_lane(RateLimit(in_flight=1)), list[str]()
    busy = lane.enter_nowait(0)
    assert busy is not None
    one, two, other = (begin(lane, order, name[0], name) for name in ("a1", "a2", "b1"))
    await anyio.wait_all_tasks_blocked()
    # In one turn of the loop, so that the place is free before the call could withdraw.
    one.cancel()
    busy.answered(0)
    (await two).answered(0)
    (await other).answered(0)
    assert order == ["a2", "b1"]
    assert (lane.waiting, lane.under_way) == (0, 0)


async def test_a_place_given_to_a_call_that_was_just_cancelled_goes_to_the_next() -> None:
    """G8"""
    lane, order = a_lane(RateLimit(in_flight=1, requests_per_minute=2)), list[str]()
    busy = lane.enter_nowait(0)
    assert busy is not None
    one, two = begin(lane, order, "a", "a1"), begin(lane, order, "b", "b1")
    await anyio.wait_all_tasks_blocked()
    busy.answered(0)
    one.cancel()
    # Its request was not made and is not counted either.
    (await two).answered(0)
    assert (order, lane.used) == (["b1"], (2, 0))


async def test_a_place_ends_once() -> None:
    """G4"""
    lane = a_lane(RateLimit(in_flight=1, tokens_per_minute=100))
    place = lane.enter_nowait(50)
    assert place is not None
    place.answered(20)
    place.broke_off()
    place.refused()
    assert (lane.under_way, lane.used) == (0, (0, 20))


async def test_a_call_that_broke_off_keeps_what_was_reserved_for_it() -> None:
    """G6"""
    lane = a_lane(RateLimit(tokens_per_minute=100))
    for tokens, ends in ((30, "broke_off"), (20, "refused"), (10, "not_taken")):
        place = lane.enter_nowait(tokens)
        assert place is not None
        getattr(place, ends)()
    assert lane.used == (0, 30)
    place = lane.enter_nowait(40)
    assert place is not None
    place.answered(0)  # the model does not tell
    assert lane.used == (0, 70)
