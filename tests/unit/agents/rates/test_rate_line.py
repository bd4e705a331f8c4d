"""The line in which agents take turns."""

from __future__ import annotations

from typing import TypeVar

from hypothesis import given
from hypothesis import strategies as st

from overwinter.agents.rates.line import Line

T = TypeVar("T")
WHO = st.sampled_from("abcd")


def drained(line: Line[T]) -> list[T]:
    return [line.step_up() for _ in range(len(line))]


def test_one_with_a_hundred_calls_does_not_keep_others_from_their_turn() -> None:
    """G5: agents that wait take turns, and the calls of one go in the order in which they came."""
    line: Line[str] = Line()
    for number in range(100):
        line.join("greedy", f"greedy {number}")
    line.join("modest", "modest 0")
    line.join("late", "late 0")
    assert drained(line)[:5] == ["greedy 0", "modest 0", "late 0", "greedy 1", "greedy 2"]


@given(st.lists(st.one_of(WHO, st.none()), max_size=80))
def test_between_two_turns_of_who_waits_everybody_else_has_one_at_most(steps: list[str | None]) -> None:
    """G5"""
    line: Line[tuple[str, int]] = Line()
    waiting: dict[str, list[int]] = {who: [] for who in "abcd"}
    passed: dict[str, list[str]] = {who: [] for who in "abcd"}
    for number, who in enumerate(steps):
        if who is not None:
            line.join(who, (who, number))
            waiting[who].append(number)
        elif len(line):
            first = line.first
            assert line.step_up() == first
            name, came = first
            assert came == waiting[name].pop(0)
            passed[name] = []
            for other in waiting:
                if other != name and waiting[other]:
                    passed[other].append(name)
                    assert len(set(passed[other])) == len(passed[other])
    assert sorted(drained(line)) == sorted((who, n) for who, ns in waiting.items() for n in ns)


@given(st.lists(st.tuples(WHO, st.booleans()), max_size=40))
def test_who_leaves_is_gone_and_nobody_else(steps: list[tuple[str, bool]]) -> None:
    line: Line[int] = Line()
    for number, (who, _) in enumerate(steps):
        line.join(who, number)
    stay: list[int] = []
    for number, (who, leaves) in enumerate(steps):
        if leaves:
            assert line.leave(who, number)
            assert not line.leave(who, number)
        else:
            stay.append(number)
    assert len(line) == len(stay)
    assert sorted(line) == stay
    assert sorted(line.step_up() for _ in stay) == stay
