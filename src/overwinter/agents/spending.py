"""What one run spends: each model call within the run's budget and the runtime's."""

from __future__ import annotations

import logging
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

import msgspec
from anyio import CancelScope

from overwinter.agents.allowance import Account, Amount, LimitMet, Need, picos
from overwinter.agents.estimate import CallSize, tokens_of
from overwinter.agents.models.price import price_from_args, price_of
from overwinter.agents.rates.gate import Gate
from overwinter.errors import ModelError, PriceUnknown

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Generator

    from overwinter.agents.allowance import Loan
    from overwinter.agents.budget import Budget
    from overwinter.agents.models.price import Price
    from overwinter.agents.models.protocol import Model, ModelReply, Usage
    from overwinter.agents.stage import Stage

__all__ = ["Spending"]

logger = logging.getLogger("overwinter.agents")

_NO_NEED = Need()


class Spending:
    """The model calls of one run, each reserved before it is made and settled after it.

    It is made when the run begins or goes on, for the run's time begins with it.

    :param shared: the accounts on which others draw too: those of the swarms that wait for the run, and the runtime's.
    """

    def __init__(self, stage: Stage, budget: Budget | None, shared: tuple[Account, ...]) -> None:
        self._stage = stage
        self._models = stage.profile.models
        run = stage.state.run
        self._own = Account(budget, clock=stage.clock, seconds=0.0 if run is None else run.seconds)
        self._accounts = shared if budget is None else (self._own, *shared)
        self._loans: list[Loan] = []
        self._model: Model = self._models[0]
        self._size: CallSize | None = None
        self._waiting: CancelScope | None = None
        self._cut_off_by = ""
        self.gate = Gate(stage)

    @property
    def seconds(self) -> float:
        """How long the run has been at work, over all its resumptions."""
        return self._own.seconds

    @property
    def time_is_up(self) -> str:
        """The limit of time that has been reached, or an empty string."""
        for account in self._accounts:
            if account.seconds_left == 0.0:
                return account.named("seconds")
        return ""

    def stop_waiting(self) -> None:
        """Let a call that waits for room beside others, or for its turn, wait no longer: the run is to be paused."""
        if self._waiting is not None:
            self._waiting.cancel()
        self.gate.stop_waiting()

    def ask(
        self,
        complete: Callable[[Callable[[Model], Awaitable[None]]], Awaitable[ModelReply]],
        *,
        size: Callable[[], CallSize] | None = None,
    ) -> Awaitable[ModelReply]:
        """Reserve a call, make it with *complete*, settle it, and return its reply, priced.

        *complete* is handed what it is to await before it asks another model than the first. *size* guesses how large
        the call will be, if it is not the next one of the agent's conversation.

        :raises LimitMet: a limit has no room for the call, or its time was up.
        :raises PriceUnknown: money is limited, and the price of a model is not known.

        What fails or is cut off is given back.
        """
        # No coroutine around another: where many calls wait for their models, each one counts.
        return (self._ask if self._time_left() is None else self._ask_in_time)(complete, size)

    async def _ask_in_time(
        self,
        complete: Callable[[Callable[[Model], Awaitable[None]]], Awaitable[ModelReply]],
        size: Callable[[], CallSize] | None,
    ) -> ModelReply:
        with self._in_time():
            return await self._ask(complete, size)
        raise LimitMet(self._cut_off_by)

    async def _ask(
        self,
        complete: Callable[[Callable[[Model], Awaitable[None]]], Awaitable[ModelReply]],
        size: Callable[[], CallSize] | None,
    ) -> ModelReply:
        try:
            self._size = None
            self.gate.sizing = sizing = size or self._next_size
            if any(account.counts for account in self._accounts):
                # All of them: a fallback is needed when nobody is there to mend its settings.
                for model in self._models:
                    await self._refuse_if_unpriced(model)
                self._size = sizing()
            await self._reserve(self._models[0])
            return self._settled(await complete(self._reserve), heard=size is None)
        finally:
            self.gate.sizing = None
            self._give_back()

    def _next_size(self) -> CallSize:
        profile = self._stage.profile
        return self._stage.estimator.size(
            self._stage.state,
            prompt=profile.system_prompt,
            tools=profile.toolbox.specs,
            max_tokens=self._most_output(),
        )

    def _most_output(self) -> int | None:
        settings: dict[str, Any] = {
            "max_tokens": self._stage.profile.settings.max_tokens,
            **self._stage.profile.model_args,
        }
        most = settings.get("max_completion_tokens", settings["max_tokens"])
        return most if isinstance(most, int) else None

    async def _reserve(self, model: Model) -> None:
        """Reserve the call for *model*, instead of the one that it was reserved for before."""
        self._give_back()
        await self._refuse_if_unpriced(model)
        self._model = model
        need = _NO_NEED if self._size is None else self._need(model, self._size)
        run = self._stage.state.run
        if run is not None and self._own.counts:
            self._own.recount(Amount(run.usage.total_tokens, picos(run.known_cost)))
        for account in self._accounts:
            self._loans.append(account.lend_nowait(need) or await self._wait(account, need))

    async def _wait(self, account: Account, need: Need) -> Loan:
        with CancelScope() as self._waiting:
            return await account.lend(need)
        raise LimitMet("pause")

    def _need(self, model: Model, size: CallSize) -> Need:
        price = self._price(model)
        return Need(
            *(
                Amount(usage.total_tokens, picos(self._last_cost if price is None else price.of(usage)))
                for usage in (size.least, size.likely)
            )
        )

    @property
    def _last_cost(self) -> float:
        """Of a model that tells no price: what its last reply is known to have cost."""
        return self._stage.estimator.last_cost or 0.0

    def _price(self, model: Model) -> Price | None:
        # The settings of a call are for the first model; litellm takes prices there.
        custom = price_from_args(self._stage.profile.model_args) if model is self._models[0] else None
        return custom or price_of(model)

    async def _refuse_if_unpriced(self, model: Model) -> None:
        budgets = [account.budget for account in self._accounts if account.budget.cost is not None]
        if not budgets or all(budget.allow_unknown_price for budget in budgets):
            return
        if self._price(model) is not None:
            return
        with suppress(ModelError, ConnectionError, TimeoutError):
            await model.prepare()
        if self._price(model) is None:
            raise PriceUnknown(model.name)

    def _settled(self, reply: ModelReply, *, heard: bool) -> ModelReply:
        usage = self._priced(self._told(reply))
        used = Amount(usage.total_tokens, picos(usage.cost or 0.0))
        for loan in self._loans:
            loan.settle(used, priced=usage.cost is not None)
        self._loans.clear()
        if heard:
            self._stage.estimator.heard(usage)
        if usage.cost is None and any(account.budget.cost is not None for account in self._accounts):
            logger.warning(
                "the price of %s is unknown; the budget of agent %r cannot count it",
                reply.model or self._model.name,
                self._stage.profile.name,
            )
        return reply if usage is reply.usage else msgspec.structs.replace(reply, usage=usage)

    def _told(self, reply: ModelReply) -> Usage:
        """What the reply used; guessed from its length where tokens are limited and it does not say."""
        usage = reply.usage
        if usage.total_tokens or self._size is None:
            return usage
        guess = msgspec.structs.replace(
            usage,
            input_tokens=self._size.likely.input_tokens,
            output_tokens=tokens_of(reply.message),
            calls=max(usage.calls, 1),
        )
        logger.warning(
            "model %s does not tell how many tokens it used; %d are counted for agent %r, from the length of the text",
            reply.model or self._model.name,
            guess.total_tokens,
            self._stage.profile.name,
        )
        return guess

    def _priced(self, usage: Usage) -> Usage:
        if usage.cost is not None:
            return usage
        price = self._price(self._model)
        if price is None:
            return usage
        usage = msgspec.structs.replace(usage, calls=max(usage.calls, 1))
        return msgspec.structs.replace(usage, cost=price.of(usage))

    def _give_back(self) -> None:
        for loan in self._loans:
            loan.give_back()
        self._loans.clear()

    @contextmanager
    def _in_time(self) -> Generator[None]:
        """Cut the block off when a limit of time is reached, be it raised meanwhile or not."""
        timer: Any = None

        def look() -> None:
            nonlocal timer
            left = self._time_left()
            timer = None
            if left == 0.0:
                self._cut_off_by = self.time_is_up
                scope.cancel()
            elif left is not None:
                timer = self._stage.clock.call_later(left, look)

        with CancelScope() as scope:
            look()
            try:
                yield
            finally:
                if timer is not None:
                    timer.cancel()

    def _time_left(self) -> float | None:
        least: float | None = None
        for account in self._accounts:
            left = account.seconds_left
            if left is not None and (least is None or left < least):
                least = left
        return least
