"""Asking again: the same model after a pause, then the next one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

import msgspec

from overwinter.errors import ConfigurationError, ModelBusy, ModelError, ModelUnavailable
from overwinter.runtime.supervision import Backoff

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence
    from random import Random

    from overwinter.agents.models.protocol import Model, ModelReply, ModelRequest
    from overwinter.agents.rates.gate import Gate
    from overwinter.runtime.clock import Clock

__all__ = [
    "ModelEvent",
    "ModelFellBack",
    "ModelRetried",
    "RetryPolicy",
    "complete_with_fallbacks",
    "request_for",
]

# What any provider understands alike. All else in a request's args, above all keys and addresses, was meant
# for the provider of the first model and must not travel to another.
_PORTABLE_ARGS = frozenset(
    {
        "drop_params",
        "frequency_penalty",
        "logprobs",
        "max_completion_tokens",
        "parallel_tool_calls",
        "presence_penalty",
        "reasoning_effort",
        "seed",
        "stop",
        "timeout",
        "tool_choice",
        "top_logprobs",
        "top_p",
        "verbosity",
    }
)


class ModelRetried(msgspec.Struct, frozen=True, tag=True):
    """An attempt failed and ``model`` will be asked again after ``delay`` seconds.

    ``attempt`` is the number of the attempt that failed, from 1. The ``streamed`` characters handed to
    ``on_text`` during it are void: the next attempt begins the reply anew.
    """

    model: str
    attempt: int
    delay: float
    error: str
    streamed: int = 0


class ModelFellBack(msgspec.Struct, frozen=True, tag=True):
    """``model`` was given up after ``attempts`` attempts and ``next_model`` is asked.

    The ``streamed`` characters handed to ``on_text`` during the last attempt are void.
    """

    model: str
    next_model: str
    attempts: int
    error: str
    streamed: int = 0


ModelEvent: TypeAlias = ModelRetried | ModelFellBack


class RetryPolicy(msgspec.Struct, frozen=True, kw_only=True):
    """How often, and after which pauses, a model is asked again when its failure may pass.

    ``max_attempts`` counts the first one and holds for each model by itself. A pause is what ``backoff``
    says, or what the provider asked for if that is longer. A provider that asks for more than
    ``longest_wait`` seconds is given up at once.
    """

    max_attempts: int = 4
    backoff: Backoff = Backoff(initial=0.5, factor=2.0, maximum=30.0, jitter=0.1)
    longest_wait: float = 120.0

    def __post_init__(self) -> None:
        if self.max_attempts < 1:
            raise ConfigurationError(f"max_attempts must be at least 1, not {self.max_attempts}")

    def pause(self, attempt: int, error: ModelError, random: Random) -> float | None:
        """Seconds to wait after ``attempt`` (from 1) failed with ``error``; None to give the model up."""
        if not error.retryable or attempt >= self.max_attempts:
            return None
        asked_for = error.retry_after or 0.0
        if asked_for > self.longest_wait:
            return None
        # In this order, because a delay may be no number.
        return max(self.backoff.delay(attempt, random), asked_for)


async def complete_with_fallbacks(
    models: Sequence[Model],
    request: ModelRequest,
    *,
    policy: RetryPolicy,
    clock: Clock,
    random: Random,
    on_text: Callable[[str], None] | None = None,
    on_event: Callable[[ModelEvent], None] | None = None,
    before_fallback: Callable[[Model], Awaitable[None]] | None = None,
    gate: Gate | None = None,
) -> ModelReply:
    """Ask the first of ``models``, again as ``policy`` says, then the next, until one replies.

    Each retry and each fallback is told to ``on_event`` before it happens; text handed to ``on_text`` since
    the attempt began is void then. ``before_fallback`` is awaited before a fallback is asked; what it raises ends
    all. Each attempt waits at the ``gate`` for its turn. A model of another provider than the first gets only such
    ``request.args`` as every provider understands: keys and addresses stay with the first.
    Raises ``ModelUnavailable``, chained from the last error and naming every model with its error.
    Cancelling it ends the call or the pause in progress; nothing is handed over afterwards.
    """
    failures: list[tuple[str, ModelError]] = []
    for position, model in enumerate(models):
        attempts = _Attempts(model, policy, clock, random, on_text, on_event, gate)
        if position and before_fallback is not None:
            await before_fallback(model)
        try:
            return await attempts.run(request, models[0])
        except ModelError as error:
            failures.append((model.name, error))
            if on_event is not None and position + 1 < len(models):
                following = models[position + 1].name
                on_event(ModelFellBack(model.name, following, attempts.number, str(error), attempts.streamed))
    raise _unavailable(failures)


class _Attempts:
    """The attempts on one model."""

    def __init__(
        self,
        model: Model,
        policy: RetryPolicy,
        clock: Clock,
        random: Random,
        on_text: Callable[[str], None] | None,
        on_event: Callable[[ModelEvent], None] | None,
        gate: Gate | None,
    ) -> None:
        self._model = model
        self._policy = policy
        self._clock = clock
        self._random = random
        self._on_text = on_text
        self._on_event = on_event
        self._gate = gate
        self.number = 0
        self.streamed = 0

    async def run(self, request: ModelRequest, first: Model) -> ModelReply:
        model, gate = self._model, self._gate
        request = request_for(model, first, request)
        while True:
            self.number += 1
            self.streamed = 0
            try:
                if gate is None:
                    return await self._once(request)
                return await gate.ask(model, request, self._policy, self._once)
            except ModelBusy:
                raise
            except ModelError as error:
                pause = self._policy.pause(self.number, error, self._random)
                if pause is None:
                    raise
                if self._on_event is not None:
                    self._on_event(
                        ModelRetried(self._model.name, self.number, pause, str(error), self.streamed)
                    )
            # At the gate a run can be paused while it waits, and all who wait come back in turn.
            if gate is None or not gate.holds(model, request, pause):
                await self._clock.sleep(pause)

    async def _once(self, request: ModelRequest) -> ModelReply:
        name = self._model.name
        try:
            await self._model.prepare()
            on_text = None if self._on_text is None else self._hand_over
            return await self._model.complete(request, on_text=on_text)
        except (ConnectionError, TimeoutError) as error:
            said = str(error) or type(error).__name__
            raise ModelError(f"{name}: {said}", model=name, retryable=True) from error

    def _hand_over(self, text: str) -> None:
        self.streamed += len(text)
        if self._on_text is not None:
            self._on_text(text)


def request_for(model: Model, first: Model, request: ModelRequest) -> ModelRequest:
    """*request*, which was made for *first*, as *model* may see it: another provider gets no keys and addresses."""
    if model is first or not request.args or _provider(model) == _provider(first):
        return request
    portable: dict[str, Any] = {name: value for name, value in request.args.items() if name in _PORTABLE_ARGS}
    return msgspec.structs.replace(request, args=portable)


def _provider(model: Model) -> object:
    """Models of one provider share keys and addresses; one that does not name its provider stands alone."""
    return getattr(model, "provider", model)


def _unavailable(failures: Sequence[tuple[str, ModelError]]) -> ModelUnavailable:
    if not failures:
        return ModelUnavailable("there is no model to ask; name one with model_name= or pass model=")
    name, last = failures[-1]
    said = "; ".join(_naming(failed, error) for failed, error in failures)
    unavailable = ModelUnavailable(
        said if len(failures) == 1 else f"none of {len(failures)} models replied: {said}",
        model=name,
        retryable=last.retryable,
        status_code=last.status_code,
        retry_after=last.retry_after,
    )
    unavailable.__cause__ = last
    return unavailable


def _naming(name: str, error: ModelError) -> str:
    text = str(error)
    return text if name in text else f"{name}: {text}"
