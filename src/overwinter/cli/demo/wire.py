"""What the command and the swarm's process tell each other: lines of JSON through two pipes."""

from __future__ import annotations

import os
import queue
import threading

import msgspec
from msgspec import Struct

from overwinter.cli.demo.progress import Progress

__all__ = [
    "AtThePlug",
    "Ended",
    "Failure",
    "Message",
    "Moved",
    "Note",
    "Refused",
    "Sender",
    "Setup",
    "decode_message",
]


class Setup(Struct, frozen=True, kw_only=True):
    """The first line that the swarm's process reads.

    ``documents`` are names and texts, ``demo`` is the id of the demo and of its runs, ``part`` is 1 before the plug is
    pulled and 2 after it, and ``plug`` tells whether it will be. ``thinking`` is how many seconds the offline model
    takes.
    """

    documents: list[tuple[str, str]]
    model: str
    workspace: str
    ledger: str
    demo: str
    part: int
    plug: bool
    concurrency: int
    thinking: float


class Moved(Struct, frozen=True, tag="moved"):
    """Something happened to an agent; ``event`` is its kind."""

    progress: Progress
    event: str = ""


class Note(Struct, frozen=True, tag="note"):
    """Something to be said that concerns nobody's progress."""

    text: str


class AtThePlug(Struct, frozen=True, tag="at_the_plug"):
    """A tool has had its effect and hangs: the process may be killed now."""

    agent: str
    tool: str
    call: str


class Failure(Struct, frozen=True, tag="failure"):
    """An agent failed; ``model`` tells whether its model could not be asked."""

    agent: str
    error: str
    model: bool = False


class Refused(Struct, frozen=True, tag="refused"):
    """Nothing can be done, and the command ends with ``code``."""

    error: str
    code: int


class Ended(Struct, frozen=True, tag="ended"):
    """The swarm has ended: what it wrote stands at ``report_path``, or nothing when somebody failed."""

    report_path: str = ""
    ledger_error: str = ""
    interrupted: bool = False


Message = Moved | Note | AtThePlug | Failure | Refused | Ended

_decoder: msgspec.json.Decoder[Message] = msgspec.json.Decoder(Message)


def decode_message(line: bytes) -> Message | None:
    """The message in *line*, or ``None`` where there is none, as in what a library prints."""
    try:
        return _decoder.decode(line)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return None


class Sender:
    """Sends messages from a thread, so that whoever reads slowly does not hold up the swarm."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._waiting: queue.SimpleQueue[Message | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._send, name="overwinter-demo", daemon=True)
        self._thread.start()

    def send(self, message: Message) -> None:
        """Send it behind those before it; nothing happens when nobody reads any more."""
        self._waiting.put(message)

    def close(self) -> None:
        """Return when everything is sent. Blocking."""
        self._waiting.put(None)
        self._thread.join()

    def _send(self) -> None:
        while (message := self._waiting.get()) is not None:
            rest = memoryview(msgspec.json.encode(message) + b"\n")
            try:
                while rest:
                    rest = rest[os.write(self._fd, rest) :]
            except OSError:
                return
