"""The actor of an agent: its mailbox, and the one run that goes on beside it."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING

from anyio import CancelScope

from overwinter.agents import events
from overwinter.agents.asking import WAITS, how_to_decide, listed
from overwinter.agents.budget import how_to_go_on
from overwinter.agents.commands import (
    AgentMessage,
    CancelRun,
    DecideCall,
    InterruptRun,
    LoadState,
    PauseRun,
    ResumeRun,
    RunTask,
    SaveNow,
)
from overwinter.agents.deadline import deadline
from overwinter.agents.deciding import call_meant
from overwinter.agents.journal_records import PersonAnswered, RunEnded, TaskAccepted, TaskWithdrawn
from overwinter.agents.recall import KnownRun
from overwinter.agents.serving import RunServer, waits_for_itself
from overwinter.agents.ticket import Ticket
from overwinter.errors import (
    AgentError,
    AgentPaused,
    NothingToResume,
    OverwinterError,
    RunInterrupted,
)
from overwinter.runtime import Actor

if TYPE_CHECKING:
    from overwinter.agents.membership import Membership
    from overwinter.agents.records import Pending
    from overwinter.agents.stage import Stage
    from overwinter.runtime import Job, Reply

__all__ = ["AgentActor"]


class AgentActor(Actor[AgentMessage]):
    """Serves one agent. Its ``receive`` never waits for a run: a run goes on beside the mailbox, one at a time."""

    def __init__(self, stage: Stage, member: Membership) -> None:
        self._stage = stage
        self._member = member
        # No deque, which takes half a kilobyte when it is empty; and it is, mostly.
        self._queue: list[Ticket] = []
        self._saving_once: asyncio.Lock | None = None
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
                    await self._resume(message, reply)
                case InterruptRun():
                    self._interrupt(message, reply)
                case PauseRun():
                    self._pause(reply)
                case CancelRun():
                    await self._cancel(reply)
                case DecideCall():
                    await self._decide(message, reply)
                case SaveNow():
                    self.context.start_soon(self._save, reply)
                case LoadState():
                    await self._load_state(message, reply)
        except (OverwinterError, Warning) as error:
            reply.fail(error)

    async def on_stop(self) -> None:
        """Give the run a grace, interrupt it, save, and let go of the agent."""
        try:
            await self._end_runs()
            if self._stage.profile.closing is not None:
                await self._stage.profile.closing()
        finally:
            # Also when patience was lost with the run: the agent lives here no more, and others may have it.
            self._member.left(self._stage.runtime)
            self._stage.runtime.left(self.context.ref)
            try:
                if self._stage.saving is not None:
                    await self._stage.saving.aclose()
            finally:
                # It holds the stage in turn, and the two would wait for the garbage collection.
                self._stage.saving = None

    async def _end_runs(self) -> None:
        if self._worker is not None:
            with deadline(self._stage.clock, self._stage.runtime.run_grace):
                await self._worker.wait()
        waiting, self._queue = self._queue, []
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
        if state.key in message.within:
            raise waits_for_itself(self._stage.profile.name)
        if message.named:
            known = await self._member.recall.find(message.run_id, self._tickets())
            if known is not None:
                self._accept_again(known, message, reply)
                return
        if state.status == "paused" and not message.queue:
            raise self._paused()
        if message.named and not message.within:
            self._member.announce()
        saving = self._stage.saving
        if saving is not None:
            await saving.prepare()
        ticket = Ticket(message.run_id, streams=message.streams, within=message.within, queue=message.queue)
        state.happened(TaskAccepted(at=self._stage.now(), run_id=message.run_id, task=message.task))
        if saving is not None:
            saving.accepted()
        self._queue.append(ticket)
        self._join(ticket, message, reply)

    def _accept_again(self, known: KnownRun, message: RunTask, reply: Reply) -> None:
        """What was asked for before is answered with what came of it, waited for, or gone on with."""
        known.check(message.task)
        if known.ticket is not None:
            self._join(known.ticket, message, reply)
            return
        if known.finished:
            reply.complete(known.result(self._stage.profile))
            return
        if self._stage.state.status == "paused" and not (known.stands_last or message.queue):
            raise self._paused()
        ticket = self._ticket_of(known, message)
        if known.stands_last:
            self._queue.insert(0, ticket)
        else:
            ticket.queue = message.queue
            self._queue.append(ticket)
        self._join(ticket, message, reply)

    def _ticket_of(self, known: KnownRun, message: RunTask | ResumeRun) -> Ticket:
        return Ticket(
            known.run_id,
            streams=message.streams,
            resumed=known.run is not None,
            within=message.within,
            known=True,
            recalled=known if known.elsewhere else None,
        )

    def _join(self, ticket: Ticket, message: RunTask | ResumeRun, reply: Reply) -> None:
        ticket.reply.join(message.caller, reply, self._abandoned, ticket)
        self._wake()

    def _tickets(self) -> tuple[Ticket, ...]:
        return (*self._queue, *(() if self._current is None else (self._current,)))

    def _paused(self) -> AgentPaused:
        run = self._stage.state.run
        limit = "" if run is None else run.stop_reason
        why, way = f"is paused at its limit {limit!r}", how_to_go_on(limit)
        pending = self._stage.profile.pending(self._stage.state)
        if limit in WAITS and pending:
            why, way = f"is paused and waits for a person ({listed(pending)})", how_to_decide(pending)
        return AgentPaused(
            f"agent {self._stage.profile.name!r} {why}, and this task was not accepted; {way}, give the paused run up "
            "with cancel(), or wait with run(task, queue=True)"
        )

    async def _resume(self, message: ResumeRun, reply: Reply) -> None:
        ticket = self._ticket_of(await self._run_to_resume(message.run_id), message)
        ticket.max_loops, ticket.budget = message.max_loops, message.budget
        self._queue.insert(0, ticket)
        self._join(ticket, message, reply)

    async def _run_to_resume(self, run_id: str) -> KnownRun:
        """The run that a resume is about: one that was cut off, or only accepted, which begins now."""
        state, name = self._stage.state, self._stage.profile.name
        if self._worker is not None:
            raise NothingToResume(f"agent {name!r} is at work; wait for its runs")
        if run_id:
            known = await self._member.recall.find(run_id, ())
            if known is None:
                raise NothingToResume(f"agent {name!r} has no run {run_id}, or does not keep it any more")
            if known.finished:
                raise NothingToResume(
                    f"run {run_id} of agent {name!r} has finished; run(task, run_id=...) answers with its result"
                )
            if self._stands_in_the_way(known.run_id):
                raise self._paused()
            return known
        if state.run is not None and state.status not in ("idle", "finished"):
            return KnownRun(state.run.run_id, state)
        if state.accepted:
            return KnownRun(state.accepted[0].run_id, state)
        raise NothingToResume(f"agent {name!r} has no run that was cut off; start a new one with run(task)")

    def _interrupt(self, message: InterruptRun, reply: Reply) -> None:
        for ticket in self._tickets():
            if ticket.run_id == message.run_id and message.caller and not ticket.reply.leave(message.caller):
                reply.complete(None)
                return
        if self._current is not None and self._current.run_id == message.run_id:
            self._current.waiting += (reply,)
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
                if not ticket.known:
                    self._take_back(run_id)

    def _take_back(self, run_id: str) -> None:
        state = self._stage.state
        if any(task.run_id == run_id for task in state.accepted):
            state.happened(TaskWithdrawn(at=self._stage.now(), run_id=run_id))

    @property
    def _under_way(self) -> Ticket | None:
        """The run under way, or the one that is just about to begin."""
        return self._current or (self._queue[0] if self._worker is not None and self._queue else None)

    def _pause(self, reply: Reply) -> None:
        ticket = self._under_way
        if ticket is not None:
            ticket.pause()
        reply.complete(None)

    async def _cancel(self, reply: Reply) -> None:
        state, ticket = self._stage.state, self._under_way
        if ticket is not None:
            ticket.waiting += (reply,)
            ticket.interrupt("it was cancelled")
            return
        if state.status == "paused":
            state.happened(RunEnded(at=self._stage.now(), status="interrupted", error="it was cancelled"))
            await RunServer(self._stage).ended_idle()
            self._wake()
        reply.complete(None)

    async def _decide(self, message: DecideCall, reply: Reply) -> None:
        stage, state = self._stage, self._stage.state
        if stage.saving is not None:
            await stage.saving.prepare()
        call = call_meant(message, state.pending, stage.profile.name)
        state.happened(
            PersonAnswered(at=stage.now(), call_id=call.call_id, decision=message.decision, text=message.text)
        )
        if self._current is not None and self._current.loop is not None:
            self._current.loop.decided()
        self.context.start_soon(self._settle_decision, message, call, reply)

    async def _settle_decision(self, message: DecideCall, call: Pending, reply: Reply) -> None:
        # Not in receive: who watches may start something that asks this agent.
        stage = self._stage
        stage.emit(
            events.PersonAnswered,
            call_id=call.call_id,
            tool=call.tool,
            decision=message.decision,
            text=message.text,
        )
        if stage.saving is not None:
            await stage.saving.certain()
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
        self._saving_once = self._saving_once or asyncio.Lock()
        async with self._saving_once:
            saving = await self._member.open_saving(self._stage)
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
        await self._member.load(self._stage.runtime, Path(message.path) if message.path else None)
        reply.complete(None)

    def _turn_away_if_paused(self) -> None:
        """Whoever did not ask to wait behind a paused run hears of it; nobody else might be there to resume."""
        if self._stage.state.status != "paused":
            return
        for ticket in tuple(self._queue):
            if not ticket.queue and not self._goes_on(ticket):
                self._queue.remove(ticket)
                if not ticket.known:
                    self._take_back(ticket.run_id)
                ticket.reply.fail(self._paused())

    def _wake(self) -> None:
        if self._worker is None and self._next_is_due():
            self._worker = self.context.start_soon(self._work, name="run")

    def _next_is_due(self) -> bool:
        """Whether the first in the queue may begin: behind a paused run only its resumption may."""
        return bool(self._queue) and (self._stage.state.status != "paused" or self._goes_on(self._queue[0]))

    def _goes_on(self, ticket: Ticket) -> bool:
        """Whether it is the resumption of a run, by somebody who does not wait behind a paused one."""
        return ticket.resumed and not ticket.queue and not self._stands_in_the_way(ticket.run_id)

    def _stands_in_the_way(self, run_id: str) -> bool:
        """Whether another run waits for a person: going on with this one would answer what was asked, unasked."""
        state = self._stage.state
        waits = state.status == "paused" and state.run_id != run_id
        return waits and bool(self._stage.profile.pending(state))

    async def _work(self) -> None:
        try:
            while self._next_is_due():
                self._current = ticket = self._queue.pop(0)
                try:
                    if await self._is_here(ticket):
                        await RunServer(self._stage).serve(ticket)
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

    async def _is_here(self, ticket: Ticket) -> bool:
        """Whether its run can go on in the present conversation; that is made the one in which the run stands."""
        if ticket.recalled is None:
            return True
        try:
            known = await self._member.recall.bring_back(ticket.run_id)
        except OverwinterError as error:
            ticket.reply.fail(error)
            return False
        if known is None:
            ticket.reply.fail(NothingToResume(f"run {ticket.run_id} is not kept any more"))
        return known is not None
