"""The account that calls are reserved on."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from overwinter import Budget
from overwinter.agents.allowance import Account, Amount, LimitMet, Loan, Need, picos
from overwinter.errors import ConfigurationError
from overwinter.testing import FakeClock

if TYPE_CHECKING:
    from collections.abc import Sequence

pytestmark = pytest.mark.anyio


def account(budget: Budget | None = None, *, prefix: str = "") -> Account:
    return Account(budget, clock=FakeClock(), prefix=prefix)


def tokens(count: int, *, least: int | None = None) -> Need:
    return Need(Amount(count if least is None else least), Amount(count))


def dollars(cost: float) -> Need:
    return Need(Amount(picos=picos(cost)), Amount(picos=picos(cost)))


class Caller:
    """Asks an account for room, in a task of its own."""

    def __init__(self, on: Account, need: Need) -> None:
        self.need = need
        self.loan: Loan | None = None
        self.limit = ""
        self.task = asyncio.ensure_future(self._ask(on))

    async def _ask(self, on: Account) -> None:
        try:
            self.loan = await on.lend(self.need)
        except LimitMet as met:
            self.limit = met.limit

    @property
    def waits(self) -> bool:
        return not self.task.done()


async def settled() -> None:
    """Let every task come as far as it can."""
    for _ in range(4):
        await asyncio.sleep(0)


async def callers(on: Account, *needs: Need) -> list[Caller]:
    asking = [Caller(on, need) for need in needs]
    await settled()
    return asking


async def test_what_is_reserved_is_not_lent_twice() -> None:
    one = account(Budget(tokens=100))
    first, second = await callers(one, tokens(60), tokens(60))
    assert first.loan is not None
    assert second.waits
    first.loan.settle(Amount(30))
    await settled()
    assert second.loan is not None
    assert (one.spent.tokens, one.spent.reserved_tokens) == (30, 60)
    second.loan.give_back()
    assert (one.spent.tokens, one.spent.reserved_tokens, one.spent.calls) == (30, 0, 1)


async def test_a_call_without_room_waits_only_while_others_could_make_some() -> None:
    one = account(Budget(tokens=100))
    with pytest.raises(LimitMet, match="tokens"):
        await one.lend(tokens(101))
    first, too_large = await callers(one, tokens(50), tokens(150))
    assert too_large.limit == "tokens"
    (waits,) = await callers(one, tokens(80))
    assert waits.waits
    assert first.loan is not None
    first.loan.settle(Amount(50))
    await settled()
    assert waits.limit == "tokens"


async def test_a_call_of_unknown_size_gets_what_is_left_when_it_is_alone() -> None:
    one = account(Budget(tokens=100))
    first, second = await callers(one, tokens(1000, least=10), tokens(1000, least=10))
    assert first.loan is not None
    assert first.loan.amount == Amount(100)
    assert second.waits
    first.loan.settle(Amount(95))
    await settled()
    assert second.limit == "tokens"


async def test_calls_are_served_in_the_order_in_which_they_came() -> None:
    one = account(Budget(tokens=100))
    first, large, small = await callers(one, tokens(50), tokens(80), tokens(10))
    assert first.loan is not None
    assert large.waits
    assert small.waits
    first.loan.give_back()
    await settled()
    assert large.loan is not None
    assert small.loan is not None


async def test_a_cancelled_wait_takes_nothing_and_lets_the_next_step_up() -> None:
    one = account(Budget(tokens=100))
    first, large, small = await callers(one, tokens(50), tokens(80), tokens(10))
    large.task.cancel()
    await settled()
    assert small.loan is not None
    assert first.loan is not None
    first.loan.give_back()
    small.loan.give_back()
    assert one.spent.reserved_tokens == 0


async def test_a_wait_that_is_cancelled_just_as_it_is_served_gives_its_room_back() -> None:
    one = account(Budget(tokens=100))
    first, second, third = await callers(one, tokens(80), tokens(80), tokens(80))
    assert first.loan is not None
    first.loan.give_back()
    second.task.cancel()
    await settled()
    assert second.task.cancelled()
    assert third.loan is not None
    assert one.spent.reserved_tokens == 80


async def test_a_wait_that_is_cancelled_just_as_it_is_refused_is_cancelled() -> None:
    one = account(Budget(tokens=100))
    first, second = await callers(one, tokens(80), tokens(80))
    assert first.loan is not None
    first.loan.settle(Amount(80))
    second.task.cancel()
    await settled()
    assert second.task.cancelled()
    assert one.spent.calls_waiting == 0


async def test_a_higher_limit_serves_those_who_wait_and_a_lower_one_turns_them_away() -> None:
    one = account(Budget(tokens=100))
    _, second, third = await callers(one, tokens(60), tokens(60), tokens(60))
    one.budget = Budget(tokens=120)
    await settled()
    assert second.loan is not None
    assert third.waits
    one.budget = Budget(tokens=50)
    await settled()
    assert third.limit == "tokens"


async def test_a_loan_ends_once() -> None:
    one = account(Budget(tokens=100))
    loan = await one.lend(tokens(60))
    loan.settle(Amount(10))
    loan.settle(Amount(10))
    loan.give_back()
    assert (one.spent.tokens, one.spent.reserved_tokens, one.spent.calls) == (10, 0, 1)


async def test_cents_add_up_exactly() -> None:
    one = account(Budget(cost=0.3))
    for _ in range(3):
        (await one.lend(dollars(0.1))).settle(Amount(picos=picos(0.1)))
    assert one.spent.cost == 0.3
    with pytest.raises(LimitMet, match="cost"):
        await one.lend(dollars(0.0))


async def test_without_a_budget_it_only_counts() -> None:
    one = account()
    loan = await one.lend(tokens(10**9))
    loan.settle(Amount(7, picos(2.5)), priced=False)
    assert (one.spent.tokens, one.spent.cost, one.spent.unpriced_calls) == (7, 2.5, 1)
    assert not one.counts
    assert one.seconds_left is None


async def test_limits_of_a_runtime_have_names_of_their_own() -> None:
    one = account(Budget(tokens=1), prefix="runtime_")
    with pytest.raises(LimitMet, match="runtime_tokens"):
        await one.lend(tokens(2))


async def test_time_goes_by_the_clock() -> None:
    clock = FakeClock()
    one = Account(Budget(seconds=5), clock=clock, seconds=2)
    assert one.seconds_left == 3
    await clock.advance(2.9999999)
    assert one.seconds_left == 0.0
    one.begin()
    assert one.seconds_left == 5


@pytest.mark.parametrize("wrong", [{"tokens": 0}, {"cost": -1.0}, {"seconds": float("nan")}, {"cost": 1e999}])
def test_a_limit_is_a_number_above_zero(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError, match=next(iter(wrong))):
        Budget(**wrong)


amounts = st.builds(Amount, st.integers(0, 60), st.integers(0, 60))
needs = st.tuples(amounts, amounts).map(lambda both: Need(both[0], both[0] + both[1]))
steps = st.one_of(
    st.tuples(st.just("ask"), needs),
    st.tuples(st.just("settle"), st.integers(0, 20), amounts),
    st.tuples(st.just("give_back"), st.integers(0, 20)),
    st.tuples(st.just("cancel"), st.integers(0, 20)),
    st.tuples(st.just("budget"), st.integers(1, 150), st.integers(1, 150)),
    st.tuples(st.just("breathe")),
)


def budget_of(most_tokens: int, most_picos: int) -> Budget:
    return Budget(tokens=most_tokens, cost=most_picos / 10**12)


async def play(on: Account, script: Sequence[tuple[object, ...]]) -> None:
    asked: list[Caller] = []
    for step in script:
        out = [one for one in asked if one.loan is not None]
        waiting = [one for one in asked if one.waits]
        match step:
            case ("ask", Need() as need):
                asked.append(Caller(on, need))
            case ("settle", int(index), Amount() as used) if out:
                end(out[index % len(out)], used)
            case ("give_back", int(index)) if out:
                end(out[index % len(out)], None)
            case ("cancel", int(index)) if waiting:
                waiting[index % len(waiting)].task.cancel()
            case ("budget", int(most_tokens), int(most_picos)):
                on.budget = budget_of(most_tokens, most_picos)
            case _:
                await settled()
        # Nobody waits unless something is reserved that could make room.
        assert on.spent.calls_under_way > 0 or on.spent.calls_waiting == 0
    while any(one.waits or one.loan is not None for one in asked):
        await settled()
        for one in asked:
            if one.loan is not None:
                end(one, Amount(1, 1))
    spent = on.spent
    assert (spent.reserved_tokens, spent.reserved_cost, spent.calls_under_way) == (0, 0, 0)
    assert spent.calls_waiting == 0
    assert all(one.task.done() for one in asked)


def end(caller: Caller, used: Amount | None) -> None:
    assert caller.loan is not None
    if used is None:
        caller.loan.give_back()
    else:
        caller.loan.settle(used)
    caller.loan = None


class Watched(Account):
    """Checks each loan at the moment in which it is made."""

    def __init__(self, budget: Budget) -> None:
        super().__init__(budget, clock=FakeClock())
        self.guessed_wrong = Amount()

    def close_loan(self, loan: Loan, used: Amount | None, *, priced: bool = True) -> None:
        if used is not None:
            over = used - loan.amount
            self.guessed_wrong += Amount(max(0, over.tokens), max(0, over.picos))
        super().close_loan(loan, used, priced=priced)

    def _loan(self, need: Need) -> Loan | None:
        loan = super()._loan(need)
        if loan is not None:
            taken, limits = self.spent, self.budget
            assert limits.tokens is not None
            assert limits.cost is not None
            assert taken.tokens + taken.reserved_tokens <= limits.tokens
            assert picos(taken.cost) + picos(taken.reserved_cost) <= picos(limits.cost)
            assert loan.amount.tokens >= need.least.tokens
            assert loan.amount.picos >= need.least.picos
        return loan


@settings(max_examples=300, deadline=None)
@given(st.integers(1, 150), st.integers(1, 150), st.lists(steps, max_size=60))
def test_an_account_never_lends_more_than_it_has_and_all_comes_back(
    most_tokens: int, most_picos: int, script: list[tuple[object, ...]]
) -> None:
    """L1: spent and reserved never exceed the limit when a call begins, and all that is reserved comes back."""
    asyncio.run(play(Watched(budget_of(most_tokens, most_picos)), script))


@settings(max_examples=300, deadline=None)
@given(st.integers(1, 150), st.integers(1, 150), st.lists(steps.filter(lambda step: step[0] != "budget")))
def test_a_limit_is_exceeded_by_no_more_than_what_was_guessed_wrong(
    most_tokens: int, most_picos: int, script: list[tuple[object, ...]]
) -> None:
    """L1"""
    watched = Watched(budget_of(most_tokens, most_picos))
    asyncio.run(play(watched, script))
    assert watched.spent.tokens <= most_tokens + watched.guessed_wrong.tokens
    assert picos(watched.spent.cost) <= most_picos + watched.guessed_wrong.picos
