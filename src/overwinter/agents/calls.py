"""How the tool calls of a model's reply are served, each of them once."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Literal

from anyio import CancelScope, create_task_group

from overwinter.agents import events
from overwinter.agents.journal_records import (
    CallsClosed,
    PersonAsked,
    ToolFinished,
    ToolsStarted,
    ToolsWithdrawn,
)
from overwinter.agents.own_context import InOwnContext
from overwinter.agents.replies import storable_text
from overwinter.agents.sleeping import CallSleeps
from overwinter.agents.tools import ToolContext
from overwinter.agents.unanswered import decided
from overwinter.errors import OutcomeUnknown

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from overwinter.agents.models.protocol import ToolCall
    from overwinter.agents.records import Pending
    from overwinter.agents.stage import Stage
    from overwinter.agents.tools import OnUnknown

__all__ = ["Calls", "ProgramEnds"]


class ProgramEnds(Exception):
    """A tool raised what Ctrl-C raises. It is carried to the run's caller, past the tasks it would tear down."""

    def __init__(self, error: KeyboardInterrupt) -> None:
        super().__init__(error)
        self.error = error


class Calls:
    """Serves the open calls of one agent: those that the model just asked for, and those that were cut off."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._state = stage.state
        self._toolbox = stage.profile.toolbox
        self._on_unknown: OnUnknown = stage.profile.settings.on_unknown
        self._program_ends: ProgramEnds | None = None
        self._running: set[str] = set()
        self._news = asyncio.Event()

    def decided(self) -> None:
        """A person decided about a call: if it may run, it starts now, beside those that run."""
        self._news.set()

    async def serve(self) -> str:
        """Serve every open call that has not ended: all those concurrently that may run.

        Their start is in the journal before they start; it is on the disk where one of them may not be repeated.
        What had begun before and may not be repeated is left alone. A call that waits for a person is recorded, on
        disk when this returns. Cancelled, what ended is recorded, and only what did not is left open.

        Returns for what a person is waited for, when nothing else is left to do, or an empty string; then every call
        has its answer.

        :raises OutcomeUnknown: nobody knows what became of a call, and that is to be an error.
        """
        await self._settle_left_behind()
        while True:
            await self._run_all_that_may()
            waiting = self._waiting()
            if not waiting:
                break
            if self._stage.saving is not None:
                await self._stage.saving.certain()
            if not self._news.is_set():
                self._raise_unknown(waiting)
                return waiting[0].kind
        if self._state.open_calls:
            self._state.happened(CallsClosed(at=self._stage.now()))
        return ""

    async def _settle_left_behind(self) -> None:
        """A sync tool cannot be cancelled: one that was left behind in its thread is waited for."""
        state = self._state
        for call in state.unfinished_calls if state.begun_calls else ():
            if call.id in state.begun_calls:
                outcome = await self._toolbox.settle(call.id)
                if outcome is not None:
                    self._record(call, *outcome, seconds=0.0)

    async def _run_all_that_may(self) -> None:
        unfinished = self._state.unfinished_calls
        if len(unfinished) == 1:
            # Nothing can come to run beside it. It is what most steps have, and a task group would be half their cost.
            self._news.clear()
            if self._is_ready(unfinished[0]):
                await self._begin(unfinished)
                await InOwnContext(self._call(unfinished[0]))
        elif unfinished:
            await self._run_side_by_side()

    async def _run_side_by_side(self) -> None:
        async with create_task_group() as tasks:
            while True:
                # First: what is decided from here on is looked at in the next round.
                self._news.clear()
                ready = self._ready()
                if ready:
                    await self._begin(ready)
                    self._running.update(call.id for call in ready)
                    for call in ready:
                        tasks.start_soon(self._call_beside_others, call, tasks.cancel_scope)
                elif not self._running:
                    break
                await self._news.wait()
        if self._program_ends is not None:
            raise self._program_ends

    def _ready(self) -> list[ToolCall]:
        """The calls that may begin now. What a person answered or denied is recorded, and who is to be asked."""
        return [
            call
            for call in self._state.unfinished_calls
            if call.id not in self._running and self._is_ready(call)
        ]

    def _is_ready(self, call: ToolCall) -> bool:
        return not self._was_decided(call) and self._may_begin(call)

    def _was_decided(self, call: ToolCall) -> bool:
        decision = self._state.decisions.get(call.id)
        if decision is None or decision.decision == "approved":
            return False
        self._record(call, decision.decision == "answered", decided(decision), seconds=0.0)
        return True

    def _may_begin(self, call: ToolCall) -> bool:
        state = self._state
        if call.id in state.begun_calls:
            if self._toolbox.may_repeat(call.name):
                return True
            if self._policy(call.name) != "tell_model":
                self._ask_person(call, "unknown")
            return False
        if call.name in self._toolbox and call.id in state.pending:
            return False
        needed = self._toolbox.person_needed(call)
        if needed is None or (needed[0] == "approval" and call.id in state.decisions):
            return True
        self._ask_person(call, *needed)
        return False

    def _ask_person(
        self, call: ToolCall, kind: Literal["approval", "question", "unknown"], question: str = ""
    ) -> None:
        stage = self._stage
        if call.id in self._state.pending:
            return
        question = storable_text(question)
        self._state.happened(PersonAsked(at=stage.now(), call_id=call.id, kind=kind, question=question))
        stage.emit(
            events.PersonAsked,
            call_id=call.id,
            tool=call.name,
            arguments=call.arguments,
            waits_for=kind,
            question=question,
        )

    def _waiting(self) -> list[Pending]:
        return [
            one
            for one in self._state.pending.values()
            if one.kind != "unknown" or self._policy(one.tool) != "tell_model"
        ]

    def _policy(self, tool: str) -> OnUnknown:
        return self._toolbox.on_unknown(tool, self._on_unknown)

    def _raise_unknown(self, waiting: Iterable[Pending]) -> None:
        for one in waiting:
            if one.kind == "unknown" and self._policy(one.tool) == "raise":
                raise OutcomeUnknown(
                    self._stage.profile.name, call_id=one.call_id, tool=one.tool, arguments=one.arguments
                )

    async def _begin(self, calls: Sequence[ToolCall]) -> None:
        state, saving = self._state, self._stage.saving
        new = tuple(call.id for call in calls if call.id not in state.begun_calls)
        state.happened(ToolsStarted(at=self._stage.now(), call_ids=tuple(call.id for call in calls)))
        try:
            if saving is not None:
                await saving.calls_begin(
                    may_repeat=all(self._toolbox.may_repeat(call.name) for call in calls)
                )
        except BaseException:
            state.happened(ToolsWithdrawn(at=self._stage.now(), call_ids=new))
            raise

    async def _call_beside_others(self, call: ToolCall, others: CancelScope) -> None:
        try:
            await self._call(call)
        except ProgramEnds as ends:
            self._program_ends = ends
            others.cancel()
        finally:
            self._running.discard(call.id)
            if not self._running:
                self._news.set()

    async def _call(self, call: ToolCall) -> None:
        """Make the call, and record how it ended.

        :raises ProgramEnds: the tool raised what Ctrl-C raises.
        """
        stage, state = self._stage, self._state
        context = ToolContext(
            agent_name=stage.profile.name,
            run_id=state.run_id,
            call_id=call.id,
            loop=state.loop_count,
            workspace_dir=stage.workspace_dir,
            memory=state.memory,
        )
        stage.emit(events.ToolStarted, call_id=call.id, tool=call.name, arguments=call.arguments)
        began = stage.clock.monotonic()
        try:
            with CallSleeps(stage, call):
                ok, output = await self._toolbox.call(call, context, clock=stage.clock, limiter=stage.limiter)
        except KeyboardInterrupt as error:
            raise ProgramEnds(error) from None
        self._record(call, ok, output, stage.clock.monotonic() - began)

    def _record(self, call: ToolCall, ok: bool, output: str, seconds: float) -> None:
        stage = self._stage
        output = storable_text(output if ok else stage.scrub(output))
        self._state.happened(
            ToolFinished(at=stage.now(), call_id=call.id, output=output, ok=ok, seconds=round(seconds, 6))
        )
        stage.emit(
            events.ToolFinished, call_id=call.id, tool=call.name, ok=ok, output=output, seconds=seconds
        )
