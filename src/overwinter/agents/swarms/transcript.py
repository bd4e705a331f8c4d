"""What was said in the course of a run, and what of it each member still has to be told."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct

from overwinter.agents.swarms.answers import under_names

if TYPE_CHECKING:
    from collections.abc import Iterable

    from overwinter.agents.swarms.results import MemberResult

__all__ = ["Transcript", "Utterance"]


class Utterance(Struct, frozen=True):
    """What was said on one turn.

    :ivar speaker: whose turn it was.
    :ivar by: who spoke: the speaker, or the fallback that did its work.
    """

    speaker: str
    text: str
    by: str


class Transcript:
    """What was said, in its order.

    A member keeps its own conversation, so it is told only what the others said since the last turn that it finished
    itself: what it was told on a turn that failed, it is told again.
    """

    def __init__(self) -> None:
        self._said: list[Utterance] = []
        self._heard: dict[str, int] = {}

    @property
    def said(self) -> tuple[Utterance, ...]:
        """All that was said."""
        return tuple(self._said)

    def take(self, results: Iterable[MemberResult]) -> None:
        """Put down what came of turns that were taken at the same time; of those that were skipped nothing is."""
        told = len(self._said)
        for result in results:
            if result.ok:
                self._note(result, told)
                self._said.append(Utterance(result.member, result.text, result.by))

    def heard(self, result: MemberResult) -> None:
        """Remember what a member was told that itself says nothing here."""
        if result.ok:
            self._note(result, len(self._said))

    def _note(self, result: MemberResult, told: int) -> None:
        if result.by == result.member:
            self._heard[result.member] = told

    def knows_the_task(self, name: str) -> bool:
        """Whether the member has finished a turn in this run."""
        return name in self._heard

    def news(self, name: str) -> str:
        """What the member has still to be told, each turn under its speaker's name; empty when there is nothing."""
        since = self._said[self._heard.get(name, 0) :]
        return under_names((turn.speaker, turn.text) for turn in since if turn.by != name)

    def __str__(self) -> str:
        """All of it, each turn under its speaker's name."""
        return under_names((turn.speaker, turn.text) for turn in self._said)
