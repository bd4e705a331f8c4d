"""The lines of a journal and of a log: one JSON object each, with a sequence and a checksum.

A journal's line, and a log's, which wraps one::

    {"sequence":17,"checksum":"1f2e3d4c","schema_version":1,"record":{...}}
    {"checksum":"5b6a7988","schema_version":1,"folder":"agents/x-0123","incarnation":"...","line":{...}}

They are put together and taken apart as bytes: what is in the record is nobody's business here. Whatever a
later version adds goes into the record or behind the members above, whose order and layout stay for ever, so
that a line of a later version is known for what it is, and not taken for damage.
"""

from __future__ import annotations

import re
from functools import cache, partial
from typing import TYPE_CHECKING
from zlib import crc32

import msgspec

from overwinter.errors import SchemaTooNew

if TYPE_CHECKING:
    from pathlib import Path

__all__ = [
    "JOURNAL_VERSION",
    "JournalLine",
    "LogLine",
    "journal_line",
    "log_line",
    "read_line",
    "read_log_line",
]

JOURNAL_VERSION = 1
"""The version of every journal record written by this overwinter; it reads all up to it."""

_LOG_VERSION = 1

_HEAD = (
    rb'\{"sequence":([1-9][0-9]{0,17}),"checksum":"([0-9a-f]{8})","schema_version":(0|[1-9][0-9]{0,8}),'
    rb'("base":true,)?"record":'
)
_STRING = rb'("[^"\\]*(?:\\.[^"\\]*)*")'
_LOG_HEAD = (
    rb'\{"checksum":"([0-9a-f]{8})","schema_version":([1-9][0-9]{0,8}),"folder":'
    + _STRING
    + rb',"incarnation":'
    + _STRING
    + rb',"line":'
)
# Compiled with the first line that is read; whoever imports overwinter may read none.
_head, _log_head = (cache(partial(re.compile, pattern)) for pattern in (_HEAD, _LOG_HEAD))
_CHECKED_FROM = len(b'{"checksum":"12345678",')


class JournalLine(msgspec.Struct, frozen=True, gc=False):
    """One record of a journal. ``record`` is JSON; with ``base`` it stands alone, whatever came before it."""

    sequence: int
    schema_version: int
    base: bool
    record: bytes


class LogLine(msgspec.Struct, frozen=True, gc=False):
    """One line of a log: a journal's ``line``, as it is to be appended, and the journal it belongs to.

    ``folder`` is relative to the workspace, with ``/``; ``incarnation`` is that of the folder's identity.
    """

    folder: str
    incarnation: str
    sequence: int
    line: bytes


def journal_line(sequence: int, record: bytes, *, base: bool = False) -> bytes:
    """The line of the journal that holds the encoded *record*, with its newline.

    :param record: compact JSON; it is not looked into.
    :param base: the record carries a whole state, and may follow upon any sequence.
    :raises ValueError: the record has a line break in it, or the sequence is less than 1.
    """
    if sequence < 1:
        raise ValueError(f"sequences begin with 1, and this is {sequence}")
    if b"\n" in record:
        raise ValueError("a record of a journal is one line, and this one has a line break in it")
    checksum = crc32(record, crc32(b"%d:%d:%d:" % (sequence, JOURNAL_VERSION, base)))
    return b'{"sequence":%d,"checksum":"%08x","schema_version":%d,%b"record":%b}\n' % (
        sequence,
        checksum,
        JOURNAL_VERSION,
        b'"base":true,' if base else b"",
        record,
    )


def read_line(line: bytes, path: Path | str = "the journal") -> JournalLine | None:
    """What the line of a journal holds, with or without its newline; None when it is not what was written.

    :param path: where it was read, for the error.
    :raises SchemaTooNew: it is sound, and of a later overwinter.
    """
    head = _head().match(line)
    end = len(line) - (2 if line.endswith(b"\n") else 1)
    if head is None or line[end : end + 1] != b"}":
        return None
    sequence, checksum, version, base = head.groups()
    record = line[head.end() : end]
    begun = crc32(b"%b:%b:%d:" % (sequence, version, base is not None))
    if crc32(record, begun) != int(checksum, 16):
        return None
    if int(version) > JOURNAL_VERSION:
        raise SchemaTooNew(path, int(version), JOURNAL_VERSION)
    return JournalLine(int(sequence), int(version), base is not None, record)


def log_line(folder: str, incarnation: str, line: bytes) -> bytes:
    """The line of the log that holds the journal's *line*, with its newline."""
    rest = b'"schema_version":%d,"folder":%b,"incarnation":%b,"line":%b}' % (
        _LOG_VERSION,
        msgspec.json.encode(folder),
        msgspec.json.encode(incarnation),
        line.removesuffix(b"\n"),
    )
    return b'{"checksum":"%08x",%b\n' % (crc32(rest), rest)


def read_log_line(line: bytes, path: Path | str = "the log") -> LogLine | None:
    """What the line of a log holds, with or without its newline; None when it is not what was written.

    :param path: where it was read, for the error.
    :raises SchemaTooNew: it is sound, and it or the line in it is of a later overwinter.
    """
    head = _log_head().match(line)
    end = len(line) - (2 if line.endswith(b"\n") else 1)
    if head is None or line[end : end + 1] != b"}":
        return None
    checksum, version, folder, incarnation = head.groups()
    if crc32(memoryview(line)[_CHECKED_FROM : end + 1]) != int(checksum, 16):
        return None
    if int(version) > _LOG_VERSION:
        raise SchemaTooNew(path, int(version), _LOG_VERSION)
    inner = line[head.end() : end] + b"\n"
    # Its own checksum is covered by the log's: only its head is looked at.
    begun = _head().match(inner)
    if begun is None:
        return None
    if int(begun[3]) > JOURNAL_VERSION:
        raise SchemaTooNew(path, int(begun[3]), JOURNAL_VERSION)
    return LogLine(
        msgspec.json.decode(folder, type=str),
        msgspec.json.decode(incarnation, type=str),
        int(begun[1]),
        inner,
    )
