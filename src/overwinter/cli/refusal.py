"""Errors of the command: one clear line on stderr and an exit code, never a traceback."""

from __future__ import annotations

import os
from contextlib import contextmanager
from typing import TYPE_CHECKING

import typer

from overwinter.cli.rendering import complain
from overwinter.errors import OverwinterError, WorkspaceError

if TYPE_CHECKING:
    from collections.abc import Generator

__all__ = ["BAD_INPUT", "FAILED", "INTERRUPTED", "Refusal", "os_reason", "told_plainly"]

FAILED = 1
BAD_INPUT = 2
INTERRUPTED = 130


class Refusal(Exception):
    """The command cannot do what it was asked for; each line says why, and the program ends with ``code``."""

    def __init__(self, *lines: str, code: int = BAD_INPUT) -> None:
        super().__init__("\n".join(lines))
        self.lines = lines
        self.code = code


@contextmanager
def told_plainly() -> Generator[None]:
    """Turn what a person can do something about into a line and an exit code; all else is a bug and raised."""
    try:
        yield
    except Refusal as refusal:
        for line in refusal.lines:
            complain(line)
        raise typer.Exit(refusal.code) from None
    except WorkspaceError as error:
        complain(str(error))
        raise typer.Exit(BAD_INPUT) from None
    except OverwinterError as error:
        complain(str(error))
        raise typer.Exit(FAILED) from None
    except KeyboardInterrupt:
        raise typer.Exit(INTERRUPTED) from None


def os_reason(error: OSError) -> str:
    """Why the system refused, in lower case and without a path."""
    reason = error.strerror or (os.strerror(error.errno) if error.errno else str(error))
    return reason[:1].lower() + reason[1:]
