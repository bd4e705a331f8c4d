"""Lanes that come to rest, and limits that change, while calls are under way."""

from __future__ import annotations

import asyncio
import math
from random import Random
from typing import TYPE_CHECKING

import pytest

from overwinter import Backoff, RateLimit, RetryPolicy
from overwinter.agents.rates.rates import Rates
from overwinter.errors import ModelError
from overwinter.testing import FakeClock

if TYPE_CHECKING:
    from overwinter.agents.models import ModelReply, ModelRequest

pytestmark = pytest.mark.anyio


class Named:
    name = "m"

    async def prepare(self) -> None:
        raise AssertionError

    async def complete(self, request: ModelRequest, *, on_text: object = None) -> ModelReply:
        raise AssertionError(request)


MODEL = Named()


async def test_a_call_of_an_earlier_hold_does_not_end_a_later_one() -> None:
    """G11"""
    clock = FakeClock()
    rates = Rates(None, clock=clock)
    rates.hold(MODEL, {}, 1.0)
    lane = rates.lane(MODEL, {})
    assert lane is not None
    waiting = asyncio.get_running_loop().create_task(lane.enter("a", 0, RetryPolicy()))
    await asyncio.sleep(0)
    await clock.advance(1.0)
    place = await waiting
    await clock.advance(2.0)
    assert rates.lane(MODEL, {}) is None  # at rest, with the call still under way
    rates.hold(MODEL, {}, 10.0, began=place.began)
    place.refused()
    later = rates.lane(MODEL, {})
    assert later is not None
    assert later.held_for == 10.0
    later.close()


async def test_a_limit_of_another_window_goes_on_counting_what_was_used() -> None:
    """G15"""
    clock = FakeClock()
    rates = Rates({"m": RateLimit(tokens_per_minute=100)}, clock=clock)
    lane = rates.lane(MODEL, {})
    assert lane is not None
    place = lane.enter_nowait(90)
    assert place is not None
    rates.limits = {"m": RateLimit(tokens_per_minute=200, window=30.0)}
    assert lane.used == (0, 90)
    place.answered(20)
    assert lane.used == (0, 20)
    await clock.advance(30.0)
    assert lane.used == (0, 0)


async def test_a_limit_that_is_set_again_does_not_count_backwards() -> None:
    """G15"""
    rates = Rates({"m": RateLimit(tokens_per_minute=100, in_flight=9)}, clock=FakeClock())
    lane = rates.lane(MODEL, {})
    assert lane is not None
    place = lane.enter_nowait(90)
    assert place is not None
    rates.limits = {"m": RateLimit(in_flight=9)}
    rates.limits = {"m": RateLimit(tokens_per_minute=100, in_flight=9)}
    place.answered(20)
    assert lane.used == (0, 0)


@pytest.mark.parametrize("absurd", [math.nan, -5.0])
def test_an_absurd_delay_is_none(absurd: float) -> None:
    """G13"""

    policy = RetryPolicy(backoff=Backoff(initial=2.0, jitter=0.0))
    error = ModelError("busy", retryable=True, retry_after=absurd)
    assert policy.pause(1, error, Random(1)) == 2.0
