"""The lanes to all models that the agents of a runtime call."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, TypeAlias

import msgspec

from overwinter.agents.rates.lane import Lane
from overwinter.agents.rates.limit import checked_limits, limit_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from overwinter.agents.models.protocol import Model
    from overwinter.agents.rates.limit import RateLimit
    from overwinter.runtime.clock import Clock

__all__ = ["RateStatistics", "Rates"]

_Key: TypeAlias = tuple[str, int]


class RateStatistics(msgspec.Struct, frozen=True, kw_only=True):
    """How one model fares: what is under way and who waits.

    :ivar in_flight: calls under way.
    :ivar waiting: calls that wait for their turn.
    :ivar requests: calls that began within the last minute (the limit's ``window``), where these are limited.
    :ivar tokens: what they used, and what is reserved for those under way, where that is limited.
    :ivar held_for: seconds for which the provider has said to leave it alone.
    """

    in_flight: int = 0
    waiting: int = 0
    requests: float = 0
    tokens: float = 0
    held_for: float = 0.0


class Rates:
    """One lane for each model that is limited, or whose provider has just said to come back later.

    Of any other model it knows nothing, and asking for its lane costs next to nothing. Calls that carry an ``api_key``
    or an address of their own, or are made by a model with an ``account``, go through a lane of their own: to the
    provider they are somebody else's, with a limit of their own.
    """

    def __init__(self, limits: Mapping[str, RateLimit] | None, *, clock: Clock) -> None:
        self._clock = clock
        self._limits = checked_limits(limits)
        self._lanes: dict[_Key, Lane] = {}

    @property
    def limits(self) -> dict[str, RateLimit]:
        """The limits, by the names of models; new ones hold at once."""
        return dict(self._limits)

    @limits.setter
    def limits(self, limits: Mapping[str, RateLimit] | None) -> None:
        self._limits = checked_limits(limits)
        for lane in tuple(self._lanes.values()):
            lane.limit = limit_of(lane.name, self._limits)

    def lane(self, model: Model, args: Mapping[str, Any]) -> Lane | None:
        """The way to *model* for a call with such *args*; ``None`` where it is free."""
        if not self._limits and not self._lanes:
            return None
        key = _key(model, args)
        lane = self._lanes.get(key)
        if lane is None and self._limits:
            limit = limit_of(model.name, self._limits)
            if limit.limits_something:
                return self._open(key, limit)
        return lane

    def hold(
        self, model: Model, args: Mapping[str, Any], seconds: float, *, began: float | None = None
    ) -> None:
        """The provider of *model* refused a call that began then, and said to come back in so many *seconds*."""
        key = _key(model, args)
        lane = self._lanes.get(key) or self._open(key, limit_of(model.name, self._limits))
        lane.hold(seconds, began=began)

    def statistics(self) -> dict[str, RateStatistics]:
        """How the models fare that are limited or held, by name; of further accounts with a number behind it."""
        told: dict[str, RateStatistics] = {}
        for lane in self._lanes.values():
            name, number = lane.name, 1
            while name in told:
                number += 1
                name = f"{lane.name} ({number})"
            requests, tokens = lane.used
            told[name] = RateStatistics(
                in_flight=lane.under_way,
                waiting=lane.waiting,
                requests=requests,
                tokens=tokens,
                held_for=lane.held_for,
            )
        return told

    def waits(self) -> dict[str, str]:
        """At which model each agent waits for its turn, by its id; from any thread."""
        return {str(who): lane.name for lane in list(self._lanes.values()) for who in lane.who_waits}

    def close(self) -> None:
        """Leave no timer behind."""
        for lane in self._lanes.values():
            lane.close()

    def _open(self, key: _Key, limit: RateLimit) -> Lane:
        lane = Lane(key[0], limit, clock=self._clock, rest=partial(self._rests, key))
        self._lanes[key] = lane
        return lane

    def _rests(self, key: _Key, lane: Lane) -> None:
        # A call that is still under way may be of a lane that came to rest before; the one there now may be held.
        if self._lanes.get(key) is lane and not lane.limit.limits_something:
            del self._lanes[key]


def _key(model: Model, args: Mapping[str, Any]) -> _Key:
    account = (
        getattr(model, "account", None),
        args.get("api_key"),
        args.get("api_base") or args.get("base_url"),
    )
    # Hashed, so that no key stands about where somebody may print it.
    return model.name, 0 if account == (None, None, None) else hash(repr(account))
