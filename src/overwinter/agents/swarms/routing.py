"""How a router comes to its choice."""

from __future__ import annotations

from inspect import isawaitable
from typing import TYPE_CHECKING, TypeAlias, cast

from overwinter.agents.swarms.choosing import name_in
from overwinter.errors import ConfigurationError, NobodyAnswered, OutputInvalid

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from overwinter.agents.swarms.member import Member
    from overwinter.agents.swarms.team import Team

__all__ = ["Choice", "choose"]

#: A name; a function of the task that returns one, sync or async; or an agent that answers with one.
Choice: TypeAlias = "str | Callable[[str], str | Awaitable[str]] | Member"

ASK = """\
Who is the best one for this task? You choose, and do not work on it.

The task:

{task}

You can choose from:

{choices}

Answer with the name alone."""

ASK_AGAIN = """\
That is not the name of one of them. Answer with one of these names and nothing else: {names}"""

_ATTEMPTS = 3


async def choose(by: Choice, choices: Mapping[str, str], task: str, team: Team, *, swarm: str) -> str:
    """The name of the one of *choices*, names with descriptions, that is to do *task*. It is recorded.

    :raises ConfigurationError: a function returned no name of theirs.
    :raises OutputInvalid: a model never answered with one.
    :raises NobodyAnswered: the model was skipped.
    """
    if isinstance(by, str):
        return by
    if not hasattr(by, "agent_name"):
        return await team.decide("choice", lambda: _called(by, choices, task), str)
    member = cast("Member", by)
    listed = "\n".join(f"- {name}: {what or '(nothing more is known)'}" for name, what in choices.items())
    told = ASK.format(task=task, choices=listed)
    answer = ""
    for attempt in range(1, _ATTEMPTS + 1):
        result = await team.ask(member, told, key="choice" if attempt == 1 else f"choice-{attempt}")
        if not result.ok:
            raise NobodyAnswered(swarm, {result.member: result.error})
        answer = result.text
        chosen = name_in(answer, list(choices))
        if chosen is not None:
            return chosen
        told = ASK_AGAIN.format(names=", ".join(choices))
    raise OutputInvalid(
        f"{member.agent_name!r} was asked {_ATTEMPTS} times who in swarm {swarm!r} is to do the task, and named nobody "
        f"there is; it said {answer[:80]!r}. Use a stronger model, or tell the names and descriptions better apart"
    )


async def _called(by: object, choices: Mapping[str, str], task: str) -> str:
    answer = cast("Callable[[str], str | Awaitable[str]]", by)(task)
    chosen = await answer if isawaitable(answer) else answer
    if chosen not in choices:
        raise ConfigurationError(
            f"{getattr(by, '__name__', by)!r} chose {chosen!r}; there is {', '.join(map(repr, choices))}"
        )
    return chosen
