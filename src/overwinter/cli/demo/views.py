"""Two ways to watch a swarm: bars on a terminal, a few plain lines anywhere else."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, Self

from rich.progress import BarColumn, Progress, ProgressColumn, Task, TextColumn
from rich.table import Column
from rich.text import Text

from overwinter.cli.rendering import plural, say, visible

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import Console
    from rich.progress import TaskID

    from overwinter.cli.demo.progress import Progress as Row
    from overwinter.cli.demo.progress import View

__all__ = ["BarsView", "LinesView", "view_for"]

_LINES_ELSEWHERE = 18  # of a terminal's height: what is printed before and after the bars
_NAME_WIDTH = 24
_ACTIVITY_STYLES = {
    "waiting": "dim",
    "done": "green",
    "failed": "red",
    "killed": "bold red",
    "paused": "yellow",
    "interrupted": "yellow",
    "cut off": "yellow",
}


def view_for(console: Console, rows: Sequence[Row]) -> View:
    """Bars where somebody watches, lines where the output goes into a file or a pipe."""
    if console.is_interactive and sys.stdout.isatty():
        return BarsView(console, rows)
    return LinesView(console)


class BarsView:
    """A bar for each agent. Where there are more agents than lines, those at work, and one bar for all."""

    def __init__(self, console: Console, rows: Sequence[Row]) -> None:
        self._rows = rows
        self._finished: set[str] = set()
        self._crowded = len(rows) > max(4, console.height - _LINES_ELSEWHERE)
        width = min(_NAME_WIDTH, max(len(row.name) for row in rows))
        self._progress = Progress(
            TextColumn("  {task.description}", markup=False, table_column=_column(width + 2)),
            BarColumn(bar_width=14, complete_style="cyan", finished_style="green"),
            _StepsColumn(table_column=_column(19)),
            _ActivityColumn(table_column=_column(17)),
            console=console,
            refresh_per_second=12,
        )
        self._all: TaskID | None = None
        self._tasks: dict[str, TaskID] = {}

    def __enter__(self) -> Self:
        if self._crowded:
            self._all = self._progress.add_task("all agents", total=len(self._rows), row=None)
        for row in self._rows:
            self._tasks[row.name] = self._progress.add_task(
                visible(row.name, lines=False), total=row.total, row=row, visible=not self._crowded
            )
        self._progress.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._progress.stop()

    def changed(self, progress: Row, event: str) -> None:  # noqa: ARG002
        """Move the agent's bar."""
        shown = not self._crowded or progress.status == "running"
        self._progress.update(
            self._tasks[progress.name], completed=progress.done, row=progress, visible=shown
        )
        if progress.status == "finished":
            self._finished.add(progress.name)
        if self._all is not None:
            self._progress.update(self._all, completed=len(self._finished))

    def note(self, text: str, style: str = "yellow") -> None:
        """Print a line above the bars."""
        self._progress.console.print(Text(visible(text, lines=False), style))


class LinesView:
    """A line when an agent begins, and one when it ends."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._heard = True

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        return

    def changed(self, progress: Row, event: str) -> None:
        """Print the line, if this is the beginning or the end."""
        name = visible(progress.name, lines=False)
        did = f"{plural(progress.loops, 'step')}, {plural(progress.tools, 'tool call')}"
        if event == "run_started":
            self._print(f"{name}: started")
        elif event == "run_resumed":
            self._print(f"{name}: goes on after {did}")
        elif event == "run_ended":
            self._print(f"{name}: {'done' if progress.status == 'finished' else progress.status}, {did}")

    def note(self, text: str, style: str = "yellow") -> None:  # noqa: ARG002
        """Print a line."""
        self._print(visible(text, lines=False))

    def _print(self, line: str) -> None:
        if not self._heard:
            return
        try:
            say(self._console, line)
            self._console.file.flush()
        except OSError:
            # Whoever read the other end of the pipe has left; the agents go on working.
            self._heard = False


class _StepsColumn(ProgressColumn):
    """How many steps an agent has made, and how many tools it has used."""

    def render(self, task: Task) -> Text:
        row: Row | None = task.fields["row"]
        if row is None:
            return Text(f"{task.completed:.0f} of {task.total:.0f} done", "dim")
        if not row.loops:
            return Text("")
        return Text(f"{plural(row.loops, 'step')}, {plural(row.tools, 'tool')}", "dim")


class _ActivityColumn(ProgressColumn):
    """What an agent is doing."""

    def render(self, task: Task) -> Text:
        row: Row | None = task.fields["row"]
        if row is None:
            return Text("")
        return Text(row.activity, _ACTIVITY_STYLES.get(row.activity, "cyan"))


def _column(width: int) -> Column:
    settings: dict[str, Any] = {"width": width, "no_wrap": True, "overflow": "ellipsis"}
    return Column(**settings)
