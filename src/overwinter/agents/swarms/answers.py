"""The answers of several members as one text, for people and for models."""

from __future__ import annotations

from typing import TYPE_CHECKING

from overwinter.errors import NobodyAnswered

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from overwinter.agents.swarms.results import MemberResult

__all__ = ["NO_ANSWER", "answer_of", "answers_of", "anyone", "handed_on", "under_names"]

NO_ANSWER = "(no answer)"

HANDED_ON = """\
You do one part of a task; {before} did the part before yours.

The task:

{task}

What {before} handed on to you:

{answers}

Do your part of the task now, and answer with your result."""


def under_names(answers: Iterable[tuple[str, str]]) -> str:
    """Each text under the name of who gave it, in the order given."""
    return "\n\n".join(f"## {' '.join(name.split())}\n\n{text.strip()}" for name, text in answers)


def answer_of(result: MemberResult) -> tuple[str, str]:
    """The member and its answer, or that it gave none."""
    return result.member, result.text if result.ok else NO_ANSWER


def answers_of(results: Sequence[MemberResult]) -> str:
    """Each member's answer under its name; that one gave none is said as well."""
    return under_names(map(answer_of, results))


def handed_on(task: str, answers: Sequence[tuple[str, str]]) -> str:
    """What those of the next step are told: the task, and the *answers* of the step before under their names."""
    before = " and ".join(name for name, _ in answers)
    text = answers[0][1] if len(answers) == 1 else under_names(answers)
    return HANDED_ON.format(before=before, task=task, answers=text)


def anyone(swarm: str, results: Sequence[MemberResult]) -> list[MemberResult]:
    """Those of the *results* that are answers.

    :raises NobodyAnswered: there is none; the message names every member and its last error.
    """
    answered = [result for result in results if result.ok]
    if not answered:
        raise NobodyAnswered(swarm, {result.member: result.error for result in results})
    return answered
