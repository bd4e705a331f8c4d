"""Tables and indented text that fit the console, without spaces at the ends of lines."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.text import Text

from overwinter.cli.rendering import visible

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from rich.console import Console

__all__ = ["print_indented", "print_pairs", "print_table"]

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
    names = [heading.removeprefix(">") for heading in headings]
    cells = [[cell if isinstance(cell, Text) else Text(cell) for cell in row] for row in rows]
    widths = [max(len(name), *(row[at].cell_len for row in cells), 0) for at, name in enumerate(names)]
    flexible = names.index(gives_way)
    taken = indent + sum(widths) - widths[flexible] + _GAP * (len(names) - 1)
    widths[flexible] = max(_NARROWEST, min(widths[flexible], to.width - taken))
    for row in ([Text(name, "bold") for name in names], *cells):
        line = Text(" " * indent)
        for at, (cell, width) in enumerate(zip(row, widths, strict=True)):
            line.append(" " * (_GAP if at else 0))
            cell.truncate(width, overflow="ellipsis")
            space = " " * (width - cell.cell_len)
            line.append_text(Text(space) + cell if headings[at].startswith(">") else cell + Text(space))
        line.rstrip()
        to.print(line, soft_wrap=True)


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
