"""What the failures of models have in common, whichever way a model is reached."""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING

from overwinter.agents.models.text import storable_text

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["BrokenOff", "advised", "happened", "is_out_of_credit", "may_pass", "retry_after", "shortened"]

_PASSING = frozenset({408, 409, 425, 429})
_LONGEST = 1000
_TOO_LONG = re.compile(
    r"context[_ ]length|context[_ ]window|context size|maximum context|prompt is too long|too many (?:input )?tokens",
    re.IGNORECASE,
)

_HAPPENED = {
    400: "the request was refused (400)",
    401: "the key was refused (401)",
    402: "the account has no credit (402)",
    403: "the key may not use this model (403)",
    404: "there is no such model or address (404)",
    408: "no answer in time (408)",
    413: "the request is too large (413)",
    429: "too many requests, or the quota is used up (429)",
}


class BrokenOff(ConnectionError):
    """A reply ended before it was complete, without an error of the connection."""


def happened(status: int) -> str:
    """What an answer of that HTTP status means, in words."""
    return _HAPPENED.get(status) or (
        f"the provider failed ({status})" if status >= 500 else f"refused ({status})"
    )


def may_pass(status: int | None) -> bool:
    """Whether the same request may succeed later: 408, 409, 425, 429 and everything from 500."""
    return status is not None and (status in _PASSING or status >= 500)


def is_out_of_credit(said: str) -> bool:
    """OpenAI's word for an account without credit: it comes as a 429 and does not pass."""
    return "insufficient_quota" in said


def advised(message: str, status: int | None) -> str:
    """*message*, with what to do about it where the conversation is too long for the model."""
    if status not in (400, 413) or not _TOO_LONG.search(message):
        return message
    return (
        f"{message}. The conversation is longer than the model takes: let requests carry less of it, as with "
        "context=[KeepLast(...)] or Summarize(...), or choose a smaller max_tokens"
    )


def shortened(text: str) -> str:
    """*text* on one line, storable, and of a length that an error message can have."""
    text = " ".join(storable_text(text).split())
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds, where the provider named a delay: in seconds, in milliseconds, or as a date; names in lower case."""
    milliseconds = _number(headers.get("retry-after-ms"))
    if milliseconds is not None:
        return milliseconds / 1000
    asked_for = headers.get("retry-after")
    seconds = _number(asked_for)
    return _seconds_until(asked_for) if asked_for and seconds is None else seconds


def _number(text: str | None) -> float | None:
    try:
        number = float(text or "")
    except ValueError:
        return None
    return number if math.isfinite(number) and number >= 0 else None


def _seconds_until(date: str) -> float | None:
    from datetime import UTC, datetime
    from email.utils import parsedate_to_datetime

    try:
        until = parsedate_to_datetime(date)
    except (ValueError, OverflowError):
        return None
    return max(0.0, (until.replace(tzinfo=until.tzinfo or UTC) - datetime.now(UTC)).total_seconds())
