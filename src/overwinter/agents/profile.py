"""Who an agent is: its settings, checked, and what is made of them."""

from __future__ import annotations

import inspect
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Generic, Literal, TypeVar, cast

import msgspec

from overwinter.agents.budget import Budget
from overwinter.agents.context import ContextPolicy
from overwinter.agents.models.described import descriptions
from overwinter.agents.models.protocol import Message
from overwinter.agents.models.retry import RetryPolicy
from overwinter.agents.output import OutputFormat
from overwinter.agents.results import RunResult
from overwinter.agents.retention import KEEP_64_MB, Retention
from overwinter.agents.toolbox import Toolbox
from overwinter.agents.tools import OnUnknown
from overwinter.errors import ConfigurationError, SaveRejected
from overwinter.persistence.codec import encode_checked, pretty
from overwinter.persistence.names import agent_id_for, storable_name
from overwinter.persistence.secrets import redact, reveal

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence

    from overwinter.agents.loop import RunLoop
    from overwinter.agents.models.protocol import Model
    from overwinter.agents.records import Pending
    from overwinter.agents.state import AgentState
    from overwinter.agents.tools import Tool

__all__ = ["Durability", "Profile", "Settings", "check_settings"]

OutputT = TypeVar("OutputT")

Durability = Literal["exit", "async", "sync"]

_LOOPS_WITH_TOOLS = 25
_RETRY = RetryPolicy()
_TEXT = OutputFormat(str)  # one for all agents that answer with text
# What a loaded state file may give back where the constructor was silent.
_TAKEN_FROM_FILE = (
    "agent_description",
    "system_prompt",
    "max_loops",
    "stopping_token",
    "temperature",
    "max_tokens",
)


class Settings(msgspec.Struct, kw_only=True, gc=False):
    """The constructor settings of an agent that are plain data."""

    agent_name: str
    session: str = ""
    agent_id: str = ""
    agent_description: str = ""
    model_name: str = ""
    fallback_models: tuple[str, ...] = ()
    system_prompt: str = ""
    max_loops: int | Literal["auto"] | None = None
    stopping_token: str | None = None
    temperature: float | None = None
    max_tokens: int | None = None
    autosave: bool = False
    durability: Durability = "async"
    verbose: bool = False
    tool_timeout: float | None = None
    on_unknown: OnUnknown = "tell_model"
    output_retries: int = 2
    lease_timeout: float = 0.0
    budget: Budget | None = None
    context: tuple[ContextPolicy, ...] | None = None
    retention: Retention = KEEP_64_MB


class Profile(Generic[OutputT]):
    """The settings of one agent with its tools, models and functions.

    Everything is checked here, so that a wrong setting fails where it was written and not in the middle of a run.

    :ivar kind: the folder of the workspace in which its own one stands.
    :ivar make_loop: what carries out its runs, if that is not the loop of an agent.
    :ivar closing: awaited when its actor stops.
    """

    kind = "agents"
    make_loop: Callable[..., RunLoop] | None = None
    closing: Callable[[], Awaitable[None]] | None = None

    def __init__(
        self,
        settings: Settings,
        *,
        output_type: type[OutputT],
        tools: Iterable[Tool[..., Any] | Callable[..., Any]],
        model: Model | None,
        fallback_models: Sequence[str | Model],
        stopping_condition: Callable[[str], bool] | None,
        model_args: Mapping[str, Any],
        retry: RetryPolicy | None,
    ) -> None:
        check_settings(settings)
        if not settings.agent_id:
            settings.agent_id = agent_id_for(settings.agent_name, settings.session)
        self.settings = settings
        self.toolbox = Toolbox(tools, timeout=settings.tool_timeout)
        self.models = _models(settings, model, fallback_models)
        settings.model_name = settings.model_name or self.models[0].name
        settings.fallback_models = tuple(fallback.name for fallback in self.models[1:])
        self.output: OutputFormat[OutputT] = (
            cast("OutputFormat[OutputT]", _TEXT) if output_type is str else OutputFormat(output_type)
        )
        self.stopping_condition = _checked_condition(stopping_condition)
        self.model_args = dict(model_args)
        self.retry = retry or _RETRY
        self._other_models: dict[str, Model] = {}
        self._encoded: bytes
        self.renew()
        if not settings.autosave:
            # That it can be encoded is known, and nobody may ever want it.
            self.rest()

    @property
    def name(self) -> str:
        """The agent's name."""
        return self.settings.agent_name

    @property
    def agent_id(self) -> str:
        """The agent's id, a UUID."""
        return self.settings.agent_id

    @property
    def system_prompt(self) -> str:
        """What the model is told first: the prompt, and the shape its answer is to have."""
        return self._system_prompt

    @property
    def prompt(self) -> tuple[Message, ...]:
        """The same as the messages that a request begins with."""
        return (Message("system", self._system_prompt),) if self._system_prompt else ()

    @property
    def runs_until_answered(self) -> bool:
        """A run ends when the model answers without calling a tool."""
        return bool(len(self.toolbox)) or self.settings.max_loops == "auto"

    @property
    def max_loops(self) -> int | None:
        """Model calls that a run may make, or ``None`` for no limit."""
        if self.settings.max_loops == "auto":
            return None
        return self.settings.max_loops or (_LOOPS_WITH_TOOLS if len(self.toolbox) else 1)

    @property
    def request_args(self) -> dict[str, Any]:
        """The provider's settings with every secret revealed; never stored."""
        revealed: dict[str, Any] = reveal(self.model_args) if self.model_args else {}
        return revealed

    def models_for(self, name: str | None) -> tuple[Model, ...]:
        """The model of that *name* alone; the agent's own, with its fallbacks, where none is named."""
        if name is None or name == self.models[0].name:
            return self.models
        if name not in self._other_models:
            self._other_models[name] = _by_name(name)
        return (self._other_models[name],)

    def make_result(self, state: AgentState, **told: Any) -> RunResult[Any]:  # noqa: ARG002
        """The result of a run that stands in the state."""
        return RunResult(agent_name=self.name, **told)

    def pending(self, state: AgentState) -> tuple[Pending, ...]:
        """The calls that wait for a person."""
        return tuple(state.pending.values())

    @property
    def encoded(self) -> bytes:
        """Every setting as one JSON object, credentials redacted."""
        self._encoded = self._encoded or self._encode()
        return self._encoded

    def rest(self) -> None:
        """Let go of what is quickly made again."""
        self._encoded = b""

    @property
    def members(self) -> bytes:
        """The same as the members of a pretty-printed document, without braces and final newline."""
        # Laid out anew for each file: it takes as long as a system call, and kept it would be a kilobyte an agent.
        return pretty(self.encoded).removeprefix(b"{\n").removesuffix(b"\n}")

    def adopt(self, saved: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
        """Take from a saved configuration what the constructor left open.

        Returns what differs all the same, as ``{setting: (saved, used)}``: there the constructor wins.
        """
        differing: dict[str, tuple[Any, Any]] = {}
        defaults = Settings(agent_name="")
        adopted = False
        for name in _TAKEN_FROM_FILE:
            ours, theirs = getattr(self.settings, name), saved.get(name)
            if theirs in (None, "") or ours == theirs:
                continue
            if ours == getattr(defaults, name):
                setattr(self.settings, name, theirs)
                adopted = True
            else:
                differing[name] = (theirs, ours)
        context = self.settings.context
        differing |= self._adopt_context(saved.get("context"))
        adopted = adopted or self.settings.context is not context
        if saved.get("model_name") not in (None, "", self.settings.model_name):
            differing["model_name"] = (saved["model_name"], self.settings.model_name)
        if adopted:
            self.renew()
        return differing

    def _adopt_context(self, theirs: Any) -> dict[str, tuple[Any, Any]]:
        # An empty one is none that was left open: whoever gives it wants requests to carry everything.
        ours = self.settings.context
        if theirs is None or theirs == _listed(msgspec.to_builtins(ours)):
            return {}
        if ours is None:
            with suppress(msgspec.ValidationError):
                self.settings.context = msgspec.convert(theirs, tuple[ContextPolicy, ...])
                return {}
        return {"context": (theirs, _listed(msgspec.to_builtins(ours)))}

    def renew(self) -> None:
        """Encode the settings anew: one of them has changed."""
        self._encoded = self._encode()
        parts = (self.settings.system_prompt, self.output.instruction)
        self._system_prompt = "\n\n".join(part for part in parts if part)

    def _described(self) -> dict[str, Any]:
        condition = self.stopping_condition
        models = descriptions(self.models)
        return {
            **msgspec.to_builtins(self.settings),
            "agent_name": storable_name(self.settings.agent_name),
            "session": storable_name(self.settings.session),
            "agent_id": storable_name(self.settings.agent_id),
            "output_type": self.output.name,
            "output_schema": self.output.schema,
            "stopping_condition": None
            if condition is None
            else getattr(condition, "__qualname__", repr(condition)),
            "model_args": redact(self.model_args),
            **({} if models is None else {"models": models}),
            "retry": msgspec.to_builtins(self.retry),
            "tools": self.toolbox.describe(),
        }

    def _encode(self) -> bytes:
        return self._checked(self._described())

    def _checked(self, settings: Any) -> bytes:
        try:
            return encode_checked(_listed(settings), what="agent")
        except SaveRejected as error:
            raise ConfigurationError(f"a setting of agent {self.name!r} cannot be stored: {error}") from error


def _checked_condition(condition: Callable[[str], bool] | None) -> Callable[[str], bool] | None:
    if inspect.iscoroutinefunction(condition):
        raise ConfigurationError(
            "stopping_condition is an async function, which nobody would await; give a plain one"
        )
    return condition


def check_settings(settings: Settings) -> None:
    """Raise ``ConfigurationError`` for a setting that cannot work; the message names it."""
    try:
        msgspec.convert(msgspec.to_builtins(settings), Settings)
    except msgspec.ValidationError as error:
        raise ConfigurationError(f"a setting of {settings.agent_name!r} is not valid: {error}") from error
    loops = settings.max_loops
    if isinstance(loops, int) and loops < 1:
        raise ConfigurationError(f"max_loops is {loops}; give 1 or more, 'auto', or None")
    for name in ("tool_timeout", "lease_timeout"):
        value = getattr(settings, name)
        if value is not None and value < 0:
            raise ConfigurationError(f"{name} is {value}; give seconds, 0 or more")


def _models(settings: Settings, model: Model | None, fallbacks: Sequence[str | Model]) -> tuple[Model, ...]:
    if model is None and not settings.model_name:
        raise ConfigurationError(
            f"agent {settings.agent_name!r} has no model; pass model_name='gpt-4o-mini' (any litellm name) or model="
        )
    first = _by_name(settings.model_name) if model is None else model
    return (first, *(_by_name(one) if isinstance(one, str) else one for one in fallbacks))


def _by_name(name: str) -> Model:
    from overwinter.agents.models.litellm_model import LiteLLMModel

    return LiteLLMModel(name)


def _listed(value: Any) -> Any:
    """*value* with tuples as lists, which is what JSON gives back."""
    if isinstance(value, dict):
        return {key: _listed(item) for key, item in value.items()}  # pyright: ignore[reportUnknownVariableType]
    if isinstance(value, (list, tuple)):
        return [_listed(item) for item in value]  # pyright: ignore[reportUnknownVariableType]
    return value
