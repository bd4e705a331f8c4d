"""Swarms that are killed and resumed, and what they promised, held against disk, ledger, and an undisturbed run."""

from __future__ import annotations

import os
import random
import re
import signal
import time
from collections import Counter
from typing import TYPE_CHECKING, Any

import msgspec
from tests.support.evidence import Facts, read_facts
from tests.support.killing import Broken
from tests.support.ledger import read_ledger
from tests.support.swarms_lives import SwarmLife
from tests.support.swarms_patterns import CONDITIONS

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from tests.support.hive import Level
    from tests.support.ledger import Entry
    from tests.support.processes import Child
    from tests.support.swarms_lives import LeftOut

__all__ = ["SwarmCampaign", "Undisturbed"]

_LONGEST_LIFE = 60.0  # seconds
_COMING_UP = 0.2


class Said:
    """What one life was told, through its pipe."""

    def __init__(self) -> None:
        self.hit = ""
        self.died: int | None = None
        self.saw: set[str] = set()
        self.finished: set[tuple[str, str]] = set()
        self.returned: set[str] = set()
        self.trouble: list[str] = []

    def hear(self, word: str, value: Any) -> None:
        if word == "hit":
            self.hit = value
        elif word == "died":
            self.died = value
        elif word == "trouble":
            self.trouble.append(value)
        elif word == "finished":
            self.finished.add((value[0], value[1]))
        elif word == "returned":
            self.returned.add(value[1])
        elif word == "saw":
            self.saw.update(value)


class Undisturbed(msgspec.Struct):
    """What comes of runs that nobody disturbs.

    :ivar results: by the ids of the runs.
    :ivar asked: how often each call was made; it is once for each.
    :ivar conditions: how often conditions were asked.
    :ivar works: what each swarm's records say was done.
    """

    results: dict[str, Any]
    asked: Counter[str]
    conditions: int
    works: Counter[tuple[str, str]]


class SwarmCampaign:
    """One workspace, in which swarms are killed, and resumed by new processes.

    :ivar counted: what was met on the way.
    :ivar length: seconds for which an undisturbed life is at work.
    """

    def __init__(
        self,
        folder: Path,
        durability: Level,
        patterns: tuple[str, ...],
        *,
        seed: int = 0,
        tasks: int = 1,
        slowness: float = 0.0,
        length: float = 0.0,
        without: LeftOut = "",
    ) -> None:
        self.folder = folder
        self.length = length
        self.counted: Counter[str] = Counter()
        self._results = folder / "results"
        self._results.mkdir(parents=True)
        self._life = SwarmLife(
            workspace=str(folder / "agent_workspace"),
            ledger=str(folder / "ledger"),
            results=str(self._results),
            durability=durability,
            patterns=patterns,
            tasks=tasks,
            slowness=slowness,
            without=without,
        )
        names = "|".join(map(re.escape, patterns))
        self._own_folder = re.compile(f"/swarms/({names})-[0-9a-f]{{12}}/")
        self._seed = seed
        self._chance = random.Random(seed)
        self._facts = Facts()
        self._at = 0
        self._asked: Counter[str] = Counter()
        self._broken: list[str] = []

    def undisturbed(self, child: Child) -> Undisturbed:
        """Let them live to their end."""
        said, entries = self._lived(child)
        self._expect(said, 0)
        self._raise_what_broke()
        return Undisturbed(self._read_results(), self._asked, _conditions(entries), self._facts.works)

    def dies(self, child: Child, kind: str, number: int) -> str:
        """One life, which dies at an event; the point at which it did, or "" when it came through."""
        said, _ = self._lived(child, die_at=(kind, number))
        self._expect(said, -signal.SIGKILL if said.hit else 0)
        self._raise_what_broke()
        return said.hit

    def killed(self, child: Child, part: float) -> None:
        """One life, killed when that *part* of an undisturbed one's time has passed; where it is 0, as it comes up."""
        if part:
            said, _ = self._lived(child, kill_after=part * self.length, once="saw")
        else:
            said, _ = self._lived(child, kill_after=self._chance.random() * _COMING_UP)
        if said.died != 0:
            self._expect(said, -signal.SIGKILL)
            self.counted["kills"] += 1
        self.counted["work done when killed"] += self._facts.works.total()
        self._raise_what_broke()

    def finished(self, child: Child, undisturbed: Undisturbed, *, all_at_once: bool = False) -> None:
        """The last life: it resumes everything; what comes of it is what comes of undisturbed runs.

        :param all_at_once: by ``resume_all``.
        :raises Broken: something that was promised did not hold.
        """
        before = self._facts
        said, entries = self._lived(child, all_at_once=all_at_once)
        self._expect(said, 0)
        self._raise_what_broke()
        after = self._facts
        # A member that is not asked again is not opened, and so its folder is not swept.
        left = [each for each in (*after.torn, *after.temporaries) if self._own_folder.search(each)]
        if left or after.logs:
            self._say(f"left behind: {left}, {after.logs} records in logs")
        for run_id, result in self._read_results().items():
            if result != undisturbed.results[run_id]:
                told = _differs(result, undisturbed.results[run_id])
                self._say(f"another result than that of an undisturbed run: {run_id}: {told}")
        if set(self._read_results()) != set(undisturbed.results):
            self._say(f"runs without a result: {set(undisturbed.results) - set(self._read_results())}")
        if set(self._asked) != set(undisturbed.asked):
            self._say(f"other calls than undisturbed: {set(self._asked) ^ set(undisturbed.asked)}")
        if after.works != undisturbed.works:
            self._say(f"work is not recorded once: {_difference(after.works, undisturbed.works)}")
        recorded = sum(1 for _, key in before.decided if CONDITIONS.search(key))
        if _conditions(entries) > undisturbed.conditions - recorded:
            self._say(f"a condition was asked again: {_conditions(entries)} after {recorded} were recorded")
        self._raise_what_broke()

    def _lived(
        self, child: Child, *, kill_after: float = _LONGEST_LIFE, once: str = "born", **settings: Any
    ) -> tuple[Said, list[Entry]]:
        """One life, killed so many seconds after the word ``once``, if it has not ended before."""
        life = msgspec.structs.replace(self._life, seed=self._chance.randrange(1 << 30), **settings)
        child.tell(msgspec.json.encode(life).decode())
        pid = child.expect("born")
        end = time.monotonic() + (kill_after if once == "born" else _LONGEST_LIFE)
        at_work: float | None = None
        said = Said()
        while said.died is None and (left := end - time.monotonic()) > 0:
            for word, value in child.words_for(left):
                said.hear(word, value)
                if word == "saw" and at_work is None:
                    at_work = time.monotonic()
                    if once == "saw":
                        end = at_work + kill_after
                        break
                if said.died is not None:
                    break
        if said.died is None:
            os.kill(pid, signal.SIGKILL)
        while said.died is None:
            heard = child.next_word()
            assert heard is not None, child.ended().stderr
            said.hear(*heard)
        if said.died == 0 and not self.length:
            self.length = time.monotonic() - (at_work or end)
        return said, self._check(said)

    def _check(self, said: Said) -> list[Entry]:
        """Hold one life's deeds and what it was told against the disk, as it was before it and as it is now."""
        before, after = self._facts, read_facts(self.folder / "agent_workspace")
        entries, self._at = read_ledger(self.folder / "ledger", self._at)
        for text in (*said.trouble, *after.damaged):
            self._say(text)
        for lost in after.lost_since(before):
            self._say(f"it was on disk and is lost: {lost}")
        this_life: set[str] = set()
        for entry in entries:
            if entry.kind != "asked":
                continue
            self._asked[entry.key] += 1
            if entry.key in before.answered:
                self._say(f"asked again, although the answer was recorded: {entry}")
            if entry.key in this_life:
                self._say(f"asked twice in one life: {entry}")
            this_life.add(entry.key)
        if self._life.durability == "sync":
            self.counted["acknowledged"] += len(said.saw) + len(said.finished)
            if lost_keys := said.saw - after.answered:
                self._say(f"shown to another and not on disk: {lost_keys}")
            if lost_works := said.finished - set(after.works):
                self._say(f"finished, as was said, and not on disk: {lost_works}")
            if lost_runs := said.returned - after.finished:
                self._say(f"returned and not on disk: {lost_runs}")
        self._facts = after
        return entries

    def _expect(self, said: Said, code: int) -> None:
        if said.died != code:
            self._say(f"the life ended with {said.died} and not {code}")

    def _read_results(self) -> dict[str, Any]:
        return {path.stem: msgspec.json.decode(path.read_bytes()) for path in sorted(self._results.iterdir())}

    def _say(self, text: str) -> None:
        self._broken.append(text)

    def _raise_what_broke(self) -> None:
        if self._broken:
            texts = "\n".join(self._broken[:6])
            raise Broken(f"{self._life.durability!r}, seed {self._seed}, {len(self._broken)} times:\n{texts}")


def _conditions(entries: list[Entry]) -> int:
    return sum(entry.kind == "began" for entry in entries)


def _differs(now: Any, was: Any, where: str = "") -> str:
    """The first place where two results differ."""
    if isinstance(now, dict) and isinstance(was, dict):
        pairs = [(str(name), now.get(name), was.get(name)) for name in {**now, **was}]
    elif isinstance(now, list) and isinstance(was, list) and len(now) == len(was):
        pairs = [(str(number), *pair) for number, pair in enumerate(zip(now, was, strict=True))]
    else:
        return f"{where} is {str(now)[:200]!r} and was {str(was)[:200]!r}"
    return next(_differs(one, other, f"{where}/{name}") for name, one, other in pairs if one != other)


def _difference(
    now: Mapping[tuple[str, str], int], was: Mapping[tuple[str, str], int]
) -> dict[str, tuple[int, int]]:
    return {
        f"{run} {key}": (now.get((run, key), 0), was.get((run, key), 0))
        for run, key in {**now, **was}
        if now.get((run, key), 0) != was.get((run, key), 0)
    }
