"""Limits of money, with litellm's prices and a server that is really asked."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import anyio
import pytest
from tests.support.openai_server import Answer

from overwinter import Agent, Budget, Price, Runtime
from overwinter.agents.models import LiteLLMModel
from overwinter.agents.models.litellm_library import library
from overwinter.errors import PriceUnknown

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tests.support.openai_server import OpenAIServer

pytestmark = pytest.mark.anyio

MOST_WORDS = 500


def long_answer(_: Mapping[str, Any]) -> Answer:
    return Answer(
        "At length.", usage={"prompt_tokens": 20, "completion_tokens": MOST_WORDS, "total_tokens": 520}
    )


async def test_a_limit_of_money_pauses_twenty_agents_of_a_runtime(model_environment: OpenAIServer) -> None:
    """L7"""
    server = model_environment
    server.responder = long_answer
    team = [Agent(f"a{n}", "gpt-4o-mini", max_loops=3, max_tokens=MOST_WORDS) for n in range(20)]
    async with Runtime(budget=Budget(cost=0.006)) as runtime:
        for agent in team:
            await runtime.spawn(agent)
        async with anyio.create_task_group() as tasks:
            for agent in team:
                tasks.start_soon(agent.run, f"Write about {agent.agent_name}")
        spent = runtime.spent
        # A call costs 0.0003; what was guessed wrong of it is a few tokens of input.
        assert 0.0055 < spent.cost <= 0.006 + 20 * 0.00001
        assert spent.calls == len(server.requests)
        assert spent.reserved_cost == spent.calls_under_way == 0
        assert {agent.status for agent in team} == {"paused"}
        assert {agent.state.runs[-1].stop_reason for agent in team} == {"runtime_cost"}
        runtime.budget = Budget(cost=1.0)
        outcomes = await runtime.resume_all()
        assert {str(outcome) for outcome in outcomes.values()} == {"At length."}
        # Each asked three times, and none was asked again for what had been answered.
        assert len(server.requests) == runtime.spent.calls == 60


async def test_litellms_own_list_tells_the_price(model_server: OpenAIServer) -> None:
    """L12"""
    for name in ("gpt-4o-mini", "openai/gpt-4o-mini"):
        model = LiteLLMModel(name)
        await model.prepare()
        listed = library.module.model_cost["gpt-4o-mini"]
        assert model.price == Price(
            input=listed["input_cost_per_token"],
            output=listed["output_cost_per_token"],
            cached=listed["cache_read_input_token_cost"],
        )
    local = LiteLLMModel("ollama/a-model-of-mine")
    await local.prepare()
    assert local.price == Price()
    assert model_server.requests == []


async def test_a_model_that_litellm_cannot_price_is_not_asked(model_environment: OpenAIServer) -> None:
    """L11"""
    agent = Agent("a", "openai/nobodys-model", budget=Budget(cost=1.0))
    with pytest.raises(PriceUnknown, match="nobodys-model"):
        await agent.run("hello")
    assert model_environment.requests == []


async def test_a_price_of_ones_own_is_what_a_reply_costs(model_environment: OpenAIServer) -> None:
    model_environment.responder = long_answer
    model = LiteLLMModel("openai/nobodys-model", price=Price.per_million(input=1000, output=2000))
    result = await Agent("a", model=model, max_tokens=MOST_WORDS, budget=Budget(cost=2.0)).run("hello")
    assert result.usage.cost == pytest.approx(0.02 + 1.0)
