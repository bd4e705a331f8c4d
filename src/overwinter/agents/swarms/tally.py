"""The counting of votes."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from unicodedata import normalize

from msgspec import Struct

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["Ballot", "Candidate", "Tally", "normalised", "tally"]

_SHOWN = 60  # characters of an answer that is mentioned
_MENTIONED = 10  # answers that are mentioned
_PAIRS = (
    ("**", "**"),
    ("*", "*"),
    ("`", "`"),
    ('"', '"'),
    ("'", "'"),
    ("\u201c", "\u201d"),
    ("\u2018", "\u2019"),
)
_SPACE = re.compile(r"\s+")


def normalised(answer: str) -> str:
    """What counts of *answer*: not its capitals, spaces, a full stop at its end, quotes and emphasis around it.

    Applied to its own result it changes nothing.
    """
    vote = _SPACE.sub(" ", normalize("NFC", normalize("NFC", answer).casefold())).strip()
    while True:
        bare = _bare(vote)
        if bare == vote:
            return vote
        vote = bare


def _bare(vote: str) -> str:
    vote = vote.rstrip(" .,;:")
    for left, right in _PAIRS:
        if len(vote) > len(left + right) and vote.startswith(left) and vote.endswith(right):
            return vote[len(left) : -len(right)].strip()
    return vote


class Ballot(Struct, frozen=True):
    """What one voter said: its ``answer`` as written, and the ``vote`` in it; an empty one is no vote."""

    voter: str
    vote: str
    answer: str = ""


class Candidate(Struct, frozen=True):
    """One of the answers that were voted for, as the first of its ``voters`` wrote it."""

    vote: str
    answer: str
    voters: tuple[str, ...]

    @property
    def count(self) -> int:
        """How many voted for it."""
        return len(self.voters)

    @property
    def shown(self) -> str:
        """Its answer in quotes, cut short for a list of them."""
        text = _SPACE.sub(" ", self.answer).strip()
        if len(text) > _SHOWN:
            text = f"{text[:_SHOWN].rstrip()} ..."
        return f'"{text}"'


class Tally(Struct, frozen=True):
    """The votes, counted.

    :ivar candidates: by number of votes; those with as many in the order of their first voters.
    :ivar silent: those who did not vote.
    """

    candidates: tuple[Candidate, ...]
    silent: tuple[str, ...] = ()

    @property
    def votes(self) -> int:
        """How many votes were cast."""
        return sum(candidate.count for candidate in self.candidates)

    @property
    def leaders(self) -> tuple[Candidate, ...]:
        """The candidate with the most votes; several, when it is a tie."""
        return tuple(
            candidate for candidate in self.candidates if candidate.count == self.candidates[0].count
        )

    @property
    def tied(self) -> bool:
        """Whether no candidate has more votes than any other."""
        return len(self.leaders) > 1

    def __str__(self) -> str:
        """The counts, as in ``3 of 5 votes for "Paris"; 1 for "Lyon"; 1 for "Nice"``."""
        parts = [
            f"{candidate.count} of {self.votes} votes for {candidate.shown}" if number == 0
            else f"{candidate.count} for {candidate.shown}"
            for number, candidate in enumerate(self.candidates[:_MENTIONED])
        ]  # fmt: skip
        if len(self.candidates) > _MENTIONED:
            rest = sum(candidate.count for candidate in self.candidates[_MENTIONED:])
            parts.append(f"{rest} for {len(self.candidates) - _MENTIONED} other answers")
        if self.silent:
            parts.append(f"no vote of {', '.join(self.silent)}")
        return "; ".join(parts)


def tally(ballots: Iterable[Ballot]) -> Tally:
    """Count the *ballots*. Their order, which is that of the voters, settles nothing but the order of equals."""
    candidates: dict[str, Candidate] = {}
    silent: list[str] = []
    for ballot in ballots:
        if not ballot.vote:
            silent.append(ballot.voter)
            continue
        known = candidates.get(ballot.vote)
        if known is None:
            candidates[ballot.vote] = Candidate(ballot.vote, ballot.answer, (ballot.voter,))
        else:
            candidates[ballot.vote] = Candidate(known.vote, known.answer, (*known.voters, ballot.voter))
    return Tally(tuple(sorted(candidates.values(), key=lambda candidate: -candidate.count)), tuple(silent))
