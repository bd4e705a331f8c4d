"""Tools: functions that a model may call."""

from __future__ import annotations

import functools
import inspect
from typing import (
    TYPE_CHECKING,
    Any,
    Generic,
    Literal,
    ParamSpec,
    TypeAlias,
    TypeVar,
    cast,
    get_args,
    overload,
)

import msgspec

from overwinter.agents.models.protocol import ToolSpec
from overwinter.agents.tool_schema import ToolSignature
from overwinter.errors import ToolDefinitionError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from overwinter.agents.memory import Memory

__all__ = ["OnUnknown", "Tool", "ToolContext", "tool"]

P = ParamSpec("P")
R = TypeVar("R")

#: What becomes of a call that had begun, has no result, and may not be repeated.
OnUnknown: TypeAlias = Literal["tell_model", "raise", "ask"]

_NAME_LIMIT = 64  # what the providers accept


class ToolContext:
    """What a tool may know of the call it serves; ask for it with a parameter annotated ``ToolContext``.

    :ivar agent_name: the agent that calls.
    :ivar run_id: the run within which it calls.
    :ivar call_id: this call; the same when a resumed run repeats it, so it serves as an idempotency key.
    :ivar loop: the step of the run, from 1.
    :ivar workspace_dir: the agent's own folder, for the files a tool makes; with ``autosave=False`` it need not exist.
    :ivar memory: the agent's memory; a synchronous tool may use it from its thread.
    """

    __slots__ = ("agent_name", "call_id", "loop", "memory", "run_id", "workspace_dir")

    def __init__(
        self, *, agent_name: str, run_id: str, call_id: str, loop: int, workspace_dir: Path, memory: Memory
    ) -> None:
        self.agent_name = agent_name
        self.run_id = run_id
        self.call_id = call_id
        self.loop = loop
        self.workspace_dir = workspace_dir
        self.memory = memory


class Tool(Generic[P, R]):
    """A function with what a model needs to call it. Made by :func:`tool`; calling it calls the function.

    :ivar name: the name the model sees.
    :ivar description: what it does, from the docstring unless given.
    :ivar parameters: the JSON schema of its arguments, an object.
    :ivar idempotent: it may be repeated when its outcome is unknown.
    :ivar requires_approval: it never runs without a person's word.
    :ivar asks_person: a call of it is a question to a person, who answers in its place.
    :ivar ends_run: a call of it that goes well ends the agent's run, with its result as the answer.
    :ivar on_unknown: what becomes of a call of unknown outcome, or None for the agent's ``on_unknown``.
    :ivar timeout: seconds it may take, or None for the agent's ``tool_timeout``.
    """

    def __init__(
        self,
        function: Callable[P, R],
        *,
        name: str | None = None,
        description: str | None = None,
        idempotent: bool = False,
        requires_approval: bool = False,
        ends_run: bool = False,
        on_unknown: OnUnknown | None = None,
        timeout: float | None = None,
    ) -> None:
        functools.update_wrapper(self, function)
        self.function = function
        self.name = _checked_name(function, name)
        self.description = (
            inspect.getdoc(_without_partial(function)) or "" if description is None else description
        )
        self.idempotent = idempotent
        self.requires_approval = requires_approval
        self.asks_person = False
        self.ends_run = ends_run
        self.on_unknown: OnUnknown | None = _checked_policy(on_unknown, self.name)
        self.timeout = timeout
        self.signature = _signature(function, self.name)
        # What is called decides, not what it wraps: a decorator may make an async function of a sync one.
        self.is_async = inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(
            getattr(function, "__call__", None)  # noqa: B004
        )

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        return self.function(*args, **kwargs)

    def __repr__(self) -> str:
        return f"<Tool {self.name}>"

    @property
    def parameters(self) -> dict[str, Any]:
        """The JSON schema of the arguments."""
        return self.signature.schema

    @property
    def spec(self) -> ToolSpec:
        """What the model is shown."""
        return ToolSpec(name=self.name, description=self.description, parameters=self.parameters)


class _Description(msgspec.Struct, frozen=True):
    """A tool as config.json describes it."""

    name: str
    description: str
    parameters: dict[str, Any]
    idempotent: bool
    requires_approval: bool
    on_unknown: str | None


def describe(a_tool: Tool[..., Any]) -> dict[str, Any]:
    """The description of a tool for config.json: plain data, never the function."""
    described = msgspec.structs.asdict(
        _Description(
            a_tool.name,
            a_tool.description,
            a_tool.parameters,
            a_tool.idempotent,
            a_tool.requires_approval,
            a_tool.on_unknown,
        )
    )
    return described | {"ends_run": True} if a_tool.ends_run else described


@overload
def tool(function: Callable[P, R], /) -> Tool[P, R]: ...


@overload
def tool(
    *,
    name: str | None = None,
    description: str | None = None,
    idempotent: bool = False,
    requires_approval: bool = False,
    ends_run: bool = False,
    on_unknown: OnUnknown | None = None,
    timeout: float | None = None,
) -> Callable[[Callable[P, R]], Tool[P, R]]: ...


def tool(
    function: Callable[P, R] | None = None,
    /,
    *,
    name: str | None = None,
    description: str | None = None,
    idempotent: bool = False,
    requires_approval: bool = False,
    ends_run: bool = False,
    on_unknown: OnUnknown | None = None,
    timeout: float | None = None,
) -> Tool[P, R] | Callable[[Callable[P, R]], Tool[P, R]]:
    """Make a function a tool; use it bare, ``@tool``, or with settings, ``@tool(idempotent=True)``.

    Its name, description and JSON schema come from its own name, docstring and annotations, through msgspec:
    ``Annotated[int, msgspec.Meta(description="...", ge=0)]`` describes and bounds a parameter. What the model
    sends is validated against them before the function is called. An ``async`` function runs on the event
    loop; any other runs in a thread, which a cancelled run leaves behind and cannot stop.

    :param idempotent: repeating it does no harm, so a resumed run may repeat it when its outcome is unknown.
    :param requires_approval: a call of it runs only when a person has said ``agent.approve()``; until then it waits,
        and when nothing else is left to do the run pauses, over restarts too.
    :param ends_run: when a call of it has gone well, and those beside it have ended, the run ends without another model
        call. Its answer is what the call returned, and its ``stop_reason`` is ``"tool:"`` and the tool's name.
    :param on_unknown: what becomes of a call that was cut off and may not be repeated, in the place of the agent's
        ``on_unknown``: ``"tell_model"``, ``"raise"`` or ``"ask"``.
    :param timeout: seconds, after which the model is told that it timed out.
    :raises ToolDefinitionError: a parameter has no annotation, or one that JSON cannot express.
    """

    def make(target: Callable[P, R]) -> Tool[P, R]:
        return Tool(
            target,
            name=name,
            description=description,
            idempotent=idempotent,
            requires_approval=requires_approval,
            ends_run=ends_run,
            on_unknown=on_unknown,
            timeout=timeout,
        )

    return make if function is None else make(function)


def _checked_policy(policy: OnUnknown | None, name: str) -> OnUnknown | None:
    if policy is not None and policy not in get_args(OnUnknown):
        raise ToolDefinitionError(
            f"on_unknown of tool {name!r} is {policy!r}; give 'tell_model', 'raise', 'ask', or None"
        )
    return policy


def _without_partial(function: Any) -> Any:
    while isinstance(function, functools.partial):
        function = cast("Any", function).func
    return function


def _signature(function: Callable[..., Any], name: str) -> ToolSignature:
    try:
        return ToolSignature.of(_with_hints(function), name, context_type=ToolContext)
    except ToolDefinitionError:
        raise
    except (TypeError, ValueError) as error:
        raise ToolDefinitionError(
            f"the parameters of tool {name!r} cannot be found out: {error}. Wrap it in a function with annotations."
        ) from error


def _with_hints(function: Any) -> Callable[..., Any]:
    """Something with the signature of *function* and with annotations, which a ``partial`` and an object lack."""
    inner = _without_partial(function)
    if not inspect.isroutine(inspect.unwrap(inner)) and not isinstance(inner, type):
        inner = inner.__call__
    if not isinstance(function, functools.partial):
        return cast("Callable[..., Any]", inner)
    # What is bound already is no business of the model's.
    bound = function.keywords
    signature = inspect.signature(cast("Any", function))
    offered = [parameter for parameter in signature.parameters.values() if parameter.name not in bound]

    @functools.wraps(inner)
    def described() -> None: ...

    cast("Any", described).__signature__ = signature.replace(parameters=offered)
    return described


def _checked_name(function: Callable[..., Any], name: str | None) -> str:
    found = name or getattr(function, "__name__", "")
    if (
        not found
        or len(found) > _NAME_LIMIT
        or not all(c.isascii() and (c.isalnum() or c in "_-") for c in found)
    ):
        raise ToolDefinitionError(
            f"{found or function!r} cannot be the name of a tool; pass name= with at most {_NAME_LIMIT} letters, "
            "digits, underscores and dashes"
        )
    return found
