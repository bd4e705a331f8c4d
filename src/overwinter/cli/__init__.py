"""The ``overwinter`` command."""

from __future__ import annotations

import sys

__all__ = ["main"]


def main() -> None:
    """Run the command, and end with its exit code.

    Ctrl-C ends it with 130 at any time, also while its parts are still being imported.
    """
    try:
        from overwinter.cli.app import main as run

        run()
    except KeyboardInterrupt:
        sys.exit(130)
