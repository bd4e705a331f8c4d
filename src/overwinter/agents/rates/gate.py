"""Where the calls of one run wait for their turn at a model."""

from __future__ import annotations

from typing import TYPE_CHECKING

from anyio import CancelScope

from overwinter.agents import events
from overwinter.agents.allowance import LimitMet
from overwinter.errors import ModelError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from overwinter.agents.estimate import CallSize
    from overwinter.agents.models.protocol import Model, ModelReply, ModelRequest
    from overwinter.agents.models.retry import RetryPolicy
    from overwinter.agents.rates.lane import Lane
    from overwinter.agents.rates.place import Place
    from overwinter.agents.stage import Stage

__all__ = ["Gate"]


class Gate:
    """Lets each call of a run, be it a first attempt, a retry or a fallback, go when the runtime's rates allow it.

    :ivar sizing: guesses how large the call under way will be.
    """

    __slots__ = ("_closed", "_rates", "_stage", "_waiting", "sizing")

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._rates = stage.runtime.rates
        self.sizing: Callable[[], CallSize] | None = None
        self._waiting: CancelScope | None = None
        self._closed = False

    def stop_waiting(self) -> None:
        """Let no call wait for its turn any longer: the run is to be paused."""
        self._closed = True
        if self._waiting is not None:
            self._waiting.cancel()

    def holds(self, model: Model, request: ModelRequest, seconds: float) -> bool:
        """Whether *model* is held for so many *seconds* anyway, so that nobody needs to wait before coming here."""
        lane = self._rates.lane(model, request.args)
        return lane is not None and lane.holds(seconds)

    async def ask(
        self,
        model: Model,
        request: ModelRequest,
        policy: RetryPolicy,
        complete: Callable[[ModelRequest], Awaitable[ModelReply]],
    ) -> ModelReply:
        """Make the call with *complete* when it is its turn.

        :raises ModelBusy: the provider wants to be left alone for longer than *policy* waits.
        :raises LimitMet: the run is to be paused, and the call did not have its turn.

        Whatever else it raises is what *complete* raised. Cancelling it gives the place, or the turn, to others.
        """
        lane = self._rates.lane(model, request.args)
        place = None if lane is None else await self._enter(lane, policy)
        try:
            reply = await complete(request)
        except ModelError as error:
            # In this order: whoever steps up into the place must not go before the model is held.
            if error.retryable and error.retry_after is not None and error.retry_after > 0.0:
                began = None if place is None else place.began
                self._rates.hold(model, request.args, error.retry_after, began=began)
            if place is not None and error.status_code is not None:
                place.refused()
            raise
        else:
            if place is not None:
                place.answered(reply.usage.total_tokens)
            return reply
        finally:
            if place is not None:
                place.broke_off()

    async def _enter(self, lane: Lane, policy: RetryPolicy) -> Place:
        sizing = self.sizing if lane.counts_tokens else None
        tokens = 0 if sizing is None else sizing().likely.total_tokens
        place = lane.enter_nowait(tokens)
        if place is not None:
            return place
        if self._closed:
            raise LimitMet("pause")
        stage, obstacle = self._stage, lane.obstacle(tokens)
        stage.emit(
            events.ModelWaiting,
            model=lane.name,
            limit=obstacle.limit,
            seconds=obstacle.seconds,
            loop=stage.state.loop_count + 1,
        )
        with CancelScope() as self._waiting:
            place = await lane.enter(stage.profile.agent_id, tokens, policy)
            stage.runtime.stirred()
            return place
        raise LimitMet("pause")
