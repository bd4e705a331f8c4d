"""Who speaks next in a discussion, and what that one is told of it."""

from __future__ import annotations

import logging
from inspect import isawaitable
from typing import TYPE_CHECKING, Literal, TypeAlias, cast

from overwinter.agents.swarms.choosing import name_in
from overwinter.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from overwinter.agents.swarms.member import Member
    from overwinter.agents.swarms.team import Team
    from overwinter.agents.swarms.transcript import Transcript, Utterance

__all__ = ["SpeakerFunction", "led", "named", "news_of", "read_speaker"]

#: Called with what was said; returns the name of who speaks next, or ``None`` when the chat is over.
SpeakerFunction: TypeAlias = "Callable[[tuple[Utterance, ...]], str | Awaitable[str | None] | None]"

logger = logging.getLogger("overwinter.agents")

NEWS = """\
What was said{since}:

{said}

"""

LEAD = """\
You lead a discussion. What it is about:

{task}

Those who take part:

{members}

{news}Who is to speak next? Answer with that one name and nothing else."""

LEAD_ON = """\
{news}Who is to speak next? It is one of {names}. Answer with that one name and nothing else."""


def read_speaker(
    speaker: Literal["turn"] | Member | SpeakerFunction,
) -> tuple[Member | None, SpeakerFunction | None]:
    """The agent, or the function, that says who speaks next."""
    if speaker == "turn":
        return None, None
    if hasattr(speaker, "agent_name"):
        return cast("Member", speaker), None
    if callable(speaker):
        return None, speaker
    raise ConfigurationError(f"speaker is 'turn', an agent or a function, not {speaker!r}")


def _introduced(member: Member) -> str:
    description = getattr(member, "agent_description", "")
    return f"- {member.agent_name}: {description}" if description else f"- {member.agent_name}"


async def named(function: SpeakerFunction, group: Sequence[Member], said: tuple[Utterance, ...]) -> str:
    """Whom *function* names; empty when the discussion is over.

    :raises ConfigurationError: it named nobody of the *group*.
    """
    chosen = function(said)
    name = await chosen if isawaitable(chosen) else chosen
    names = [member.agent_name for member in group]
    if not name and said:
        return ""
    if name not in names:
        raise ConfigurationError(
            f"speaker named {name!r} as the next to speak; it has to be one of {', '.join(map(repr, names))}, or, "
            "when somebody has spoken, None to end the chat"
        )
    return name


async def led(
    leader: Member, group: Sequence[Member], key: str, task: str, transcript: Transcript, team: Team
) -> str | None:
    """Whom *leader* names; ``None``, and a warning, when that is plainly nobody of the *group*, or it was skipped."""
    names = [member.agent_name for member in group]
    knows, news = news_of(leader.agent_name, transcript)
    if knows:
        told = LEAD_ON.format(news=news, names=", ".join(names))
    else:
        told = LEAD.format(task=task, members="\n".join(map(_introduced, group)), news=news)
    result = await team.ask(leader, told, key=key)
    transcript.heard(result)
    name = name_in(result.text, names) if result.ok else None
    if name is None:
        why = f"answered {result.text[:200]!r}" if result.ok else f"failed ({result.error})"
        logger.warning(
            "%r was asked who speaks next and %s, so the next in order does (%s of run %s)",
            leader.agent_name,
            why,
            key,
            team.run_id,
        )
    return name


def news_of(name: str, transcript: Transcript) -> tuple[bool, str]:
    """Whether the member knows the task by now, and what it has still to be told."""
    knows, said = transcript.knows_the_task(name), transcript.news(name)
    return knows, NEWS.format(
        since=" since your last turn" if knows else " so far", said=said
    ) if said else ""
