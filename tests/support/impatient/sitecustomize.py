"""For programs whose disk never works: they give it a few seconds to save, where overwinter and its demo give it ten.

Python imports this before the program, where this folder is on its path (`tests.support.commands.demo_with_files_of`).
"""

from __future__ import annotations

from overwinter.cli.demo import child
from overwinter.persistence.storage import Storage

_defaults = Storage.__init__.__kwdefaults__
assert _defaults is not None
_defaults["flush_timeout"] = 1.0
child._DISK_PATIENCE = 3.0
