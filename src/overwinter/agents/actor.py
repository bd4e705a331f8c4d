"""The actor of an agent: its mailbox, and the one run that goes on beside it."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from anyio import CancelScope, Lock

from overwinter.agents.commands import (
    AgentMessage,
    CancelRun,
    InterruptRun,
    LoadState,
    PauseRun,
    ResumeRun,
    RunTask,
    SaveNow,
)
from overwinter.agents.deadline import deadline
from overwinter.agents.records import AcceptedTask
from overwinter.agents.serving import RunServer, waits_for_itself
from overwinter.agents.ticket import Ticket
from overwinter.errors import (
    AgentError,
    AgentPaused,
    ConfigurationError,
    NothingToResume,
    OverwinterError,
    RunInterrupted,
)
from overwinter.runtime import Actor

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from overwinter.agents.saving import Saving
    from overwinter.agents.stage import Stage
    from overwinter.runtime import Job, Reply

__all__ = ["AgentActor"]


class AgentActor(Actor[AgentMessage]):
    """Serves one agent. Its ``receive`` never waits for a run: a run goes on beside the mailbox, one at a time."""

    def __init__(
        self,
        stage: Stage,
        *,
        open_saving: Callable[[], Awaitable[Saving]],
        load: Callable[[str], Awaitable[None]],
        closed: Callable[[], None],
        grace: float,
    ) -> None:
        self._stage = stage
        self._server = RunServer(stage)
        self._open_saving = open_saving
        self._load = load
        self._closed = closed
        self._grace = grace
        self._queue: deque[Ticket] = deque()
        self._saving_once = Lock()
        self._current: Ticket | None = None
        self._worker: Job | None = None

    async def receive(self, message: AgentMessage) -> None:
        """Serve *message*; every failure is the asker's and none the supervisor's."""
        reply = self.context.defer_reply()
        try:
            match message:
                case RunTask():
                    await self._accept(message, reply)
                case ResumeRun():
                    self._resume(message, reply)
                case InterruptRun():
                    self._interrupt(message, reply)
                case PauseRun():
                    self._pause(reply)
                case CancelRun():
                    await self._cancel(reply)
                case SaveNow():
                    self.context.start_soon(self._save, reply)
                case LoadState():
                    await self._load_state(message, reply)
        except OverwinterError as error:
            reply.fail(error)

    async def on_stop(self) -> None:
        """Give the run a grace, interrupt it, save, and let go of the agent."""
        try:
            await self._end_runs()
        finally:
            # Also when patience was lost with the run: the agent lives here no more, and others may have it.
            self._closed()
            if self._stage.saving is not None:
                await self._stage.saving.aclose()

    async def _end_runs(self) -> None:
        if self._worker is not None:
            with deadline(self._stage.clock, self._grace):
                await self._worker.wait()
        waiting, self._queue = self._queue, deque()
        for ticket in waiting:
            ticket.reply.fail(
                RunInterrupted(
                    "the agent was stopped before this run began; its task stays accepted", ticket.run_id
                )
            )
        if self._current is not None:
            self._current.interrupt("the agent was stopped")
        if self._worker is not None:
            await self._worker.wait()

    async def _accept(self, message: RunTask, reply: Reply) -> None:
        state = self._stage.state
        if state.status == "paused" and not message.queue:
            raise self._paused()
        if state.key in message.within:
            raise waits_for_itself(self._stage.profile.name)
        if message.run_id in state.run_ids:
            raise ConfigurationError(
                f"run_id {message.run_id!r} was used before; a run_id names one run only"
            )
        saving = self._stage.saving
        if saving is not None:
            await saving.prepare()
        ticket = Ticket(
            reply, message.run_id, streams=message.streams, within=message.within, queue=message.queue
        )
        state.accept(AcceptedTask(run_id=message.run_id, task=message.task, at=self._stage.now()))
        if saving is not None:
            saving.accepted()
        self._queue.append(ticket)
        reply.on_abandon(lambda: self._abandoned(ticket))
        self._wake()

    def _paused(self) -> AgentPaused:
        run = self._stage.state.run
        return AgentPaused(
            f"agent {self._stage.profile.name!r} is paused at its limit {run.stop_reason if run else ''!r}, and this "
            "task was not accepted; call resume() with a higher limit, or cancel(), or wait with run(task, queue=True)"
        )

    def _resume(self, message: ResumeRun, reply: Reply) -> None:
        run_id, resumed = self._run_to_resume(message.run_id)
        ticket = Ticket(
            reply,
            run_id,
            streams=message.streams,
            resumed=resumed,
            max_loops=message.max_loops,
            budget=message.budget,
            within=message.within,
        )
        self._queue.appendleft(ticket)
        reply.on_abandon(lambda: self._abandoned(ticket))
        self._wake()

    def _run_to_resume(self, run_id: str) -> tuple[str, bool]:
        """The run that a resume is about, and whether it had begun; one that only was accepted begins now."""
        state, name = self._stage.state, self._stage.profile.name
        if self._worker is not None:
            raise NothingToResume(f"agent {name!r} is at work; wait for its runs")
        if state.run is not None and state.status not in ("idle", "finished"):
            known = (state.run.run_id, True)
        elif state.accepted:
            known = (state.accepted[0].run_id, False)
        else:
            raise NothingToResume(
                f"agent {name!r} has no run that was cut off; start a new one with run(task)"
            )
        if run_id not in ("", known[0]):
            raise NothingToResume(
                f"run {run_id} is not the one that agent {name!r} has to resume, which is {known[0]}"
            )
        return known

    def _interrupt(self, message: InterruptRun, reply: Reply) -> None:
        if self._current is not None and self._current.run_id == message.run_id:
            self._current.waiting.append(reply)
            self._current.interrupt(message.reason)
            return
        self._withdraw(message.run_id)
        reply.complete(None)

    def _abandoned(self, ticket: Ticket) -> None:
        if ticket is self._current:
            ticket.interrupt("its caller was cancelled")
        else:
            self._withdraw(ticket.run_id)

    def _withdraw(self, run_id: str) -> None:
        for ticket in tuple(self._queue):
            if ticket.run_id == run_id:
                self._queue.remove(ticket)
                ticket.reply.fail(RunInterrupted("the run was withdrawn before it began", run_id))
        if self._stage.state.withdraw(run_id) and self._stage.saving is not None:
            self._stage.saving.changed()

    def _pause(self, reply: Reply) -> None:
        if self._current is not None and self._current.loop is not None:
            self._current.loop.pause()
        reply.complete(None)

    async def _cancel(self, reply: Reply) -> None:
        state = self._stage.state
        if self._current is not None:
            self._current.waiting.append(reply)
            self._current.interrupt("it was cancelled")
            return
        if state.status == "paused":
            state.end("interrupted", self._stage.now(), error="it was cancelled")
            await self._server.ended_idle()
            self._wake()
        reply.complete(None)

    async def _save(self, reply: Reply) -> None:
        try:
            reply.complete(await self._save_now())
        except OverwinterError as error:
            reply.fail(error)

    async def _save_now(self) -> Path:
        if self._stage.saving is not None:
            return await self._stage.saving.save()
        # Without autosave the agent is claimed for this one save only.
        async with self._saving_once:
            saving = await self._open_saving()
            try:
                return await saving.save()
            finally:
                with CancelScope(shield=True):
                    await saving.aclose()

    async def _load_state(self, message: LoadState, reply: Reply) -> None:
        if self._current is not None or self._queue:
            raise AgentError(
                f"agent {self._stage.profile.name!r} is at work; load() would change its conversation under it. "
                "Wait for its runs, or cancel them."
            )
        await self._load(message.path)
        reply.complete(None)

    def _turn_away_if_paused(self) -> None:
        """Whoever did not ask to wait behind a paused run hears of it; nobody else might be there to resume."""
        if self._stage.state.status != "paused":
            return
        for ticket in tuple(self._queue):
            if not ticket.queue and not ticket.resumed:
                self._queue.remove(ticket)
                self._stage.state.withdraw(ticket.run_id)
                ticket.reply.fail(self._paused())

    def _wake(self) -> None:
        if self._worker is None and self._next_is_due():
            self._worker = self.context.start_soon(self._work, name="run")

    def _next_is_due(self) -> bool:
        """Whether the first in the queue may begin: behind a paused run only its resumption may."""
        return bool(self._queue) and (self._stage.state.status != "paused" or self._queue[0].resumed)

    async def _work(self) -> None:
        try:
            while self._next_is_due():
                self._current = ticket = self._queue.popleft()
                try:
                    await self._server.serve(ticket)
                except BaseException as error:
                    ticket.reply.fail(error)
                    raise
                finally:
                    self._current = None
                    for reply in ticket.waiting:
                        reply.complete(None)
                self._turn_away_if_paused()
        finally:
            self._worker = None
