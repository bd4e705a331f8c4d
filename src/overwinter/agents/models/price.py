"""What a model's tokens cost."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, TypeGuard

import msgspec

from overwinter.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Self

    from overwinter.agents.models.protocol import Usage

__all__ = ["Price", "price_from_args", "price_of"]

# What litellm calls the prices, in its map of models and in the settings of a call.
_INPUT, _OUTPUT = "input_cost_per_token", "output_cost_per_token"
_CACHED, _CALL = "cache_read_input_token_cost", "input_cost_per_request"


class Price(msgspec.Struct, frozen=True, kw_only=True):
    """The price of a model, in US dollars; ``Price()`` is that of a free one.

    :param input: for each token that is sent.
    :param output: for each token of the answer, reasoning included.
    :param cached: for each token sent that the provider had in its cache; ``None`` is the price of any other.
    :param call: for each call, whatever its size.
    :raises ConfigurationError: one of them is no number, or below zero.
    """

    input: float = 0.0
    output: float = 0.0
    cached: float | None = None
    call: float = 0.0

    def __post_init__(self) -> None:
        for name in ("input", "output", "cached", "call"):
            value = getattr(self, name)
            if not _is_price(value) and not (name == "cached" and value is None):
                raise ConfigurationError(
                    f"price.{name} is {value!r}; give US dollars, 0 or more (prices for a million tokens: "
                    "Price.per_million(...))"
                )

    @classmethod
    def per_million(cls, *, input: float, output: float, cached: float | None = None) -> Self:  # noqa: A002
        """The price as providers publish it: US dollars for a million tokens."""
        return cls(input=input / 1e6, output=output / 1e6, cached=None if cached is None else cached / 1e6)

    def of(self, usage: Usage) -> float:
        """What *usage* costs, in US dollars."""
        cached = min(usage.cached_tokens, usage.input_tokens)
        for_cached = self.input if self.cached is None else self.cached
        return (
            (usage.input_tokens - cached) * self.input
            + cached * for_cached
            + usage.output_tokens * self.output
            + usage.calls * self.call
        )


def price_of(model: Any) -> Price | None:
    """The price that a ``Model`` tells: its ``price``, or what a method of that name returns; ``None``: unknown.

    A model need not have one. The method is called on the event loop and must not block.
    """
    told = getattr(model, "price", None)
    if callable(told):
        told = told()
    return told if isinstance(told, Price) else None


def price_from_args(fields: Mapping[str, Any]) -> Price | None:
    """The price in a model's settings, or in its entry in litellm's map; ``None`` where it does not stand there."""
    sent, answered = fields.get(_INPUT), fields.get(_OUTPUT)
    if not _is_price(sent) or not _is_price(answered):
        return None
    cached, call = fields.get(_CACHED), fields.get(_CALL)
    return Price(
        input=float(sent),
        output=float(answered),
        cached=float(cached) if _is_price(cached) else None,
        call=float(call) if _is_price(call) else 0.0,
    )


def _is_price(value: Any) -> TypeGuard[float]:
    return (
        isinstance(value, (int, float))
        and not isinstance(value, bool)
        and math.isfinite(value)
        and value >= 0
    )
