"""1,000 agents at once, each with one model call of 100 ms over HTTP.

The server has a process of its own and does next to nothing (``chat_server.py``). Bare aiohttp sends the same requests
and decodes the answers, and nothing else. Each measurement opens its own connections, which is part of it. Agents are
made and spawned before the clock starts; it runs until every run has returned. With litellm the agents are the same and
name their model for it; its import is not measured, and it has had a call before.
"""

from __future__ import annotations

import asyncio
import os
import tempfile
from functools import partial
from typing import TYPE_CHECKING, Any

import aiohttp

from benchmarks.agents import spawn_all
from benchmarks.chat_server import chat_server
from benchmarks.contest import Contest, Goal, Row, Size, clock
from overwinter import Agent, OpenAICompatible, Runtime

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from benchmarks.contest import Figures

__all__ = ["CONTESTS"]

_TASK = "What is there to say about willows?"
_KEY = "not-a-key"


async def bare(base_url: str, number: int) -> float:
    """Seconds that so many requests take with aiohttp alone."""
    body = {"model": "m", "messages": [{"role": "user", "content": _TASK}]}
    headers = {"Authorization": f"Bearer {_KEY}"}

    async def call(session: aiohttp.ClientSession) -> None:
        async with session.post(f"{base_url}/chat/completions", json=body, headers=headers) as response:
            said = await response.json()
        assert said["choices"][0]["message"]["content"]

    began = clock()
    connector = aiohttp.TCPConnector(limit=number)
    async with aiohttp.ClientSession(connector=connector) as session, asyncio.TaskGroup() as tasks:
        for _ in range(number):
            tasks.create_task(call(session))
    return clock() - began


async def agents(base_url: str, number: int, *, autosave: bool = False, litellm: bool = False) -> float:
    """Seconds that the runs of so many agents take."""
    settings: dict[str, Any] = {"autosave": autosave}
    if litellm:
        settings |= {"model_name": "openai/m", "model_args": {"api_base": base_url, "api_key": _KEY}}
    else:
        settings["model"] = OpenAICompatible("m", base_url=base_url, api_key=_KEY)
    with tempfile.TemporaryDirectory() as folder:
        async with Runtime(folder) as runtime:
            team = [Agent(f"agent-{one}", **settings) for one in range(number)]
            await spawn_all(runtime, team)
            began = clock()
            async with asyncio.TaskGroup() as tasks:
                runs = [tasks.create_task(agent.run(_TASK)) for agent in team]
            seconds = clock() - began
            assert all(str(run.result()) == "It is done." for run in runs)
    return seconds


def _measure(work: Callable[[str, int], Awaitable[float]], size: Size) -> Figures:
    async def measured() -> float:
        with chat_server() as base_url:
            return await work(base_url, size.of(1000, 20))

    os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")
    return {"seconds": asyncio.run(measured())}


_BARE = "bare aiohttp"
_bare = partial(_measure, bare)
_calls = "1,000 agents, one call of 100 ms each over HTTP"

CONTESTS = (
    Contest(
        "calls",
        {
            "overwinter": partial(_measure, agents),
            _BARE: _bare,
        },
        (
            Row(
                "calls",
                f"{_calls}, OpenAICompatible",
                "seconds",
                "s",
                against=_BARE,
                goals=(Goal("ratio", 1.5, "most"),),
            ),
        ),
        turns=3,
    ),
    Contest(
        "calls-saved",
        {"saved": partial(_measure, partial(agents, autosave=True)), _BARE: _bare},
        (Row("calls-saved", 'the same, saved "async"', "seconds", "s", of="saved", against=_BARE),),
        turns=2,
        rounds=1,
        slow=True,
    ),
    Contest(
        "calls-litellm",
        {"litellm": partial(_measure, partial(agents, litellm=True)), _BARE: _bare},
        (Row("calls-litellm", "the same with litellm", "seconds", "s", of="litellm", against=_BARE),),
        turns=1,
        rounds=2,
        slow=True,
    ),
)
