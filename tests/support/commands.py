"""What the tests of the command share: running it, and workspaces to run it on."""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from typer.testing import CliRunner

from overwinter import Agent, Runtime
from overwinter.cli.app import app
from overwinter.testing import ScriptedModel

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from typer.testing import Result

__all__ = [
    "COMMAND",
    "PATIENCE",
    "agent_of",
    "environment",
    "everything_in",
    "folder_of",
    "look",
    "run",
    "run_once",
    "started",
]

COMMAND = [sys.executable, "-m", "overwinter.cli"]
PATIENCE = 120.0


def environment(home: Path, extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """That of a person who has set up nothing: an empty home, no keys."""
    kept = {name: os.environ[name] for name in ("PATH", "SYSTEMROOT", "TMPDIR") if name in os.environ}
    return {**kept, "HOME": str(home), "COLUMNS": "80", "PYTHONIOENCODING": "utf-8", **(extra or {})}


def run(cwd: Path, *arguments: str, env: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*COMMAND, *arguments],
        cwd=cwd,
        env=environment(cwd, env),
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=PATIENCE,
        check=False,
    )


@contextmanager
def started(
    cwd: Path, *arguments: str, env: Mapping[str, str] | None = None
) -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen(
        [*COMMAND, *arguments],
        cwd=cwd,
        env=environment(cwd, {"PYTHONUNBUFFERED": "1", **(env or {})}),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        encoding="utf-8",
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def look(*arguments: str, code: int = 0) -> Result:
    """Run the command; an unexpected exception is raised, not swallowed."""
    result = CliRunner().invoke(app, list(arguments), env={"COLUMNS": "80"})
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == code, result.output
    return result


def agent_of(name: str, *replies: Any, **settings: Any) -> Agent[str]:
    return Agent(name, model=ScriptedModel(list(replies) or ["Done."]), autosave=True, **settings)


async def run_once(workspace_dir: Path, *agents: Agent[str], task: str = "Do it.") -> None:
    async with Runtime(workspace_dir) as runtime:
        for agent in agents:
            await runtime.spawn(agent)
            await agent.run(task)


def folder_of(workspace: Path, name: str) -> Path:
    (found,) = (workspace / "agents").glob(f"{name}-????????????")
    return found


def everything_in(workspace: Path) -> dict[str, tuple[bytes, int, int]]:
    """Content, mode and time of every file, for comparison."""
    return {
        str(path): (
            path.read_bytes() if path.is_file() else b"",
            path.stat().st_mode,
            path.stat().st_mtime_ns,
        )
        for path in workspace.rglob("*")
    }
