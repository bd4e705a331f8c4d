"""What changed in an agent between two steps."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING, Any

import msgspec

from overwinter.agents.models.protocol import Usage
from overwinter.agents.records import Entry, Status, ToolOutcome

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from overwinter.agents.state import AgentState

__all__ = ["MemoryChange", "StateDiff", "diff_states"]

_WIDTH = 110


class MemoryChange(msgspec.Struct, frozen=True):
    """What became of one key of the memory: ``set`` anew, ``changed``, or ``deleted``; ``None`` stands for nothing."""

    key: str
    kind: str
    before: Any = None
    after: Any = None


class StateDiff(msgspec.Struct, frozen=True, kw_only=True):
    """What changed between the steps ``before`` and ``after``; ``str()`` is made for reading.

    ``said`` are messages that came, ``unsaid`` those that are not in the conversation any more, because another one
    was begun or loaded; ``tools`` and ``undone_tools`` are the same of tool calls that ended. ``usage`` is what was
    used in between, with ``None`` for a cost that is not known. ``status`` and ``run_id`` are those of both steps.
    """

    before: int
    after: int
    status: tuple[Status, Status]
    run_id: tuple[str, str]
    said: tuple[Entry, ...] = ()
    unsaid: tuple[Entry, ...] = ()
    tools: tuple[ToolOutcome, ...] = ()
    undone_tools: tuple[ToolOutcome, ...] = ()
    memory: tuple[MemoryChange, ...] = ()
    usage: Usage = Usage()

    @property
    def is_empty(self) -> bool:
        """Whether nothing changed that is told here."""
        same = self.status[0] == self.status[1] and self.run_id[0] == self.run_id[1]
        return same and not (
            self.said or self.unsaid or self.tools or self.undone_tools or self.memory or self.usage.calls
        )

    def __str__(self) -> str:
        return "\n".join(self._lines())

    def _lines(self) -> Iterable[str]:
        yield f"step {self.before} -> step {self.after}"
        if self.is_empty:
            yield "  nothing changed"
        if self.status[0] != self.status[1]:
            yield f"  status    {self.status[0]} -> {self.status[1]}"
        if self.run_id[0] != self.run_id[1]:
            yield f"  run       {self.run_id[0] or '(none)'} -> {self.run_id[1] or '(none)'}"
        yield from (f"- {_said(entry)}" for entry in self.unsaid)
        yield from (f"+ {_said(entry)}" for entry in self.said)
        yield from (f"- {_ended(outcome)}" for outcome in self.undone_tools)
        yield from (f"+ {_ended(outcome)}" for outcome in self.tools)
        yield from (_remembered(change) for change in self.memory)
        if self.usage.calls:
            cost = "of unknown cost" if self.usage.cost is None else f"${self.usage.cost:.6f}"
            yield f"  usage    {self.usage.calls:+d} model calls, {self.usage.total_tokens:+d} tokens, {cost}"


def diff_states(before: AgentState, after: AgentState) -> StateDiff:
    """What changed between two states."""
    said, unsaid = _changed(before.conversation, after.conversation)
    tools, undone = _changed(before.tool_results, after.tool_results)
    return StateDiff(
        before=before.sequence,
        after=after.sequence,
        status=(before.status, after.status),
        run_id=(before.run_id, after.run_id),
        said=said,
        unsaid=unsaid,
        tools=tools,
        undone_tools=undone,
        memory=tuple(_memory(before.memory.as_dict(), after.memory.as_dict())),
        usage=_used(before.usage, after.usage),
    )


def _changed(before: Sequence[Any], after: Sequence[Any]) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
    """What is new at the end of *after*, and what of *before* is not there any more."""
    same = 0
    for old, new in zip(before, after, strict=False):
        if old != new:
            break
        same += 1
    return tuple(after[same:]), tuple(before[same:])


def _memory(before: dict[str, Any], after: dict[str, Any]) -> Iterable[MemoryChange]:
    for key in sorted(before.keys() | after.keys()):
        if key not in before:
            yield MemoryChange(key, "set", None, after[key])
        elif key not in after:
            yield MemoryChange(key, "deleted", before[key], None)
        elif before[key] != after[key]:
            yield MemoryChange(key, "changed", before[key], after[key])


def _used(before: Usage, after: Usage) -> Usage:
    if before.cost is None and before.calls:
        cost = None
    else:
        cost = None if after.cost is None else after.cost - (before.cost or 0.0)
    return Usage(
        input_tokens=after.input_tokens - before.input_tokens,
        output_tokens=after.output_tokens - before.output_tokens,
        cached_tokens=after.cached_tokens - before.cached_tokens,
        reasoning_tokens=after.reasoning_tokens - before.reasoning_tokens,
        cost=cost,
        calls=after.calls - before.calls,
    )


def _said(entry: Entry) -> str:
    calls = "".join(f" [{call.name}({call.arguments})]" for call in entry.tool_calls)
    return _line(entry.role if entry.role != "tool" else f"tool {entry.name}", f"{entry.content}{calls}")


def _ended(outcome: ToolOutcome) -> str:
    said = "" if outcome.ok else "failed: "
    return _line("result", f"{outcome.tool}({outcome.arguments}) {said}{outcome.output}")


def _remembered(change: MemoryChange) -> str:
    if change.kind == "set":
        return f"+ {_line('memory', f'{change.key} = {_json(change.after)}')}"
    if change.kind == "deleted":
        return f"- {_line('memory', f'{change.key} = {_json(change.before)}')}"
    return f"  {_line('memory', f'{change.key}: {_json(change.before)} -> {_json(change.after)}')}"


def _json(value: Any) -> str:
    return msgspec.json.encode(value).decode()


def _line(what: str, text: str) -> str:
    return f"{what:<10}{textwrap.shorten(text[: 4 * _WIDTH], _WIDTH, placeholder=' …')}"
