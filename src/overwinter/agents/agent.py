"""The agent that users hold."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, TypeVar, Unpack, overload

from overwinter.agents.context import policies_of
from overwinter.agents.fork import fork_options
from overwinter.agents.membership import Membership
from overwinter.agents.person import PersonInTheLoop
from overwinter.agents.profile import Profile, Settings
from overwinter.agents.results import RunResult
from overwinter.agents.retention import KEEP_64_MB
from overwinter.agents.retrospect import AgentRetrospect
from overwinter.agents.runs import Runs
from overwinter.agents.state import AgentState
from overwinter.persistence.workspace import Workspace

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from overwinter.agents.budget import Budget
    from overwinter.agents.context import ContextPolicy
    from overwinter.agents.models.protocol import Model
    from overwinter.agents.models.retry import RetryPolicy
    from overwinter.agents.options import AgentOptions
    from overwinter.agents.profile import Durability
    from overwinter.agents.retention import Retention
    from overwinter.agents.tools import OnUnknown, Tool

__all__ = ["Agent"]

OutputT = TypeVar("OutputT")


class Agent(Runs[OutputT, RunResult[OutputT]], AgentRetrospect[OutputT], PersonInTheLoop[OutputT]):
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

    @property
    def tools(self) -> tuple[Tool[..., Any], ...]:
        """What its model may call."""
        return self._profile.toolbox.tools

    def in_session(self, session: str, *, autosave: bool | None = None) -> Agent[OutputT]:
        """A new agent like this one, of another session: the same settings, tools and models, nothing said yet.

        :param autosave: whether it is saved; unless given, as this one is.
        :raises ConfigurationError: it would be this very agent.
        """
        overrides = {} if autosave is None else {"autosave": autosave}
        options = fork_options(self._profile, "", session, overrides)
        chosen = self._member.chosen
        made: Agent[Any] = Agent(workspace_dir=None if chosen is None else chosen.root, **options)
        return made

    def __repr__(self) -> str:
        return f"<Agent {self.agent_name!r} {self.status} model={self.model_name!r}>"
