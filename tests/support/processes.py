"""Programs that a test starts, talks with over pipes, interrupts and kills; and what they leave on disk.

A program is a function at the top of a test's module. In its own process it says words, which the test expects in
that order, and hears those that the test tells it; nobody sleeps::

    def program(workspace: str) -> None:
        say("ready", os.getpid())
        assert hear() == "go"

    with Child(program, str(tmp_path)) as child:
        pid = child.expect("ready")
        child.tell("go")
        assert child.ended().code == 0
"""

from __future__ import annotations

import json
import os
import queue
import signal
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from overwinter.agents.records import StateBody
from overwinter.agents.restore import fold
from overwinter.agents.state import AgentState
from overwinter.persistence import (
    FILES,
    Metadata,
    is_temporary,
    list_folders,
    read_document,
    replay_dead_runtimes,
)
from overwinter.persistence.journal import read_journal
from overwinter.persistence.workspace import Workspace

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Mapping, Sequence
    from typing import Self

    from overwinter.agents.models.protocol import Message
    from overwinter.persistence import AgentFolder

__all__ = [
    "PATIENCE",
    "Child",
    "Ended",
    "SavedState",
    "as_nobody",
    "assert_nothing_lost",
    "assert_well_formed",
    "hear",
    "memory_folder",
    "read_everything",
    "read_saved",
    "say",
    "temporaries",
]

PROJECT = Path(__file__).resolve().parents[2]
PATIENCE = 90.0
# A program that was started in the background may have inherited that it ignores Ctrl-C.
_RUN = """
import json, signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)
from {module} import {name}
{name}(*json.loads(sys.argv[1]))
"""


class Ended(NamedTuple):
    """How a program ended: ``code`` is negative where a signal ended it."""

    code: int
    stderr: str


class Child:
    """A program in a process of its own; left behind by the test, it is killed.

    :param program: a function at the top of its module; ``arguments`` are JSON.
    :param prefix: a command that runs the rest of its line, such as ``strace ...``.
    """

    def __init__(
        self,
        program: Callable[..., None],
        *arguments: Any,
        prefix: Sequence[str] = (),
        environment: Mapping[str, str] | None = None,
        cwd: Path | None = None,
    ) -> None:
        code = _RUN.format(module=program.__module__, name=program.__name__)
        self.said: list[tuple[str, Any]] = []
        self.process = subprocess.Popen(
            [*prefix, sys.executable, "-X", "faulthandler", "-c", code, json.dumps(arguments)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=cwd,
            env={**_environment(), **(environment or {})},
        )
        self._words: queue.SimpleQueue[tuple[str, Any] | None] = queue.SimpleQueue()
        self._stderr: list[bytes] = []
        self._readers = [
            threading.Thread(target=read, daemon=True) for read in (self._read, self._read_errors)
        ]
        for reader in self._readers:
            reader.start()

    @property
    def pid(self) -> int:
        """The process that was started: the prefix's, if that does not become the program."""
        return self.process.pid

    def expect(self, word: str) -> Any:
        """The value that comes with the next word, which must be this one."""
        heard = self.next_word()
        assert heard is not None, f"the program ended before it said {word!r}:\n{self.ended().stderr}"
        assert heard[0] == word, f"the program said {heard!r} and not {word!r}:\n{self._errors()}"
        return heard[1]

    def next_word(self) -> tuple[str, Any] | None:
        """The next word and its value; None when the program has ended."""
        try:
            heard = self._words.get(timeout=PATIENCE)
        except queue.Empty:
            self.kill()
            self._readers[1].join(PATIENCE)
            raise AssertionError(f"the program said nothing for {PATIENCE:g} s:\n{self._errors()}") from None
        if heard is not None:
            self.said.append(heard)
        return heard

    def words_for(self, seconds: float) -> Generator[tuple[str, Any]]:
        """The words that come within so many seconds, as they come, until the program ends."""
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            try:
                heard = self._words.get(timeout=left)
            except queue.Empty:
                return
            if heard is None:
                self._words.put(None)
                return
            self.said.append(heard)
            yield heard

    def tell(self, word: str) -> None:
        """Say a word to the program, if it is still there to hear it."""
        assert self.process.stdin is not None
        try:
            self.process.stdin.write(word.encode() + b"\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            pass

    def send(self, number: int) -> None:
        """Send it a signal."""
        self.process.send_signal(number)

    def kill(self) -> None:
        """End it at once, as ``kill -9`` does."""
        self.process.kill()

    def ended(self, within: float = PATIENCE) -> Ended:
        """How it ended; it is an error if it has not ``within`` so many seconds."""
        try:
            code = self.process.wait(within)
        except subprocess.TimeoutExpired:
            # What its threads were at is the first thing one wants to know.
            self.process.send_signal(signal.SIGABRT)
            self.process.wait(PATIENCE)
            self._readers[1].join(1.0)
            raise AssertionError(f"the program still ran after {within:g} s:\n{self._errors()}") from None
        self._readers[1].join(1.0)
        return Ended(code, self._errors())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(PATIENCE)
        for reader in self._readers:
            # A child of the program may hold the pipe open; then the thread ends with this process.
            reader.join(1.0)
        assert self.process.stdin is not None
        for pipe, reader in zip((self.process.stdout, self.process.stderr), self._readers, strict=True):
            if pipe is not None and not reader.is_alive():
                pipe.close()
        try:
            self.process.stdin.close()
        except BrokenPipeError:
            pass

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            word, value = json.loads(line)
            self._words.put((word, value))
        self._words.put(None)

    def _read_errors(self) -> None:
        assert self.process.stderr is not None
        self._stderr.extend(self.process.stderr)

    def _errors(self) -> str:
        return b"".join(self._stderr).decode(errors="replace")


def _environment() -> dict[str, str]:
    paths = (str(PROJECT), os.environ.get("PYTHONPATH", ""))
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))}


def say(word: str, value: Any = None) -> None:
    """In the program: say a word to the test, with a JSON value."""
    try:
        os.write(1, json.dumps([word, value]).encode() + b"\n")
    except BrokenPipeError:
        # The test is gone, and nobody else would ever end this program.
        os._exit(1)


def hear() -> str:
    """In the program: wait for the test's next word; an empty one when the test is gone. Blocking."""
    line = bytearray()
    while (byte := os.read(0, 1)) not in (b"", b"\n"):
        line += byte
    return line.decode()


@contextmanager
def memory_folder(otherwise: Path) -> Generator[Path]:
    """A folder in memory where there is such a thing: for tests that save thousands of times on a shared disk."""
    memory = Path("/dev/shm")
    if not os.access(memory, os.W_OK):
        yield otherwise
        return
    with tempfile.TemporaryDirectory(dir=memory, prefix="overwinter-") as folder:
        yield Path(folder)


@lru_cache(maxsize=1)
def as_nobody() -> tuple[str, ...]:
    """The prefix under which a program has no privileges; none where this process has none.

    Where that cannot be had the test is skipped, and says so.
    """
    import pytest

    if sys.platform == "win32" or os.geteuid() != 0:
        return ()
    prefix = ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups")
    try:
        command = [*prefix, sys.executable, "-c", "import overwinter, tests.support.processes"]
        subprocess.run(command, env=_environment(), check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"NOT TESTED as a user without privileges, who cannot run this checkout: {error}")
    return prefix


class SavedState(NamedTuple):
    """What stands on disk of one agent."""

    folder: AgentFolder
    state: StateBody
    metadata: Metadata
    config: Metadata | None

    @property
    def sequence(self) -> int:
        """The highest sequence that a file of it carries."""
        return max(self.metadata.sequence, self.config.sequence if self.config is not None else 0)


def read_saved(folder: AgentFolder) -> SavedState | None:
    """The files of one agent and its journal, read strictly, as they stand; None while there is no state. Blocking.

    A file that is not whole, or whose checksum does not fit, is an error here and is not set aside.
    """
    config = None
    if folder.config_path.exists():
        config, _ = read_document(
            FILES.read_bytes(folder.config_path), folder.config_path, checksum_required=False, kind="config"
        )
    if folder.previous_path.exists():
        read_document(folder.previous_path.read_bytes(), folder.previous_path, checksum_required=True)
    if not folder.state_path.exists():
        return None
    metadata, body = read_document(folder.state_path.read_bytes(), folder.state_path, checksum_required=True)
    state = AgentState()
    state.restore(msgspec.convert(body, StateBody))
    state.sequence = metadata.sequence
    fold(state, read_journal(folder.journal_dir, after=metadata.sequence).lines, folder.journal_dir)
    now = msgspec.structs.replace(state.body(), memory=state.memory.as_dict())
    return SavedState(folder, now, metadata, config)


def read_everything(root: Path) -> dict[str, SavedState]:
    """Every agent of a workspace that has a state, by name; what dead runtimes left in their logs is brought in."""
    replay_dead_runtimes(Workspace(root))
    saved = [read_saved(folder) for folder in list_folders(Workspace(root))]
    return {each.folder.name: each for each in saved if each is not None}


def temporaries(root: Path) -> list[Path]:
    """The temporary files anywhere in a workspace."""
    # Unlike Path.rglob it does not mind a folder that is removed meanwhile.
    return [Path(folder, name) for folder, _, names in os.walk(root) for name in names if is_temporary(name)]


def assert_nothing_lost(before: StateBody, after: StateBody) -> None:
    """What was on disk before is there still: conversation, tool results, and runs are continued, not replaced."""
    for name in ("conversation", "tool_results", "runs"):
        old, new = getattr(before, name), getattr(after, name)
        assert new[: len(old)] == old, (
            f"{name} had {len(old)} entries that are not the beginning of these {len(new)}"
        )
    assert after.usage.calls >= before.usage.calls
    for key, value in before.memory.items():
        assert after.memory.get(key) == value


def assert_well_formed(messages: Sequence[Message]) -> None:
    """Every tool call is answered once, right behind it, before anybody else speaks: what providers insist on."""
    open_calls: list[str] = []
    for message in messages:
        if message.role == "tool":
            assert message.tool_call_id in open_calls, (
                f"{message.tool_call_id!r} is answered and was not asked for"
            )
            open_calls.remove(message.tool_call_id)
        else:
            assert not open_calls, f"the calls {open_calls} have no answer before {message.role!r} speaks"
            open_calls = [call.id for call in message.tool_calls]
    assert not open_calls, f"the calls {open_calls} have no answer when the model is asked"
