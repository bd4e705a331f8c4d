"""How the command begins."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest

from overwinter.cli import main

if TYPE_CHECKING:
    from collections.abc import Sequence
    from importlib.machinery import ModuleSpec
    from types import ModuleType


class _CtrlC:
    """Finds modules as Ctrl-C would let it: not at all."""

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if name == "overwinter.cli.app":
            raise KeyboardInterrupt
        return None


def test_ctrl_c_while_it_is_imported_is_no_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    """Y55: Ctrl-C while the parts of the command are being imported ends it with 130, and without a traceback."""
    monkeypatch.delitem(sys.modules, "overwinter.cli.app", raising=False)
    monkeypatch.setattr(sys, "meta_path", [_CtrlC(), *sys.meta_path])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 130
