"""The account that a run, or all runs of a runtime, draw on: reserved before a call, settled after it."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING

import msgspec

from overwinter.agents.budget import Budget

if TYPE_CHECKING:
    from overwinter.runtime import Clock

__all__ = ["NOTHING", "Account", "Amount", "LimitMet", "Loan", "Need", "Spent", "picos"]

_PICOS = 10**12
_AS_GOOD_AS_UP = 1e-6  # seconds; less than this is the rounding of differences of times


def picos(dollars: float) -> int:
    """US dollars as a whole number of trillionths, in which sums and differences are exact."""
    return round(dollars * _PICOS)


class Amount(msgspec.Struct, frozen=True, gc=False):
    """Tokens, and money in trillionths of a US dollar."""

    tokens: int = 0
    picos: int = 0

    def __add__(self, other: Amount) -> Amount:
        return Amount(self.tokens + other.tokens, self.picos + other.picos)

    def __sub__(self, other: Amount) -> Amount:
        return Amount(self.tokens - other.tokens, self.picos - other.picos)


NOTHING = Amount()


class Need(msgspec.Struct, frozen=True, gc=False):
    """What a call is expected to need: ``likely``, and the ``least`` without which it cannot be made at all."""

    least: Amount = NOTHING
    likely: Amount = NOTHING


class Spent(msgspec.Struct, frozen=True, kw_only=True):
    """What was spent, and what is reserved for calls under way.

    :ivar tokens: input and output tokens of the calls that were made.
    :ivar cost: US dollars, as far as prices are known.
    :ivar seconds: since the runtime was opened.
    :ivar calls: how many calls were made.
    :ivar unpriced_calls: how many of these had a cost that nobody knows.
    :ivar reserved_tokens: what the calls under way are expected to need.
    :ivar reserved_cost: the same in US dollars.
    :ivar calls_under_way: how many these are.
    :ivar calls_waiting: how many wait for room beside them.
    """

    tokens: int = 0
    cost: float = 0.0
    seconds: float = 0.0
    calls: int = 0
    unpriced_calls: int = 0
    reserved_tokens: int = 0
    reserved_cost: float = 0.0
    calls_under_way: int = 0
    calls_waiting: int = 0


class LimitMet(Exception):
    """There is no room for a call, and there will be none; ``limit`` names what it would exceed."""

    def __init__(self, limit: str) -> None:
        super().__init__(limit)
        self.limit = limit


class Loan:
    """A reservation. It ends once, with ``settle`` or ``give_back``; ending it again does nothing."""

    __slots__ = ("_account", "_open", "amount")

    def __init__(self, account: Account, amount: Amount) -> None:
        self._account = account
        self._open = True
        self.amount = amount

    def settle(self, used: Amount, *, priced: bool = True) -> None:
        """The call was made and needed *used*, be that more or less than was reserved."""
        if self._open:
            self._open = False
            self._account.close_loan(self, used, priced=priced)

    def give_back(self) -> None:
        """The call was not made, or failed: nothing of it is spent."""
        if self._open:
            self._open = False
            self._account.close_loan(self, None)


class _Waiter:
    __slots__ = ("future", "need")

    def __init__(self, need: Need) -> None:
        self.need = need
        self.future: asyncio.Future[Loan] = asyncio.get_running_loop().create_future()


class Account:
    """Lends room for calls within a budget; without one it only counts. It belongs to one event loop.

    What is spent and what is reserved never exceed the budget together when a loan is made. What is spent may exceed it
    when calls need more than was reserved for them.

    :param prefix: stands before the names of the limits it tells.
    :param seconds: what has gone of the time before now.
    """

    def __init__(
        self, budget: Budget | None, *, clock: Clock, prefix: str = "", seconds: float = 0.0
    ) -> None:
        self._clock = clock
        self._prefix = prefix
        self._began = clock.monotonic() - seconds
        self._spent = NOTHING
        self._reserved = NOTHING
        self._loans = 0
        self._calls = 0
        self._unpriced = 0
        # Made when somebody has to wait: each run has an account, and an empty deque takes half a kilobyte.
        self._waiters: deque[_Waiter] | None = None
        self.budget = budget

    @property
    def budget(self) -> Budget:
        """The limits. A new budget holds from now on: whoever waits is served, or turned away, by it."""
        return self._budget

    @budget.setter
    def budget(self, budget: Budget | None) -> None:
        self._budget = budget or Budget()
        self._tokens = self._budget.tokens
        self._picos = None if self._budget.cost is None else picos(self._budget.cost)
        self._serve()

    @property
    def spent(self) -> Spent:
        """What was spent so far, and what is reserved."""
        return Spent(
            tokens=self._spent.tokens,
            cost=self._spent.picos / _PICOS,
            seconds=self.seconds,
            calls=self._calls,
            unpriced_calls=self._unpriced,
            reserved_tokens=self._reserved.tokens,
            reserved_cost=self._reserved.picos / _PICOS,
            calls_under_way=self._loans,
            calls_waiting=len(self._waiters or ()),
        )

    @property
    def seconds(self) -> float:
        """What has gone of the time."""
        return self._clock.monotonic() - self._began

    @property
    def seconds_left(self) -> float | None:
        """What is left of the time, 0.0 when it is up, ``None`` when it has no limit."""
        if self._budget.seconds is None:
            return None
        left = self._budget.seconds - self.seconds
        return left if left > _AS_GOOD_AS_UP else 0.0

    @property
    def counts(self) -> bool:
        """Whether tokens or money are limited."""
        return self._tokens is not None or self._picos is not None

    def named(self, limit: str) -> str:
        """The name of *limit* on this account."""
        return self._prefix + limit

    def begin(self) -> None:
        """Let the time begin now."""
        self._began = self._clock.monotonic()

    def recount(self, spent: Amount) -> None:
        """Take *spent* for what was spent so far."""
        self._spent = spent

    def charge(self, spent: Amount) -> None:
        """Count *spent*, which was drawn elsewhere, as spent here."""
        self._spent += spent

    def lend_nowait(self, need: Need) -> Loan | None:
        """:meth:`lend`, if there is room at once; ``None`` when it would have to wait.

        :raises LimitMet: the least has no room beside what is spent.
        """
        loan = None if self._waiters else self._loan(need)
        if loan is None:
            self._refuse_if_hopeless(need)
        return loan

    async def lend(self, need: Need) -> Loan:
        """Reserve what a call is likely to need, waiting behind those that came before where there is no room now.

        Alone, with nothing else reserved, a call gets what is left if that is the least it must have.

        :raises LimitMet: the least has no room beside what is spent, which never becomes less.

        Cancelling it takes nothing, and lets those behind it step up.
        """
        loan = self.lend_nowait(need)
        if loan is not None:
            return loan
        waiter = _Waiter(need)
        if self._waiters is None:
            self._waiters = deque()
        self._waiters.append(waiter)
        try:
            return await waiter.future
        except asyncio.CancelledError:
            self._withdraw(waiter)
            raise

    def close_loan(self, loan: Loan, used: Amount | None, *, priced: bool = True) -> None:
        """What a loan says when it ends; ``used`` is ``None`` when it was given back."""
        if loan.amount is not NOTHING:
            self._reserved -= loan.amount
        self._loans -= 1
        if used is not None:
            self._spent += used
            self._calls += 1
            self._unpriced += not priced
        if self._waiters:
            self._serve()

    def _loan(self, need: Need) -> Loan | None:
        """A loan, if there is room for it now."""
        if not self.counts or not self._exceeded(self._spent + self._reserved + need.likely):
            amount = need.likely
        elif not self._loans and not self._exceeded(self._spent + need.least):
            amount = self._what_is_left_of(need.likely)
        else:
            return None
        if amount is not NOTHING:
            self._reserved += amount
        self._loans += 1
        return Loan(self, amount)

    def _what_is_left_of(self, amount: Amount) -> Amount:
        tokens, money = amount.tokens, amount.picos
        if self._tokens is not None:
            tokens = min(tokens, self._tokens - self._spent.tokens)
        if self._picos is not None:
            money = min(money, self._picos - self._spent.picos)
        return Amount(tokens, money)

    def _exceeded(self, total: Amount) -> str:
        """The limit that has been reached, or that *total* would exceed, or an empty string."""
        if self._tokens is not None and (self._spent.tokens >= self._tokens or total.tokens > self._tokens):
            return "tokens"
        if self._picos is not None and (self._spent.picos >= self._picos or total.picos > self._picos):
            return "cost"
        return ""

    def _refuse_if_hopeless(self, need: Need) -> None:
        limit = self._exceeded(self._spent + need.least)
        if limit:
            raise LimitMet(self.named(limit))

    def _serve(self) -> None:
        """Serve those who wait, in their order, until one has to go on waiting: then something is reserved."""
        while self._waiters:
            waiter = self._waiters[0]
            if not waiter.future.done():
                try:
                    loan = self._loan(waiter.need)
                    if loan is None:
                        self._refuse_if_hopeless(waiter.need)
                        return
                    waiter.future.set_result(loan)
                except LimitMet as met:
                    waiter.future.set_exception(met)
            self._waiters.popleft()

    def _withdraw(self, waiter: _Waiter) -> None:
        if self._waiters and waiter in self._waiters:
            self._waiters.remove(waiter)
            self._serve()
        elif not waiter.future.cancelled() and waiter.future.exception() is None:
            # It was served in the very moment in which it was cancelled.
            waiter.future.result().give_back()
