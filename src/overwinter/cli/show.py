"""``overwinter show``."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import msgspec
from rich.text import Text

from overwinter.agents.profile import Settings
from overwinter.cli.finding import find_agent
from overwinter.cli.inspection import inspect_workspace, open_workspace
from overwinter.cli.listing import as_json, summarised
from overwinter.cli.members import members_of
from overwinter.cli.people import question_of
from overwinter.cli.rendering import (
    ago,
    console,
    money,
    number,
    plural,
    say,
    size,
    styled_status,
    visible,
    warn,
)
from overwinter.cli.tables import print_indented, print_pairs, print_table

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import Console

    from overwinter.agents.records import Entry, RunSummary, StateBody
    from overwinter.cli.inspection import Inspected

__all__ = ["show_agent"]

_LONGEST_MESSAGE = 700
_LONGEST_VALUE = 200
_TOLD_ELSEWHERE = frozenset(
    {"agent_name", "session", "agent_id", "tools", "output_schema", "output_type", "retry", "swarm"}
)
_ROLE_STYLES = {"user": "bold cyan", "assistant": "bold green", "tool": "bold magenta", "system": "bold"}


class _Described(msgspec.Struct):
    name: str


def show_agent(name: str, chosen: str | None, *, session: str | None, as_data: bool) -> None:
    """Print everything that is known of one agent.

    :raises Refusal: there is no workspace, or no agent of that name, or more than one.
    """
    workspace = open_workspace(chosen)
    one = find_agent(inspect_workspace(workspace, warn), name, session, str(workspace.root))
    if as_data:
        console().file.write(as_json(_details(one)))
        return
    to = console()
    _print_heading(to, one)
    _print_configuration(to, one)
    if one.state is None:
        say(to, "\nIts state has not been saved yet.")
        return
    body = one.state[1]
    _print_members(to, one, body)
    _print_memory(to, body)
    _print_runs(to, body.runs)
    _print_conversation(to, body)


def _details(one: Inspected) -> dict[str, Any]:
    body = one.state[1] if one.state else None
    plain: dict[str, Any] = msgspec.to_builtins(body) if body else {}
    metadata = one.metadata
    return {
        **summarised(one),
        "metadata": msgspec.to_builtins(metadata) if metadata else None,
        "configuration": one.configuration,
        "task": plain.get("task"),
        "run": plain.get("run"),
        "runs": plain.get("runs", []),
        "usage": plain.get("usage"),
        "memory": plain.get("memory", {}),
        "accepted": plain.get("accepted", []),
        "pending": plain.get("pending", []),
        "conversation": plain.get("conversation", []),
        "tool_results": plain.get("tool_results", []),
        "works": plain.get("works", []),
    }


def _print_heading(to: Console, one: Inspected) -> None:
    folder, metadata, now = one.folder, one.metadata, datetime.now(UTC)
    heading = Text.assemble((visible(folder.name, lines=False), "bold"), "  ", styled_status(one.status))
    if folder.session:
        heading.append(f"  session {visible(folder.session, lines=False)}", "dim")
    to.print(heading)
    rows: list[tuple[str, str]] = [("folder", str(folder.path)), (f"{one.what} id", folder.agent_id or "-")]
    if metadata is not None:
        rows += [
            ("last save", f"{ago(metadata.timestamp, now)} ({metadata.timestamp})"),
            ("loop", f"{metadata.loop_count} of run {metadata.run_id}" if metadata.run_id else "-"),
            ("written by", f"overwinter {metadata.overwinter_version}, save {metadata.sequence}"),
        ]
    if one.state_path is not None:
        rows.append(("state", f"{one.state_path.name}, {size(one.state_bytes)}"))
    held = f"process {one.held_by.pid} on {one.held_by.host}" if one.held_by else "nobody"
    rows.append(("held by", held))
    if one.state is not None:
        body = one.state[1]
        if one.status == "paused" and body.run is not None and not body.pending:
            rows.append(("paused at", body.run.stop_reason or "-"))
        rows += [("waits for", f"{question_of(call)}, call {call.call_id}") for call in body.pending]
        rows += [("accepted", task.task) for task in body.accepted]
    rows += [("problem", problem) for problem in one.problems]
    print_pairs(to, rows)


def _print_configuration(to: Console, one: Inspected) -> None:
    configuration = one.configuration
    if not configuration:
        return
    usual = msgspec.to_builtins(Settings(agent_name=""))
    pairs = [
        (name, _short(value))
        for name, value in configuration.items()
        if name not in _TOLD_ELSEWHERE and value and value != usual.get(name)
    ]
    tools = _tool_names(configuration.get("tools"))
    if tools:
        pairs.append(("tools", ", ".join(tools)))
    _print_title(to, "Configuration")
    print_pairs(to, pairs)


def _print_members(to: Console, one: Inspected, body: StateBody) -> None:
    """What members did in the last run of a swarm, and who they are where nobody did anything yet."""
    if not one.is_swarm:
        return
    pattern = visible(str(one.swarm.get("pattern") or "-"), lines=False)
    _print_title(to, f"Members ({pattern})")
    run_id = body.run.run_id if body.run is not None else ""
    works = [work for work in body.works if work.run_id == run_id]
    rows = [
        (
            visible(work.by or work.member, lines=False),
            visible(work.key, lines=False),
            styled_status("failed" if work.status == "skipped" else work.status),
            number(work.usage.total_tokens),
            money(work.usage.cost),
            visible(" ".join((work.error or work.text).split())[:_LONGEST_VALUE], lines=False),
        )
        for work in works
    ]
    rows += [
        (
            visible(begun.member, lines=False),
            visible(begun.key, lines=False),
            styled_status("running" if one.held_by else "interrupted"),
            "-",
            "-",
            "",
        )
        for begun in body.begun_work.values()
        if begun.run_id == run_id
    ]
    if not rows:
        say(to, f"  {visible(', '.join(member['name'] for member in members_of(one)), lines=False)}")
        return
    headings = ("member", "work", "status", ">tokens", ">cost", "told")
    print_table(to, headings, rows, gives_way="told", indent=2)


def _print_memory(to: Console, body: StateBody) -> None:
    if body.memory:
        _print_title(to, "Memory")
        print_pairs(to, [(name, _short(value)) for name, value in body.memory.items()])


def _print_runs(to: Console, runs: Sequence[RunSummary]) -> None:
    if not runs:
        return
    _print_title(to, "Runs")
    rows = [
        (
            styled_status(run.status),
            number(run.loop_count),
            number(run.usage.total_tokens),
            money(run.usage.cost),
            visible(run.task, lines=False),
        )
        for run in runs
    ]
    print_table(to, ("status", ">loops", ">tokens", ">cost", "task"), rows, gives_way="task", indent=2)
    for error in dict.fromkeys(run.error for run in runs if run.error):
        print_indented(to, Text(visible(error, lines=False), "red"), indent=2)


def _print_conversation(to: Console, body: StateBody) -> None:
    told = f"{plural(len(body.conversation), 'message')}, {plural(len(body.tool_results), 'tool result')}"
    _print_title(to, f"Conversation ({told})")
    for entry in body.conversation:
        _print_entry(to, entry)
    if body.partial_text:
        to.print(Text("  assistant, cut off", "bold yellow"))
        _print_text(to, body.partial_text)


def _print_entry(to: Console, entry: Entry) -> None:
    who = Text(f"  {entry.role}", _ROLE_STYLES.get(entry.role, "bold"))
    if entry.name:
        who.append(f" {visible(entry.name, lines=False)}", "magenta")
    if entry.loop:
        who.append(f"  loop {entry.loop}", "dim")
    to.print(who)
    if entry.content:
        _print_text(to, entry.content)
    for call in entry.tool_calls:
        arguments = _cut(visible(call.arguments, lines=False), _LONGEST_VALUE)
        made = Text(f"→ {visible(call.name, lines=False)} {arguments}", "magenta")
        print_indented(to, made, indent=4)


def _print_text(to: Console, text: str) -> None:
    shown = Text(_cut(visible(text.strip()), _LONGEST_MESSAGE))
    print_indented(to, shown, indent=4)


def _print_title(to: Console, title: str) -> None:
    to.print()
    to.print(Text(title, "bold"))


def _tool_names(tools: Any) -> list[str]:
    try:
        return [described.name for described in msgspec.convert(tools or [], list[_Described])]
    except msgspec.ValidationError:
        return []


def _short(value: Any) -> str:
    told = value if isinstance(value, str) else msgspec.json.encode(value).decode()
    return _cut(" ".join(told.split()), _LONGEST_VALUE)


def _cut(text: str, longest: int) -> str:
    if len(text) <= longest:
        return text
    return f"{text[:longest].rstrip()} … ({len(text) - longest:,} more characters; --json has all)"
