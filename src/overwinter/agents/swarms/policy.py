"""What becomes of a member that fails."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from overwinter.errors import ConfigurationError

if TYPE_CHECKING:
    from overwinter.agents.swarms.member import Member

__all__ = ["MemberPolicy"]


@dataclass(frozen=True, slots=True, kw_only=True)
class MemberPolicy:
    """What a swarm does when a member raises, hangs, or is stopped by somebody.

    A member that failed goes on where it stopped, so that nothing it finished is done again. When all its attempts
    failed, its ``fallback`` does the whole task; if that fails too, ``then`` decides.

    :param attempts: how often the member is tried. A run that goes on after it was cut off has all of them again.
    :param backoff: seconds before the second attempt; doubled before each further one, and 60 at most.
    :param timeout: seconds that one attempt may take, from when the member is there; ``None`` for no limit.
    :param then: ``"fail_fast"`` ends the swarm's run with ``MemberFailed``, and the other members are interrupted;
        ``"skip"`` goes on without this member's work, which is recorded as failed.
    :param fallback: who does the task instead.
    :raises ConfigurationError: a value makes no sense.
    """

    attempts: int = 1
    backoff: float = 0.5
    timeout: float | None = None
    then: Literal["fail_fast", "skip"] = "fail_fast"
    fallback: Member | None = None

    def __post_init__(self) -> None:
        if type(self.attempts) is not int or self.attempts < 1:
            raise ConfigurationError(f"attempts is {self.attempts}; give a whole number, 1 or more")
        if not 0 <= self.backoff < float("inf"):
            raise ConfigurationError(f"backoff is {self.backoff}; give seconds, 0 or more")
        if self.timeout is not None and not self.timeout > 0:
            raise ConfigurationError(f"timeout is {self.timeout}; give seconds above 0, or None for no limit")
        if self.then not in ("fail_fast", "skip"):
            raise ConfigurationError(f"then is {self.then!r}; give 'fail_fast' or 'skip'")
