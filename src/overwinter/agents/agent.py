"""The agent that users hold."""

from __future__ import annotations

import uuid
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any, Generic, Literal, TypeVar, Unpack, cast, overload

from anyio import CancelScope, get_cancelled_exc_class, to_thread

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
from overwinter.agents.membership import Membership
from overwinter.agents.profile import Profile, Settings
from overwinter.agents.residence import Residence
from overwinter.agents.serving import chain, refuse_to_wait_for_itself
from overwinter.agents.signals import run_to_end
from overwinter.agents.state import AgentState, StateView
from overwinter.agents.stream import stream_events
from overwinter.errors import (
    ActorStopped,
    ConfigurationError,
    RunInterrupted,
    SaveRejected,
    StateNotFound,
)
from overwinter.persistence.codec import encode_checked
from overwinter.persistence.workspace import Workspace

if TYPE_CHECKING:
    import os
    from collections.abc import AsyncGenerator, Callable, Iterable, Mapping, Sequence
    from pathlib import Path

    from overwinter.agents.budget import Budget
    from overwinter.agents.events import Event
    from overwinter.agents.memory import Memory
    from overwinter.agents.models.protocol import Model
    from overwinter.agents.models.retry import RetryPolicy
    from overwinter.agents.options import AgentOptions
    from overwinter.agents.profile import Durability
    from overwinter.agents.records import Status
    from overwinter.agents.residence import Home
    from overwinter.agents.results import RunResult
    from overwinter.agents.runtime import Runtime
    from overwinter.agents.tools import Tool
    from overwinter.runtime import ActorRef

__all__ = ["Agent"]

OutputT = TypeVar("OutputT")


class Agent(Generic[OutputT]):
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
    :param budget: tokens, US dollars and seconds after which a run pauses.
    :param model_args: further settings for the provider (``api_key``, ``api_base``, ``top_p``, ...). Credentials
        among them are never written to disk.
    :param tool_timeout: seconds that a tool may take, unless it says otherwise itself.
    :param retry: how failed model calls are tried again.
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
        model_args: Mapping[str, Any] | None = None,
        tool_timeout: float | None = None,
        retry: RetryPolicy | None = None,
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
            output_retries=output_retries,
            lease_timeout=lease_timeout,
            budget=budget,
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

    @property
    def agent_name(self) -> str:
        """The name it was given."""
        return self._profile.name

    @property
    def agent_id(self) -> str:
        """Its id, a UUID: the same for the same name and session in every process."""
        return self._profile.agent_id

    @property
    def session(self) -> str:
        """The session it was given, or an empty string."""
        return self._profile.settings.session

    @property
    def agent_description(self) -> str:
        """What it is for."""
        return self._profile.settings.agent_description

    @property
    def model_name(self) -> str:
        """The name of the model it asks first."""
        return self._profile.settings.model_name

    @property
    def workspace_dir(self) -> Path:
        """The agent's own folder. It is there once something was saved."""
        return self._member.folder.path

    @property
    def config_path(self) -> Path:
        """Where its configuration is saved."""
        return self._member.folder.config_path

    @property
    def state_path(self) -> Path:
        """Where its state is saved: ``{agent_name}_state.json`` in its folder."""
        return self._member.folder.state_path

    @property
    def status(self) -> Status:
        """``idle``, ``running``, ``paused``, ``interrupted``, ``failed`` or ``finished``."""
        return self._state.status

    @property
    def state(self) -> StateView:
        """What it knows, to read: conversation, tool results, memory, runs, usage."""
        return StateView(self._state)

    @property
    def memory(self) -> Memory:
        """Facts it keeps between runs; saved with its state."""
        return self._state.memory

    async def run(self, task: str, *, run_id: str | None = None, queue: bool = False) -> RunResult[OutputT]:
        """Do *task* and return what came of it. Concurrent calls run one after the other, in the order of the calls.

        Cancelling it interrupts the run, or withdraws the task if its turn has not come; it returns when that is
        saved. After any error but these first two, what was said so far is kept and saved, and :meth:`resume` goes on.

        :param run_id: a name of your own for the run; it must be new.
        :param queue: wait behind a paused run instead of raising.
        :raises AgentPaused: a paused run stands before it.
        :raises AgentInUse: another process, or another runtime of this one, holds the agent (``autosave=True``).
        :raises ModelUnavailable: the model and all its fallbacks failed.
        :raises OutputInvalid: the answer never had the shape of ``output_type``.
        :raises RunInterrupted: the agent was stopped, or the run cancelled by :meth:`cancel`.
        :raises AskDeadlock: it was called by a tool of the agent itself, within a run.
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
        async with self._residence.at_home() as home:
            events = stream_events(
                lambda: self._follow(home, message), self._member.hub.watch, message.run_id
            )
            try:
                async for event in events:
                    yield event
            finally:
                with CancelScope(shield=True):
                    await events.aclose()

    async def resume(
        self, run_id: str = "", *, max_loops: int | None = None, budget: Budget | None = None
    ) -> RunResult[OutputT]:
        """Finish the last run if it was paused, interrupted or failed; a fresh object loads it first.

        It goes on at the step at which it was last saved. Tool calls that were asked for and not begun are made; one
        that had begun is repeated if it is ``idempotent``, otherwise the model is told that its outcome is unknown.
        Where no run was cut off, the first task that was accepted and never begun is run.

        :param max_loops: a new limit for the whole run, counted from its beginning.
        :param budget: a new budget for the run.
        :raises NothingToResume: the last run had ended.
        :raises StateNotFound: there is neither a run in memory nor a saved state.
        """
        refuse_to_wait_for_itself(self._state, self.agent_name)
        if self._state.run is None and not self._state.accepted:
            await self.load()
        async with self._residence.at_home() as home:
            message = ResumeRun(run_id=run_id, max_loops=max_loops, budget=budget, within=chain())
            return await self._follow(home, message)

    async def save(self) -> Path:
        """Save configuration and state now and return the path of the state file.

        :raises SaveError: it could not be saved; what was saved before is intact.
        :raises AgentInUse: another process, or another runtime of this one, holds the agent.

        Cancelling it leaves the old file or the new one, whole.
        """
        async with self._residence.at_home() as home:
            return cast("Path", await self._ask(home, SaveNow()))

    async def load(self, path: str | os.PathLike[str] | None = None) -> None:
        """Take over everything that was saved: conversation, tool results, memory, task, usage, loop count, status.

        The constructor's settings stay; those it left open are taken from the file, and what differs is logged.

        :param path: another state file than the agent's own.
        :raises StateNotFound: there is none.
        :raises CorruptState: it is damaged, and so is its previous generation.
        :raises SchemaTooNew: a later overwinter wrote it.
        :raises AgentError: the agent is at work.
        """
        # Looked for first, because a claim would create the folder of an agent that never was.
        if self._residence.vacant and not await to_thread.run_sync(self._member.has_state, path):
            raise StateNotFound(
                f"there is no saved state at {path or self.state_path}; run the agent with autosave=True, or call "
                "save() first"
            )
        with self._member.loading(own=path is None) if self._residence.vacant else nullcontext():
            async with self._residence.at_home() as home:
                await self._ask(home, LoadState("" if path is None else str(path)))

    async def pause(self) -> None:
        """Pause the run under way after its step; its ``run`` returns with status ``paused``."""
        async with self._residence.at_home() as home:
            await self._ask(home, PauseRun())

    async def cancel(self) -> None:
        """Give up the run under way, or the one that is paused; returns when that is saved.

        Whoever waits for the run gets ``RunInterrupted``.
        """
        async with self._residence.at_home() as home:
            await self._ask(home, CancelRun())

    async def join(self, runtime: Runtime) -> ActorRef[AgentMessage]:
        """Make *runtime* the home and load what the model needs: what ``runtime.spawn(agent)`` calls."""
        await self._profile.models[0].prepare()
        return await self._residence.settle(runtime)

    def leave(self, runtime: Runtime) -> None:
        """*runtime* is no home any more; what a runtime says when it closes."""
        self._residence.leave(runtime)

    def reference_on(self, runtime: Runtime) -> ActorRef[AgentMessage] | None:
        """The reference of the agent's actor, if it was spawned on *runtime* and lives there still."""
        home = self._residence.spawned
        return home.ref if home is not None and home.runtime is runtime else None

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
            task=task, run_id=run_id or uuid.uuid4().hex, streams=streams, queue=queue, within=chain()
        )

    async def _follow(self, home: Home, message: RunTask | ResumeRun) -> RunResult[OutputT]:
        """Send a run off and wait for its end; cancelled, interrupt it and wait until that is saved."""
        if isinstance(message, RunTask):
            self._member.announce()
        try:
            return cast("RunResult[OutputT]", await self._ask(home, message))
        except get_cancelled_exc_class():
            run_id = message.run_id or self._state.run_id
            with CancelScope(shield=True):
                await self._interrupt(home, run_id)
            raise

    async def _interrupt(self, home: Home, run_id: str) -> None:
        try:
            await home.ref.ask(InterruptRun(run_id))
        except ActorStopped:
            return

    async def _ask(self, home: Home, message: AgentMessage) -> Any:
        try:
            return await home.ref.ask(message)
        except ActorStopped as error:
            raise RunInterrupted(
                f"agent {self.agent_name!r} was stopped before it answered; its files hold what was saved before"
            ) from error
