"""The swarm's process, seen from the command that starts it and kills it."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

import msgspec

from overwinter.cli.demo.wire import decode_message

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

    from overwinter.cli.demo.wire import Message, Setup

__all__ = ["Stopping", "SwarmProcess", "signals_stop"]

# With this process's path, and without the folder in which it happens to be: what lies there is not ours to import.
_CODE = "import json, sys; sys.path[:] = json.loads(sys.argv[1]); from overwinter.cli.demo.child import main; main()"


class SwarmProcess:
    """A process in which the swarm works; Ctrl-C on the terminal does not reach it, :meth:`stop` does."""

    def __init__(self, setup: Setup) -> None:
        own_group: dict[str, Any] = (
            {"creationflags": getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0)}
            if sys.platform == "win32"
            else {"process_group": 0}
        )
        self._process = subprocess.Popen(
            [
                sys.executable,
                "-P",
                *(["-B"] if sys.dont_write_bytecode else []),
                "-c",
                _CODE,
                json.dumps(sys.path),
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            **own_group,
        )
        assert self._process.stdin is not None
        with suppress(OSError):  # it has died already, and its end is told by what it does not say
            self._process.stdin.write(msgspec.json.encode(setup) + b"\n")
            self._process.stdin.flush()

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    def messages(self) -> Iterator[Message]:
        """What it tells, until it has ended. Blocking."""
        assert self._process.stdout is not None
        for line in self._process.stdout:
            message = decode_message(line)
            if message is not None:
                yield message

    def stop(self) -> None:
        """Have it save and end."""
        assert self._process.stdin is not None
        with suppress(OSError):
            self._process.stdin.close()

    def kill(self) -> None:
        """Pull the plug: SIGKILL, or what comes nearest to it where there are no signals."""
        self._process.kill()
        self._process.wait()

    def wait(self) -> int:
        """Return its exit code when it has ended. Blocking."""
        return self._process.wait()

    def close(self) -> None:
        """See that it is gone, whatever happened."""
        self.stop()
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()
        if self._process.stdout is not None:
            self._process.stdout.close()


class Stopping:
    """Which signal told the command to stop, and the process that is told of it."""

    def __init__(self) -> None:
        self.received: int | None = None
        self.process: SwarmProcess | None = None

    def stop(self, received: int) -> None:
        """Remember the signal and pass it on."""
        self.received = received
        if self.process is not None:
            self.process.stop()


@contextmanager
def signals_stop() -> Generator[Stopping]:
    """Within the block Ctrl-C and SIGTERM are told to the swarm; the second ends the command at once."""
    stopping = Stopping()
    if threading.current_thread() is not threading.main_thread():
        yield stopping
        return
    before: dict[int, Any] = {}

    def handle(received: int, _frame: object) -> None:
        for number in before:
            signal.signal(number, signal.SIG_DFL)
        stopping.stop(received)

    for number in (signal.SIGINT, signal.SIGTERM):
        # One that is ignored, as Ctrl-C is for a job in the background, stays so.
        if signal.getsignal(number) is not signal.SIG_IGN:
            before[int(number)] = signal.signal(number, handle)
    try:
        yield stopping
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)
