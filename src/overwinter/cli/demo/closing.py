"""What is said when the swarm has ended: a table, where everything is, and the report's first lines."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING

from rich.text import Text

from overwinter.cli.invocation import invocation
from overwinter.cli.rendering import money, number, plural, say, size, styled_status, visible
from overwinter.cli.tables import print_indented, print_table

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import Console

    from overwinter.cli.demo.progress import Progress
    from overwinter.persistence import Workspace

__all__ = ["how_to_look", "print_report", "print_saved", "print_tallies"]

_FIRST_LINES = 12


def print_tallies(to: Console, rows: Sequence[Progress]) -> None:
    """A table of what each agent did, and what was saved of it."""
    cells = [
        (
            visible(tally.name, lines=False),
            styled_status(tally.status),
            number(tally.loops),
            number(tally.tools),
            number(tally.usage.total_tokens),
            money(tally.usage.cost if tally.usage.calls else 0.0),
            number(tally.saves),
            size(_state_size(tally)),
        )
        for tally in rows
    ]
    headings = ("agent", "status", ">loops", ">tools", ">tokens", ">cost", ">saves", ">state")
    to.print()
    print_table(to, headings, cells, gives_way="agent", indent=2)


def print_saved(to: Console, rows: Sequence[Progress], workspace: Workspace, *, chosen: str | None) -> None:
    """Where the agents are saved, and how to look at them; what could not be saved, and why."""
    to.print()
    unsaved = [(tally, why) for tally in rows for why in tally.unsaved.values()]
    saved = sum(tally.saves > 0 for tally in rows)
    place = visible(str(workspace.agents_dir))
    say(to, Text.assemble(f"{plural(saved, 'agent')} saved in ", (place, "bold")))
    for tally, why in unsaved:
        say(to, Text(f"  not everything of {visible(tally.name)} could be saved: {visible(why)}", "red"))
    looking = ("Look with:  ", "            ")
    for lead, command in zip(looking, how_to_look(chosen), strict=True):
        say(to, Text(f"{lead}{command}", "dim"))


def how_to_look(chosen: str | None) -> tuple[str, str]:
    """The commands that list what was saved, and show one of it."""
    where = "" if chosen is None else f" --workspace {shlex.quote(visible(chosen, lines=False))}"
    command = invocation()
    return f"{command} ls{where}", f"{command} show editor{where}"


def print_report(to: Console, path: Path, report: str) -> None:
    """Where the report is, and how it begins."""
    say(to, Text.assemble("The report is in ", (visible(str(path)), "bold")))
    to.print()
    lines = report.splitlines()
    shown = _beginning(lines)
    for line in shown:
        if to.is_terminal:
            print_indented(to, Text(visible(line)), indent=2)
        else:
            to.print(Text(visible(line)), soft_wrap=True)
    if len(shown) < len(lines):
        to.print(Text(f"  … {plural(len(lines) - len(shown), 'more line')}", "dim"))


def _beginning(lines: Sequence[str]) -> list[str]:
    """The title and the first section."""
    sections = [number for number, line in enumerate(lines) if line.startswith("## ")]
    shown = list(lines[: min([*sections[1:2], _FIRST_LINES])])
    while shown and not shown[-1].strip():
        shown.pop()
    return shown


def _state_size(tally: Progress) -> int | None:
    if not tally.saves:
        return None  # what stands there is from an earlier run
    try:
        return Path(tally.state_path).stat().st_size
    except OSError:
        return None
