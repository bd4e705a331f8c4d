"""What the tests of the examples and guides share: programs as processes of their own, in the environment of a user."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import textwrap
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from tests.support.commands import process_of

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence

__all__ = [
    "EXAMPLES",
    "LONGEST",
    "SCRIPTED",
    "environment",
    "is_recorded",
    "programs_in",
    "run_programs",
    "started",
]

EXAMPLES = Path(__file__).parents[2] / "examples"
LONGEST = 180.0
SCRIPTED = {"OVERWINTER_MODEL": "scripted"}


def environment(workspace: Path, *settings: dict[str, str]) -> dict[str, str]:
    """The environment of a user who has set nothing but this."""
    ours = {
        name: value for name, value in os.environ.items() if not name.startswith(("OPENAI_", "OVERWINTER_"))
    }
    ours |= {"NO_PROXY": "127.0.0.1", "PYTHONIOENCODING": "utf-8", "WORKSPACE_DIR": str(workspace)}
    for more in settings:
        ours |= more
    return ours


@contextmanager
def started(
    name: str, env: dict[str, str], *options: str, words: tuple[str, ...] = ()
) -> Generator[subprocess.Popen[str]]:
    """An example as a process, which is gone when the block is."""
    command = [sys.executable, *options, str(EXAMPLES / f"{name}.py"), *words]
    with process_of(command, env) as process:
        yield process


def is_recorded(text: str, workspace: Path) -> bool:
    """Whether a record in a log or a journal has the text; a log's segment may go while it is looked at."""
    for path in workspace.rglob("*.jsonl"):
        with suppress(FileNotFoundError):
            if text in path.read_text("utf-8"):
                return True
    return False


def programs_in(text: str) -> list[str]:
    """The blocks of Python in a page of Markdown."""
    return re.findall(r"^```python\n(.*?)^```", text, re.DOTALL | re.MULTILINE)


def run_programs(programs: Sequence[str], env: dict[str, str], cwd: Path) -> list[str]:
    """What each of the *programs* prints when they are run one after the other in one coroutine, warnings as errors."""
    marker = "=== next ==="
    body = textwrap.indent(f"\nprint({marker!r})\n".join(programs), "    ")
    program = f"import asyncio\n\nasync def main():\n{body}\n\nasyncio.run(main())\n"
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program],
        cwd=cwd,
        env=env,
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=LONGEST,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.split(f"{marker}\n")
