"""overwinter's figures beside those of its peers, which do the same work in processes of their own, in turn.

Each script of a peer warms up before it measures, and tells the figures of the measurement alone.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks import messages, steps
from benchmarks.contest import Contest, Goal, Row, Size, Skipped
from benchmarks.peers.environments import python_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from benchmarks.contest import Figures
    from overwinter.agents.profile import Durability

__all__ = ["CONTESTS"]

_HERE = Path(__file__).resolve().parent
_LONGEST = 300


def _of_peer(name: str, script: str, arguments: Callable[[Size], tuple[object, ...]], size: Size) -> Figures:
    if size is Size.TINY:
        python_of(name)  # its script warms itself up
        return {}
    command = [str(python_of(name)), str(_HERE / script), *map(str, arguments(size))]
    try:
        done = subprocess.run(command, capture_output=True, timeout=_LONGEST, check=False)
    except subprocess.TimeoutExpired as error:
        raise Skipped(f"it took more than {_LONGEST} seconds") from error
    if done.returncode:
        last = done.stderr.decode(errors="replace").strip().rpartition("\n")[2]
        raise Skipped(f"its script failed: {last[:200]}")
    told: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return told


def _counts(size: Size) -> tuple[object, ...]:
    return messages.tells(size), messages.asks(size)


def _messages(size: Size) -> Figures:
    return {
        "tell": asyncio.run(messages.tell_actor(messages.tells(size))),
        "ask": asyncio.run(messages.ask_actor(messages.asks(size))),
    }


def _team(size: Size) -> tuple[int, int]:
    return size.of(100, 5), size.of(20, 3)


def _steps(durability: Durability | None, size: Size) -> Figures:
    return asyncio.run(steps.steps(*_team(size), durability))


def _langgraph(saving: str) -> Callable[[Size], Figures]:
    return partial(_of_peer, "langgraph", "langgraph_steps.py", lambda size: (saving, *_team(size)))


def _alone(durability: Durability | None, size: Size) -> Figures:
    return asyncio.run(steps.steps(1, size.of(100, 3), durability))


def _row(
    key: str, what: str, figure: str, unit: str, of: str, against: str, least: float | None = None
) -> Row:
    goals = () if least is None else (Goal("ratio", least, "least"),)
    return Row(key, what, figure, unit, of=of, against=against, goals=goals)


_OURS, _AUTOGEN, _PYKKA = "overwinter", "autogen-core", "Pykka"
_SYNC, _ASYNC, _OFF = "LangGraph, AsyncSqliteSaver, sync", "LangGraph, AsyncSqliteSaver, async", "LangGraph"

CONTESTS = (
    Contest(
        "peers-messages",
        {
            _OURS: _messages,
            _AUTOGEN: partial(_of_peer, "autogen", "autogen_messages.py", _counts),
            _PYKKA: partial(_of_peer, "pykka", "pykka_messages.py", _counts),
        },
        (
            _row("tell-autogen", "tell, one actor", "tell", "/s", _OURS, _AUTOGEN, 80),
            _row("tell-pykka", "tell, one actor", "tell", "/s", _OURS, _PYKKA, 2),
            _row("ask-autogen", "ask, ping-pong", "ask", "/s", _OURS, _AUTOGEN, 10),
            _row("ask-pykka", "ask, ping-pong", "ask", "/s", _OURS, _PYKKA, 4),
        ),
        turns=2,
    ),
    Contest(
        "peers-steps",
        {
            "sync": partial(_steps, "sync"),
            "async": partial(_steps, "async"),
            "off": partial(_steps, None),
            _SYNC: _langgraph("sync"),
            _ASYNC: _langgraph("async"),
            _OFF: _langgraph("none"),
            "tantra": partial(_of_peer, "tantra", "tantra_steps.py", _team),
        },
        (
            _row("steps-langgraph", '100 agents x 20 steps, "sync"', "rate", "steps/s", "sync", _SYNC, 8),
            _row("steps-tantra", '100 agents x 20 steps, "sync"', "rate", "steps/s", "sync", "tantra", 20),
            _row(
                "steps-langgraph-async", '100 agents x 20 steps, "async"', "rate", "steps/s", "async", _ASYNC
            ),
            _row(
                "steps-langgraph-off", "100 agents x 20 steps, nothing saved", "rate", "steps/s", "off", _OFF
            ),
        ),
        turns=1,
    ),
    Contest(
        "peers-alone",
        {
            "sync": partial(_alone, "sync"),
            "async": partial(_alone, "async"),
            "swarms": partial(_of_peer, "swarms", "swarms_steps.py", lambda size: (size.of(100, 3),)),
        },
        (
            _row("steps-swarms", 'one agent, 100 steps, "async"', "rate", "steps/s", "async", "swarms"),
            _row("steps-swarms-sync", 'one agent, 100 steps, "sync"', "rate", "steps/s", "sync", "swarms"),
        ),
        turns=1,
    ),
)
