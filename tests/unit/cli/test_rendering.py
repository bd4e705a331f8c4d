"""How things look."""

from __future__ import annotations

import io
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console
from rich.text import Text

from overwinter.cli.rendering import ago, money, number, plural, size, visible
from overwinter.cli.tables import print_indented, print_table

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)


@given(st.text())
def test_nothing_that_acts_on_a_terminal_is_left(text: str) -> None:
    """C24: whatever a text holds, what is shown of it holds no control character but newline and tab."""
    shown = visible(text)
    assert all(
        character in "\n\t" or (ord(character) >= 32 and not 0x7F <= ord(character) < 0xA0)
        for character in shown
    )
    assert "\n" not in visible(text, lines=False)
    shown.encode()


def test_what_is_hidden_is_written_out() -> None:
    """C24: an escape sequence, a change of direction and a lone surrogate are shown as escapes."""
    assert visible("\x1b[31m\u202eabc\ud800\x9b") == r"\x1b[31m\u202eabc\ud800\x9b"
    assert visible("a\nb", lines=False) == r"a\nb"


@pytest.mark.parametrize(
    ("count", "told"), [(0, "0 B"), (999, "999 B"), (21_300, "21.3 kB"), (2_500_000, "2.5 MB"), (None, "-")]
)
def test_sizes(count: int | None, told: str) -> None:
    assert size(count) == told


def test_numbers() -> None:
    assert [number(count) for count in (0, 1234, 99_999, 461_112, 1_470_371)] == [
        "0",
        "1,234",
        "99,999",
        "461k",
        "1.5M",
    ]
    assert [money(dollars) for dollars in (None, 0.0, 0.0004, 1.5)] == ["?", "$0.00", "$0.0004", "$1.50"]
    assert [plural(1, "step"), plural(2, "step")] == ["1 step", "2 steps"]


@pytest.mark.parametrize(
    ("timestamp", "told"),
    [
        ("2026-11-23T11:59:58+00:00", "2 s ago"),
        ("2026-11-23T12:00:05+00:00", "0 s ago"),
        ("2026-11-23T11:15:00+00:00", "45 min ago"),
        ("2026-11-23T05:00:00", "7 h ago"),
        ("2026-11-20T12:00:00+00:00", "3 d ago"),
        ("2026-01-02T12:00:00+00:00", "2026-01-02"),
        ("yester\x1bday", r"yester\x1bday"),
    ],
)
def test_times(timestamp: str, told: str) -> None:
    assert ago(timestamp, NOW) == told


def test_a_table_fits_its_console() -> None:
    """C13: only the column that gives way is cut, and no line ends with a space."""
    out = io.StringIO()
    rows = [("a" * 60, "finished", "1,234"), ("[red]b", "failed", "7")]
    print_table(
        Console(file=out, width=40), ("agent", "status", ">tokens"), rows, gives_way="agent", indent=2
    )
    assert out.getvalue().splitlines() == [
        "  agent                 status    tokens",
        "  aaaaaaaaaaaaaaaaaaa…  finished   1,234",
        "  [red]b                failed         7",
    ]


def test_indented_text_is_wrapped_within_its_indent() -> None:
    """C13: a long word is folded; every line keeps the indent."""
    out = io.StringIO()
    print_indented(Console(file=out, width=30), Text("bees " * 8 + "x" * 40), indent=4, head=Text("  >"))
    lines = out.getvalue().splitlines()
    assert lines[0].startswith("  > bees")
    assert all(line.startswith("    ") and len(line) <= 30 for line in lines[1:])
