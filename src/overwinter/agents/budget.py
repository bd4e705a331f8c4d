"""What a run, or a whole runtime, may spend before it pauses."""

from __future__ import annotations

import msgspec

from overwinter.errors import ConfigurationError

__all__ = ["MEMBER", "OWN_LIMITS", "RUNTIME", "TEAM", "Budget", "how_to_go_on"]

#: What stands before the name of a limit that is the runtime's: ``runtime_cost``.
RUNTIME = "runtime_"

#: What stands before the name of a limit that is that of a swarm for which the run works: ``team_cost``.
TEAM = "team_"

#: What stands before the name of a limit that is a member's own, where its swarm is paused by it: ``member_max_loops``.
MEMBER = "member_"

#: The limits that an agent has of its own.
OWN_LIMITS = ("max_loops", "tokens", "cost", "seconds")


class Budget(msgspec.Struct, frozen=True, kw_only=True):
    """The limits of one run, or of all runs of a runtime together; ``None`` means no limit.

    What a call of the model is expected to need is reserved before it, and settled with what it did need after it:

    - the input is what the last reply reported, and a token for each four characters added since;
    - the output is ``max_tokens`` where that is set, otherwise as much as the last reply had;
    - the cost is that of these at the model's price.

    A run pauses *before* a call for which the limit has no room: so it stops a little below the limit rather than
    above it, and with ``max_tokens`` set and a price that is right it is never exceeded by more than the input was
    guessed wrong. While calls of other agents of the runtime are under way, a call that has no room beside them waits
    for them to be settled, first come, first served.

    Of an agent that has not heard a reply and sets no ``max_tokens``, the size of the next call is not known. It is
    made as soon as no other is under way, if anything is left, unless its text alone, at eight characters a token, is
    more than that. What is reserved for it beside others is its text at four characters a token and 1,024 of output.

    :param tokens: input and output tokens together.
    :param cost: US dollars. A model whose price is not known is refused with ``PriceUnknown``.
    :param seconds: of a run the time that it was at work, over all its resumptions; of a runtime the time since it was
        opened. It is looked at between steps, and a model call is cut off when the time is up; a tool never is, because
        nobody would know what came of it (it has a ``tool_timeout`` of its own).
    :param allow_unknown_price: ask models of unknown price all the same. Of their cost counts what their replies tell.
    """

    tokens: int | None = None
    cost: float | None = None
    seconds: float | None = None
    allow_unknown_price: bool = False

    def __post_init__(self) -> None:
        for name in ("tokens", "cost", "seconds"):
            value = getattr(self, name)
            if value is not None and not 0 < value < float("inf"):
                raise ConfigurationError(
                    f"budget.{name} is {value!r}; give a number above zero, or None for no limit"
                )


def how_to_go_on(limit: str) -> str:
    """What to do about a run that stands at *limit*, as the end of a sentence."""
    if limit.startswith(RUNTIME):
        name = limit.removeprefix(RUNTIME)
        return f"raise it with `runtime.budget = Budget({name}=...)` and go on with `await agent.resume()`"
    if limit.startswith(MEMBER):
        name = limit.removeprefix(MEMBER)
        how = "max_loops=..." if name == "max_loops" else f"budget=Budget({name}=...)"
        return (
            "go on first with the member that stands there, with a higher one: "
            f"`await swarm.member(name).resume({how})`, and then with `await swarm.resume()`"
        )
    if limit.startswith(TEAM):
        name = limit.removeprefix(TEAM)
        return f"go on with its swarm, with a higher one: `await swarm.resume(budget=Budget({name}=...))`"
    if limit == "max_loops":
        return "go on with a higher one: `await agent.resume(max_loops=...)`"
    if limit in ("tokens", "cost", "seconds"):
        return f"go on with a higher one: `await agent.resume(budget=Budget({limit}=...))`"
    return "go on with `await agent.resume()`"
