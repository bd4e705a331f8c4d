"""What a person sees of the swarm while it works."""

from __future__ import annotations

import errno
import io
from typing import TYPE_CHECKING

from rich.console import Console

from overwinter import Usage, events
from overwinter.cli.demo.board import Board
from overwinter.cli.demo.progress import Progress
from overwinter.cli.demo.swarm import Swarm
from overwinter.cli.demo.texts import Document
from overwinter.cli.demo.views import BarsView, LinesView

if TYPE_CHECKING:
    from collections.abc import Iterable

NAME = "reader-bees"


def swarm_of(count: int) -> Swarm:
    return Swarm(
        [Document("bees.md" if not n else f"{n}.md", "Bees keep honey.") for n in range(count)], model_name=""
    )


def a_run(name: str) -> list[events.Event]:
    return [
        events.RunStarted(agent_name=name, task="Read."),
        events.ModelStarted(agent_name=name, loop=1),
        events.ReplyReceived(
            agent_name=name, loop=1, text="", tool_calls=("read_document",), usage=Usage(10, 5, calls=1)
        ),
        events.ToolStarted(agent_name=name, call_id="1", tool="read_document", arguments="{}"),
        events.ToolFinished(
            agent_name=name, call_id="1", tool="read_document", ok=True, output="", seconds=0.1
        ),
        events.Saved(agent_name=name, path="state", bytes=1, sequence=1),
    ]


def ended(name: str, status: str = "finished") -> events.Event:
    return events.RunEnded(agent_name=name, status=status)


def lines_of(happened: Iterable[events.Event]) -> list[str]:
    out = io.StringIO()
    with LinesView(Console(file=out)) as view:
        board = Board(swarm_of(1).workers, view.changed)
        for event in happened:
            board.take(event)
    return out.getvalue().splitlines()


def test_without_a_terminal_an_agent_has_two_lines() -> None:
    """C12: elsewhere than on a terminal an agent has one line when it begins and one when it ends."""
    assert lines_of([*a_run(NAME), ended(NAME)]) == [f"{NAME}: started", f"{NAME}: done, 1 step, 1 tool call"]
    assert lines_of([ended(NAME, "failed")]) == [f"{NAME}: failed, 0 steps, 0 tool calls"]


def test_an_agent_that_goes_on_says_where() -> None:
    """C12: an agent that goes on after the kill has a line that tells what it had done."""
    resumed = events.RunStarted(agent_name=NAME, task="Read.", resumed=True)
    out = io.StringIO()
    with LinesView(Console(file=out)) as view:
        view.changed(Progress(name=NAME, loops=5, tools=7), "run_resumed")
        board = Board(swarm_of(1).workers, view.changed)
        board.take(resumed)
    assert out.getvalue().splitlines() == [
        f"{NAME}: goes on after 5 steps, 7 tool calls",
        f"{NAME}: goes on after 0 steps, 0 tool calls",
    ]
    assert board.tallies[0].activity == "going on"


def test_other_agents_are_not_counted() -> None:
    """C15: the board counts the agents of its swarm and nobody else's."""
    assert lines_of([*a_run("stranger"), ended("stranger")]) == []


def test_a_tally_adds_up_what_an_agent_did() -> None:
    """C15: loops, tools, tokens and saves are counted by the runtime's events."""
    board = Board(swarm_of(1).workers)
    for event in a_run(NAME):
        board.take(event)
    tally = board.tallies[0]
    assert (tally.loops, tally.tools, tally.usage.total_tokens, tally.saves) == (1, 1, 15, 1)


def test_what_could_not_be_saved_is_remembered_until_it_is() -> None:
    """C15: a failing save stands in the tally until a later one of the same file comes about."""
    board = Board(swarm_of(1).workers)
    tally = board.tallies[0]
    board.take(events.SaveFailing(agent_name=NAME, path="state", error="the disk is full"))
    assert tally.unsaved == {"state": "the disk is full"}
    board.take(events.Saved(agent_name=NAME, path="state", bytes=1, sequence=2))
    assert tally.unsaved == {}


def test_whoever_stops_listening_stops_nobody() -> None:
    """C12: when nobody can be told any more, the lines end and the agents go on."""

    class Closed(io.StringIO):
        def write(self, text: str) -> int:
            raise OSError(errno.EIO, "the terminal is gone")

    view = LinesView(Console(file=Closed()))
    view.note("one")
    view.note("two")


def bars_of(count: int, height: int) -> tuple[str, Board]:
    out = io.StringIO()
    console = Console(file=out, force_terminal=True, width=80, height=height, color_system=None)
    board = Board(swarm_of(count).workers)
    with BarsView(console, [tally.progress() for tally in board.tallies]) as view:
        for tally in board.tallies:
            view.changed(tally.progress(), "")
        board = Board([tally.worker for tally in board.tallies], view.changed)
        for event in a_run(NAME):
            board.take(event)
    return out.getvalue().rpartition("\x1b[2K")[2], board


def test_on_a_terminal_each_agent_has_a_bar() -> None:
    """C12: on a terminal each agent has a bar, its steps and tools, and what it is doing."""
    last, board = bars_of(3, 40)
    assert all(tally.name in last for tally in board.tallies)
    assert "1 step, 1 tool" in last
    assert last.count("waiting") == 3


def test_where_there_is_no_room_only_those_at_work_have_one() -> None:
    """C12: with more agents than lines, those at work have a bar, and one bar stands for all."""
    last, _ = bars_of(50, 24)
    assert NAME in last
    assert "reader-7" not in last
    assert "0 of 51 done" in last
