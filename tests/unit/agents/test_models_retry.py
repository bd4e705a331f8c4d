from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

import anyio
import pytest

from overwinter.agents.models import (
    Message,
    Model,
    ModelEvent,
    ModelFellBack,
    ModelReply,
    ModelRequest,
    ModelRetried,
    RetryPolicy,
    ScriptedModel,
    complete_with_fallbacks,
)
from overwinter.errors import ConfigurationError, ModelError, ModelUnavailable
from overwinter.runtime.fake_clock import FakeClock
from overwinter.runtime.supervision import Backoff

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.anyio

STEADY = RetryPolicy(max_attempts=3, backoff=Backoff(initial=1.0, factor=2.0, maximum=30.0, jitter=0.0))


def busy(retry_after: float | None = None) -> ModelError:
    return ModelError("busy", retryable=True, status_code=429, retry_after=retry_after)


def refused() -> ModelError:
    return ModelError("refused", status_code=400)


class Asking:
    """One question put to several models, on a clock that the test turns."""

    def __init__(
        self, *models: Any, policy: RetryPolicy = STEADY, args: dict[str, Any] | None = None
    ) -> None:
        self.models = models
        self.policy = policy
        self.args = args or {}
        self.clock = FakeClock()
        self.events: list[ModelEvent] = []
        self.texts: list[str] = []
        self.on_text: Callable[[str], None] = self.texts.append
        self.reply: ModelReply | None = None
        self.error: ModelError | None = None

    async def ask(self) -> None:
        try:
            self.reply = await complete_with_fallbacks(
                self.models,
                ModelRequest([Message("user", "?")], args=self.args),
                policy=self.policy,
                clock=self.clock,
                random=random.Random(1),
                on_text=self.on_text,
                on_event=self.events.append,
            )
        except ModelError as error:
            self.error = error

    async def advancing(self, *seconds: float) -> None:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self.ask)
            await anyio.wait_all_tasks_blocked()
            for step in seconds:
                await self.clock.advance(step)
                await anyio.wait_all_tasks_blocked()
            tasks.cancel_scope.cancel()


async def test_a_failure_that_may_pass_is_tried_again_after_a_pause() -> None:
    """M17"""
    model = ScriptedModel([busy(), busy(), "at last"])
    asking = Asking(model)
    await asking.advancing(0.99)
    assert len(model.requests) == 1
    model = ScriptedModel([busy(), busy(), "at last"])
    asking = Asking(model)
    await asking.advancing(1.0, 1.99)
    assert len(model.requests) == 2
    model = ScriptedModel([busy(), busy(), "at last"])
    asking = Asking(model)
    await asking.advancing(1.0, 2.0)
    assert asking.reply is not None
    assert asking.reply.message.content == "at last"
    assert asking.events == [
        ModelRetried("scripted", 1, 1.0, "busy"),
        ModelRetried("scripted", 2, 2.0, "busy"),
    ]


async def test_a_delay_that_the_provider_asks_for_is_honoured() -> None:
    """M17"""
    model = ScriptedModel([busy(retry_after=7.5), "now"])
    asking = Asking(model)
    await asking.advancing(7.4)
    assert asking.reply is None
    await Asking(ScriptedModel([busy(retry_after=7.5), "now"])).advancing(7.5)
    assert asking.events == [ModelRetried("scripted", 1, 7.5, "busy")]


async def test_a_delay_beyond_reason_gives_the_model_up_at_once() -> None:
    """M17"""
    asking = Asking(ScriptedModel([busy(retry_after=3600.0)]), ScriptedModel(["here"], name="other"))
    await asking.advancing()
    assert asking.reply is not None
    assert asking.events == [ModelFellBack("scripted", "other", 1, "busy")]


async def test_attempts_are_limited_and_the_next_model_is_asked() -> None:
    """M18"""
    first, second = ScriptedModel([busy()], loop=True, name="first"), ScriptedModel(["here"], name="second")
    asking = Asking(first, second)
    await asking.advancing(1.0, 2.0)
    assert len(first.requests) == 3
    assert asking.reply is not None
    assert asking.reply.model == "second"
    assert asking.events[-1] == ModelFellBack("first", "second", 3, "busy")


async def test_a_failure_that_will_not_pass_goes_to_the_next_model_at_once() -> None:
    """M18"""
    first, second = ScriptedModel([refused()], name="first"), ScriptedModel(["here"], name="second")
    asking = Asking(first, second)
    await asking.advancing()
    assert asking.reply is not None
    assert len(first.requests) == 1


async def test_when_all_failed_each_model_is_named_with_its_error() -> None:
    """M18"""
    last = ModelError("third: down", model="third", status_code=503)
    models = [ScriptedModel([refused()], name=name) for name in ("first", "second")]
    asking = Asking(*models, ScriptedModel([last], name="third"))
    await asking.advancing()
    assert isinstance(asking.error, ModelUnavailable)
    assert str(asking.error) == "none of 3 models replied: first: refused; second: refused; third: down"
    assert asking.error.__cause__ is last
    assert (asking.error.model, asking.error.status_code) == ("third", 503)


async def test_a_lone_model_is_named_with_its_error() -> None:
    """M18"""
    asking = Asking(ScriptedModel([refused()], name="only"))
    await asking.advancing()
    assert isinstance(asking.error, ModelUnavailable)
    assert str(asking.error) == "only: refused"


async def test_without_a_model_it_says_what_to_name() -> None:
    """M18"""
    asking = Asking()
    await asking.advancing()
    assert isinstance(asking.error, ModelUnavailable)
    assert "model_name=" in str(asking.error)


async def test_who_streams_learns_that_the_text_so_far_is_void() -> None:
    """M19"""
    model = ScriptedModel([["half a", ModelError("dropped", retryable=True)], ["half a", refused()]])
    asking = Asking(model, ScriptedModel(["whole"], name="other"))
    await asking.advancing(1.0)
    assert asking.events == [
        ModelRetried("scripted", 1, 1.0, "dropped", streamed=6),
        ModelFellBack("scripted", "other", 2, "refused", streamed=6),
    ]
    assert asking.texts == ["half", " a", "half", " a", "whole"]


async def test_a_broken_connection_of_a_model_of_ones_own_is_tried_again() -> None:
    """M17"""
    asking = Asking(ScriptedModel([ConnectionResetError(), TimeoutError("too slow"), "well"]))
    await asking.advancing(1.0, 2.0)
    assert asking.reply is not None
    assert [event.error for event in asking.events] == [
        "scripted: ConnectionResetError",
        "scripted: too slow",
    ]


async def test_other_exceptions_of_a_model_are_not_swallowed() -> None:
    """M17"""
    with pytest.raises(ZeroDivisionError):
        await Asking(ScriptedModel([ZeroDivisionError()]), ScriptedModel(["never"])).ask()


async def test_what_on_text_raises_ends_the_asking() -> None:
    """M26"""

    def fail(text: str) -> None:
        raise ZeroDivisionError(text)

    asking = Asking(ScriptedModel(["one", "two"]))
    asking.on_text = fail
    with pytest.raises(ZeroDivisionError):
        await asking.ask()


async def test_cancelling_during_a_pause_leaves_no_timer() -> None:
    """M12"""
    asking = Asking(ScriptedModel([busy(), "never"]))
    await asking.advancing()
    assert asking.reply is None
    assert asking.clock.pending == 0


class Provided(ScriptedModel):
    def __init__(self, provider: str, *replies: Any) -> None:
        super().__init__(replies)
        self.provider = provider


async def test_keys_and_addresses_do_not_travel_to_another_provider() -> None:
    """M20"""
    first, other = Provided("openai", refused()), Provided("anthropic", "here")
    args = {"api_key": "k", "api_base": "b", "extra_headers": {}, "anything": 1, "top_p": 0.5, "seed": 3}
    await Asking(first, other, args=args).advancing()
    assert first.requests[0].args == args
    assert other.requests[0].args == {"top_p": 0.5, "seed": 3}


async def test_models_of_one_provider_share_keys_and_addresses() -> None:
    """M20"""
    first, second = Provided("openai", refused()), Provided("openai", "here")
    await Asking(first, second, args={"api_key": "k", "api_base": "b"}).advancing()
    assert second.requests[0].args == {"api_key": "k", "api_base": "b"}


async def test_a_model_that_does_not_name_its_provider_gets_no_keys() -> None:
    """M20"""
    second = ScriptedModel(["here"])
    await Asking(ScriptedModel([refused()]), second, args={"api_key": "k"}).advancing()
    assert second.requests[0].args == {}


async def test_a_fallback_is_prepared_before_it_is_asked() -> None:
    """M18"""
    told: list[str] = []

    class Preparing(ScriptedModel):
        async def prepare(self) -> None:
            told.append(f"prepared after {len(self.requests)} requests")

    await Asking(ScriptedModel([refused()]), Preparing(["here"])).advancing()
    assert told == ["prepared after 0 requests"]


async def test_whoever_counts_hears_of_a_fallback_before_it_is_asked_and_may_forbid_it() -> None:
    class Forbidden(Exception):
        pass

    async def forbid(model: Model) -> None:
        assert model is spare
        raise Forbidden

    dear, spare = ScriptedModel([refused()]), ScriptedModel(["here"])
    with pytest.raises(Forbidden):
        await complete_with_fallbacks(
            [dear, spare],
            ModelRequest([Message("user", "?")]),
            policy=STEADY,
            clock=FakeClock(),
            random=random.Random(1),
            before_fallback=forbid,
        )
    assert (len(dear.requests), len(spare.requests)) == (1, 0)


def test_at_least_one_attempt_is_made() -> None:
    """M17"""
    with pytest.raises(ConfigurationError, match="max_attempts"):
        RetryPolicy(max_attempts=0)
