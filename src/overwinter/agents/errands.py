"""What named agents do without anybody who waits for it: tasks that were told, and those that were accepted before."""

from __future__ import annotations

import asyncio
import logging
import os
from typing import TYPE_CHECKING, Any

from overwinter.agents.commands import InterruptRun
from overwinter.errors import ActorStopped, NothingToResume, RunInterrupted

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from overwinter.agents.berth import Berth
    from overwinter.agents.directory import Directory
    from overwinter.agents.resting import Key
    from overwinter.agents.results import RunResult
    from overwinter.agents.runs import Runs

__all__ = ["Errands"]

logger = logging.getLogger("overwinter.agents")

#: What is said of runs that were given up because somebody wanted that; they are resumed by hand.
_GIVEN_UP = ("it was cancelled", "its caller was cancelled")


class Errands:
    """Runs tasks of named agents in the background, each of which keeps its agent from being passivated."""

    def __init__(self, directory: Directory) -> None:
        self._directory = directory

    def go_on(self, key: Key, berth: Berth, agent: Runs[Any, Any]) -> None:
        """Go on with the run that was cut off, unless somebody gave it up, and then do all accepted tasks in order."""
        state = agent.state
        if state.status == "interrupted" and state.error not in _GIVEN_UP:
            self._start(key, berth, agent, state.task, state.run_id)
        self._do_accepted(key, berth, agent)

    def _do_accepted(self, key: Key, berth: Berth, agent: Runs[Any, Any]) -> None:
        for accepted in agent.state.accepted:
            self._start(key, berth, agent, accepted.task, accepted.run_id)

    async def resume(
        self, key: Key, how: Callable[[Runs[Any, Any]], Awaitable[RunResult[Any]]]
    ) -> RunResult[Any]:
        """What :meth:`NamedAgent.resume` does."""
        async with self._directory.awake_at(key, go_on=False) as (agent, berth):
            if berth is not None and not agent.state.run_id and not agent.state.accepted:
                # All there is was loaded.
                raise NothingToResume(
                    f"agent {key[0]!r} has no run that was cut off; start one with run(task)"
                )
            try:
                with self._directory.waits.for_run(agent, None):
                    return await how(agent)
            finally:
                if berth is not None and berth.owes:
                    berth.owes = False
                    self._do_accepted(key, berth, agent)

    async def tell(self, key: Key, task: str, run_id: str | None) -> str:
        """What :meth:`NamedAgent.tell` does."""
        run_id = run_id or os.urandom(16).hex()
        async with self._directory.awake_at(key) as (agent, berth):
            await self._accepted(agent, self._start(key, berth, agent, task, run_id), run_id)
        return run_id

    def _start(
        self, key: Key, berth: Berth | None, agent: Runs[Any, Any], task: str, run_id: str
    ) -> asyncio.Task[Any]:
        self._directory.hold(key, berth)
        # Behind a paused run it waits: it was accepted.
        run = self._directory.background.start(self._run(agent, task, run_id))

        def ended(run: asyncio.Task[Any]) -> None:
            self._directory.release(key, berth)
            error = None if run.cancelled() else run.exception()
            if isinstance(error, RunInterrupted):
                logger.info("run %s of agent %r was cut off: %s", run_id, key[0], error)
            elif error is not None:
                logger.warning(
                    "run %s of agent %r failed, and nobody waited for it: %s", run_id, key[0], error
                )

        run.add_done_callback(ended)
        return run

    async def _run(self, agent: Runs[Any, Any], task: str, run_id: str) -> None:
        if agent.reference_on(self._directory.runtime) is None:
            # It would find itself a runtime of its own.
            raise RunInterrupted(f"agent {agent.agent_name!r} was stopped before the run began", run_id)
        await agent.run(task, run_id=run_id, queue=True)

    async def _accepted(self, agent: Runs[Any, Any], run: asyncio.Task[Any], run_id: str) -> None:
        """Return when the task is accepted, on disk if the agent is saved, or raise why it was not."""
        # Its first step puts the message into the mailbox.
        await asyncio.sleep(0)
        ref = agent.reference_on(self._directory.runtime)
        try:
            if ref is not None and not run.done():
                # A message that changes nothing, answered when those before it have been handled.
                await ref.ask(InterruptRun(""))
        except ActorStopped:
            ref = None
        state = agent.state
        if run.done() or not (
            state.run_id == run_id or any(task.run_id == run_id for task in state.accepted)
        ):
            # It was refused, has finished before, or stands in another conversation, which is taken up first.
            await asyncio.wait({run})
            run.result()
        if ref is None or not ref.alive:
            raise RunInterrupted(
                f"agent {agent.agent_name!r} was stopped before the task was seen to be accepted; tell it again with "
                f"run_id={run_id!r}, and it is done once",
                run_id,
            )
        await agent.certain()
