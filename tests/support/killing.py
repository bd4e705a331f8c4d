"""The kill loop: a swarm is killed at random instants, started again, and what it promised is checked each time."""

from __future__ import annotations

import os
import random
import signal
import time
from collections import Counter
from typing import TYPE_CHECKING, Any

import msgspec
from tests.support.evidence import Facts, read_facts
from tests.support.hive import AGENTS, Life, lives
from tests.support.ledger import read_ledger
from tests.support.processes import Child

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.hive import LeftOut, Level
    from tests.support.ledger import Entry

__all__ = ["LEVELS", "Broken", "Campaign"]

LEVELS: tuple[Level, ...] = ("sync", "async", "exit")

_LONGEST_LIFE = 60.0  # seconds
_COMING_UP = 0.2  # of the lives end before their work begins
_AT_WORK = 0.12  # seconds, at most, that the others work
_LAST_LIVES = (
    3  # what was lost of several runs of one agent, where that is allowed, is begun again one run a life
)


class Broken(AssertionError):
    """A promise was broken; the message has them all, and the seed."""


class Acknowledged:
    """What one life was told, through its pipe."""

    def __init__(self) -> None:
        self.up = self.at_work = False
        self.hit = ""
        self.died: int | None = None
        self.nonces: dict[str, set[str]] = {"saw": set(), "returned": set(), "saved": set()}
        self.runs: set[str] = set()
        self.trouble: list[str] = []

    def hear(self, word: str, value: Any) -> None:
        if word == "up":
            self.up = True
        elif word == "hit":
            self.hit = value
        elif word == "died":
            self.died = value
        elif word == "trouble":
            self.trouble.append(value)
        elif word == "returned":
            self.nonces[word].add(value[2])
            self.runs.add(value[1])
        elif word in self.nonces:
            self.nonces[word].update(value[1])


class Campaign:
    """One workspace, killed many times over.

    :ivar counted: what was met on the way; the test prints it, and sees to it that the kills had something to hit.
    """

    def __init__(
        self,
        folder: Path,
        durability: Level,
        seed: int,
        *,
        agents: int = AGENTS,
        without: LeftOut = "",
    ) -> None:
        folder.mkdir(exist_ok=True)
        self.folder = folder
        self.durability = durability
        self.seed = seed
        self.counted: Counter[str] = Counter()
        self._life = Life(
            workspace=str(folder / "agent_workspace"),
            ledger=str(folder / "ledger"),
            durability=durability,
            seed=seed,
            agents=agents,
            without=without,
        )
        self._chance = random.Random(seed)
        self._facts = Facts()
        self._at = 0
        self._effects: Counter[str] = Counter()
        self._asked: set[str] = set()
        self._broken: list[str] = []
        self._first_work = 0.1

    def run(self, kills: int) -> None:
        """Live and kill so many times, then let all that was begun be finished.

        :raises Broken: something that was promised did not hold.
        """
        with Child(lives) as child:
            for _ in range(kills):
                self.killed(child)
            self.finished(child)

    def killed(self, child: Child) -> None:
        """One life, killed at some instant: now and then as it comes up, mostly in the midst of its work."""
        if self._chance.random() < _COMING_UP:
            said = self._live(child, finish=False, kill_after=self._chance.random() * self._first_work)
        else:
            said = self._live(child, finish=False, kill_after=self._chance.random() * _AT_WORK, once="saw")
        self._check(said, expected=-signal.SIGKILL)

    def dies(self, child: Child, **at: Any) -> str:
        """One life that dies by itself ``at`` some point of finishing; that point, or "" when it came through."""
        said = self._live(child, finish=True, **at)
        self._check(said, expected=-signal.SIGKILL if said.hit else 0)
        return said.hit

    def finished(self, child: Child) -> None:
        """The last life: it finishes everything, and leaves all in order."""
        for _ in range(_LAST_LIVES):
            said = self._live(child, finish=True)
            self._check(said, expected=0)
            if not self._unfinished:
                break
        self._check_the_end()

    @property
    def _unfinished(self) -> set[str]:
        """The runs that began, as the disk or the ledger tells, and are not finished."""
        worked_for = {effect.rsplit(".", 2)[0] for effect in self._effects}
        return (worked_for | self._facts.accepted) - self._facts.finished

    def _live(
        self,
        child: Child,
        *,
        kill_after: float = _LONGEST_LIFE,
        once: str = "born",
        **settings: Any,
    ) -> Acknowledged:
        """One life, killed so many seconds after the word ``once``, if it has not ended before."""
        life = msgspec.structs.replace(self._life, seed=self._chance.randrange(1 << 30), **settings)
        child.tell(msgspec.json.encode(life).decode())
        pid = child.expect("born")
        born = time.monotonic()
        end = born + (kill_after if once == "born" else _LONGEST_LIFE)
        said = Acknowledged()
        while said.died is None and (left := end - time.monotonic()) > 0:
            for word, value in child.words_for(left):
                said.hear(word, value)
                if word == "saw" and not said.at_work:
                    said.at_work = True
                    self._first_work += 0.3 * (time.monotonic() - born - self._first_work)
                    if once == "saw":
                        end = time.monotonic() + kill_after
                        break
                if said.died is not None:
                    break
        if said.died is None:
            os.kill(pid, signal.SIGKILL)
        while said.died is None:
            heard = child.next_word()
            assert heard is not None, child.ended().stderr
            said.hear(*heard)
        return said

    def _check(self, acknowledged: Acknowledged, *, expected: int) -> None:
        """Hold one life's deeds and what it was told against the disk, as it was before it and as it is now."""
        before, after = self._facts, read_facts(self.folder / "agent_workspace")
        entries, self._at = read_ledger(self.folder / "ledger", self._at)
        for text in (*acknowledged.trouble, *after.damaged):
            self._say(text)
        if acknowledged.died != expected:
            self._say(f"the life ended with {acknowledged.died} and not {expected}")
        for lost in after.lost_since(before):
            self._say(f"it was on disk and is lost: {lost}")
        self._check_what_was_done(entries, before, after)
        self._check_what_was_acknowledged(acknowledged, after)
        self._count(acknowledged, entries, after)
        self._facts = after
        self._raise_what_broke()

    def _check_what_was_done(self, entries: list[Entry], before: Facts, after: Facts) -> None:
        this_life: Counter[str] = Counter()
        for entry in entries:
            if entry.kind == "wrong":
                self._say(f"{entry.agent}: {entry.key}")
            elif entry.kind == "asked":
                this_life[entry.key] += 1
                if entry.key in before.answered or this_life[entry.key] > 1:
                    self._say(f"a model call was repeated whose reply was recorded: {entry}")
            elif entry.kind == "began":
                this_life[entry.id] += 1
                self._effects[entry.key] += 1
                if entry.id in before.ended or this_life[entry.id] > 1:
                    self._say(f"a tool call was repeated whose result was recorded: {entry}")
                if not entry.repeatable:
                    self._check_once(entry, before, after)
                elif self._effects[entry.key] > 1:
                    self.counted["repeatable calls repeated"] += 1
                if self.durability == "sync" and entry.id not in after.started and not self._life.without:
                    self._say(f"a tool started and its start is not on disk: {entry}")

    def _check_once(self, entry: Entry, before: Facts, after: Facts) -> None:
        if entry.id in before.started:
            self._say(f"a tool that may not be repeated started again, its start was recorded: {entry}")
        if self.durability == "exit":
            return
        if self._effects[entry.key] > 1:
            self._say(f"a tool that may not be repeated ran {self._effects[entry.key]} times: {entry}")
        # Where it is so on purpose, the question is whether what comes of it is seen.
        if entry.id not in after.started and not self._life.without:
            self._say(f"a tool that may not be repeated started, and its start is not on disk: {entry}")

    def _check_what_was_acknowledged(self, acknowledged: Acknowledged, after: Facts) -> None:
        promised = ("saw", "returned", "saved") if self.durability == "sync" else ("saved",)
        for kind in promised:
            self.counted["acknowledged records checked"] += len(acknowledged.nonces[kind])
            if lost := acknowledged.nonces[kind] - after.nonces:
                self._say(f"acknowledged ({kind}) and not on disk: {lost}")
        if self.durability == "sync" and (lost := acknowledged.runs - after.finished):
            self._say(f"runs that returned are not finished on disk: {lost}")

    def _count(self, acknowledged: Acknowledged, entries: list[Entry], after: Facts) -> None:
        tools = {entry.nonce: entry for entry in entries if entry.kind == "began"}
        models = {entry.nonce: entry for entry in entries if entry.kind == "asked"}
        for entry in entries:
            {"ended": tools, "answered": models}.get(entry.kind, {}).pop(entry.nonce, None)
        self._asked.update(entry.key for entry in entries if entry.kind == "asked")
        self.counted.update(
            {
                "lives": 1,
                "tool calls": sum(entry.kind == "began" for entry in entries),
                "model calls": sum(entry.kind == "asked" for entry in entries),
                "kills with tools at work": bool(tools),
                "tools cut off": len(tools),
                "tools cut off that may not be repeated": sum(not each.repeatable for each in tools.values()),
                "kills with models being asked": bool(models),
                "kills while coming up": not acknowledged.up,
                "kills that left records in a log": bool(after.logs),
                "kills that left a torn end": bool(after.torn),
                "kills that left temporaries": bool(after.temporaries),
                "runs that returned": len(acknowledged.runs),
            }
        )

    def _check_the_end(self) -> None:
        facts = self._facts
        if facts.torn or facts.temporaries or facts.logs:
            self._say(
                f"left behind at the end: {facts.torn} {facts.temporaries}, {facts.logs} records in logs"
            )
        if self._unfinished:
            self._say(f"runs that were never finished: {self._unfinished}")
        self.counted["replies recorded"] = len(self._asked & facts.answered)
        self.counted["outcomes unknown"] = len(facts.unknown)
        self.counted["runs finished"] = len(facts.finished)
        self._raise_what_broke()

    def _say(self, text: str) -> None:
        self._broken.append(text)

    def _raise_what_broke(self) -> None:
        if self._broken:
            kinds: dict[str, list[str]] = {}
            for text in self._broken:
                kinds.setdefault(text.partition(":")[0], []).append(text)
            texts = "\n".join(f"{len(texts)} times: {texts[0]}" for texts in kinds.values())
            raise Broken(f"{self.durability!r}, seed {self.seed}, life {self.counted['lives']}:\n{texts}")
