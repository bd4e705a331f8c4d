"""A thousand agents and more: in a swarm, in a mapper, in the directory; see ``thousand.py`` and its neighbours."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import tempfile
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks import many_agents, thousand
from benchmarks.contest import Contest, Row, Size, clock
from overwinter import Agent, Runtime

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from benchmarks.contest import Figures

__all__ = ["CONTESTS"]

_MAP_REDUCE = (
    "import asyncio, sys; from benchmarks.map_reduce import measure; "
    "print(*asyncio.run(measure(int(sys.argv[1]), 100, 200)))"
)


def _thousand(run: Callable[[list[Agent[str]], Runtime], Awaitable[None]], size: Size) -> Figures:
    async def measured() -> float:
        model = thousand.Slow()
        team = [Agent(f"agent-{one}", model=model) for one in range(size.of(1000, 20))]
        with tempfile.TemporaryDirectory() as folder:
            async with Runtime(folder) as runtime:
                began = clock()
                await run(team, runtime)
                return clock() - began

    return {"seconds": asyncio.run(measured())}


def _few_named(size: Size) -> Figures:
    now, _, _, _ = many_agents.measured("alone")
    return {"resident": now}


def _many_named(size: Size) -> Figures:
    named, woken = size.of(100_000, 500), size.of(2000, 105)
    now, _, _, seconds = many_agents.measured("many", named, woken)
    return {"resident": now, "woken": woken / seconds}


def _map(size: Size) -> Figures:
    items = size.of(10_000, 20)
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parent.parent)}
    command = [sys.executable, "-c", _MAP_REDUCE, str(items)]
    told = subprocess.run(command, env=environment, stdout=subprocess.PIPE, check=True).stdout.split()
    return {"first": float(told[0]), "last": float(told[-1])}


CONTESTS = (
    Contest(
        "thousand",
        {
            "overwinter": partial(_thousand, thousand.in_a_swarm),
            "in a task group": partial(_thousand, thousand.by_themselves),
        },
        (
            Row(
                "thousand",
                "1,000 new agents in a ConcurrentWorkflow, a model of 100 ms",
                "seconds",
                "s",
                against="in a task group",
            ),
        ),
    ),
    Contest(
        "named",
        {"overwinter": _many_named, "100 agents alone": _few_named},
        (
            Row(
                "named",
                "100,000 named agents, 2,000 woken, 100 active: resident",
                "resident",
                "MB",
                against="100 agents alone",
            ),
            Row("named-woken", "named agents woken, asked and passivated", "woken", "/s"),
        ),
        turns=1,
        rounds=1,
        slow=True,
        warm_up=False,
    ),
    Contest(
        "map-reduce",
        {"overwinter": _map},
        (
            Row(
                "map-reduce",
                "MapReduce, resident after 10,000 items",
                "last",
                "MB",
                against="overwinter",
                against_figure="first",
                beside="after 1,000",
            ),
        ),
        turns=1,
        rounds=1,
        slow=True,
        warm_up=False,
    ),
)
