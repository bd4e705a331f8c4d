"""What each agent of the swarm is doing, and what it has done, told by the runtime's events."""

from __future__ import annotations

from typing import TYPE_CHECKING

from overwinter import Usage, events
from overwinter.cli.demo.progress import Progress

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from overwinter.agents.records import StateBody
    from overwinter.cli.demo.swarm import Worker

__all__ = ["Board", "Tally"]

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

    def progress(self) -> Progress:
        """All of it as it is now."""
        desk = self.worker.desk
        return Progress(
            name=self.name,
            status=self.status,
            activity=self.activity,
            done=min(desk.done, desk.total),
            total=desk.total,
            loops=self.loops,
            tools=self.tools,
            usage=self.usage,
            saves=self.saves,
            unsaved=dict(self.unsaved),
            state_path=str(self.worker.agent.state_path),
        )

    def go_on_from(self, body: StateBody) -> None:
        """Begin with what was done before the process was killed."""
        run = body.run
        if run is None:
            return
        finished = run.status == "finished"
        self.status = "finished" if finished else "interrupted"
        self.activity = "done" if finished else "cut off"
        self.loops, self.usage = run.loop_count, run.usage
        self.tools = sum(outcome.run_id == run.run_id for outcome in body.tool_results)

    def take(self, event: events.Event) -> None:
        """Take note of something that happened to the agent."""
        match event:
            case events.RunStarted():
                self.status, self.activity = "running", "going on" if event.resumed else "starting"
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


class Board:
    """The tallies of a swarm, kept up to date by events.

    :param changed: told of every change: how the agent is now, and what kind of event it was.
    :ivar told: how often something happened, besides a failing save.
    """

    def __init__(
        self, workers: Iterable[Worker], changed: Callable[[Progress, str], object] | None = None
    ) -> None:
        self.tallies = [Tally(worker) for worker in workers]
        self._by_name = {tally.name: tally for tally in self.tallies}
        self._changed = changed
        self.told = 0

    def of(self, name: str) -> Tally:
        """The tally of an agent."""
        return self._by_name[name]

    @property
    def done(self) -> float:
        """How much of the whole work is done, from 0 to 1."""
        rows = [tally.progress() for tally in self.tallies]
        return sum(row.done for row in rows) / sum(row.total for row in rows)

    def tell(self) -> None:
        """Tell how everybody is, though nothing happened."""
        for tally in self.tallies:
            self._tell(tally, "")

    def take(self, event: events.Event) -> None:
        """Take note of an event; hand this to ``Runtime.watch``."""
        tally = self._by_name.get(event.agent_name)
        if tally is None:
            return
        tally.take(event)
        self.told += not isinstance(event, events.SaveFailing)
        resumed = isinstance(event, events.RunStarted) and event.resumed
        self._tell(tally, "run_resumed" if resumed else event.kind)

    def _tell(self, tally: Tally, event: str) -> None:
        if self._changed is not None:
            self._changed(tally.progress(), event)
