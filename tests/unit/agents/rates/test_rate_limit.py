"""What users set, and which of it holds for which model."""

from __future__ import annotations

from typing import Any

import pytest

from overwinter import ConfigurationError, RateLimit, Runtime
from overwinter.agents.rates.limit import NO_LIMIT, limit_of

ANY, OPENAI, MINI = (RateLimit(in_flight=n) for n in (1, 2, 3))


@pytest.mark.parametrize("wrong", [0, -1, float("nan"), float("inf"), True, "60"])
@pytest.mark.parametrize("name", ["requests_per_minute", "tokens_per_minute", "in_flight", "window"])
def test_a_limit_that_cannot_work_is_refused_where_it_is_written(name: str, wrong: Any) -> None:
    """G1: a rate limit that cannot work is refused where it is written, with its name and what to give."""
    with pytest.raises(ConfigurationError, match=rf"RateLimit\.{name} is .*give a number above zero"):
        RateLimit(**{name: wrong})


def test_calls_in_flight_are_whole() -> None:
    """G1"""
    with pytest.raises(ConfigurationError, match=r"in_flight is 1\.5; give a whole number"):
        RateLimit(in_flight=1.5)  # type: ignore[arg-type]


def test_a_window_in_which_not_one_call_has_room_is_refused() -> None:
    """G1"""
    with pytest.raises(ConfigurationError, match=r"less than one in 1 s; give a longer window"):
        RateLimit(requests_per_minute=30, window=1)
    assert RateLimit(requests_per_minute=30, window=2).in_window(30) == 1


@pytest.mark.parametrize("name", ["", "o*penai", "**", 7])
def test_a_name_that_can_match_no_model_is_refused(name: Any) -> None:
    """G1"""
    with pytest.raises(ConfigurationError, match=r"rate_limits has the key .*'openai/\*'"):
        Runtime(rate_limits={name: ANY})


def test_what_is_no_limit_is_refused() -> None:
    """G1"""
    with pytest.raises(ConfigurationError, match=r"rate_limits\['m'\] is 60; give RateLimit"):
        Runtime(rate_limits={"m": 60})  # type: ignore[dict-item]


@pytest.mark.parametrize(
    ("model", "limit"),
    [("openai/gpt-4o-mini", MINI), ("openai/gpt-4o", OPENAI), ("gemini/flash", ANY), ("openai/", OPENAI)],
)
def test_the_nearest_name_counts(model: str, limit: RateLimit) -> None:
    """G2: a limit holds for the model of its name, or for each one whose name begins so; the longest one counts."""
    limits = {"*": ANY, "openai/*": OPENAI, "openai/gpt-4o-mini": MINI}
    assert limit_of(model, limits) is limit


def test_a_model_of_which_nothing_is_said_has_no_limit() -> None:
    """G2"""
    assert limit_of("other", {"openai/*": OPENAI}) is NO_LIMIT
    assert not NO_LIMIT.limits_something
