"""How this command is called from here."""

from __future__ import annotations

import os
import shlex
import shutil
import sys
from pathlib import Path

__all__ = ["invocation"]

_NAME = "overwinter"


def invocation() -> str:
    """``overwinter``, or the path to it where a shell would not find it, as after ``make demo``."""
    started = Path(sys.argv[0])
    if started.stem != _NAME or shutil.which(_NAME) is not None:
        return _NAME
    try:
        shortest = min(str(started.absolute()), os.path.relpath(started), key=len)
    except ValueError:  # on Windows, from another drive
        shortest = str(started)
    return shlex.quote(shortest)
