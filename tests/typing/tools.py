"""What mypy and pyright must know of tools; read by them and never run."""

from __future__ import annotations

from typing import Any, assert_type

from overwinter import Agent, Tool, ToolContext, tool


@tool
def add(a: int, b: int = 1) -> int:
    """A tool stays callable as the function it was."""
    return a + b


@tool(idempotent=True, timeout=2.0)
async def note(text: str, context: ToolContext) -> str:
    """So does an async one with settings."""
    assert_type(context.call_id, str)
    return text


def plain(a: int) -> int:
    """A function will do as well."""
    return a


async def a_tool_keeps_its_signature(context: ToolContext) -> None:
    assert_type(add(1, b=2), int)
    assert_type(await note("x", context), str)
    assert_type(add.name, str)
    assert_type(add.parameters, dict[str, Any])
    kept: Tool[..., int] = add
    Agent("a", "gpt-4o-mini", tools=[kept, note, plain])
    add("1")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    await note("x")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]


def what_is_no_function_is_no_tool() -> None:
    Agent("a", "gpt-4o-mini", tools=["add"])  # type: ignore[list-item]  # pyright: ignore[reportArgumentType]
