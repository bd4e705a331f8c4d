"""The ledger: what the model answered and what the tools did, told by themselves and by nobody else.

overwinter neither writes nor reads it. It is a file to which each line is appended by one call of the system before the
answer or the result is handed over, so that it survives whatever its writer does not.
"""

from __future__ import annotations

import hashlib
import os
import threading
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Literal

import msgspec
from msgspec import Struct

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from overwinter.agents.models.protocol import Message

__all__ = ["Entry", "Ledger", "digest_of_reply", "digest_of_request", "read_ledger"]

_APPEND = os.O_WRONLY | os.O_APPEND | os.O_CREAT | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
_DIGITS = 16


class Entry(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One line of the ledger.

    ``asked`` and ``answered`` are the model's, with what it was asked and what it replied as digests; ``did`` is a
    tool's, once what it does is done. ``demo`` tells one demo from the next, and ``part`` whether it was before the
    plug was pulled (1) or after (2).
    """

    what: Literal["asked", "answered", "did"]
    agent: str
    request: str = ""
    reply: str = ""
    tool: str = ""
    call: str = ""
    demo: str
    part: int
    pid: int = 0
    at: str = ""


class Ledger:
    """Appends to the file at *path*. What the disk refuses is missing there, and ``error`` says why."""

    def __init__(self, path: Path, demo: str, part: int) -> None:
        self.path = path
        self.error = ""
        self._demo = demo
        self._part = part
        self._lock = threading.Lock()

    def asked(self, agent: str, request: str) -> None:
        """A model was asked."""
        self._append("asked", agent, request=request)

    def answered(self, agent: str, request: str, reply: str) -> None:
        """A model has its answer ready; from here on it would be paid for."""
        self._append("answered", agent, request=request, reply=reply)

    def did(self, agent: str, tool: str, call: str) -> None:
        """A tool has had its effect."""
        self._append("did", agent, tool=tool, call=call)

    def _append(self, what: Literal["asked", "answered", "did"], agent: str, **told: str) -> None:
        at = datetime.now(UTC).isoformat()
        entry = Entry(
            what=what, agent=agent, demo=self._demo, part=self._part, pid=os.getpid(), at=at, **told
        )
        line = msgspec.json.encode(entry) + b"\n"
        with self._lock:
            try:
                fd = os.open(self.path, _APPEND, 0o600)
                try:
                    if os.write(fd, line) < len(line):
                        self.error = "the disk took a part of a line"
                finally:
                    os.close(fd)
            except OSError as error:
                self.error = error.strerror or str(error)


def read_ledger(path: Path, demo: str) -> list[Entry]:
    """The lines of one demo, in their order; what is no line of a ledger is passed over. Blocking."""
    try:
        lines = path.read_bytes().splitlines()
    except OSError:
        return []
    found: list[Entry] = []
    for line in lines:
        try:
            entry = msgspec.json.decode(line, type=Entry)
        except (msgspec.MsgspecError, UnicodeDecodeError):
            continue
        if entry.demo == demo:
            found.append(entry)
    return found


def digest_of_request(messages: Iterable[Message]) -> str:
    """What tells one request from another: all that is said in it, and the calls with their ids."""
    said = [(each.role, each.content, each.tool_call_id, _calls(each)) for each in messages]
    return _digest(msgspec.json.encode(said))


def digest_of_reply(message: Message) -> str:
    """What tells one reply from another: its text, and its calls with their ids."""
    return _digest(msgspec.json.encode((message.content, _calls(message))))


def _calls(message: Message) -> list[tuple[str, str, str]]:
    return [(call.id, call.name, call.arguments) for call in message.tool_calls]


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:_DIGITS]
