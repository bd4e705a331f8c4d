"""``overwinter resume``: finish what was cut off."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, Any

import anyio
import msgspec
from msgspec import Struct
from rich.text import Text

from overwinter import Runtime
from overwinter.agents.asking import WAITS
from overwinter.agents.budget import Budget
from overwinter.agents.signals import run_to_end
from overwinter.cli.addressing import Everybody, command
from overwinter.cli.finding import counted, find_agent
from overwinter.cli.inspection import Inspected, inspect_workspace, open_workspace
from overwinter.cli.listing import as_json
from overwinter.cli.notices import notices
from overwinter.cli.rebuilding import CannotRebuild, Source, rate_limits_of, rebuild
from overwinter.cli.refusal import FAILED, INTERRUPTED, Refusal
from overwinter.cli.rendering import (
    complain,
    console,
    money,
    number,
    plural,
    say,
    styled_status,
    visible,
    warn,
)
from overwinter.cli.tables import print_table
from overwinter.errors import AgentInUse, NothingToResume, OverwinterError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import Console

    from overwinter import RunResult
    from overwinter.agents.runs import Runs
    from overwinter.persistence import Workspace

__all__ = ["PAUSED", "Limits", "resume_agent", "resume_all"]

PAUSED = 3
_CONCURRENCY = 64


class Limits(Struct, frozen=True, kw_only=True):
    """Higher limits for the runs that go on; None leaves those they have."""

    max_loops: int | None = None
    tokens: int | None = None
    cost: float | None = None
    seconds: float | None = None

    @property
    def given(self) -> bool:
        """Whether any was."""
        return any(value is not None for value in msgspec.structs.astuple(self))

    def budget(self, one: Inspected) -> Budget | None:
        """The budget of the agent with what was given in the place of its own; None where nothing was."""
        given = {
            name: value
            for name, value in (("tokens", self.tokens), ("cost", self.cost), ("seconds", self.seconds))
            if value is not None
        }
        if not given:
            return None
        own: dict[str, Any] = one.configuration.get("budget") or {}
        return msgspec.convert({**own, **given}, Budget)


class Outcome(Struct, kw_only=True):
    """What became of one agent."""

    agent: Inspected
    status: str = ""
    told: str = ""
    text: str = ""
    loops: int = 0
    tokens: int = 0
    cost: float | None = None
    waits: int = 0


def resume_agent(
    name: str,
    chosen: str | None,
    *,
    session: str | None,
    source: str | None,
    limits: Limits,
    as_data: bool,
) -> int:
    """Finish the last run of one agent, and print its answer. Returns the exit code.

    :raises Refusal: there is no such agent, nothing to resume, or its program is needed and not named.
    """
    made_by = Source(source) if source else None
    workspace = open_workspace(chosen)
    inspected = inspect_workspace(workspace, warn)
    one = find_agent(inspected, name, session, str(workspace.root))
    _refuse_to_wait(one)
    if one.is_swarm and limits.max_loops is not None:
        raise Refusal(
            f"--max-loops: {one.folder.name!r} is a swarm, and loops are its members'; they have limits of their own"
        )
    everybody = Everybody(inspected, chosen)
    outer = everybody.whole_of(one)
    if outer is not one:
        told = f"is a part of swarm {outer.folder.name!r}, which goes on when it is resumed"
        warn(f"this run of {one.what} {one.folder.name!r} {told}: {everybody.go_on(one)}")
    try:
        agent = rebuild(one, made_by)
    except CannotRebuild as error:
        raise Refusal(f"{one.what} {one.folder.name!r} cannot be resumed from here: {error}") from error
    (outcome,) = _work(workspace, [(one, agent)], limits)
    if as_data:
        console().file.write(as_json(_as_data(outcome)))
    elif outcome.status == "finished":
        to = console()
        to.print(Text(visible(outcome.text)), soft_wrap=True)
    else:
        _tell(outcome, everybody, source, chosen)
    return _code([outcome])


def resume_all(chosen: str | None, *, source: str | None, limits: Limits, as_data: bool) -> int:
    """Finish, all at once, whatever was cut off in a workspace. Returns the exit code.

    Left alone is what was paused at a limit, unless a higher one is given, and what waits for a person. What a member
    does for a swarm goes on with the swarm.

    :raises Refusal: there is no workspace.
    """
    made_by = Source(source) if source else None
    workspace = open_workspace(chosen)
    outcomes: list[Outcome] = []
    agents: list[tuple[Inspected, Runs[Any, Any]]] = []
    inspected = inspect_workspace(workspace, warn)
    everybody = Everybody(inspected, chosen)
    for one in inspected:
        if not _is_cut_off(one, limits) or everybody.swarms_of(one):
            continue
        if one.status == "paused" and everybody.waiting_in(one):
            continue
        try:
            agents.append((one, rebuild(one, made_by)))
        except (CannotRebuild, Refusal) as error:
            outcomes.append(Outcome(agent=one, status="not resumed", told=str(error)))
    if agents:
        outcomes += _work(workspace, agents, limits)
    outcomes.sort(key=lambda outcome: outcome.agent.folder.path.name)
    if as_data:
        told = {"workspace": str(workspace.root), "agents": [_as_data(outcome) for outcome in outcomes]}
        console().file.write(as_json(told))
    else:
        _print_all(console(), outcomes, workspace)
    return _code(outcomes)


def _is_cut_off(one: Inspected, limits: Limits) -> bool:
    if one.state is None or one.held_by is not None:
        return False
    body, status = one.state[1], one.status
    if status in ("interrupted", "failed"):
        return True
    if status == "paused":
        reason = body.run.stop_reason if body.run else ""
        if reason in WAITS or body.pending:
            # Somebody has spoken meanwhile, or nobody has.
            return not body.pending
        return reason == "pause" or limits.given
    return bool(body.accepted)


def _refuse_to_wait(one: Inspected) -> None:
    """Say at once what would come to nothing."""
    if one.held_by is not None:
        raise Refusal(
            f"{one.what} {one.folder.name!r} is at work in process {one.held_by.pid} on {one.held_by.host}",
            code=FAILED,
        )
    if one.state is None:
        raise Refusal(f"{one.what} {one.folder.name!r} has no saved state that can be read", code=FAILED)
    body = one.state[1]
    if one.status in ("finished", "idle") and not body.accepted:
        raise Refusal(
            f"{one.what} {one.folder.name!r} has nothing to resume: its last run is {one.status}", code=FAILED
        )


def _work(
    workspace: Workspace, agents: Sequence[tuple[Inspected, Runs[Any, Any]]], limits: Limits
) -> list[Outcome]:
    """Let all of them go on at once, on one runtime; Ctrl-C saves and ends it."""
    outcomes = [Outcome(agent=one, status="interrupted") for one, _ in agents]
    try:
        with notices(warn):
            run_to_end(lambda: _resume(workspace, agents, outcomes, limits), hint="use the library instead")
    except KeyboardInterrupt:
        complain("interrupted; everything is saved, and the same command goes on")
        raise Refusal(code=INTERRUPTED) from None
    return outcomes


async def _resume(
    workspace: Workspace,
    agents: Sequence[tuple[Inspected, Runs[Any, Any]]],
    outcomes: Sequence[Outcome],
    limits: Limits,
) -> None:
    limiter = anyio.CapacityLimiter(_CONCURRENCY)
    rate_limits = {name: limit for one, _ in agents for name, limit in rate_limits_of(one).items()}
    async with (
        Runtime(workspace.root, rate_limits=rate_limits) as runtime,
        anyio.create_task_group() as tasks,
    ):
        for (_, agent), outcome in zip(agents, outcomes, strict=True):
            tasks.start_soon(_resume_one, runtime, agent, outcome, limits, limiter)


async def _resume_one(
    runtime: Runtime, agent: Runs[Any, Any], outcome: Outcome, limits: Limits, limiter: anyio.CapacityLimiter
) -> None:
    budget, loops = limits.budget(outcome.agent), None if outcome.agent.is_swarm else limits.max_loops
    async with limiter:
        try:
            await runtime.spawn(agent)
            # Its last run, and then the tasks that it had accepted.
            while True:
                result = await agent.resume(max_loops=loops, budget=budget)
                _note(outcome, result)
                if result.status != "finished":
                    break
        except NothingToResume as error:
            if not outcome.loops:
                outcome.status, outcome.told = "finished", str(error)
        except AgentInUse as error:
            outcome.status, outcome.told = "in use", f"by process {error.pid} on {error.host}"
        except OverwinterError as error:
            outcome.status, outcome.told = "failed", str(error)
        except Exception as error:  # noqa: BLE001 - one agent's error is no other's, and is told
            outcome.status, outcome.told = "failed", f"{type(error).__name__}: {error}"


def _note(outcome: Outcome, result: RunResult[Any]) -> None:
    outcome.status, outcome.text = result.status, result.text
    outcome.loops, outcome.tokens = result.loop_count, result.usage.total_tokens
    outcome.cost, outcome.waits = result.usage.cost, len(result.pending)
    if result.pending:
        outcome.told = f"{plural(len(result.pending), 'call')} for a person to decide"
    elif result.status == "paused":
        outcome.told = f"at its limit {result.stop_reason}" if result.stop_reason != "pause" else ""
    else:
        outcome.told = ""


def _code(outcomes: Sequence[Outcome]) -> int:
    if any(outcome.status not in ("finished", "paused") for outcome in outcomes):
        return FAILED
    return PAUSED if any(outcome.status == "paused" for outcome in outcomes) else 0


def _tell(outcome: Outcome, everybody: Everybody, source: str | None, chosen: str | None) -> None:
    name = visible(outcome.agent.folder.name, lines=False)
    if outcome.status != "paused":
        complain(f"{outcome.agent.what} {name!r}: {outcome.told or outcome.status}")
        return
    to = console()
    say(to, Text.assemble((name, "bold"), "  ", styled_status("paused"), f"  {outcome.told}"))
    if outcome.waits:
        after = command("pending", chosen=chosen)
    else:
        made_by = () if source is None else ("--from", shlex.quote(source))
        limit = "--budget-tokens N" if outcome.agent.is_swarm else "--max-loops N"
        after = f"{everybody.go_on(outcome.agent, *made_by, limit)}  (or another limit)"
    to.print(Text(f"Go on with:  {after}", "dim"), soft_wrap=True)


def _print_all(to: Console, outcomes: Sequence[Outcome], workspace: Workspace) -> None:
    if not outcomes:
        say(to, f"Nothing was cut off in {visible(str(workspace.root))}")
        return
    rows = [
        (
            visible(outcome.agent.folder.name, lines=False),
            styled_status(outcome.status),
            number(outcome.loops) if outcome.loops else "-",
            number(outcome.tokens) if outcome.loops else "-",
            money(outcome.cost) if outcome.loops else "-",
            visible(outcome.told or " ".join(outcome.text.split()), lines=False),
        )
        for outcome in outcomes
    ]
    print_table(to, ("name", "status", ">loops", ">tokens", ">cost", "told"), rows, gives_way="told")
    failed = [outcome for outcome in outcomes if outcome.status not in ("finished", "paused")]
    to.print()
    say(
        to,
        Text(f"{len(outcomes) - len(failed)} of {counted([each.agent for each in outcomes])} resumed", "dim"),
    )
    for told in dict.fromkeys(outcome.told for outcome in failed if outcome.told):
        complain(told)


def _as_data(outcome: Outcome) -> dict[str, Any]:
    folder = outcome.agent.folder
    return {
        "agent_name": folder.name,
        "kind": outcome.agent.what,
        "session": folder.session,
        "status": outcome.status,
        "told": outcome.told,
        "text": outcome.text,
        "loop_count": outcome.loops,
        "tokens": outcome.tokens,
        "cost": outcome.cost,
        "waits": outcome.waits,
        "folder": str(folder.path),
    }
