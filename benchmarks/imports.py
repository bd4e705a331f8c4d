"""What ``import overwinter`` takes beyond ``import asyncio``, and what it brings along, each in a new interpreter.

The interpreter imports asyncio first and then overwinter, and says how long each took. The names of overwinter are
imported with their first use, so what a program pays that uses ``Agent`` and ``Runtime`` stands beside it. Runs before
the first measurement have put the files in the system's cache.
"""

from __future__ import annotations

import subprocess
import sys
from statistics import median
from typing import TYPE_CHECKING

from benchmarks.contest import Contest, Goal, Row, Size

if TYPE_CHECKING:
    from benchmarks.contest import Figures

__all__ = ["CONTESTS"]

_CODE = """
import os, time
clock = time.process_time if os.environ.get("OVERWINTER_BENCH_CPU") else time.perf_counter
began = clock()
import asyncio
middle = clock()
import overwinter
{use}
print(middle - began, clock() - middle)
import sys
print(*(name for name in ("litellm", "typer", "rich", "aiohttp") if name in sys.modules))
"""
_USES = {
    "import": "",
    "agent": "overwinter.Agent, overwinter.Runtime",
    "all": "[getattr(overwinter, name) for name in overwinter.__all__]",
}


def _run(use: str) -> tuple[float, float, int]:
    """Milliseconds for asyncio and for overwinter, and how many large libraries came with it."""
    code = _CODE.format(use=use)
    told = subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, check=True).stdout.decode()
    times, _, names = told.partition("\n")
    base, ours = map(float, times.split())
    return base * 1000, ours * 1000, len(names.split())


def _import(size: Size) -> Figures:
    figures: dict[str, float] = {}
    for name, use in _USES.items():
        runs = [_run(use) for _ in range(size.of(7, 1))]
        figures["asyncio"] = median(base for base, _, _ in runs)
        figures[name] = median(ours for _, ours, _ in runs)
        figures[f"{name} brings"] = runs[-1][2]
    return figures


CONTESTS = (
    Contest(
        "import",
        {"overwinter": _import},
        (
            Row(
                "import",
                "import overwinter, beyond import asyncio",
                "import",
                "ms",
                against="overwinter",
                against_figure="asyncio",
                beside="import asyncio",
                goals=(Goal("value", 60, "most"),),
            ),
            Row("import-agent", "the same, with Agent and Runtime used", "agent", "ms"),
            Row("import-all", "the same, with every public name used", "all", "ms"),
            Row(
                "import-brings",
                "of litellm, typer, rich and aiohttp, imported by it",
                "import brings",
                "",
                goals=(Goal("value", 0, "most"),),
            ),
        ),
    ),
)
