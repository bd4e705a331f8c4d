"""A lane in any order of events: its limits are kept, turns are fair, and nobody is forgotten."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from overwinter import RateLimit, RetryPolicy
from overwinter.agents.rates.lane import Lane
from overwinter.errors import ModelBusy
from overwinter.testing import FakeClock

if TYPE_CHECKING:
    from overwinter.agents.rates.place import Place

LIMIT = RateLimit(requests_per_minute=6, tokens_per_minute=100, in_flight=3)
PATIENT = RetryPolicy(max_attempts=1000, longest_wait=1000.0)
HASTY = RetryPolicy(max_attempts=2, longest_wait=15.0)


class Call:
    def __init__(self, who: str, tokens: int) -> None:
        self.who = who
        self.tokens = tokens
        self.place: Place | None = None
        self.task: asyncio.Task[Any] | None = None
        self.passed: list[str] = []
        self.turned_away = False

    @property
    def waits(self) -> bool:
        return self.task is not None and not self.task.done()


class LaneMachine(RuleBasedStateMachine):
    """Up to four agents; each rule is followed by as many turns of the loop as it takes until nothing moves."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.clock = FakeClock()
        self.rested = 0
        self.lane = Lane("m", LIMIT, clock=self.clock, rest=self._rest)
        self.waiting: list[Call] = []
        self.under_way: list[Call] = []
        self.begun: list[tuple[float, int]] = []
        self.not_before = 0.0
        self.passed: dict[str, list[str]] = {}

    def _rest(self, lane: Lane) -> None:
        self.rested += 1

    def _turn(self, seconds: float) -> None:
        self.loop.run_until_complete(self.clock.advance(seconds))

    async def _enter(self, call: Call, policy: RetryPolicy) -> None:
        try:
            call.place = await self.lane.enter(call.who, call.tokens, policy)
        except ModelBusy:
            call.turned_away = True
            return
        self._began(call)

    def _began(self, call: Call) -> None:
        assert call.place is not None
        self.begun.append((call.place.began, call.tokens))
        assert call.place.began >= self.not_before - 1e-6
        self.under_way.append(call)
        self.passed[call.who] = []
        for who in {other.who for other in self.waiting if other.waits} - {call.who}:
            self.passed[who].append(call.who)

    @rule(who=st.sampled_from("abcd"), tokens=st.sampled_from([0, 10, 40, 100, 150]), hasty=st.booleans())
    def enter(self, who: str, tokens: int, *, hasty: bool) -> None:
        call = Call(who, tokens)
        call.place = self.lane.enter_nowait(tokens)
        if call.place is not None:
            assert not self.waiting
            self._began(call)
            return
        if not any(other.who == who and other.waits for other in self.waiting):
            self.passed[who] = []
        call.task = self.loop.create_task(self._enter(call, HASTY if hasty else PATIENT))
        self.waiting.append(call)

    @rule(seconds=st.sampled_from([0.0, 0.3, 1.0, 7.0, 20.0, 60.0]))
    def time_goes_on(self, seconds: float) -> None:
        self._turn(seconds)

    @precondition(lambda self: self.waiting)
    @rule(pick=st.integers(0, 100), at_once=st.booleans())
    def cancel(self, pick: int, *, at_once: bool) -> None:
        call = self.waiting[pick % len(self.waiting)]
        assert call.task is not None
        if not at_once:
            self._turn(0.0)
        call.task.cancel()

    @precondition(lambda self: self.under_way)
    @rule(pick=st.integers(0, 100), used=st.sampled_from([0, 5, 40, 120]))
    def answer(self, pick: int, used: int) -> None:
        place = self._ends(pick)
        place.answered(used)
        place.broke_off()

    @precondition(lambda self: self.under_way)
    @rule(pick=st.integers(0, 100))
    def break_off(self, pick: int) -> None:
        self._ends(pick).broke_off()

    @precondition(lambda self: self.under_way)
    @rule(pick=st.integers(0, 100), seconds=st.sampled_from([0.1, 5.0, 30.0]))
    def refuse(self, pick: int, seconds: float) -> None:
        place = self._ends(pick)
        self.lane.hold(seconds, began=place.began)
        self.not_before = max(self.not_before, self.clock.monotonic() + seconds)
        place.refused()

    @precondition(lambda self: self.under_way and self.waiting)
    @rule(ends=st.integers(0, 100), leaves=st.integers(0, 100), first=st.booleans())
    def a_place_is_free_for_one_that_leaves(self, ends: int, leaves: int, *, first: bool) -> None:
        """The hand-over and the cancellation come in one turn of the loop, the one or the other first."""
        self._turn(0.0)
        place, call = self._ends(ends), self.waiting[leaves % len(self.waiting)]
        assert call.task is not None
        if first:
            call.task.cancel()
        place.answered(1)
        call.task.cancel()

    def _ends(self, pick: int) -> Place:
        call = self.under_way.pop(pick % len(self.under_way))
        assert call.place is not None
        return call.place

    @invariant()
    def keeps_its_limits(self) -> None:
        self._turn(0.0)
        self.waiting = [call for call in self.waiting if call.waits]
        assert self.lane.waiting == len(self.waiting)
        assert self.lane.under_way == len(self.under_way) <= 3
        times = [at for at, _ in self.begun]
        for begin in times:
            assert sum(begin <= at < begin + 60.0 - 1e-5 for at in times) <= 6

    @invariant()
    def is_fair(self) -> None:
        for call in self.waiting:
            # While it waits for a turn, each other agent has one turn at most.
            passed = self.passed[call.who]
            assert len(set(passed)) == len(passed)

    @invariant()
    def somebody_goes_as_soon_as_there_is_room(self) -> None:
        if self.waiting:
            assert self.lane.obstacle(0).limit != "turn"
            assert self.clock.pending > 0 or len(self.under_way) == 3

    def teardown(self) -> None:
        self._turn(0.0)
        for call in self.under_way:
            assert call.place is not None
            call.place.broke_off()
        self.under_way.clear()
        # Nobody is forgotten: with places given back and time, all of them go.
        for _ in range(len(self.waiting) + 1):
            self._turn(100.0)
            while self.under_way:
                self._ends(0).answered(1)
                self._turn(0.0)
        assert not any(call.waits for call in self.waiting)
        assert self.lane.waiting == 0
        assert self.rested
        self._turn(100.0)
        assert self.clock.pending == 0
        self.loop.close()
        super().teardown()


def test_a_lane_keeps_its_limits_and_forgets_nobody_whatever_happens() -> None:
    """G3, G4, G8: limits hold, and nobody is forgotten, whoever waits, is cancelled, refused, answered or cut off."""
    run_state_machine_as_test(
        LaneMachine, settings=settings(max_examples=100, stateful_step_count=40, deadline=None)
    )
