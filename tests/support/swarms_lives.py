"""Processes in which swarms live, to be killed; what was acknowledged to them they say through their pipe.

::

    ["born", pid]                     the process is there
    ["saw", [key, ...]]               a model was shown these answers
    ["finished", [run_id, key]]       a swarm said that a member's work is done, and recorded
    ["returned", [swarm, run_id]]     a run ended; its result stands in a file
    ["hit", point]                    the process dies at this point, by itself
    ["trouble", text]                 something came up that must not
    ["died", code]                    the process is gone
"""

from __future__ import annotations

import asyncio
import gc
import os
import random
import traceback
import warnings
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import anyio
import msgspec
from tests.support.deadly import die
from tests.support.hive import Level
from tests.support.ledger import Ledger
from tests.support.processes import hear, say
from tests.support.swarms_cast import Cast
from tests.support.swarms_patterns import make

from overwinter import NothingToResume, Runtime, StateNotFound
from overwinter.agents.swarms.team import Team

if TYPE_CHECKING:
    from collections.abc import Callable

    from overwinter.agents.swarms.base import Swarm
    from overwinter.agents.swarms.results import SwarmResult
    from overwinter.agents.unfinished import UnfinishedAgent
    from overwinter.events import Event

__all__ = ["SwarmLife", "swarm_lives", "told"]

_SHOWN = 24  # keys in one word, which has to fit into one write to a pipe

LeftOut = Literal["", "the swarm's records"]


class SwarmLife(msgspec.Struct, frozen=True, kw_only=True):
    """One process. It resumes what was cut off of each pattern's swarm, sees ``tasks`` runs to their ends, and ends.

    :ivar results: the folder for the results, a file a run.
    :ivar all_at_once: resume with ``runtime.resume_all``, which is to find the swarms, and none of their members.
    :ivar die_at: die when the so-many-th event of that kind is published.
    :ivar slowness: seconds that a model takes, at most.
    :ivar without: what the swarm forgets, so that a check is seen to fail.
    """

    workspace: str
    ledger: str
    results: str
    durability: Level
    patterns: tuple[str, ...]
    seed: int = 0
    tasks: int = 1
    all_at_once: bool = False
    die_at: tuple[str, int] = ("", 0)
    slowness: float = 0.0
    without: LeftOut = ""


def swarm_lives() -> None:
    """A program: for each life that it hears of, a process that lives it."""
    # Collected memory is written to by no child, so that a fork stays cheap.
    gc.freeze()
    while word := hear():
        life = msgspec.json.decode(word, type=SwarmLife)
        pid = os.fork()
        if pid == 0:
            _live(life)
        _, status = os.waitpid(pid, 0)
        say("died", os.waitstatus_to_exitcode(status))


def told(result: SwarmResult[Any]) -> dict[str, Any]:
    """All that a result says which is not the clock's; members work side by side, so their order is not told."""
    members = [
        {
            "key": one.key,
            "member": one.member,
            "by": one.by,
            "status": one.status,
            "text": one.text,
            "usage": one.usage,
            "error": one.error,
        }
        for one in sorted(result.members, key=lambda one: one.key)
    ]
    told = {
        "text": result.text,
        "status": result.status,
        "stop_reason": result.stop_reason,
        "loop_count": result.loop_count,
        "tokens": [result.usage.calls, result.usage.input_tokens, result.usage.output_tokens],
        "cost": round(result.usage.cost or 0.0, 9),
        "members": members,
    }
    plain: dict[str, Any] = msgspec.to_builtins(told)
    return plain


def _live(life: SwarmLife) -> None:
    say("born", os.getpid())
    code = 1
    try:
        random.seed(life.seed)
        warnings.simplefilter("error")
        _forget(life.without)
        asyncio.run(_swarms(life))
        code = 0
    except BaseException:
        say("trouble", traceback.format_exc()[-3000:])
    finally:
        os._exit(code)


async def _swarms(life: SwarmLife) -> None:
    ledger, watcher = Ledger(Path(life.ledger)), Watcher(*life.die_at)

    def made(pattern: str) -> Swarm[str]:
        cast = Cast(
            ledger, session=pattern, slowness=life.slowness, shows=lambda keys: say("saw", keys[-_SHOWN:])
        )
        swarm = make(pattern, cast, autosave=True, durability=life.durability)
        swarm.watch(watcher)
        return swarm

    async with Runtime(life.workspace) as runtime, anyio.create_task_group() as tasks:
        swarms = await _resume_all(runtime, made, life) if life.all_at_once else {}
        for pattern in life.patterns:
            tasks.start_soon(_finish, runtime, swarms.get(pattern), partial(made, pattern), life)


async def _resume_all(
    runtime: Runtime, made: Callable[[str], Swarm[str]], life: SwarmLife
) -> dict[str, Swarm[str]]:
    swarms: dict[str, Swarm[str]] = {}

    def make_found(found: UnfinishedAgent) -> Swarm[str] | None:
        if found.kind != "swarm" or found.agent_name not in life.patterns:
            say("trouble", f"offered on its own, although a swarm goes on with it: {found}")
            return None
        swarms[found.agent_name] = made(found.agent_name)
        return swarms[found.agent_name]

    for outcome in (await runtime.resume_all(make_found)).values():
        if isinstance(outcome, Exception):
            say("trouble", f"not resumed: {outcome!r}")
    return swarms


async def _finish(
    runtime: Runtime, resumed: Swarm[str] | None, made: Callable[[], Swarm[str]], life: SwarmLife
) -> None:
    swarm = resumed
    results: dict[str, SwarmResult[Any]] = {}
    if swarm is None:
        swarm = made()
        await runtime.spawn(swarm)
        try:
            result = await swarm.resume()
            results[result.run_id] = result
        except (StateNotFound, NothingToResume):
            pass
    for number in range(1, life.tasks + 1):
        run_id = f"{swarm.agent_name}.{number}"
        result = await swarm.run(f"task {number}", run_id=run_id)
        if told(results.get(run_id, result)) != told(result):
            say("trouble", f"{run_id} is answered with another result when it is asked for again: {result!r}")
        data = msgspec.json.format(msgspec.json.encode(told(result)))
        Path(life.results, f"{run_id}.json").write_bytes(data)
        say("returned", [swarm.agent_name, run_id])


class Watcher:
    """Tells which work is done, and dies at its event."""

    def __init__(self, kind: str, number: int) -> None:
        self._kind = kind
        self._left = number

    def __call__(self, event: Event) -> None:
        key = getattr(event, "key", "")
        if event.kind == "member_finished":
            say("finished", [event.run_id, key])
        if event.kind == self._kind:
            self._left -= 1
            if self._left == 0:
                die(f"{event.kind} {event.run_id} {key}")


def _forget(what: LeftOut) -> None:
    """Do without the records of the swarms of this process."""
    if not what:
        return
    born = Team.__init__

    def forgets(self: Team, *args: Any, **kwargs: Any) -> None:
        born(self, *args, **kwargs)
        self._works = {}
        self._choices = {}

    Team.__init__ = forgets  # type: ignore[method-assign]
