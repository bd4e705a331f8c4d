"""A light handle on an agent that is known by its name."""

from __future__ import annotations

from contextlib import aclosing
from typing import TYPE_CHECKING, Any

from overwinter.agents.deadline import deadline
from overwinter.errors import AskTimeout
from overwinter.persistence.names import agent_id_for

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from contextlib import AbstractAsyncContextManager
    from pathlib import Path

    from overwinter.agents.budget import Budget
    from overwinter.agents.directory import Directory
    from overwinter.agents.events import Event
    from overwinter.agents.results import RunResult
    from overwinter.agents.runs import Runs

__all__ = ["NamedAgent"]


class NamedAgent:
    """The agent of a name and a session, in memory or not; had with ``runtime.agent(name)``.

    Each call wakes the agent up where it is not active: it is made (see :meth:`Runtime.define`), takes over what was
    saved, and goes on with what was cut off and with the tasks it had accepted, before it does anything else. A handle
    is a few words of memory and holds nothing; make as many as you like. It can be a member of a swarm.

    Each call raises ``AgentNotDefined`` when nobody knows how the agent is made, ``AgentInUse`` when somebody else
    holds it, and ``RuntimeClosed`` when the runtime is not running.
    """

    __slots__ = ("_directory", "agent_name", "session")

    def __init__(self, directory: Directory, agent_name: str, session: str = "") -> None:
        self._directory = directory
        self.agent_name = agent_name
        self.session = session

    @property
    def agent_id(self) -> str:
        """The id that is derived from its name and session."""
        return agent_id_for(self.agent_name, self.session)

    @property
    def active(self) -> bool:
        """Whether the agent is in memory at present."""
        return self._directory.is_active(self.agent_name, self.session)

    async def run(self, task: str, *, run_id: str | None = None, queue: bool = False) -> RunResult[Any]:
        """Do *task* and return what came of it; see :meth:`Agent.run`, also for its cancellation and its errors.

        :raises AskDeadlock: it was called within a run that the agent's own run waits for.
        """
        async with self.awake() as agent:
            with self._directory.waits.for_run(agent, run_id):
                result: RunResult[Any] = await agent.run(task, run_id=run_id, queue=queue)
                return result

    async def stream(
        self, task: str, *, run_id: str | None = None, queue: bool = False
    ) -> AsyncGenerator[Event, None]:
        """Do *task* and yield the events of the run; see :meth:`Agent.stream`."""
        async with self.awake() as agent, aclosing(agent.stream(task, run_id=run_id, queue=queue)) as events:
            async for event in events:
                yield event

    async def resume(
        self, run_id: str = "", *, max_loops: int | None = None, budget: Budget | None = None
    ) -> RunResult[Any]:
        """Finish the last run, or that one, if it was paused, interrupted or failed; see :meth:`Agent.resume`.

        An agent that this wakes up goes on with the tasks it had accepted when the run has ended.

        :raises NothingToResume: nothing was cut off, or the agent is at work.
        """
        return await self._directory.errands.resume(
            (self.agent_name, self.session),
            lambda agent: agent.resume(run_id, max_loops=max_loops, budget=budget),
        )

    async def tell(self, task: str, *, run_id: str | None = None) -> str:
        """Have *task* done without waiting for it, and return the id of its run as soon as it is accepted.

        With ``autosave`` it is on the disk then, whatever the durability: when the process ends, the agent does it when
        it is next woken up. It waits its turn, behind a paused run too. A run that fails is logged.
        With a *run_id* it may be told again, and is done once.

        Cancelled, it may have been accepted all the same.

        :raises RunInterrupted: the agent was stopped before the task was seen to be accepted; tell it again.
        :raises ConfigurationError: the *run_id* was given to another task before, or the task cannot be stored.
        """
        return await self._directory.errands.tell((self.agent_name, self.session), task, run_id)

    async def ask(
        self,
        task: str,
        *,
        timeout: float | None = None,  # noqa: ASYNC109
        run_id: str | None = None,
    ) -> str:
        """Do *task* and return the text of the answer.

        :param timeout: seconds; then the run is interrupted, and saved, unless others wait for it too.
        :param run_id: a name of your own for the run; see :meth:`run`.
        :raises AskTimeout: it took longer.
        :raises RunPaused: the run met a limit, or waits for a person.
        """
        with deadline(self._directory.runtime.clock, timeout):
            result = await self.run(task, run_id=run_id)
            if result.status == "paused":
                _ = result.output  # raises, and says why
            return result.text
        raise AskTimeout(
            f"agent {self.agent_name!r} has not answered within {timeout or 0:g} s; its run was interrupted, and "
            "resume() goes on with it"
        )

    async def save(self) -> Path:
        """Save configuration and state now and return the path of the state file; see :meth:`Agent.save`."""
        async with self.awake() as agent:
            return await agent.save()

    def awake(self) -> AbstractAsyncContextManager[Runs[Any, Any]]:
        """The agent itself, for the length of ``async with``: it is not passivated before that is left.

        For what a handle cannot do: ``approve()``, ``history()``, its memory and its state.
        """
        return self._directory.awake(self.agent_name, self.session)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, NamedAgent):
            return NotImplemented
        return (self._directory, self.agent_name, self.session) == (
            other._directory,
            other.agent_name,
            other.session,
        )

    def __hash__(self) -> int:
        return hash((self.agent_name, self.session))

    def __repr__(self) -> str:
        of = f" of session {self.session!r}" if self.session else ""
        return f"<NamedAgent {self.agent_name!r}{of} {'active' if self.active else 'at rest'}>"
