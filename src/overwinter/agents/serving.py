"""How one run is carried through: begun, looped, ended, saved, answered."""

from __future__ import annotations

import logging
from contextvars import ContextVar
from typing import TYPE_CHECKING

from anyio import CancelScope

from overwinter.agents import events
from overwinter.agents.calls import ProgramEnds
from overwinter.agents.deadline import deadline
from overwinter.agents.journal_records import RunBegan, RunEnded, RunResumed
from overwinter.agents.knowledge import BY_TOOL
from overwinter.agents.loop import Loop
from overwinter.errors import AskDeadlock, RunInterrupted

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from overwinter.agents.loop import Ending
    from overwinter.agents.records import Status
    from overwinter.agents.saving import Saving
    from overwinter.agents.stage import Stage
    from overwinter.agents.state import AgentState
    from overwinter.agents.ticket import Ticket

__all__ = ["RunServer", "chain", "refuse_to_wait_for_itself", "waits_for_itself"]

logger = logging.getLogger("overwinter.agents")

#: The agents (the keys of their states) within whose runs the code that runs is: a tool's, above all.
_at_work: ContextVar[tuple[str, ...]] = ContextVar("overwinter_at_work", default=())

_SAVE_LIMIT = 10.0  # seconds that the end of a run waits for the disk


def refuse_to_wait_for_itself(state: AgentState, name: str) -> None:
    """Raise ``AskDeadlock`` when the code that runs is part of a run of that very agent."""
    if state.key in _at_work.get():
        raise waits_for_itself(name)


def chain() -> tuple[str, ...]:
    """The agents within whose runs the code that runs is, to be sent along with a task."""
    return _at_work.get()


def waits_for_itself(name: str) -> AskDeadlock:
    """The error for an agent that was asked to run within its own run, directly or by way of others."""
    return AskDeadlock(
        f"agent {name!r} was asked to run by a tool of its own run, or of an agent that this run waits for, and would "
        "wait for itself for ever; give the task to another agent"
    )


class RunServer:
    """Carries an agent's runs through, one at a time."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage

    async def ended_idle(self) -> None:
        """Save an ending that no run under way brought about."""
        await self._save_ending(wait=True)

    async def serve(self, ticket: Ticket) -> None:
        """Run it to its end, whatever that is, save, and answer."""
        stage, state = self._stage, self._stage.state
        _at_work.set((*ticket.within, state.key))
        restarts = ticket.resumed and state.status != "paused"
        begun = RunResumed if ticket.resumed else RunBegan
        state.happened(begun(at=stage.now(), run_id=ticket.run_id))
        stage.emit(events.RunStarted, task=state.task, resumed=ticket.resumed)
        make = stage.profile.make_loop or Loop
        ticket.loop = make(
            stage,
            streams=ticket.streams,
            max_loops=ticket.max_loops,
            budget=ticket.budget,
            restarts=restarts,
            within=ticket.within,
        )
        if ticket.pause_asked:
            ticket.loop.pause()
        ending: Ending | None = None
        try:
            with ticket.scope:
                if stage.saving is not None:
                    await self._save(lambda saving: saving.began())
                await stage.profile.models[0].prepare()
                ending = await ticket.loop.run()
        except ProgramEnds as ending_program:
            await self._interrupted(ticket, "the program was interrupted", ending_program.error)
        except Exception as error:  # noqa: BLE001 - whatever ended the run is its caller's to hear
            await self._failed(ticket, error)
        except BaseException:
            # The event loop is going down around us; what can still be saved is.
            await self._interrupted(ticket, "the event loop was stopped")
            raise
        else:
            if ending is None:
                await self._interrupted(ticket, ticket.reason)
            else:
                await self._ended(ticket, ending)

    async def _ended(self, ticket: Ticket, ending: Ending) -> None:
        stage, state = self._stage, self._stage.state
        state.happened(
            RunEnded(
                at=stage.now(),
                status=ending.status,
                stop_reason=ending.stop_reason,
                partial_text=state.partial_text,
                seconds=ticket.seconds,
            )
        )
        assert state.run is not None
        result = stage.profile.make_result(
            state,
            run_id=ticket.run_id,
            status=ending.status,
            stop_reason=ending.stop_reason,
            text=state.answer_of(state.run) if ending.stop_reason.startswith(BY_TOOL) else state.last_text,
            usage=state.run.usage,
            loop_count=state.loop_count,
            output=ending.output,
            pending=stage.profile.pending(state) if ending.status == "paused" else (),
        )
        # In "sync" nobody hears of an end that is not on disk. Whoever interrupts now ends the waiting for it.
        if stage.saving is not None:
            ticket.scope = CancelScope(shield=True)
            with ticket.scope:
                await self._save(lambda saving: saving.run_ended(wait=False))
        stage.emit(events.RunEnded, status=ending.status, stop_reason=ending.stop_reason, result=result)
        if ticket.scope.cancelled_caught:
            ticket.reply.fail(
                RunInterrupted(
                    f"run {ticket.run_id} of agent {stage.profile.name!r} has ended ({ending.status}), but that was "
                    f"not seen to be on disk: {ticket.reason}. {self._where_it_stands()}",
                    ticket.run_id,
                )
            )
        ticket.reply.complete(result)

    async def _failed(self, ticket: Ticket, error: Exception) -> None:
        stage = self._stage
        text = stage.scrub(f"{type(error).__name__}: {error}")
        self._cut_off(ticket, "failed", text)
        await self._save_ending(wait=True)
        stage.emit(events.RunEnded, status="failed", error=text)
        error.add_note(self._where_it_stands())
        ticket.reply.fail(error)

    async def _interrupted(self, ticket: Ticket, reason: str, error: BaseException | None = None) -> None:
        stage = self._stage
        self._cut_off(ticket, "interrupted", reason)
        await self._save_ending(wait=True)
        stage.emit(events.RunEnded, status="interrupted", error=reason)
        ticket.reply.fail(
            error
            or RunInterrupted(
                f"run {ticket.run_id} of agent {stage.profile.name!r} was interrupted: {reason}. "
                f"{self._where_it_stands()}",
                ticket.run_id,
            )
        )

    def _cut_off(self, ticket: Ticket, status: Status, error: str) -> None:
        stage = self._stage
        stage.state.happened(
            RunEnded(
                at=stage.now(),
                status=status,
                error=error,
                partial_text=stage.state.partial_text,
                seconds=ticket.seconds,
            )
        )

    async def _save_ending(self, *, wait: bool) -> None:
        with deadline(self._stage.clock, _SAVE_LIMIT, shield=True):
            await self._save(lambda saving: saving.run_ended(wait=wait))

    async def _save(self, how: Callable[[Saving], Awaitable[None]]) -> None:
        """Save, if the agent is saved at all; whatever goes wrong there harms no run."""
        if self._stage.saving is None:
            return
        try:
            await how(self._stage.saving)
        except Exception:
            logger.exception("agent %r could not be saved", self._stage.profile.name)

    def _where_it_stands(self) -> str:
        saving = self._stage.saving
        if saving is None:
            return "Nothing of it was saved (autosave is off); resume() goes on from memory while this object lives."
        path = saving.folder.state_path
        if saving.failing:
            return f"It could not be saved: {saving.failing} {path} holds what was saved before; resume() goes on."
        return f"It is saved in {path}; resume() goes on from there."
