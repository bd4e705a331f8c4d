"""The loop of an agent: ask the model, run the tools it asks for, and again."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Literal

import msgspec
from anyio import CancelScope, create_task_group

from overwinter.agents import events
from overwinter.agents.models.protocol import Message, ModelRequest
from overwinter.agents.models.retry import ModelEvent, ModelRetried, complete_with_fallbacks
from overwinter.agents.records import ToolOutcome
from overwinter.agents.replies import storable_reply, storable_text
from overwinter.agents.tools import ToolContext
from overwinter.errors import OutputInvalid

if TYPE_CHECKING:
    from overwinter.agents.budget import Budget
    from overwinter.agents.models.protocol import ModelReply, ToolCall
    from overwinter.agents.stage import Stage

__all__ = ["Ending", "Loop", "ProgramEnds"]

logger = logging.getLogger("overwinter.agents")

CONTINUE = "Continue."


class Ending(msgspec.Struct, frozen=True):
    """How a loop ended; ``output`` is the typed answer of one that finished."""

    status: Literal["finished", "paused"]
    stop_reason: str
    output: object = None


class ProgramEnds(Exception):
    """A tool raised what Ctrl-C raises. It is carried to the run's caller, past the tasks it would tear down."""

    def __init__(self, error: KeyboardInterrupt) -> None:
        super().__init__(error)
        self.error = error


class Loop:
    """One run of an agent, from its first step, or from where it stopped, to its end.

    A step is one model call and the tool calls it asked for, which run concurrently. With tools, or with
    ``max_loops="auto"``, the run ends when the model answers without calling a tool; otherwise after
    ``max_loops`` steps, each going on from the last.
    """

    def __init__(
        self,
        stage: Stage,
        *,
        streams: bool = False,
        max_loops: int | None = None,
        budget: Budget | None = None,
    ) -> None:
        profile = stage.profile
        self._stage = stage
        self._profile = profile
        self._state = stage.state
        self._streams = streams
        self._max_loops = profile.max_loops if max_loops is None else max_loops
        self._budget = budget or profile.settings.budget
        self._output_retries = profile.settings.output_retries
        self._pause_asked = False
        self._program_ends: KeyboardInterrupt | None = None

    def pause(self) -> None:
        """Pause after the step that is under way."""
        self._pause_asked = True

    async def run(self) -> Ending:
        """Go on until the run finishes or meets a limit.

        :raises ModelUnavailable: no model could be asked.
        :raises OutputInvalid: the answer never had the shape asked for.

        Cancelling it stops the model call and the async tools; what was said and done so far is in the state,
        and the calls left open are there for a resume.
        """
        began = self._stage.clock.monotonic()
        await self._finish_open_calls()
        ending = self._ending_of_the_last_reply()
        if ending is not None:
            return ending
        while True:
            limit = self._limit_reached(began)
            if limit:
                return Ending("paused", limit)
            reply = await self._ask()
            await self._serve(reply.message.tool_calls)
            ending = self._ending(reply.message)
            if self._stage.saving is not None:
                await self._stage.saving.step()
            if ending is not None:
                return ending

    async def _finish_open_calls(self) -> None:
        state = self._state
        if not state.open_calls:
            return
        for call in state.open_calls:
            # A sync tool cannot be cancelled: one that was left behind in its thread is waited for.
            outcome = await self._profile.toolbox.settle(call.id)
            if outcome is not None:
                self._record(call, *outcome, seconds=0.0)
        # Then those whose results are there: a save in the middle of a step has them, and no answer yet.
        state.answer(state.open_calls, self._stage.now())
        await self._serve(
            tuple(
                call
                for call in state.open_calls
                if call.id not in state.begun_calls or self._profile.toolbox.may_repeat(call.name)
            )
        )
        state.close_open_calls(self._stage.now())
        if self._stage.saving is not None:
            await self._stage.saving.step()

    def _ending_of_the_last_reply(self) -> Ending | None:
        """How a resumed run ends with a reply that was recorded before it was cut off, if it does."""
        for entry in reversed(self._state.conversation):
            if entry.role != "tool":
                is_last = entry.role == "assistant" and entry.run_id == self._state.run_id
                return self._ending(entry) if is_last else None
        return None

    def _limit_reached(self, began: float) -> str:
        if self._pause_asked:
            return "pause"
        if self._loops_are_spent():
            return "max_loops"
        if self._budget is None or self._state.run is None:
            return ""
        run, seconds = self._state.run, self._stage.clock.monotonic() - began
        return self._budget.reached(run.usage, run.known_cost, seconds)

    def _loops_are_spent(self) -> bool:
        run = self._state.run
        asked_again = run.asked_again if run is not None else 0
        return self._max_loops is not None and self._state.loop_count >= self._max_loops + asked_again

    async def _ask(self) -> ModelReply:
        stage, state = self._stage, self._state
        if state.conversation[-1].role == "assistant":
            state.say("user", CONTINUE, stage.now())
        stage.emit(events.ModelStarted, loop=state.loop_count + 1)
        reply = await complete_with_fallbacks(
            self._profile.models,
            self._request(),
            policy=self._profile.retry,
            clock=stage.clock,
            random=stage.random,
            on_text=self._stream if self._streams else None,
            on_event=self._tell_of_retry,
        )
        reply = storable_reply(reply, self._profile.settings.model_name)
        state.reply(reply, stage.now())
        if reply.usage.cost is None and self._budget is not None and self._budget.cost is not None:
            logger.warning(
                "the price of %s is unknown; the budget of agent %r cannot count it",
                reply.model,
                self._profile.name,
            )
        stage.emit(
            events.ReplyReceived,
            text=reply.message.content,
            tool_calls=tuple(call.name for call in reply.message.tool_calls),
            usage=reply.usage,
        )
        return reply

    def _request(self) -> ModelRequest:
        profile, settings = self._profile, self._profile.settings
        prompt = profile.system_prompt
        messages: list[Message] = [Message(role="system", content=prompt)] if prompt else []
        messages.extend(self._state.conversation)
        return ModelRequest(
            messages=messages,
            tools=profile.toolbox.specs,
            temperature=settings.temperature,
            max_tokens=settings.max_tokens,
            output_schema=profile.output.request,
            args=profile.request_args,
        )

    def _stream(self, text: str) -> None:
        text = storable_text(text)
        self._state.partial_text += text
        self._stage.emit(events.TextDelta, text=text, loop=self._state.loop_count + 1)

    def _tell_of_retry(self, event: ModelEvent) -> None:
        loop = self._state.loop_count + 1
        if event.streamed:
            self._state.partial_text = ""
            self._stage.emit(events.StreamRestarted, loop=loop)
        if isinstance(event, ModelRetried):
            model, attempt, delay = event.model, event.attempt, event.delay
        else:
            model, attempt, delay = event.next_model, event.attempts, 0.0
        error = self._stage.scrub(event.error)
        self._stage.emit(
            events.ModelRetrying, model=model, attempt=attempt, delay=delay, error=error, loop=loop
        )

    async def _serve(self, calls: tuple[ToolCall, ...]) -> None:
        if not calls:
            return
        may_repeat = self._profile.toolbox.may_repeat
        self._state.calls_begin(call.id for call in calls)
        if self._stage.saving is not None and not all(may_repeat(call.name) for call in calls):
            await self._stage.saving.calls_begin()
        try:
            async with create_task_group() as tasks:
                for call in calls:
                    tasks.start_soon(self._call, call, tasks.cancel_scope)
        finally:
            # Also when it was cancelled: what ended has its answer, and only what did not is left open.
            self._state.answer(calls, self._stage.now())
        if self._program_ends is not None:
            raise ProgramEnds(self._program_ends)

    async def _call(self, call: ToolCall, others: CancelScope) -> None:
        stage, state = self._stage, self._state
        context = ToolContext(
            agent_name=self._profile.name,
            run_id=state.run_id,
            call_id=call.id,
            loop=state.loop_count,
            workspace_dir=stage.workspace_dir,
            memory=state.memory,
        )
        stage.emit(events.ToolStarted, call_id=call.id, tool=call.name, arguments=call.arguments)
        began = stage.clock.monotonic()
        try:
            ok, output = await self._profile.toolbox.call(
                call, context, clock=stage.clock, limiter=stage.limiter
            )
        except KeyboardInterrupt as error:
            self._program_ends = error
            others.cancel()
            return
        self._record(call, ok, output, stage.clock.monotonic() - began)

    def _record(self, call: ToolCall, ok: bool, output: str, seconds: float) -> None:
        stage, state = self._stage, self._state
        output = output if ok else stage.scrub(output)
        state.tool_ended(
            ToolOutcome(
                call_id=call.id,
                tool=call.name,
                arguments=call.arguments,
                output=output,
                ok=ok,
                seconds=round(seconds, 6),
                run_id=state.run_id,
                loop=state.loop_count,
                at=stage.now(),
            )
        )
        stage.emit(
            events.ToolFinished, call_id=call.id, tool=call.name, ok=ok, output=output, seconds=seconds
        )

    def _ending(self, said: Message) -> Ending | None:
        """How the run ends with this message of the model, or ``None`` when it goes on."""
        reason = self._reason_to_finish(said)
        if not reason:
            return None
        text, token = said.content, self._profile.settings.stopping_token
        if reason == "stopping_token" and token and self._profile.output.schema is not None:
            text = text.replace(token, "")
        try:
            return Ending("finished", reason, self._profile.output.read(text))
        except ValueError as error:
            self._state.ask_again(self._profile.output.ask_again(str(error)), self._stage.now())
            if not self._output_retries:
                raise OutputInvalid(
                    f"the answer of agent {self._profile.name!r} is no {self._profile.output.name}: {error}. It was "
                    f"asked again {self._profile.settings.output_retries} times; simplify output_type, raise "
                    "output_retries, or use a stronger model."
                ) from error
            self._output_retries -= 1
            return None

    def _reason_to_finish(self, said: Message) -> str:
        text, profile = said.content, self._profile
        if profile.settings.stopping_token and profile.settings.stopping_token in text:
            return "stopping_token"
        if profile.stopping_condition is not None and profile.stopping_condition(text):
            return "stopping_condition"
        if said.tool_calls:
            return ""
        if profile.runs_until_answered:
            return "answered"
        return "max_loops" if self._loops_are_spent() else ""
