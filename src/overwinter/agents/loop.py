"""The loop of an agent: ask the model, have the tools run that it asks for, and again."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Literal, Protocol

import msgspec

from overwinter.agents import events
from overwinter.agents.allowance import LimitMet
from overwinter.agents.calls import Calls
from overwinter.agents.context_window import ContextWindow
from overwinter.agents.journal_records import AskedAgain, ModelReplied, UserSaid
from overwinter.agents.knowledge import BY_TOOL
from overwinter.agents.models.protocol import ModelRequest
from overwinter.agents.models.retry import ModelEvent, ModelRetried, complete_with_fallbacks
from overwinter.agents.replies import storable_reply, storable_text
from overwinter.agents.request_view import MessageView
from overwinter.agents.spending import Spending
from overwinter.agents.summary import Summarizer
from overwinter.errors import OutputInvalid

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from overwinter.agents.budget import Budget
    from overwinter.agents.models.protocol import Message, Model, ModelReply, ToolCall
    from overwinter.agents.stage import Stage

__all__ = ["Ending", "Loop", "RunLoop"]

CONTINUE = "Continue."


class Ending(msgspec.Struct, frozen=True):
    """How a loop ended; ``output`` is the typed answer of one that finished."""

    status: Literal["finished", "paused"]
    stop_reason: str
    output: object = None


class RunLoop(Protocol):
    """What carries out one run, however it does."""

    @property
    def seconds(self) -> float:
        """How long the run has been at work, over all its resumptions."""
        ...

    def pause(self) -> None:
        """Pause after the step that is under way."""

    def decided(self) -> None:
        """A person decided about a call."""

    async def run(self) -> Ending:
        """Go on until the run finishes or pauses. Cancelling it leaves it resumable."""
        ...


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
        restarts: bool = False,
        within: tuple[str, ...] = (),
    ) -> None:
        profile = stage.profile
        self._stage = stage
        self._profile = profile
        self._state = stage.state
        self._calls: Calls | None = None
        self._streams = streams
        self._max_loops = profile.max_loops if max_loops is None else max_loops
        self._spending = Spending(stage, budget or profile.settings.budget, stage.accounts(within))
        # Without policies requests carry everything, and there is nothing to be made out about it.
        policies = profile.settings.context
        self._context = ContextWindow(stage, Summarizer(stage, self._spending)) if policies else None
        self._output_retries = profile.settings.output_retries
        self._pause_asked = False
        self._restarts = restarts

    @property
    def seconds(self) -> float:
        """How long the run has been at work, over all its resumptions."""
        return round(self._spending.seconds, 6)

    def pause(self) -> None:
        """Pause after the step that is under way."""
        self._pause_asked = True
        self._spending.stop_waiting()

    def decided(self) -> None:
        """A person decided about a call."""
        if self._calls is not None:
            self._calls.decided()

    async def run(self) -> Ending:
        """Go on until the run finishes, meets a limit, or waits for a person.

        :raises ModelUnavailable: no model could be asked.
        :raises OutputInvalid: the answer never had the shape asked for.
        :raises OutcomeUnknown: nobody knows what became of a call, and that is to be an error.

        Cancelling it stops the model call and the async tools; what was said and done so far is in the state,
        and the calls left open are there for a resume.
        """
        if self._state.open_calls:
            self._restarts = False
            waits_for = await self._serve_calls()
            if waits_for:
                return Ending("paused", waits_for)
            await self._step_ended()
        ending = self._ending_of_the_last_reply()
        if ending is not None:
            return ending
        while True:
            limit = self._limit_reached()
            if limit:
                return Ending("paused", limit)
            try:
                reply = await self._ask()
            except LimitMet as met:
                return Ending("paused", met.limit)
            waits_for = await self._serve_calls()
            if waits_for:
                return Ending("paused", waits_for)
            ending = self._ending(reply.message)
            await self._step_ended()
            if ending is not None:
                return ending

    async def _serve_calls(self) -> str:
        # Others have their turn in each step, whether or not the model and the tools make anybody wait.
        await asyncio.sleep(0)
        if not self._state.open_calls:
            return ""
        if self._calls is None:
            self._calls = Calls(self._stage)
        return await self._calls.serve()

    async def _step_ended(self) -> None:
        if self._stage.saving is not None:
            await self._stage.saving.step()

    def _ending_of_the_last_reply(self) -> Ending | None:
        """How a resumed run ends with a reply that was recorded before it was cut off, if it does."""
        for entry in reversed(self._state.conversation):
            if entry.role != "tool":
                is_last = entry.role == "assistant" and entry.run_id == self._state.run_id
                return self._ending(entry) if is_last else None
        return None

    def _limit_reached(self) -> str:
        if self._pause_asked:
            return "pause"
        if self._loops_are_spent():
            return "max_loops"
        return self._spending.time_is_up

    def _loops_are_spent(self) -> bool:
        run = self._state.run
        asked_again = run.asked_again if run is not None else 0
        return self._max_loops is not None and self._state.loop_count >= self._max_loops + asked_again

    async def _ask(self) -> ModelReply:
        stage, state = self._stage, self._state
        if self._context is not None and await self._context.reduce():
            await self._step_ended()
        reply = await self._spending.ask(self._complete)
        state.happened(
            ModelReplied(
                at=stage.now(),
                message=reply.message,
                usage=reply.usage,
                model=reply.model,
                seconds=self.seconds,
            )
        )
        stage.emit(
            events.ReplyReceived,
            text=reply.message.content,
            tool_calls=tuple(call.name for call in reply.message.tool_calls),
            usage=reply.usage,
        )
        return reply

    async def _complete(self, before_fallback: Callable[[Model], Awaitable[None]]) -> ModelReply:
        stage, state = self._stage, self._state
        if state.conversation[-1].role == "assistant":
            state.happened(UserSaid(at=stage.now(), text=CONTINUE))
        if self._restarts:
            self._restarts = False
            stage.emit(events.StreamRestarted, loop=state.loop_count + 1)
        stage.emit(events.ModelStarted, loop=state.loop_count + 1)
        reply = await complete_with_fallbacks(
            self._profile.models,
            self._request(),
            policy=self._profile.retry,
            clock=stage.clock,
            random=stage.random,
            on_text=self._stream if self._streams else None,
            on_event=self._tell_of_retry,
            before_fallback=before_fallback,
            gate=self._spending.gate,
        )
        return storable_reply(reply, self._profile.settings.model_name)

    def _request(self) -> ModelRequest:
        profile, settings, context = self._profile, self._profile.settings, self._context
        return ModelRequest(
            messages=MessageView(profile.prompt, self._state.conversation)
            if context is None
            else context.messages(),
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

    def _ending(self, said: Message) -> Ending | None:
        """How the run ends with this message of the model, or ``None`` when it goes on."""
        ended_by = next(filter(self._ends_run, said.tool_calls), None)
        if ended_by is not None:
            output = self._profile.output.try_to_read(self._state.output_of(ended_by.id))
            return Ending("finished", BY_TOOL + ended_by.name, output)
        reason = self._reason_to_finish(said)
        if not reason:
            return None
        text, token = said.content, self._profile.settings.stopping_token
        if reason == "stopping_token" and token and self._profile.output.schema is not None:
            text = text.replace(token, "")
        try:
            return Ending("finished", reason, self._profile.output.read(text))
        except ValueError as error:
            problem = self._profile.output.ask_again(str(error))
            self._state.happened(AskedAgain(at=self._stage.now(), problem=storable_text(problem)))
            if not self._output_retries:
                raise OutputInvalid(
                    f"the answer of agent {self._profile.name!r} is no {self._profile.output.name}: {error}. It was "
                    f"asked again {self._profile.settings.output_retries} times; simplify output_type, raise "
                    "output_retries, or use a stronger model."
                ) from error
            self._output_retries -= 1
            return None

    def _ends_run(self, call: ToolCall) -> bool:
        return self._profile.toolbox.ends_run(call.name) and self._state.went_well(call.id)

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
