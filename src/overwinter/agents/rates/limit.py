"""How often a model may be called: what users set, and which of their limits holds for which model."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from overwinter.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["MINUTE", "NO_LIMIT", "RateLimit", "checked_limits", "limit_of"]

MINUTE = 60.0
_EVERY = "*"


class RateLimit(msgspec.Struct, frozen=True, kw_only=True):
    """How much a runtime asks of one model, all its agents together; ``None`` means no limit.

    Requests and tokens are counted in a sliding window, see :class:`~overwinter.agents.rates.window.Window`: in no
    minute, whichever one looks at, do more than these begin. So a swarm that comes to an idle model begins at once, up
    to the whole limit, and what is beyond waits until the first ones are a minute old.

    :param requests_per_minute: calls that may begin in a minute, retries among them.
    :param tokens_per_minute: input and output tokens. What a call is likely to use is reserved when it begins
        (:class:`~overwinter.Budget` says how that is guessed) and settled with what it did use. A call that needs more
        than the whole limit is made when nothing else is in the window, and not kept waiting for ever.
    :param in_flight: calls that may be under way at once.
    :param window: seconds over which requests and tokens are counted. A shorter one spreads calls out: with
        ``window=1`` no second has more than a sixtieth of the minute's, as some providers want it.
    :raises ConfigurationError: a number that cannot work.
    """

    requests_per_minute: float | None = None
    tokens_per_minute: float | None = None
    in_flight: int | None = None
    window: float = MINUTE

    def __post_init__(self) -> None:
        for name in ("requests_per_minute", "tokens_per_minute", "in_flight", "window"):
            value: Any = getattr(self, name)
            if value is None and name != "window":
                continue
            if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value < float("inf"):
                more = "" if name == "window" else ", or None for no limit"
                raise ConfigurationError(f"RateLimit.{name} is {value!r}; give a number above zero{more}")
        if self.in_flight is not None and not isinstance(self.in_flight, int):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise ConfigurationError(f"RateLimit.in_flight is {self.in_flight!r}; give a whole number")
        for name in ("requests_per_minute", "tokens_per_minute"):
            value = getattr(self, name)
            if value is not None and self.in_window(value) < 1:
                raise ConfigurationError(
                    f"RateLimit.{name} is {value!r}, less than one in {self.window:g} s; give a longer window"
                )

    @property
    def limits_something(self) -> bool:
        """Whether any of its limits is set."""
        return any(
            limit is not None for limit in (self.requests_per_minute, self.tokens_per_minute, self.in_flight)
        )

    def in_window(self, per_minute: float) -> float:
        """How much of so much a minute there is in the window."""
        # Multiplied first, so that whole numbers stay whole.
        return per_minute * self.window / MINUTE


#: What holds for a model that nothing was said about.
NO_LIMIT = RateLimit()


def checked_limits(limits: Mapping[str, RateLimit] | None) -> dict[str, RateLimit]:
    """*limits* by the names of models, as they may be used.

    :raises ConfigurationError: a name that can match no model, or a value that is no :class:`RateLimit`.
    """
    checked: dict[str, RateLimit] = {}
    name: Any  # what users write is not always what the types say
    for name, limit in (limits or {}).items():
        if not isinstance(limit, RateLimit):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise ConfigurationError(
                f"rate_limits[{name!r}] is {limit!r}; give RateLimit(requests_per_minute=..., ...)"
            )
        if not isinstance(name, str) or not name or _EVERY in name[:-1]:
            raise ConfigurationError(
                f"rate_limits has the key {name!r}; give the name of a model, the beginning of one and '*', as in "
                "'openai/*', or '*' alone for every other model"
            )
        checked[name] = limit
    return checked


def limit_of(name: str, limits: Mapping[str, RateLimit]) -> RateLimit:
    """The limit of the model of that *name*: its own, or that of the longest beginning with a ``*``, or none."""
    exact = limits.get(name)
    if exact is not None:
        return exact
    patterns = [pattern for pattern in limits if pattern.endswith(_EVERY) and name.startswith(pattern[:-1])]
    return limits[max(patterns, key=len)] if patterns else NO_LIMIT
