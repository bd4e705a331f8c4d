"""Finishing, all at once, what was cut off of every agent of a runtime."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from anyio import create_task_group

from overwinter.errors import ConfigurationError, NothingToResume, StateNotFound

if TYPE_CHECKING:
    from collections.abc import Callable

    from overwinter.agents.results import RunResult
    from overwinter.agents.runs import Runs
    from overwinter.agents.runtime import Runtime
    from overwinter.agents.unfinished import UnfinishedAgent

__all__ = ["resume_all"]

_GROUP = 500


async def resume_all(
    runtime: Runtime, make: Callable[[UnfinishedAgent], Runs[Any, Any] | None] | None
) -> dict[str, RunResult[Any] | Exception]:
    """What :meth:`Runtime.resume_all` does."""
    outcomes: dict[str, RunResult[Any] | Exception] = {}
    living = runtime.agents
    directory = runtime.directory
    made: list[Runs[Any, Any]] = []
    named: list[UnfinishedAgent] = []
    if make is not None:
        made = _made(await runtime.interrupted(), make)
    elif not directory.definitions.empty:
        named = await runtime.interrupted()

    async def move_in(agent: Runs[Any, Any]) -> None:
        try:
            await runtime.settle(agent, to_be_loaded=True)
        except Exception as error:  # noqa: BLE001 - one agent's error is no other's
            outcomes[agent.agent_id] = error

    async def finish(agent: Runs[Any, Any]) -> RunResult[Any]:
        while True:
            result: RunResult[Any] = await agent.resume()
            outcomes[agent.agent_id] = result
            if result.status != "finished":
                return result

    async def resume(agent: Runs[Any, Any]) -> None:
        try:
            await finish(agent)
        except (NothingToResume, StateNotFound):
            return
        except Exception as error:  # noqa: BLE001 - one agent's error is no other's
            outcomes[agent.agent_id] = error

    async def wake(found: UnfinishedAgent) -> None:
        try:
            if directory.definitions.can_make(found.agent_name, found.session, found.agent_id):
                await directory.errands.resume((found.agent_name, found.session), finish)
        except (NothingToResume, StateNotFound):
            return
        except Exception as error:  # noqa: BLE001 - one agent's error is no other's
            outcomes[found.agent_id] = error

    async with create_task_group() as tasks:
        for agent in living:
            tasks.start_soon(resume, agent)
        for found in named:
            tasks.start_soon(wake, found)
        # In groups: runs that go on at once would take turns with the thread that still claims and reads.
        for start in range(0, len(made), _GROUP):
            group = made[start : start + _GROUP]
            async with create_task_group() as moving:
                for agent in group:
                    moving.start_soon(move_in, agent)
            for agent in group:
                if agent.agent_id not in outcomes:
                    tasks.start_soon(resume, agent)
    return outcomes


def _made(
    unfinished: list[UnfinishedAgent], make: Callable[[UnfinishedAgent], Runs[Any, Any] | None]
) -> list[Runs[Any, Any]]:
    made: list[Runs[Any, Any]] = []
    for found in unfinished:
        agent = make(found)
        if agent is None:
            continue
        if agent.agent_id != found.agent_id:
            raise ConfigurationError(
                f"make was asked for agent {found.agent_name!r} ({found.agent_id}) and made agent "
                f"{agent.agent_name!r} ({agent.agent_id}); give it the same agent_name and session"
            )
        made.append(agent)
    return made
