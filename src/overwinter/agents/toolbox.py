"""An agent's tools, and how one call of them is served."""

from __future__ import annotations

import asyncio
import functools
import logging
from typing import TYPE_CHECKING, Any, cast

import anyio.to_thread
import msgspec

from overwinter.agents.deadline import deadline
from overwinter.agents.tool_result import result_text
from overwinter.agents.tools import Tool, describe
from overwinter.errors import SaveRejected, ToolDefinitionError, ToolError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from anyio import CapacityLimiter

    from overwinter.agents.models.protocol import ToolCall, ToolSpec
    from overwinter.agents.tools import ToolContext
    from overwinter.runtime.clock import Clock

__all__ = ["Toolbox"]

logger = logging.getLogger("overwinter.agents")


class Toolbox:
    """The tools of one agent by name."""

    __slots__ = ("_timeout", "_tools")

    def __init__(
        self, tools: Iterable[Tool[..., Any] | Callable[..., Any]] = (), *, timeout: float | None = None
    ) -> None:
        self._tools: dict[str, Tool[..., Any]] = {}
        self._timeout = timeout
        for candidate in tools:
            a_tool = cast("Tool[..., Any]", candidate if isinstance(candidate, Tool) else Tool(candidate))
            if a_tool.name in self._tools:
                raise ToolDefinitionError(f"two tools are named {a_tool.name!r}; pass name= to one of them")
            self._tools[a_tool.name] = a_tool

    def __len__(self) -> int:
        return len(self._tools)

    @property
    def specs(self) -> tuple[ToolSpec, ...]:
        """What the model is shown."""
        return tuple(a_tool.spec for a_tool in self._tools.values())

    def describe(self) -> list[dict[str, Any]]:
        """What config.json says of the tools."""
        return [describe(a_tool) for a_tool in self._tools.values()]

    def may_repeat(self, name: str) -> bool:
        """Whether a call of unknown outcome may be made again."""
        return name in self._tools and self._tools[name].idempotent

    async def call(
        self, call: ToolCall, context: ToolContext, *, clock: Clock, limiter: CapacityLimiter
    ) -> tuple[bool, str]:
        """Serve *call*: whether it went well, and the text for the model.

        Every failure of the tool becomes a text. Cancelling it cancels an async tool; a sync one goes on in
        its thread and its result is dropped.
        """
        a_tool = self._tools.get(call.name)
        if a_tool is None:
            return False, self._unknown(call.name)
        if a_tool.requires_approval:
            return False, (
                f"Error: tool {call.name!r} needs a person's approval, which cannot be given in this version of "
                "overwinter. It did not run."
            )
        try:
            arguments = a_tool.signature.read(call.arguments)
        except (msgspec.MsgspecError, ValueError) as error:
            return False, f"Error: the arguments of tool {call.name!r} are not valid: {error}"
        if a_tool.signature.context_parameter:
            arguments[a_tool.signature.context_parameter] = context
        return await self._run(a_tool, arguments, clock, limiter)

    async def _run(
        self, a_tool: Tool[..., Any], arguments: dict[str, Any], clock: Clock, limiter: CapacityLimiter
    ) -> tuple[bool, str]:
        timeout = self._timeout if a_tool.timeout is None else a_tool.timeout
        try:
            with deadline(clock, timeout) as scope:
                if a_tool.is_async:
                    value = await a_tool.function(**arguments)
                else:
                    value = await anyio.to_thread.run_sync(
                        functools.partial(a_tool.function, **arguments),
                        abandon_on_cancel=True,
                        limiter=limiter,
                    )
                return True, result_text(value, a_tool.name)
            if scope.cancelled_caught:
                left = "" if a_tool.is_async else " It may still be running."
                return False, f"Error: tool {a_tool.name!r} timed out after {timeout} seconds.{left}"
        except ToolError as error:
            return False, f"Error: {_text_of(error)}"
        except SaveRejected as error:
            return False, f"Error: the result of tool {a_tool.name!r} was refused: {_text_of(error)}"
        except (KeyboardInterrupt, GeneratorExit):
            raise
        except BaseException as error:
            if isinstance(error, asyncio.CancelledError) and _is_cancelled():
                raise
            logger.warning("tool %s failed", a_tool.name, exc_info=True)
            return False, f"Error: {type(error).__name__}: {_text_of(error)}"
        raise AssertionError("a tool neither returned nor failed")

    def _unknown(self, name: str) -> str:
        known = ", ".join(sorted(self._tools)) or "none"
        return f"Error: there is no tool {_clean(name)!r}. The tools are: {known}."


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
