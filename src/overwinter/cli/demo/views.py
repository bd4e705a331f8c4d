"""Two ways to watch a swarm: bars on a terminal, a few plain lines anywhere else."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, Self

from rich.progress import BarColumn, Progress, ProgressColumn, Task, TextColumn
from rich.table import Column
from rich.text import Text

from overwinter import events
from overwinter.cli.rendering import plural, say, visible

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import TaskID

    from overwinter.cli.demo.board import Board, Tally, View

__all__ = ["BarsView", "LinesView", "view_for"]

_LINES_ELSEWHERE = 14  # of a terminal's height: what is printed before and after the bars
_NAME_WIDTH = 24
_ACTIVITY_STYLES = {
    "waiting": "dim",
    "done": "green",
    "failed": "red",
    "paused": "yellow",
    "interrupted": "yellow",
}


def view_for(console: Console, board: Board) -> View:
    """Bars where somebody watches, lines where the output goes into a file or a pipe."""
    if console.is_interactive and sys.stdout.isatty():
        return BarsView(console, board)
    return LinesView(console)


class BarsView:
    """A bar for each agent. Where there are more agents than lines, those at work, and one bar for all."""

    def __init__(self, console: Console, board: Board) -> None:
        self._board = board
        self._crowded = len(board.tallies) > max(4, console.height - _LINES_ELSEWHERE)
        width = min(_NAME_WIDTH, max(len(tally.name) for tally in board.tallies))
        self._progress = Progress(
            TextColumn("  {task.description}", markup=False, table_column=_column(width + 2)),
            BarColumn(bar_width=14, complete_style="cyan", finished_style="green"),
            _StepsColumn(table_column=_column(19)),
            _ActivityColumn(table_column=_column(17)),
            console=console,
            refresh_per_second=8,
        )
        self._all: TaskID | None = None
        self._rows: dict[str, TaskID] = {}

    def __enter__(self) -> Self:
        tallies = self._board.tallies
        if self._crowded:
            self._all = self._progress.add_task("all agents", total=len(tallies), tally=None)
        for tally in tallies:
            self._rows[tally.name] = self._progress.add_task(
                visible(tally.name, lines=False), total=tally.total, tally=tally, visible=not self._crowded
            )
        self._progress.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._progress.stop()

    def changed(self, tally: Tally, event: events.Event) -> None:
        """Move the agent's bar."""
        shown = not self._crowded or tally.status == "running"
        self._progress.update(self._rows[tally.name], completed=tally.done, visible=shown)
        if self._all is not None and isinstance(event, events.RunEnded) and event.status == "finished":
            self._progress.advance(self._all)

    def note(self, text: str) -> None:
        """Print a line above the bars."""
        self._progress.console.print(Text(visible(text, lines=False), "yellow"))


class LinesView:
    """A line when an agent begins, and one when it ends."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._heard = True

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        return

    def changed(self, tally: Tally, event: events.Event) -> None:
        """Print the line, if this is the beginning or the end."""
        name = visible(tally.name, lines=False)
        if isinstance(event, events.RunStarted):
            self._print(f"{name}: started")
        elif isinstance(event, events.RunEnded):
            did = f"{plural(tally.loops, 'step')}, {plural(tally.tools, 'tool call')}"
            self._print(f"{name}: {'done' if event.status == 'finished' else event.status}, {did}")

    def note(self, text: str) -> None:
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
        tally: Tally | None = task.fields["tally"]
        if tally is None:
            return Text(f"{task.completed:.0f} of {task.total:.0f} done", "dim")
        if not tally.loops:
            return Text("")
        return Text(f"{plural(tally.loops, 'step')}, {plural(tally.tools, 'tool')}", "dim")


class _ActivityColumn(ProgressColumn):
    """What an agent is doing."""

    def render(self, task: Task) -> Text:
        tally: Tally | None = task.fields["tally"]
        if tally is None:
            return Text("")
        return Text(tally.activity, _ACTIVITY_STYLES.get(tally.activity, "cyan"))


def _column(width: int) -> Column:
    settings: dict[str, Any] = {"width": width, "no_wrap": True, "overflow": "ellipsis"}
    return Column(**settings)
