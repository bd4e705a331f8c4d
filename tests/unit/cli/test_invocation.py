"""How the command says it can be called."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from overwinter.cli.invocation import invocation

if TYPE_CHECKING:
    import pytest


def test_where_a_shell_finds_it_its_name_is_enough(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    command = tmp_path / "overwinter"
    command.touch(mode=0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(sys, "argv", [str(command)])
    assert invocation() == "overwinter"


def test_elsewhere_it_is_the_path_from_here(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path / "nowhere"))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", [str(tmp_path / ".venv" / "bin" / "overwinter")])
    assert invocation() == str(Path(".venv", "bin", "overwinter"))
    monkeypatch.setattr(sys, "argv", ["-m"])
    assert invocation() == "overwinter"
