"""A swarm and a provider that limits it, over real HTTP: what the server saw, by its own clock."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import anyio
import pytest
from tests.support.http_models import KEY, Kind, make_model
from tests.support.openai_server import Answer, Behaviour, OpenAIServer, Status, respond

from overwinter import Agent, Backoff, RateLimit, RetryPolicy, Runtime
from overwinter.agents.rates import hold

if TYPE_CHECKING:
    from collections.abc import Mapping

pytestmark = pytest.mark.anyio

AGENTS = 20
POLICY = RetryPolicy(max_attempts=4, backoff=Backoff(initial=0.01, jitter=0.0))


class Provider:
    """Decides, in the server's thread, what becomes of each request, and notes when it came."""

    def __init__(self, server: OpenAIServer) -> None:
        self._server = server
        self.came: list[float] = []
        self.refused: list[float] = []
        self.most_under_way = 0
        server.responder = self

    def __call__(self, body: Mapping[str, Any]) -> Behaviour:
        self.came.append(time.monotonic())
        under_way = sum(not request.answered.is_set() for request in self._server.requests)
        self.most_under_way = max(self.most_under_way, under_way)
        return self.decide(body)

    def decide(self, body: Mapping[str, Any]) -> Behaviour:
        return respond(body)

    def refuse(self, seconds: float) -> Status:
        self.refused.append(time.monotonic())
        return Status(429, "slow down", retry_after=seconds)


class LeaveMeAlone(Provider):
    """After ten requests it wants to be left alone, and refuses whoever comes before its time."""

    seconds = 0.4

    def __init__(self, server: OpenAIServer) -> None:
        super().__init__(server)
        self.back_at = 0.0
        self.disobeyed = 0

    def decide(self, body: Mapping[str, Any]) -> Behaviour:
        now = self.came[-1]
        if len(self.came) == 10:
            self.back_at = now + self.seconds
        elif len(self.came) < 10 or (self.back_at and now >= self.back_at):
            return respond(body)
        else:
            self.disobeyed += 1
        return self.refuse(self.seconds)


def swarm(server: OpenAIServer, kind: Kind) -> list[Agent[str]]:
    model = make_model(kind)
    args = {"api_base": server.base_url, "api_key": KEY}
    return [Agent(f"a{n}", model=model, model_args=args, retry=POLICY) for n in range(AGENTS)]


async def run_all(agents: list[Agent[str]], runtime: Runtime) -> list[str]:
    texts: list[str] = []

    async def run(agent: Agent[str]) -> None:
        texts.append((await agent.run(agent.agent_name)).text)

    async with anyio.create_task_group() as tasks:
        for agent in agents:
            await runtime.spawn(agent)
            tasks.start_soon(run, agent)
    return texts


@pytest.mark.parametrize("kind", ["direct", "litellm"])
async def test_a_provider_that_says_when_to_come_back_is_obeyed_by_a_whole_swarm(
    kind: Kind, model_server: OpenAIServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """G11, G12: over HTTP nobody comes before the time, and then they come one after the other."""
    monkeypatch.setattr(hold, "FIRST_GAP", 0.2)
    provider = LeaveMeAlone(model_server)
    limits = {"*": RateLimit(in_flight=5)}
    async with Runtime(rate_limits=limits) as runtime:
        texts = await run_all(swarm(model_server, kind), runtime)
    assert sorted(texts) == sorted(f"You said: a{n}" for n in range(AGENTS))
    # Those that were on their way already; without the hold all that were still to come would have asked.
    assert provider.disobeyed <= 4
    returned = [at for at in provider.came if at >= provider.back_at]
    assert returned[0] >= provider.refused[0] + provider.seconds
    # One after the other, over 0.4 s, of which a busy machine may take back some.
    assert returned[4] - returned[0] > 0.1
    assert len(provider.came) == AGENTS + len(provider.refused)


async def test_a_limit_that_is_known_is_never_met(model_server: OpenAIServer) -> None:
    """G3, G4: with the provider's limits told, a swarm of twenty is refused nothing."""
    window = 0.5

    class Strict(Provider):
        def decide(self, body: Mapping[str, Any]) -> Behaviour:
            # Less than the window: requests take a while to come, and on a busy machine not all the same.
            recent = [at for at in self.came if at > self.came[-1] - window * 0.3]
            if len(recent) > 8 or self.most_under_way > 4:
                return self.refuse(1.0)
            return Answer("ok", usage={"prompt_tokens": 10, "completion_tokens": 1, "total_tokens": 11})

    provider = Strict(model_server)
    limits = {"gpt-4o-mini": RateLimit(requests_per_minute=8 * 60 / window, window=window, in_flight=4)}
    async with Runtime(rate_limits=limits) as runtime:
        texts = await run_all(swarm(model_server, "direct"), runtime)
        assert runtime.statistics().rates["gpt-4o-mini"].waiting == 0
    assert texts == ["ok"] * AGENTS
    assert provider.refused == []
    assert 1 < provider.most_under_way <= 4
    assert provider.came[-1] - provider.came[0] > 2 * window * 0.9
