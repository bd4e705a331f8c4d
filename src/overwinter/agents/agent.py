"""The agent that users hold."""

from __future__ import annotations

import os
from contextlib import aclosing
from typing import TYPE_CHECKING, Any, Literal, TypeVar, Unpack, cast, overload

from anyio import CancelScope, get_cancelled_exc_class

from overwinter.agents.commands import (
    InterruptRun,
    ResumeRun,
    RunTask,
)
from overwinter.agents.context import policies_of
from overwinter.agents.membership import Membership
from overwinter.agents.person import PersonInTheLoop
from overwinter.agents.profile import Profile, Settings
from overwinter.agents.residence import Residence
from overwinter.agents.retention import KEEP_64_MB
from overwinter.agents.retrospect import AgentRetrospect
from overwinter.agents.serving import chain, refuse_to_wait_for_itself
from overwinter.agents.signals import run_to_end
from overwinter.agents.state import AgentState
from overwinter.agents.stream import stream_events
from overwinter.errors import (
    ActorStopped,
    ConfigurationError,
    SaveRejected,
)
from overwinter.persistence.codec import encode_checked
from overwinter.persistence.workspace import Workspace

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Iterable, Mapping, Sequence

    from overwinter.agents.budget import Budget
    from overwinter.agents.context import ContextPolicy
    from overwinter.agents.events import Event
    from overwinter.agents.models.protocol import Model
    from overwinter.agents.models.retry import RetryPolicy
    from overwinter.agents.options import AgentOptions
    from overwinter.agents.profile import Durability
    from overwinter.agents.residence import Home
    from overwinter.agents.results import RunResult
    from overwinter.agents.retention import Retention
    from overwinter.agents.tools import OnUnknown, Tool

__all__ = ["Agent"]

OutputT = TypeVar("OutputT")


class Agent(AgentRetrospect[OutputT], PersonInTheLoop[OutputT]):
    """A language-model agent with a mailbox, tools, a conversation, and a folder that survives it.

    The same ``agent_name`` (and ``session``) in the same workspace is the same agent in every process. A fresh
    object starts a new conversation there, and what stood there before is kept; :meth:`load` goes on in the old one.

    :param agent_name: any text; what is not a safe file name becomes one, and the agent's id keeps it unique.
    :param model_name: any name that litellm knows, such as ``"gpt-4o-mini"``.
    :param session: tells agents of one name apart, for a service that keeps one for each of its customers.
    :param agent_id: a UUID of your own in the place of the one derived from name and session.
    :param agent_description: what it is for; saved, and shown to people and other agents.
    :param system_prompt: what the model is told first.
    :param tools: functions, or what :func:`~overwinter.tool` made of them.
    :param max_loops: model calls in one run; ``"auto"`` for as many as it takes, ``None`` for 1 without tools and
        25 with them.
    :param stopping_condition: called with each answer; the run ends when it returns true.
    :param stopping_token: the run ends when an answer contains it.
    :param autosave: keep ``config.json`` and the state file up to date while it works. Without it, the agent writes
        nothing but what :meth:`save` is asked for.
    :param durability: ``"exit"`` saves when a run ends, ``"async"`` behind each step, ``"sync"`` before the next.
    :param verbose: log each step and each save at level INFO, to standard error where no logging is set up.
    :param workspace_dir: where the agents' folders are; by default the environment variable ``WORKSPACE_DIR``, then
        ``agent_workspace`` in the current directory, or that of the runtime it is spawned on.
    :param model: a :class:`~overwinter.Model` of your own in the place of ``model_name``.
    :param fallback_models: names or models to ask, in order, when the first cannot be asked.
    :param output_type: what the final answer is to be: ``str``, a msgspec Struct, a dataclass or a pydantic model.
    :param output_retries: how often an answer that does not validate is asked for again.
    :param budget: the tokens, US dollars and seconds that a run may spend before it pauses.
    :param context: what of a long conversation a request carries: :class:`~overwinter.KeepLast`,
        :class:`~overwinter.DropToolResults`, :class:`~overwinter.Summarize`, or several of these, each applied in its
        turn. The conversation itself stays whole. Unless given, requests carry everything, or what a loaded agent's do.
    :param model_args: further settings for the provider (``api_key``, ``api_base``, ``top_p``, ...). Credentials
        among them are never written to disk.
    :param tool_timeout: seconds that a tool may take, unless it says otherwise itself.
    :param on_unknown: what becomes of a tool call that had begun, was cut off, and is not ``idempotent``; it is never
        just repeated. ``"tell_model"``: the model is told that its outcome is unknown. ``"raise"``: :meth:`resume`
        raises ``OutcomeUnknown``. ``"ask"``: the run pauses. In the last two :meth:`answer`, :meth:`approve` and
        :meth:`deny` say what is to become of it.
    :param retry: how failed model calls are tried again.
    :param retention: how much of its past is kept, in runs, days or bytes: ``Retention()`` keeps everything; unless
        given, 64 MB of what was before the present state are.
    :param lease_timeout: seconds to wait for another process that holds the agent.
    :raises ConfigurationError: a setting cannot work; the message names it.
    """

    @overload
    def __init__(
        self: Agent[str], agent_name: str, model_name: str = "", **options: Unpack[AgentOptions]
    ) -> None: ...

    @overload
    def __init__(
        self,
        agent_name: str,
        model_name: str = "",
        *,
        output_type: type[OutputT],
        **options: Unpack[AgentOptions],
    ) -> None: ...

    def __init__(
        self,
        agent_name: str,
        model_name: str = "",
        *,
        output_type: Any = str,
        session: str = "",
        agent_id: str | None = None,
        agent_description: str = "",
        system_prompt: str = "",
        tools: Iterable[Tool[..., Any] | Callable[..., Any]] = (),
        max_loops: int | Literal["auto"] | None = None,
        stopping_condition: Callable[[str], bool] | None = None,
        stopping_token: str | None = None,
        temperature: float | None = None,
        max_tokens: int | None = None,
        autosave: bool = False,
        durability: Durability = "async",
        verbose: bool = False,
        workspace_dir: str | os.PathLike[str] | None = None,
        model: Model | None = None,
        fallback_models: Sequence[str | Model] = (),
        output_retries: int = 2,
        budget: Budget | None = None,
        context: ContextPolicy | Sequence[ContextPolicy] | None = None,
        model_args: Mapping[str, Any] | None = None,
        tool_timeout: float | None = None,
        on_unknown: OnUnknown = "tell_model",
        retry: RetryPolicy | None = None,
        retention: Retention | None = None,
        lease_timeout: float = 0.0,
    ) -> None:
        settings = Settings(
            agent_name=agent_name,
            session=session,
            agent_id=agent_id or "",
            agent_description=agent_description,
            model_name=model_name,
            system_prompt=system_prompt,
            max_loops=max_loops,
            stopping_token=stopping_token,
            temperature=temperature,
            max_tokens=max_tokens,
            autosave=autosave,
            durability=durability,
            verbose=verbose,
            tool_timeout=tool_timeout,
            on_unknown=on_unknown,
            output_retries=output_retries,
            lease_timeout=lease_timeout,
            budget=budget,
            context=policies_of(context),
            retention=retention or KEEP_64_MB,
        )
        self._profile: Profile[OutputT] = Profile(
            settings,
            output_type=output_type,
            tools=tools,
            model=model,
            fallback_models=fallback_models,
            stopping_condition=stopping_condition,
            model_args=model_args or {},
            retry=retry,
        )
        self._state = AgentState()
        self._member = Membership(
            self._profile, self._state, Workspace(workspace_dir) if workspace_dir else None
        )
        self._residence = Residence(self._member.make_runtime, self._member.join, name=agent_name)
        self._member.on_leave = self._residence.leave

    async def run(self, task: str, *, run_id: str | None = None, queue: bool = False) -> RunResult[OutputT]:
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
        async with self._residence.at_home() as home:
            return await self._follow(home, message)

    def run_sync(self, task: str, *, queue: bool = False) -> RunResult[OutputT]:
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
        async with self._residence.at_home() as home, aclosing(self._events(home, message)) as events:
            async for event in events:
                yield event

    async def resume(
        self, run_id: str = "", *, max_loops: int | None = None, budget: Budget | None = None
    ) -> RunResult[OutputT]:
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
        await self._load_if_fresh()
        async with self._residence.at_home() as home:
            message = ResumeRun(run_id, max_loops, budget, within=chain(), caller=os.urandom(16).hex())
            return await self._follow(home, message)

    async def resume_stream(
        self, run_id: str = "", *, max_loops: int | None = None, budget: Budget | None = None
    ) -> AsyncGenerator[Event, None]:
        """:meth:`resume`, as a stream of the events of the run like :meth:`stream`.

        When the run was cut off while the model was asked, a ``StreamRestarted`` says that what was streamed of that
        step is void.
        """
        refuse_to_wait_for_itself(self._state, self.agent_name)
        await self._load_if_fresh()
        message = ResumeRun(
            run_id, max_loops, budget, streams=True, within=chain(), caller=os.urandom(16).hex()
        )
        async with self._residence.at_home() as home, aclosing(self._events(home, message)) as events:
            async for event in events:
                yield event

    def __repr__(self) -> str:
        return f"<Agent {self.agent_name!r} {self.status} model={self.model_name!r}>"

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

    async def _follow(self, home: Home, message: RunTask | ResumeRun) -> RunResult[OutputT]:
        """Send a run off and wait for its end; cancelled, interrupt it and wait until that is saved."""
        if isinstance(message, RunTask) and not message.named:
            self._member.announce()
        try:
            return cast("RunResult[OutputT]", await self._ask(home, message))
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
