"""When a provider wants to be left alone, and how one comes back."""

from __future__ import annotations

import pytest

from overwinter import Backoff, RetryPolicy
from overwinter.agents.rates.hold import LONGEST_HOLD, Hold

POLICY = RetryPolicy(max_attempts=2, longest_wait=100.0, backoff=Backoff(initial=1.0, jitter=0.0))


def times_of_return(hold: Hold, now: float, calls: int) -> list[float]:
    times: list[float] = []
    for _ in range(calls):
        now += hold.wait(now)
        hold.went(now)
        times.append(now)
    return times


def test_after_the_hold_calls_come_back_one_after_the_other_faster_and_faster() -> None:
    """G12: after that time held calls go on one after the other, at gaps that grow shorter from a second on."""
    hold = Hold()
    hold.begin(0.0, 10.0, began=None)
    assert times_of_return(hold, 0.0, 4) == pytest.approx([10.0, 11.0, 11.5, 11.5 + 1 / 3])


def test_a_thousand_are_back_within_eight_seconds() -> None:
    """G12"""
    hold = Hold()
    hold.begin(0.0, 10.0, began=None)
    times = times_of_return(hold, 0.0, 1000)
    assert times[19] < 14.0
    assert times[-1] < 18.0
    assert len(set(times)) == 1000


def test_a_refusal_on_the_way_back_begins_anew() -> None:
    hold = Hold()
    hold.begin(0.0, 10.0, began=None)
    times_of_return(hold, 0.0, 5)
    hold.begin(12.0, 4.0, began=11.0)
    assert times_of_return(hold, 12.0, 2) == pytest.approx([16.0, 17.0])


def test_many_that_are_refused_at_once_are_one_refusal_and_the_longest_time_counts() -> None:
    hold = Hold()
    assert [hold.begin(0.0, seconds, began=-1.0) for seconds in (5.0, 9.0, 1.0)] == [True, True, False]
    assert (hold.refusals, hold.left(0.0)) == (1, 9.0)
    hold.begin(10.0, 1.0, began=9.0)
    assert hold.refusals == 2


def test_a_provider_is_asked_again_in_the_end_whatever_it_said() -> None:
    """G13"""
    hold = Hold()
    hold.begin(0.0, 86_400.0, began=None)
    assert hold.left(0.0) == LONGEST_HOLD


def test_who_waits_gives_up_as_if_it_had_been_refused_itself() -> None:
    """G13: a waiting call gives a model up when its provider asks for longer than the policy waits, or refuses on."""
    hold = Hold()
    hold.begin(0.0, 101.0, began=None)
    assert hold.is_hopeless(0.0, POLICY, since=1)
    assert not hold.is_hopeless(1.0, POLICY, since=1)
    hold.begin(102.0, 5.0, began=102.0)
    assert not hold.is_hopeless(102.0, POLICY, since=1)
    hold.begin(108.0, 5.0, began=108.0)
    assert hold.is_hopeless(108.0, POLICY, since=1)
    assert not hold.is_hopeless(108.0, POLICY, since=2)
    assert not hold.is_hopeless(113.0, POLICY, since=1)


def test_an_answer_in_between_shows_that_waiting_is_not_in_vain() -> None:
    """G13"""
    hold = Hold()
    for now in (0.0, 10.0, 20.0):
        hold.begin(now, 5.0, began=now)
        hold.answered(now + 5.0)
        assert not hold.is_hopeless(now, POLICY, since=0)
    hold.answered(0.0)
    hold.begin(30.0, 5.0, began=30.0)
    hold.begin(40.0, 5.0, began=40.0)
    assert hold.is_hopeless(40.0, POLICY, since=0)
