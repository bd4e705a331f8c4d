"""Prices, and who tells them."""

from __future__ import annotations

import pytest

from overwinter import Price, Usage
from overwinter.agents.models.litellm_model import LiteLLMModel
from overwinter.agents.models.offline import OfflineModel
from overwinter.agents.models.price import price_from_args, price_of
from overwinter.agents.models.protocol import Message, ModelRequest
from overwinter.errors import ConfigurationError
from overwinter.testing import ScriptedModel

pytestmark = pytest.mark.anyio

HELLO = ModelRequest(messages=[Message("user", "one two three")])


def test_a_price_is_for_tokens_sent_answered_and_cached_and_for_a_call() -> None:
    price = Price(input=2.0, output=3.0, cached=0.5, call=10.0)
    assert price.of(Usage(input_tokens=5, output_tokens=2, cached_tokens=4, calls=1)) == 2 + 2 + 6 + 10
    assert Price(input=2.0).of(Usage(input_tokens=5, cached_tokens=4)) == 10
    assert Price(input=2.0, cached=0.0).of(Usage(input_tokens=5, cached_tokens=9)) == 0


def test_prices_are_published_for_a_million_tokens() -> None:
    assert Price.per_million(input=0.15, output=0.6, cached=0.075) == Price(
        input=0.15 / 1e6, output=0.6 / 1e6, cached=0.075 / 1e6
    )
    assert Price.per_million(input=1, output=1).cached is None


@pytest.mark.parametrize("wrong", [-1, float("nan"), float("inf"), "free", None, True])
def test_a_price_that_is_none_is_refused(wrong: float) -> None:
    with pytest.raises(ConfigurationError, match=r"price\.output"):
        Price(output=wrong)


def test_a_model_may_tell_its_price_as_an_attribute_or_by_a_method_or_not_at_all() -> None:
    class Attribute:
        price = Price(input=1.0)

    class Method:
        def price(self) -> Price:
            return Price(input=2.0)

    class Boast:
        price = "cheap"

    assert price_of(Attribute()) == Price(input=1.0)
    assert price_of(Method()) == Price(input=2.0)
    assert price_of(Boast()) is None
    assert price_of(object()) is None


def test_the_offline_model_is_free() -> None:
    assert price_of(OfflineModel()) == Price()


async def test_a_scripted_model_tells_what_it_charges() -> None:
    assert ScriptedModel().price == Price()
    assert ScriptedModel(cost=0.5).price == Price(call=0.5)
    assert ScriptedModel(cost=None).price is None
    by_token = ScriptedModel(["four words of answer"], price=Price(input=1.0, output=10.0))
    assert (await by_token.complete(HELLO)).usage.cost == 3 + 40
    assert (await ScriptedModel(["x"], cost=None).complete(HELLO)).usage.cost is None


def test_settings_in_litellms_words_may_hold_a_price() -> None:
    told = {"input_cost_per_token": 1e-6, "output_cost_per_token": 2e-6}
    assert price_from_args(told) == Price(input=1e-6, output=2e-6)
    more = {**told, "cache_read_input_token_cost": 1e-7, "input_cost_per_request": 0.01}
    assert price_from_args(more) == Price(input=1e-6, output=2e-6, cached=1e-7, call=0.01)
    assert price_from_args({"input_cost_per_token": 1e-6}) is None
    assert price_from_args({**told, "output_cost_per_token": "dear"}) is None
    assert LiteLLMModel("mine", args=told).price == Price(input=1e-6, output=2e-6)


def test_before_litellm_is_there_only_a_price_that_was_given_is_known() -> None:
    assert LiteLLMModel("gpt-4o-mini").price is None
    assert LiteLLMModel("gpt-4o-mini", price=Price(call=1.0)).price == Price(call=1.0)
