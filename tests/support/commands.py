"""What the tests of the command share: running it, and workspaces to run it on."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import threading
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from typer.testing import CliRunner

from overwinter import Agent, Runtime
from overwinter.cli.app import app
from overwinter.cli.demo.texts import shipped_documents
from overwinter.testing import ScriptedModel

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from tests.support.openai_server import OpenAIServer
    from typer.testing import Result

__all__ = [
    "COMMAND",
    "PATIENCE",
    "agent_of",
    "demo_with_files_of",
    "directly",
    "environment",
    "everything_in",
    "folder_of",
    "long_documents",
    "look",
    "on_a_terminal",
    "process_of",
    "run",
    "run_once",
    "started",
]

COMMAND = [sys.executable, "-m", "overwinter.cli"]
PATIENCE = 120.0
DIRECT = Path(__file__).parent / "direct"


def environment(home: Path, extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """That of a person who has set up nothing: an empty home, no keys."""
    kept = {name: os.environ[name] for name in ("PATH", "SYSTEMROOT", "TMPDIR") if name in os.environ}
    return {**kept, "HOME": str(home), "COLUMNS": "80", "PYTHONIOENCODING": "utf-8", **(extra or {})}


def directly(server: OpenAIServer) -> dict[str, str]:
    """What leads a program to the server, past litellm."""
    return {**server.environment(), "PYTHONPATH": str(DIRECT)}


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
    settings = environment(cwd, {"PYTHONUNBUFFERED": "1", **(env or {})})
    with process_of([*COMMAND, *arguments], settings, cwd) as process:
        yield process


@contextmanager
def process_of(
    command: Sequence[str], env: Mapping[str, str], cwd: Path | None = None
) -> Iterator[subprocess.Popen[str]]:
    """A command as a process whose output is text, and which is gone when the block is."""
    with subprocess.Popen(
        command,
        cwd=cwd,
        env=env,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        encoding="utf-8",
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def on_a_terminal(
    cwd: Path, *arguments: str, env: Mapping[str, str] | None = None, until: str = ""
) -> tuple[int, str]:
    """Run the command on a terminal of its own, of 80 columns; the exit code, and all that it printed.

    :param until: once that is shown, Ctrl-C is pressed.
    """
    import fcntl
    import pty
    import struct
    import termios

    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 80, 0, 0))
    settings = environment(cwd, {"TERM": "xterm-256color", **(env or {})})
    del settings["COLUMNS"]
    shown = bytearray()
    with subprocess.Popen(
        [*COMMAND, *arguments], cwd=cwd, env=settings, stdin=theirs, stdout=theirs, stderr=theirs
    ) as process:
        os.close(theirs)
        ended = threading.Timer(PATIENCE, process.kill)
        ended.start()
        while select.select([ours], [], [], PATIENCE)[0]:
            try:
                piece = os.read(ours, 1 << 16)
            except OSError:  # how Linux says that the other side is closed
                break
            if not piece:
                break
            shown += piece
            if until and until.encode() in shown:
                until = ""
                process.send_signal(signal.SIGINT)
        ended.cancel()
    os.close(ours)
    return process.returncode, shown.decode("utf-8", "replace")


def long_documents(cwd: Path) -> list[str]:
    """Write documents that keep a demo at work for many seconds, and return their names."""
    text = "\n\n".join(document.text for document in shipped_documents()) * 40
    names = [f"{number}.md" for number in range(8)]
    for name in names:
        (cwd / name).write_text(text, encoding="utf-8")
    return names


def demo_with_files_of(most_bytes: int, cwd: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """``overwinter demo bees.txt``, where the system lets no file grow beyond so many bytes."""
    (cwd / "bees.txt").write_text("Bees keep honey in the winter. " * 300)
    code = (
        f"import resource, sys; resource.setrlimit(resource.RLIMIT_FSIZE, ({most_bytes}, {most_bytes}))\n"
        "from overwinter.cli import main\n"
        f"sys.argv = {['overwinter', 'demo', 'bees.txt', *options]!r}; main()\n"
    )
    return subprocess.run(
        [sys.executable, "-B", "-c", code],
        cwd=cwd,
        env=environment(cwd, {"PYTHONPATH": str(DIRECT.with_name("impatient"))}),
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )


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
