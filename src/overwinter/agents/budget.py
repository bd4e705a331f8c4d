"""What a run may spend before it pauses."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from overwinter.errors import ConfigurationError

if TYPE_CHECKING:
    from overwinter.agents.models.protocol import Usage

__all__ = ["Budget"]


class Budget(msgspec.Struct, frozen=True, kw_only=True):
    """The limits of one run; ``None`` means no limit.

    A run that reaches one of them pauses after the step in which it did, so that the step's own spending is
    kept and nothing is thrown away. Of the cost what is known counts; a reply of unknown price is said in the log.

    :param tokens: input and output tokens together.
    :param cost: US dollars.
    :param seconds: wall-clock seconds of the run since it began or was resumed.
    """

    tokens: int | None = None
    cost: float | None = None
    seconds: float | None = None

    def __post_init__(self) -> None:
        for name in ("tokens", "cost", "seconds"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise ConfigurationError(
                    f"budget.{name} is {value!r}; give a number above zero, or None for no limit"
                )

    def reached(self, usage: Usage, known_cost: float, seconds: float) -> str:
        """The name of the first limit that has been reached, or an empty string."""
        if self.tokens is not None and usage.input_tokens + usage.output_tokens >= self.tokens:
            return "tokens"
        if self.cost is not None and known_cost >= self.cost:
            return "cost"
        if self.seconds is not None and seconds >= self.seconds:
            return "seconds"
        return ""
