"""What everything that does tasks has in common, be it one agent or a swarm of them: its runs."""

from __future__ import annotations

import os
from contextlib import aclosing
from typing import TYPE_CHECKING, Any, Generic, TypeVar, cast

from anyio import CancelScope, get_cancelled_exc_class

from overwinter.agents.commands import InterruptRun, ResumeRun, RunTask
from overwinter.agents.handle import AgentHandle
from overwinter.agents.results import RunResult
from overwinter.agents.serving import chain, refuse_to_wait_for_itself
from overwinter.agents.signals import run_to_end
from overwinter.agents.stream import stream_events
from overwinter.errors import ActorStopped, ConfigurationError, SaveRejected
from overwinter.persistence.codec import encode_checked

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from overwinter.agents.budget import Budget
    from overwinter.agents.events import Event
    from overwinter.agents.residence import Home

__all__ = ["Runs"]

OutputT = TypeVar("OutputT")
ResultT = TypeVar("ResultT", bound=RunResult[Any])


class Runs(AgentHandle[OutputT], Generic[OutputT, ResultT]):
    """The runs of an agent or a swarm: begun, watched, gone on with. ``ResultT`` is what they hand back."""

    async def run(self, task: str, *, run_id: str | None = None, queue: bool = False) -> ResultT:
        """Do *task* and return what came of it. Concurrent calls run one after the other, in the order of the calls.

        Cancelling it interrupts the run, or withdraws the task if its turn has not come; it returns when that is
        saved. After any error but these first two, what was said so far is kept and saved, and :meth:`resume` goes on.

        With a *run_id* it may be called again, in any process: a run that has finished is answered with its result, one
        that is under way is waited for (and goes on until the last who waits is cancelled), and one that was cut off is
        gone on with. A run of an earlier conversation is found as well; to go on with it, that conversation is taken up
        again, and the present one kept in ``history/``. How long it is remembered is the retention's business; without
        ``autosave``, as long as this object.

        :param run_id: a name of your own for the run.
        :param queue: wait behind a paused run instead of raising.
        :raises AgentPaused: a paused run stands before it.
        :raises AgentInUse: another process, or another runtime of this one, holds the agent (``autosave=True``).
        :raises ModelUnavailable: the model and all its fallbacks failed.
        :raises PriceUnknown: money is limited, and nobody knows what the model costs.
        :raises OutputInvalid: the answer never had the shape of ``output_type``.
        :raises RunInterrupted: the agent was stopped, or the run cancelled by :meth:`cancel`.
        :raises AskDeadlock: it was called by a tool of the agent itself, within a run.
        :raises ConfigurationError: the *run_id* was given to another task before.
        """
        refuse_to_wait_for_itself(self._state, self.agent_name)
        message = self._task(task, run_id, queue=queue)
        home = self._member.home_here()
        if home is not None:
            return await self._follow(home, message)
        async with self._member.at_home() as home:
            return await self._follow(home, message)

    async def work(self, task: str, *, run_id: str, streams: bool = False) -> ResultT:
        """:meth:`run` as part of a larger run; with *streams* whoever watches sees the text as it comes."""
        message = self._task(task, run_id, queue=False, streams=streams)
        home = self._member.home_here()
        if home is not None:
            return await self._follow(home, message)
        async with self._member.at_home() as home:
            return await self._follow(home, message)

    def run_sync(self, task: str, *, queue: bool = False) -> ResultT:
        """:meth:`run` for a script without an event loop. Ctrl-C and SIGTERM save first and then end the program.

        :raises ConfigurationError: an event loop is already running here; use ``await agent.run(task)``.
        """
        return run_to_end(lambda: self.run(task, queue=queue), hint="use `await agent.run(task)`")

    async def stream(
        self, task: str, *, run_id: str | None = None, queue: bool = False
    ) -> AsyncGenerator[Event, None]:
        """Do *task* and yield the events of the run; the last is ``RunEnded``, with the result.

        Leaving the loop early cancels the run; wrap it in ``contextlib.aclosing`` to have that happen, and be saved,
        at once. Raises what :meth:`run` raises.
        """
        refuse_to_wait_for_itself(self._state, self.agent_name)
        message = self._task(task, run_id, queue=queue, streams=True)
        async with self._member.at_home() as home, aclosing(self._events(home, message)) as events:
            async for event in events:
                yield event

    async def resume(
        self, run_id: str = "", *, max_loops: int | None = None, budget: Budget | None = None
    ) -> ResultT:
        """Finish the last run if it was paused, interrupted or failed; a fresh object loads it first.

        It goes on at the step at which it was last saved. Tool calls that were asked for and not begun are made; one
        that had begun is repeated if it is ``idempotent``, otherwise it is dealt with as ``on_unknown`` says. While a
        call still waits for a person the run pauses again, after it has done what was decided.
        Where no run was cut off, the first task that was accepted and never begun is run.

        :param run_id: another run than the last: an older one of this conversation, which the model is told to go on
            with, or one of an earlier conversation, which is then taken up again.
        :param max_loops: a new limit for the whole run, counted from its beginning.
        :param budget: a new budget for the whole run, counted from its beginning, in place of the agent's. Both hold
            for this resumption; a limit that is not above what was spent pauses the run again at once.
        :raises NothingToResume: the run had finished, or is not known.
        :raises OutcomeUnknown: nobody knows what became of a call (``on_unknown="raise"``); a person has to say.
        :raises StateNotFound: there is neither a run in memory nor a saved state.
        """
        refuse_to_wait_for_itself(self._state, self.agent_name)
        await self.load_if_fresh()
        async with self._member.at_home() as home:
            message = self._resumption(run_id, max_loops, budget)
            return await self._follow(home, message)

    async def resume_stream(
        self, run_id: str = "", *, max_loops: int | None = None, budget: Budget | None = None
    ) -> AsyncGenerator[Event, None]:
        """:meth:`resume`, as a stream of the events of the run like :meth:`stream`.

        When the run was cut off while the model was asked, a ``StreamRestarted`` says that what was streamed of that
        step is void.
        """
        refuse_to_wait_for_itself(self._state, self.agent_name)
        await self.load_if_fresh()
        message = self._resumption(run_id, max_loops, budget, streams=True)
        async with self._member.at_home() as home, aclosing(self._events(home, message)) as events:
            async for event in events:
                yield event

    def _resumption(
        self, run_id: str, max_loops: int | None, budget: Budget | None, *, streams: bool = False
    ) -> ResumeRun:
        return ResumeRun(
            run_id, max_loops, budget, streams=streams, within=chain(), caller=os.urandom(16).hex()
        )

    def _task(self, task: str, run_id: str | None, *, queue: bool, streams: bool = False) -> RunTask:
        if not isinstance(task, str):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise ConfigurationError(f"the task is a string, not {type(task).__name__}")
        try:
            encode_checked(task, what="task")
        except SaveRejected as error:
            raise ConfigurationError(f"the task cannot be stored: {error}") from error
        return RunTask(
            task=task,
            run_id=run_id or os.urandom(16).hex(),
            streams=streams,
            queue=queue,
            within=chain(),
            named=bool(run_id),
            caller=os.urandom(16).hex(),
        )

    async def _events(self, home: Home, message: RunTask | ResumeRun) -> AsyncGenerator[Event, None]:
        events = stream_events(lambda: self._follow(home, message), self._member.hub.watch, message.run_id)
        try:
            async for event in events:
                yield event
        finally:
            with CancelScope(shield=True):
                await events.aclose()

    async def _follow(self, home: Home, message: RunTask | ResumeRun) -> ResultT:
        """Send a run off and wait for its end; cancelled, interrupt it and wait until that is saved."""
        if isinstance(message, RunTask) and not message.named:
            self._member.announce()
        try:
            # Not by _ask_there: a coroutine less for each run that is waited for.
            return cast("ResultT", await home.ref.ask(message))
        except ActorStopped as error:
            raise self._was_stopped() from error
        except get_cancelled_exc_class():
            run_id = message.run_id or self._state.run_id
            with CancelScope(shield=True):
                await self._interrupt(home, run_id, message.caller)
            raise

    async def _interrupt(self, home: Home, run_id: str, caller: str) -> None:
        try:
            await home.ref.ask(InterruptRun(run_id, caller=caller))
        except ActorStopped:
            return
