"""What each agent of the swarm is doing, and what it has done, told by the runtime's events."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, Self

from overwinter import Usage, events

if TYPE_CHECKING:
    from collections.abc import Iterable

    from overwinter.cli.demo.swarm import Worker

__all__ = ["Board", "Tally", "View"]

_AT_WORK = {
    "measure_document": "measuring",
    "read_document": "reading",
    "note_finding": "taking notes",
    "write_summary": "writing a summary",
    "list_summaries": "looking around",
    "count_shared_words": "comparing",
    "read_summary": "reading summaries",
    "write_report": "writing the report",
}


class Tally:
    """One agent: what it does at present, and what it has done so far."""

    def __init__(self, worker: Worker) -> None:
        self.worker = worker
        self.status = "waiting"
        self.activity = "waiting"
        self.loops = 0
        self.tools = 0
        self.usage = Usage()
        self.saves = 0
        self.unsaved: dict[str, str] = {}  # path -> why it could not be saved

    @property
    def name(self) -> str:
        """The agent's name."""
        return self.worker.name

    @property
    def done(self) -> int:
        """How much of ``total`` is done."""
        return min(self.worker.desk.done, self.total)

    @property
    def total(self) -> int:
        """How much there is to do."""
        return self.worker.desk.total

    def take(self, event: events.Event) -> None:
        """Take note of something that happened to the agent."""
        match event:
            case events.RunStarted():
                self.status, self.activity = "running", "starting"
            case events.ModelStarted():
                self.activity = "thinking"
            case events.ModelRetrying():
                self.activity = f"asking again in {event.delay:.0f} s"
            case events.ReplyReceived():
                self.loops = event.loop
                self.usage += event.usage
            case events.ToolStarted():
                self.activity = _AT_WORK.get(event.tool, "working")
            case events.ToolFinished():
                self.tools += 1
            case events.Saved():
                self.saves += 1
                self.unsaved.pop(event.path, None)
            case events.SaveFailing():
                self.unsaved[event.path] = event.error
            case events.RunEnded():
                self.status = event.status
                self.activity = "done" if event.status == "finished" else event.status
            case _:
                pass


class View(Protocol):
    """Shows the board to a person while the swarm works."""

    def __enter__(self) -> Self: ...

    def __exit__(self, *exception: object) -> None: ...

    def changed(self, tally: Tally, event: events.Event) -> None:
        """Something happened to an agent."""
        ...

    def note(self, text: str) -> None:
        """Say something that concerns nobody's progress."""
        ...


class Board:
    """The tallies of a swarm, kept up to date by events."""

    def __init__(self, workers: Iterable[Worker]) -> None:
        self.tallies = [Tally(worker) for worker in workers]
        self._by_name = {tally.name: tally for tally in self.tallies}
        self._view: View | None = None

    def show_on(self, view: View) -> None:
        """Tell *view* of every change from now on."""
        self._view = view

    def take(self, event: events.Event) -> None:
        """Take note of an event; hand this to ``Runtime.watch``."""
        tally = self._by_name.get(event.agent_name)
        if tally is None:
            return
        tally.take(event)
        if self._view is not None:
            self._view.changed(tally, event)
