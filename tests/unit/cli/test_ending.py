"""What the demo says besides its progress: notices, and what was saved."""

from __future__ import annotations

import io
import logging
import warnings
from typing import TYPE_CHECKING

from rich.console import Console

from overwinter.cli.demo.child import notices_of_the_demo
from overwinter.cli.demo.closing import print_report, print_saved
from overwinter.cli.demo.progress import Progress
from overwinter.cli.demo.views import LinesView
from overwinter.errors import PlatformLimitation, UnfinishedRun
from overwinter.persistence import Workspace

if TYPE_CHECKING:
    from pathlib import Path


def test_warnings_and_the_log_are_calm_lines() -> None:
    """C28: the library's warnings and log have a line each, without a traceback; what was cut off has one for all."""
    out = io.StringIO()
    logger = logging.getLogger("overwinter.persistence")
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        with notices_of_the_demo(LinesView(Console(file=out, width=200)).note):
            warnings.warn("a setting \x1b[31mchanged", PlatformLimitation, stacklevel=1)
            warnings.warn("reader-a has an unfinished run", UnfinishedRun, stacklevel=1)
            warnings.warn("reader-b has an unfinished run", UnfinishedRun, stacklevel=1)
            warnings.warn("somebody else's", UserWarning, stacklevel=1)
            try:
                raise OSError("the disk is full")
            except OSError:
                logger.exception("saving fails")
            logger.info("nobody needs to know")
    assert out.getvalue().splitlines() == [
        r"note: a setting \x1b[31mchanged",
        "note: an earlier demo was cut off here; its agents start anew, and what they had is in history/",
        "note: saving fails",
    ]


def test_what_could_not_be_saved_is_said(tmp_path: Path) -> None:
    """C38: at the end it is said what could not be saved, and why."""
    out = io.StringIO()
    rows = [
        Progress(name="reader-bees", unsaved={"state": "the disk is full"}),
        Progress(name="editor", saves=1),
    ]
    print_saved(Console(file=out, width=200), rows, Workspace(tmp_path), chosen="my place")
    assert out.getvalue().splitlines()[1:] == [
        f"1 agent saved in {tmp_path / 'agents'}",
        "  not everything of reader-bees could be saved: the disk is full",
        "Look with:  overwinter ls --workspace 'my place'",
        "            overwinter show editor --workspace 'my place'",
    ]


def test_a_short_report_is_shown_whole(tmp_path: Path) -> None:
    """C16: of a short report nothing is left out, of a long one that is said."""
    out = io.StringIO()
    print_report(Console(file=out), tmp_path / "r.md", "# One\n\n## Bees\n\nThey keep honey.\n")
    assert out.getvalue().endswith("# One\n\n## Bees\n\nThey keep honey.\n")
    print_report(Console(file=out), tmp_path / "r.md", "# Two\n\n## Bees\n\nText.\n\n## Wax\n\nText.\n")
    assert out.getvalue().endswith("## Bees\n\nText.\n  … 4 more lines\n")
