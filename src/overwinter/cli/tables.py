"""Tables and indented text that fit the console, without spaces at the ends of lines."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.text import Text

from overwinter.cli.rendering import visible

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from rich.console import Console

__all__ = ["print_indented", "print_pairs", "print_table", "table_lines"]

_GAP = 2
_NARROWEST = 8


def print_table(
    to: Console,
    headings: Sequence[str],
    rows: Sequence[Sequence[str | Text]],
    *,
    gives_way: str,
    indent: int = 0,
) -> None:
    """Print *rows* under *headings*; a heading that begins with ``>`` stands over numbers, which are set to the right.

    :param gives_way: the heading of the column that is cut where the console is too narrow; no other is.
    """
    for line in table_lines(headings, rows, to.width, gives_way=gives_way, indent=indent):
        to.print(line, soft_wrap=True)


def table_lines(
    headings: Sequence[str],
    rows: Sequence[Sequence[str | Text]],
    width: int,
    *,
    gives_way: str,
    indent: int = 0,
    dispensable: Sequence[str] = (),
    wanted: int = 0,
) -> list[Text]:
    """The lines of a table, see :func:`print_table`.

    :param dispensable: headings of columns that are left out, the first first, while *gives_way* has no *wanted* room.
    """
    kept = list(range(len(headings)))
    names = [heading.removeprefix(">") for heading in headings]
    cells = [[cell if isinstance(cell, Text) else Text(cell) for cell in row] for row in rows]
    widths = [max(len(name), *(row[at].cell_len for row in cells), 0) for at, name in enumerate(names)]
    flexible = names.index(gives_way)
    full = widths[flexible]

    def room() -> int:
        taken = sum(widths[at] for at in kept if at != flexible)
        return width - indent - taken - _GAP * (len(kept) - 1)

    for name in dispensable:
        if room() >= min(wanted, full):
            break
        kept.remove(names.index(name))
    widths[flexible] = max(_NARROWEST, min(full, room()))
    lines: list[Text] = []
    for row in ([Text(name, "bold") for name in names], *cells):
        line = Text(" " * indent)
        for place, at in enumerate(kept):
            cell = row[at]
            line.append(" " * (_GAP if place else 0))
            cell.truncate(widths[at], overflow="ellipsis")
            space = " " * (widths[at] - cell.cell_len)
            line.append_text(Text(space) + cell if headings[at].startswith(">") else cell + Text(space))
        line.rstrip()
        lines.append(line)
    return lines


def print_pairs(to: Console, pairs: Iterable[tuple[str, str]], *, indent: int = 2) -> None:
    """Names on the left, and what they stand for, wrapped, on the right."""
    shown = [(visible(name, lines=False), visible(value, lines=False)) for name, value in pairs]
    width = indent + _GAP + max((len(name) for name, _ in shown), default=0)
    for name, value in shown:
        print_indented(to, Text(value), indent=width, head=Text.assemble(" " * indent, (name, "dim")))


def print_indented(to: Console, text: Text, *, indent: int, head: Text | None = None) -> None:
    """*text*, wrapped within an indent; *head* stands in the indent of the first line."""
    lines = text.wrap(to, max(20, to.width - indent), overflow="fold") or [Text("")]
    for number, line in enumerate(lines):
        lead = head.copy() if head is not None and number == 0 else Text("")
        lead.append(" " * (indent - lead.cell_len))
        whole = lead + line
        whole.rstrip()
        to.print(whole, soft_wrap=True)
