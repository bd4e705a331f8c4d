"""The table of those who are at work: what each of them does, and what that took so far."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct
from rich.text import Text

from overwinter.cli.rendering import money, number, styled_status, visible
from overwinter.cli.tables import table_lines

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["Row", "board_lines"]

_WANTED = 24
# What a narrow terminal can do without, the least first.
_DISPENSABLE = ("saves", "mailbox", "cost", "doing", "tokens")
_AT_WORK = ("running", "storage", "retrying")


class Row(Struct, kw_only=True):
    """One agent or swarm; None stands for what is not known.

    :ivar lead: what stands before its name: the lines of the tree.
    :ivar doing: what it is at, in a few words.
    :ivar cost: US dollars; None also where a price is unknown.
    """

    name: str
    lead: str = ""
    is_swarm: bool = False
    pattern: str = ""
    status: str = "idle"
    doing: str = ""
    steps: int | None = None
    tokens: int | None = None
    cost: float | None = None
    mailbox: int | None = None
    saves: int | None = None


def board_lines(
    rows: Sequence[Row], width: int, height: int, *, columns: Sequence[str] = (">mailbox", ">saves")
) -> list[Text]:
    """The table, in no more lines than *height*: where there are more rows, those at work come first.

    :param columns: further columns, of ``>mailbox`` and ``>saves``.
    """
    shown = _most_telling(rows, max(1, height - 2))
    headings = ("name", "status", "doing", ">steps", ">tokens", ">cost", *columns)
    lines = table_lines(
        headings,
        [_cells(row, columns) for row in shown],
        width,
        gives_way="name",
        dispensable=[name for name in _DISPENSABLE if name in {each.removeprefix(">") for each in headings}],
        wanted=_WANTED,
    )
    if len(shown) < len(rows):
        at_rest = _finished(rows) - _finished(shown)
        told = f"and {number(len(rows) - len(shown))} more, {number(at_rest)} of them finished"
        lines.append(Text(told, "dim"))
    return lines


def _finished(rows: Sequence[Row]) -> int:
    return sum(row.status == "finished" for row in rows)


def _most_telling(rows: Sequence[Row], most: int) -> list[Row]:
    """As many as there is room for, in their order: swarms of their own, then those at work, then the others."""
    if len(rows) <= most + 1:
        return list(rows)

    def rank(row: Row) -> int:
        if row.is_swarm and not row.lead:
            return 0
        return 1 if row.status in _AT_WORK else 2 if row.status != "finished" else 3

    chosen = sorted(range(len(rows)), key=lambda at: (rank(rows[at]), at))[:most]
    return [rows[at] for at in sorted(chosen)]


def _cells(row: Row, columns: Sequence[str]) -> tuple[str | Text, ...]:
    name = Text.assemble((row.lead, "dim"), (visible(row.name, lines=False), "bold" if row.is_swarm else ""))
    if row.pattern:
        name.append(f"  {visible(row.pattern, lines=False)}", "dim")
    doing = Text(visible(row.doing, lines=False))
    doing.truncate(30, overflow="ellipsis")
    further = {">mailbox": row.mailbox, ">saves": row.saves}
    return (
        name,
        styled_status(row.status),
        doing,
        _count(row.steps),
        _count(row.tokens),
        "-" if row.tokens is None else money(row.cost),
        *(_count(further[column]) for column in columns),
    )


def _count(value: int | None) -> str:
    return "-" if value is None else number(value)
