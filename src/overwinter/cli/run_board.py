"""What a swarm that is being run does, told by its runtime's events."""

from __future__ import annotations

import threading
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any

from overwinter import events
from overwinter.agents.models.protocol import Usage
from overwinter.agents.swarms.base import Swarm
from overwinter.cli.boards import Row
from overwinter.cli.members import LINES, PLAIN_LINES
from overwinter.cli.rendering import number, visible

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from overwinter.agents.swarms.member import Member

__all__ = ["RunBoard", "Teller"]

_LONGEST = 72


class RunBoard:
    """A row for each member of a swarm, and of those that are members of it, kept up to date by events.

    :param tell: told in a sentence of what begins and ends.
    :param lines: whether the terminal can show the characters that draw lines.
    """

    def __init__(self, swarm: Swarm[Any], tell: Callable[[str], object], *, lines: bool) -> None:
        self._rows = {row.name: row for row in _rows(swarm, "", "", LINES if lines else PLAIN_LINES)}
        self._usage: dict[str, Usage] = {}
        self._tell = tell

    def rows(self) -> list[Row]:
        """All of them, in the order of the swarm. Any thread may ask."""
        return list(self._rows.values())

    def take(self, event: events.Event) -> None:
        """Take note of an event; hand this to ``Runtime.watch``."""
        row = self._rows.get(event.agent_name)
        if row is None:
            return
        match event:
            case events.RunStarted():
                row.status, row.doing = "running", "goes on" if event.resumed else ""
                if row.is_swarm:
                    self._tell(
                        f"{row.name}: {'goes on' if event.resumed else 'begins'}: {_short(event.task)}"
                    )
            case events.ModelStarted():
                row.doing = "asks the model"
            case events.ModelRetrying():
                row.doing = f"asks again in {event.delay:.0f} s"
            case events.ModelWaiting():
                row.doing = "waits for its turn at the model"
            case events.ReplyReceived():
                self._spent(row, event.usage)
            case events.ToolStarted():
                row.doing = event.tool
            case events.PersonAsked():
                row.doing = "waits for a person"
            case events.MemberStarted():
                row.doing = event.key
                self._tell(f"{event.agent_name}: {event.member} begins {event.key}")
            case events.MemberFinished():
                row.steps = (row.steps or 0) + 1
                self._spent(row, event.usage, steps=0)
                told = f"{number(event.usage.total_tokens)} tokens: {_short(event.text)}"
                self._tell(f"{event.agent_name}: {event.by or event.member} finished {event.key}, {told}")
            case events.MemberFailed():
                self._failed(event)
            case events.Progress():
                row.doing = (
                    f"{number(event.done)} of {number(event.total)}" if event.total else number(event.done)
                )
            case events.Saved():
                row.saves = (row.saves or 0) + 1
            case events.RunEnded():
                row.status, row.doing = event.status, event.stop_reason if event.status == "paused" else ""
            case _:
                pass

    def _spent(self, row: Row, usage: Usage, *, steps: int = 1) -> None:
        row.steps = (row.steps or 0) + steps
        total = self._usage[row.name] = self._usage.get(row.name, Usage()) + usage
        row.tokens, row.cost = total.total_tokens, total.cost

    def _failed(self, event: events.MemberFailed) -> None:
        after = {
            "retry": "it is tried again",
            "fallback": "another does it",
            "skip": "the swarm goes on without it",
            "fail": "the swarm's run ends with that",
        }
        row = self._rows.get(event.member)
        if row is not None:
            row.status = "retrying" if event.what_next == "retry" else "failed"
        told = f"{event.member} failed at {event.key}: {_short(event.error)}"
        self._tell(f"{event.agent_name}: {told}; {after.get(event.what_next, event.what_next)}")


class Teller:
    """Says sentences in a thread of its own, so that whoever does not read them holds up nobody's work."""

    def __init__(self, say: Callable[[str], object]) -> None:
        self._said: SimpleQueue[str | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._run, args=(say,), name="overwinter-teller", daemon=True)
        self._thread.start()

    def say(self, sentence: str) -> None:
        """Say it when all before it is said."""
        self._said.put(visible(sentence, lines=False))

    def close(self) -> None:
        """Return when all is said, or whoever is told does not listen."""
        self._said.put(None)
        self._thread.join(timeout=2.0)

    def _run(self, say: Callable[[str], object]) -> None:
        while (sentence := self._said.get()) is not None:
            say(sentence)


def _rows(member: Member, lead: str, before: str, marks: tuple[str, str, str, str]) -> Iterator[Row]:
    fork, past, last, beyond = marks
    swarm = _as_swarm(member)
    pattern = "" if swarm is None else swarm.pattern or type(swarm).__name__
    yield Row(name=member.agent_name, lead=lead, is_swarm=swarm is not None, pattern=pattern)
    members = () if swarm is None else swarm.roster.everybody()
    for index, each in enumerate(members, 1):
        is_last = index == len(members)
        mark, after = (last, beyond) if is_last else (fork, past)
        yield from _rows(each, before + mark, before + after, marks)


def _as_swarm(member: object) -> Swarm[Any] | None:
    return member if isinstance(member, Swarm) else None  # pyright: ignore[reportUnknownVariableType]


def _short(text: str) -> str:
    told = " ".join(text.split())
    return told if len(told) <= _LONGEST else f"{told[: _LONGEST - 1]}…"
