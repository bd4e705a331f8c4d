"""The sliding window, against a window that is counted anew each time."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from overwinter.agents.rates.window import INSTANT, Window

SECONDS = 60.0

# Pauses in sixteenths of a second, so that sums are exact and uses fall on the very ends of windows.
STEPS = st.lists(st.tuples(st.integers(0, 16 * 40).map(lambda n: n / 16), st.integers(0, 12)), max_size=60)


def at_most(uses: list[tuple[float, float]]) -> float:
    """The most that was used in any window."""
    return max(
        (sum(amount for at, amount in uses if begin <= at < begin + SECONDS) for begin, _ in uses), default=0
    )


@given(STEPS)
def test_no_window_has_more_than_its_capacity(steps: list[tuple[float, int]]) -> None:
    """G3: in no minute, wherever it begins, do more calls begin than the limit says."""
    window, now = Window(10, SECONDS), 0.0
    amount: float
    uses: list[tuple[float, float]] = []
    for pause, amount in steps:
        now += pause
        if window.wait(now, amount) == 0.0:
            window.use(now, amount)
            uses.append((now, amount))
    large = [use for use in uses if use[1] > 10]
    assert at_most([use for use in uses if use not in large]) <= 10
    for at, amount in large:
        assert [use for use in uses if at - SECONDS < use[0] < at + SECONDS and use[1]] == [(at, amount)]


@given(STEPS, st.integers(1, 12))
def test_the_wait_is_as_long_as_it_must_be_and_no_longer(steps: list[tuple[float, int]], amount: int) -> None:
    window, now = Window(10, SECONDS), 0.0
    used: float
    for pause, used in steps:
        now += pause
        window.use(now, used)
    wait = window.wait(now, amount)
    if wait:
        assert window.wait(now + wait - 2 * INSTANT, amount) > 0
    assert window.wait(now + wait, amount) == 0.0


def test_what_was_not_used_makes_room_and_what_was_used_beyond_counts_from_now() -> None:
    """G6: what a call is likely to use is reserved when it begins, and settled with what it used."""
    window = Window(100, SECONDS)
    entry = window.use(0.0, 80)
    assert window.wait(1.0, 30) == 59.0
    window.correct(1.0, entry, 60)
    assert window.wait(1.0, 30) == 0.0
    window.correct(10.0, entry, 90)
    assert window.used_since(10.0) == 90
    assert window.used_since(60.0) == 30
    assert window.used_since(70.0) == 0


def test_an_old_use_that_turns_out_smaller_changes_nothing() -> None:
    window = Window(100, SECONDS)
    entry = window.use(0.0, 80)
    window.use(60.0, 10)
    window.correct(60.0, entry, 20)
    assert window.used_since(60.0) == 10


def test_what_was_never_made_is_not_counted() -> None:
    window = Window(1, SECONDS)
    entry = window.use(0.0, 1)
    window.correct(5.0, entry, 0)
    assert window.wait(5.0, 1) == 0.0
