"""The results as a table for people and as JSON for programs."""

from __future__ import annotations

import os
import platform
import time
from typing import TYPE_CHECKING, Any

from rich.table import Table

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchmarks.contest import Goal
    from benchmarks.harness import Result

__all__ = ["as_data", "as_table", "circumstances", "number"]


def number(value: float | None, unit: str = "") -> str:
    """*value* with three digits that say something, and its unit."""
    if value is None:
        return "-"
    digits = 0 if abs(value) >= 100 else 1 if abs(value) >= 10 else 2
    return f"{value:,.{digits}f} {unit}".strip()


def goal_text(goal: Goal, unit: str) -> str:
    """Say what a goal asks for."""
    sign = "≥" if goal.at == "least" else "≤"
    return f"{sign} {goal.bound:.3g} x" if goal.of == "ratio" else f"{sign} {goal.bound:,.10g} {unit}"


def as_table(results: Sequence[Result], title: str) -> Table:
    """One line a row: what, overwinter's figure, the baseline's, the ratio, the goal, and whether it is reached."""
    table = Table(title=title, title_justify="left")
    for heading in ("", "overwinter", "baseline", "ratio", "goal", "reached"):
        table.add_column(heading, justify="left" if heading in ("", "reached") else "right")
    for one in results:
        row = one.row
        beside = f"{number(one.baseline, row.unit)}\n{row.beside or row.against}" if row.against else ""
        table.add_row(
            row.what,
            number(one.value, row.unit),
            beside,
            "" if one.ratio is None else f"{one.ratio:.2f} x",
            "\n".join(goal_text(goal, row.unit) for goal in row.goals),
            {True: "[green]yes[/]", False: "[red]no[/]", None: one.why}[one.reached],
        )
    return table


def circumstances() -> dict[str, Any]:
    """What the figures depend on: when, the machine, and how busy it is besides."""
    return {
        "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "cores": os.cpu_count(),
        "load": round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None,
    }


def as_data(results: Sequence[Result], before: dict[str, Any], seconds: float) -> dict[str, Any]:
    """The same as plain data; figures are in the rows' units, and unrounded."""
    return {
        "circumstances": before | {"seconds": round(seconds, 1), "load_after": circumstances()["load"]},
        "rows": [
            {
                "key": one.row.key,
                "what": one.row.what,
                "of": one.row.of,
                "unit": one.row.unit,
                "value": one.value,
                "against": one.row.beside or one.row.against or None,
                "baseline": one.baseline,
                "ratio": one.ratio,
                "goals": [{"of": goal.of, "at": goal.at, "bound": goal.bound} for goal in one.row.goals],
                "reached": one.reached,
                "turns": one.turns,
                "why": one.why,
            }
            for one in results
        ],
    }
