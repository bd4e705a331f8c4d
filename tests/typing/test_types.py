"""mypy and pyright accept what users write, and see what is wrong with what they should not write."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
LONGEST = 300.0


@pytest.mark.parametrize(
    "command", [["mypy"], ["pyright", "--pythonpath", sys.executable]], ids=["mypy", "pyright"]
)
def test_the_types_that_users_see_are_those_that_are_meant(command: list[str]) -> None:
    """The files beside this one hold ``assert_type`` and, on each line that must be refused, an expected error.

    Both checkers are strict here (see pyproject.toml), and complain of an expected error that does not come.
    """
    cases = sorted(path for path in HERE.glob("*.py") if not path.name.startswith("test_"))
    assert len(cases) >= 3
    checked = subprocess.run(
        [sys.executable, "-m", *command, *cases],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=LONGEST,
        check=False,
    )
    assert checked.returncode == 0, checked.stdout + checked.stderr


@pytest.mark.parametrize(
    "wrong",
    [
        "counter.tell_nowait('text')",
        "reveal: int = agent.run_sync('task').output",
        "agent.run()",
    ],
)
def test_without_an_expected_error_mypy_does_complain(wrong: str, tmp_path: Path) -> None:
    """So that the test above is known to see anything at all."""
    program = (
        "from overwinter import ActorRef, Agent\n"
        "def check(counter: ActorRef[int], agent: Agent[str]) -> None:\n"
        f"    {wrong}\n"
    )
    (tmp_path / "wrong.py").write_text(program, "utf-8")
    checked = subprocess.run(
        [sys.executable, "-m", "mypy", tmp_path / "wrong.py"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=LONGEST,
        check=False,
    )
    assert checked.returncode == 1, checked.stdout + checked.stderr
    assert "wrong.py:3: error" in checked.stdout
