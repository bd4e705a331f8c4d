"""An agent's tools, and how one call of them is served."""

from __future__ import annotations

import asyncio
import functools
import inspect
import logging
from typing import TYPE_CHECKING, Any, Literal, cast
from weakref import WeakKeyDictionary

import msgspec
from anyio import CapacityLimiter

from overwinter.agents.deadline import deadline
from overwinter.agents.tool_result import is_small, result_text
from overwinter.agents.tool_threads import ToolThreads
from overwinter.agents.tools import Tool, describe
from overwinter.errors import SaveRejected, ToolDefinitionError, ToolError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from overwinter.agents.models.protocol import ToolCall, ToolSpec
    from overwinter.agents.tool_threads import ThreadCall
    from overwinter.agents.tools import OnUnknown, ToolContext
    from overwinter.runtime.clock import Clock

__all__ = ["Toolbox"]

logger = logging.getLogger("overwinter.agents")

_Outcome = tuple[bool, str]

# Conversions compute and never wait, so more at once would only share the processor.
_CONVERSIONS = 2
_conversions: WeakKeyDictionary[asyncio.AbstractEventLoop, CapacityLimiter] = WeakKeyDictionary()

_threads = ToolThreads()


class Toolbox:
    """The tools of one agent by name."""

    __slots__ = ("_left_behind", "_specs", "_timeout", "_tools")

    def __init__(
        self, tools: Iterable[Tool[..., Any] | Callable[..., Any]] = (), *, timeout: float | None = None
    ) -> None:
        self._tools: dict[str, Tool[..., Any]] = {}
        self._timeout = timeout
        self._left_behind: dict[str, ThreadCall[Any]] = {}
        for candidate in tools:
            a_tool = cast("Tool[..., Any]", candidate if isinstance(candidate, Tool) else Tool(candidate))
            if a_tool.name in self._tools:
                raise ToolDefinitionError(f"two tools are named {a_tool.name!r}; pass name= to one of them")
            self._tools[a_tool.name] = a_tool
        self._specs: tuple[ToolSpec, ...] | None = None

    def __len__(self) -> int:
        return len(self._tools)

    @property
    def tools(self) -> tuple[Tool[..., Any], ...]:
        """The tools themselves."""
        return tuple(self._tools.values())

    @property
    def specs(self) -> tuple[ToolSpec, ...]:
        """What the model is shown."""
        if self._specs is None:
            self._specs = tuple(a_tool.spec for a_tool in self._tools.values())
        return self._specs

    def describe(self) -> list[dict[str, Any]]:
        """What config.json says of the tools."""
        return [describe(a_tool) for a_tool in self._tools.values()]

    def may_repeat(self, name: str) -> bool:
        """Whether a call of unknown outcome may be made again."""
        return name in self._tools and self._tools[name].idempotent

    def ends_run(self, name: str) -> bool:
        """Whether a call of it that goes well ends the run."""
        return name in self._tools and self._tools[name].ends_run

    def __contains__(self, name: object) -> bool:
        return name in self._tools

    def on_unknown(self, name: str, default: OnUnknown) -> OnUnknown:
        """What becomes of a call of unknown outcome that may not be made again."""
        return (self._tools[name].on_unknown if name in self._tools else None) or default

    def person_needed(self, call: ToolCall) -> tuple[Literal["approval", "question"], str] | None:
        """For what *call* has to wait for a person, with the question, if it asks one.

        A call whose arguments are not valid bothers nobody: it will not run.
        """
        a_tool = self._tools.get(call.name)
        if a_tool is None or not (a_tool.requires_approval or a_tool.asks_person):
            return None
        try:
            arguments = a_tool.signature.read(call.arguments)
        except (msgspec.MsgspecError, ValueError):
            return None
        return ("question", str(arguments["question"])) if a_tool.asks_person else ("approval", "")

    async def call(
        self, call: ToolCall, context: ToolContext, *, clock: Clock, limiter: CapacityLimiter
    ) -> tuple[bool, str]:
        """Serve *call*: whether it went well, and the text for the model.

        Every failure of the tool becomes a text. Cancelling it cancels an async tool; a sync one goes on in
        its thread, holds its place in *limiter* until it ends, and can be waited for with :meth:`settle`.
        """
        self._left_behind.pop(call.id, None)
        a_tool = self._tools.get(call.name)
        if a_tool is None:
            return False, self._unknown(call.name)
        try:
            arguments = a_tool.signature.read(call.arguments)
        except (msgspec.MsgspecError, ValueError) as error:
            return False, f"Error: the arguments of tool {call.name!r} are not valid: {error}"
        if a_tool.signature.context_parameter:
            arguments[a_tool.signature.context_parameter] = context
        return await self._run(a_tool, arguments, call.id, clock, limiter)

    async def settle(self, call_id: str) -> tuple[bool, str] | None:
        """The outcome of a call whose caller was cancelled while its thread went on, as :meth:`call` would give it.

        It waits for a thread that still lives, however long that takes, and answers once: afterwards the call
        is forgotten, as it is when another of the same id begins. ``None`` says that nothing is known of it
        here. Cancelling it forgets nothing. Any event loop may ask, not only the one that called.
        """
        left = self._left_behind.get(call_id)
        if left is None:
            return None
        try:
            outcome = await left.wait()
        except KeyboardInterrupt as error:
            # It was meant for a run that is gone.
            outcome = _failure(call_id, error)
        if self._left_behind.get(call_id) is left:
            del self._left_behind[call_id]
        return cast("_Outcome", outcome) if isinstance(outcome, tuple) else None

    async def _run(
        self,
        a_tool: Tool[..., Any],
        arguments: dict[str, Any],
        call_id: str,
        clock: Clock,
        limiter: CapacityLimiter,
    ) -> _Outcome:
        timeout = self._timeout if a_tool.timeout is None else a_tool.timeout
        value: Any = None
        remark = ""
        try:
            with deadline(clock, timeout) as scope:
                if a_tool.is_async:
                    value = a_tool.function(**arguments)
                else:
                    remark = " It never began: every thread for tools was taken."
                    work = functools.partial(
                        _outcome, functools.partial(a_tool.function, **arguments), a_tool.name
                    )
                    in_thread = await _threads.start(work, limiter=limiter)
                    remark = " It may still be running."
                    value = await self._wait(call_id, in_thread)
                    if isinstance(value, tuple):
                        return cast("_Outcome", value)
                    remark = ""
                # A text is none, and asking takes longer than most tools.
                while not isinstance(value, str) and inspect.isawaitable(value):
                    value = await value
            if scope.cancelled_caught:
                # It is answered, so nobody will ask for what became of it.
                self._left_behind.pop(call_id, None)
                return False, f"Error: tool {a_tool.name!r} timed out after {timeout} seconds.{remark}"
            return await self._as_text(value, a_tool.name, call_id)
        except (KeyboardInterrupt, GeneratorExit):
            raise
        except BaseException as error:
            if isinstance(error, asyncio.CancelledError) and _is_cancelled():
                raise
            return _failure(a_tool.name, error)

    async def _as_text(self, value: Any, tool_name: str, call_id: str) -> _Outcome:
        """What became of a call that returned *value* on the event loop, which a big one must not hold up."""
        if is_small(value):
            return True, result_text(value, tool_name)
        work = functools.partial(_outcome, lambda: value, tool_name)
        outcome = await self._wait(call_id, await _threads.start(work, limiter=_room_for_conversions()))
        return cast("_Outcome", outcome)

    async def _wait(self, call_id: str, in_thread: ThreadCall[Any]) -> Any:
        try:
            return await in_thread.wait()
        except (asyncio.CancelledError, GeneratorExit):
            in_thread.abandon()
            self._left_behind[call_id] = in_thread
            raise

    def _unknown(self, name: str) -> str:
        known = ", ".join(sorted(self._tools)) or "none"
        return f"Error: there is no tool {_clean(name)!r}. The tools are: {known}."


def _outcome(produce: Callable[[], Any], tool_name: str) -> Any:
    """In a thread: what became of the call, or the awaitable it returned, which the event loop has to wait for."""
    try:
        value = produce()
        return value if inspect.isawaitable(value) else (True, result_text(value, tool_name))
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # noqa: BLE001  (the model is told)
        return _failure(tool_name, error)


def _failure(tool_name: str, error: BaseException) -> _Outcome:
    if isinstance(error, ToolError):
        return False, f"Error: {_text_of(error)}"
    if isinstance(error, SaveRejected):
        return False, f"Error: the result of tool {tool_name!r} was refused: {_text_of(error)}"
    logger.warning("tool %s failed", tool_name, exc_info=error)
    return False, f"Error: {type(error).__name__}: {_text_of(error)}"


def _room_for_conversions() -> CapacityLimiter:
    """A limiter of this event loop's own, so that a result need not wait for tools that hold every thread."""
    loop = asyncio.get_running_loop()
    limiter = _conversions.get(loop)
    if limiter is None:
        limiter = _conversions[loop] = CapacityLimiter(_CONVERSIONS)
    return limiter


def _is_cancelled() -> bool:
    """Whether somebody cancelled this task; a tool can raise ``CancelledError`` of its own accord too."""
    task = asyncio.current_task()
    return task is None or task.cancelling() > 0


def _text_of(error: BaseException) -> str:
    try:
        return _clean(str(error))
    except Exception as second:  # noqa: BLE001 - an error of the error
        return f"an error that has no text ({type(second).__name__})"


def _clean(text: str) -> str:
    """*text* with lone surrogates replaced: an error must be storable whatever the tool put into it."""
    return text.encode("utf-8", "replace").decode("utf-8")
