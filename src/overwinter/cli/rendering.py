"""How things look: consoles, sizes, times, and text that comes from elsewhere."""

from __future__ import annotations

import os
import re
from datetime import UTC, datetime

from rich.console import Console
from rich.text import Text

__all__ = [
    "ago",
    "complain",
    "console",
    "money",
    "number",
    "plural",
    "say",
    "size",
    "styled_status",
    "visible",
    "warn",
]

# Controls but newline and tab, and what changes the direction or the place of the text around it.
_HIDDEN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff\ufeff]"
)
_STATUS_STYLES = {
    "finished": "green",
    "running": "cyan",
    "paused": "yellow",
    "interrupted": "yellow",
    "failed": "red",
    "unreadable": "red",
}

_MINUTE, _HOUR, _DAY = 60, 3600, 86400


class _Console(Console):
    """A console that falls silent when whoever reads its output has left, instead of ending the program."""

    def on_broken_pipe(self) -> None:
        self.quiet = True
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, self.file.fileno())
        os.close(nowhere)


def console(*, stderr: bool = False) -> Console:
    """A console that prints what it is given: no markup, no emoji codes, no guesses at what to highlight."""
    return _Console(stderr=stderr, markup=False, emoji=False, highlight=False)


def say(to: Console, message: str | Text) -> None:
    """Print a sentence: wrapped at words on a terminal, left in one line elsewhere."""
    to.print(message, soft_wrap=not to.is_terminal)


def complain(message: str) -> None:
    """Print an error."""
    to = console(stderr=True)
    say(to, Text.assemble(("error: ", "bold red"), visible(message, lines=False)))


def warn(message: str) -> None:
    """Print something that a person should know of, and that ends nothing."""
    to = console(stderr=True)
    say(to, Text.assemble(("note: ", "bold yellow"), visible(message, lines=False)))


def visible(text: str, *, lines: bool = True) -> str:
    r"""*text* with every character that could act on a terminal written out, as in ``\x1b``.

    :param lines: keep newlines and tabs.
    """
    shown = _HIDDEN.sub(lambda match: _escape(match[0]), text)
    return shown if lines else shown.replace("\n", "\\n").replace("\t", "\\t")


def styled_status(status: str) -> Text:
    """A status in its colour."""
    return Text(visible(status, lines=False), _STATUS_STYLES.get(status, ""))


def size(count: int | None) -> str:
    """Bytes for people: ``812 B``, ``21.3 kB``, ``1.2 MB``."""
    if count is None:
        return "-"
    value = float(count)
    for unit in ("B", "kB", "MB"):
        if value < 1000 or unit == "MB":
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1000
    raise AssertionError("the loop ends with the last unit")


def number(count: int) -> str:
    """A whole number with thousands apart; from 100,000 on in thousands or millions."""
    if count < 100_000:
        return f"{count:,}"
    return f"{count / 1000:.0f}k" if count < 1_000_000 else f"{count / 1_000_000:.1f}M"


def money(dollars: float | None) -> str:
    """US dollars; ``?`` where a price is unknown."""
    if dollars is None:
        return "?"
    return f"${dollars:.2f}" if dollars == 0 or dollars >= 0.01 else f"${dollars:.4f}"


def plural(count: int, one: str, many: str = "") -> str:
    """``1 step``, ``2 steps``."""
    return f"{count:,} {one if count == 1 else many or one + 's'}"


def ago(timestamp: str, now: datetime) -> str:
    """How long ago an ISO 8601 time was, or the date when that is more than a week."""
    try:
        at = datetime.fromisoformat(timestamp)
    except ValueError:
        return visible(timestamp, lines=False)
    at = at if at.tzinfo else at.replace(tzinfo=UTC)
    seconds = max(0, int((now - at).total_seconds()))
    if seconds < _MINUTE:
        return f"{seconds} s ago"
    if seconds < _HOUR:
        return f"{seconds // _MINUTE} min ago"
    if seconds < _DAY:
        return f"{seconds // _HOUR} h ago"
    if seconds < 7 * _DAY:
        return f"{seconds // _DAY} d ago"
    return at.astimezone().strftime("%Y-%m-%d")


def _escape(character: str) -> str:
    code = ord(character)
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"
