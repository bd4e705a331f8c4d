"""What becomes of an actor that fails: policies, and the arithmetic of restarts."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Protocol, TypeAlias

import msgspec

from overwinter.errors import ConfigurationError

__all__ = [
    "Backoff",
    "Escalate",
    "Policy",
    "Restart",
    "RestartLog",
    "Resume",
    "Stop",
    "Supervision",
    "check_supervision",
    "decide",
]


class _Random(Protocol):
    def random(self) -> float: ...


class Backoff(msgspec.Struct, frozen=True):
    """How long to wait before the next attempt.

    ``initial * factor ** (attempt - 1)`` seconds, at most ``maximum``, more or less by up to the share
    ``jitter`` of it (0 to 1), so that what failed together does not come back together.
    """

    initial: float = 0.1
    factor: float = 2.0
    maximum: float = 30.0
    jitter: float = 0.1

    def __post_init__(self) -> None:
        if self.initial < 0 or self.factor < 1 or self.maximum < 0 or not 0 <= self.jitter <= 1:
            raise ConfigurationError(
                "Backoff needs initial >= 0, factor >= 1, maximum >= 0 and jitter between 0 and 1; "
                f"it was given {self}"
            )

    def delay(self, attempt: int, random: _Random) -> float:
        """Seconds to wait before attempt 1, 2, 3, …; never more than ``maximum``."""
        try:
            seconds = self.initial * self.factor ** max(0, attempt - 1)
        except OverflowError:
            seconds = self.maximum
        seconds = min(seconds, self.maximum)
        spread = seconds * self.jitter * (2.0 * random.random() - 1.0)
        return min(max(0.0, seconds + spread), self.maximum)


class Resume(msgspec.Struct, frozen=True):
    """Go on with the next message, as if the failed one had not been there."""


class Restart(msgspec.Struct, frozen=True, kw_only=True):
    """Start the actor anew after a delay; its mailbox is kept, the failed message is not.

    More than ``max_restarts`` within ``within`` seconds stop it with :class:`RestartLimitReached`; None is no
    limit.
    """

    max_restarts: int | None = 3
    within: float = 60.0
    backoff: Backoff = Backoff()

    def __post_init__(self) -> None:
        if (self.max_restarts is not None and self.max_restarts < 0) or self.within <= 0:
            raise ConfigurationError(
                f"Restart needs max_restarts >= 0 (or None) and within > 0; it was given {self}"
            )


class Stop(msgspec.Struct, frozen=True):
    """Stop the actor."""


class Escalate(msgspec.Struct, frozen=True):
    """Stop the actor and let its parent have failed by the same error; at the root, the whole system has."""


Policy: TypeAlias = Resume | Restart | Stop | Escalate
_POLICIES = (Resume, Restart, Stop, Escalate)
#: A policy, or a function that chooses one by the error. The function must not block.
Supervision: TypeAlias = Policy | Callable[[Exception], Policy]


def decide(supervision: Supervision, error: Exception) -> Policy:
    """The policy for an error. Raises what the function raises; ``ConfigurationError`` about its result."""
    if isinstance(supervision, _POLICIES):
        return supervision
    return _checked(supervision(error))


def check_supervision(supervision: object) -> None:
    """Raise ``ConfigurationError`` unless it is a policy or a function."""
    if not isinstance(supervision, _POLICIES) and (
        isinstance(supervision, type) or not callable(supervision)
    ):
        _checked(supervision)


def _checked(policy: object) -> Policy:
    if isinstance(policy, _POLICIES):
        return policy
    raise ConfigurationError(
        "supervision is Resume(), Restart(), Stop(), Escalate() or a function that returns one of these; "
        f"not {policy!r}"
    )


class RestartLog:
    """The restarts of one actor within its policy's window. Times are seconds of a monotonic clock."""

    __slots__ = ("_times",)

    def __init__(self) -> None:
        self._times: deque[float] = deque()

    def admit(self, policy: Restart, now: float) -> int | None:
        """Count a restart; return which one it is within the window (1, 2, …), None if it is one too many."""
        times = self._times
        while times and now - times[0] >= policy.within:
            times.popleft()
        if policy.max_restarts is not None and len(times) >= policy.max_restarts:
            return None
        times.append(now)
        return len(times)
