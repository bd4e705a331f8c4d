"""The format of config and state files: a JSON object whose first member is its metadata.

A document is pretty-printed with an indent of 2 and ends with a newline. Its body is what follows the line
that closes the metadata, byte for byte, and it is the body that a checksum covers::

    {
      "_autosave_metadata": {
        "timestamp": "2026-11-23T08:20:00.000000Z",
        ...
        "checksum": "sha256:..."
      },
      "conversation": [
        ...
      ]
    }
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from overwinter.errors import CorruptState, SchemaTooNew, StateNotFound, WorkspaceError
from overwinter.persistence.atomic import set_aside
from overwinter.persistence.codec import encode, pretty
from overwinter.persistence.files import FILES
from overwinter.persistence.migrations import migrate

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from datetime import datetime

    from overwinter.persistence.files import FileOperations

__all__ = [
    "METADATA_KEY",
    "SCHEMA_VERSION",
    "LoadedDocument",
    "Metadata",
    "assemble",
    "load_document",
    "members",
    "read_document",
]

SCHEMA_VERSION = 1
"""The version of every document written by this overwinter; it reads all up to it."""

METADATA_KEY = "_autosave_metadata"

_HEAD = b'{\n  "_autosave_metadata": '
_METADATA_END = re.compile(rb"\n  },?\n")
_PIECE = 1 << 20


class _Versioned(msgspec.Struct):
    schema_version: int


class Metadata(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What every document says about itself: ``_autosave_metadata``.

    ``timestamp`` is ISO 8601 in UTC. ``sequence`` grows with every change. ``checksum`` is for
    :func:`assemble` to set.
    """

    timestamp: str
    loop_count: int
    agent_id: str
    agent_name: str
    run_id: str
    status: str
    sequence: int
    schema_version: int
    overwinter_version: str
    checksum: str | None = None


class LoadedDocument(msgspec.Struct, frozen=True):
    """A document that was read, the file it stood in, and the damaged files that were moved away on the way.

    ``problems`` says what was wrong with each of ``set_aside``, in the same order. ``size`` is in bytes.
    """

    metadata: Metadata
    body: dict[str, Any]
    path: Path
    set_aside: tuple[Path, ...] = ()
    problems: tuple[str, ...] = ()
    size: int = 0


def members(fields: Mapping[str, bytes]) -> list[bytes]:
    """The members of a document, from JSON values in any layout and in this order, for :func:`assemble`."""
    pieces: list[bytes] = []
    for name, value in fields.items():
        pieces += [b",\n  " if pieces else b"  ", encode(name), b": ", pretty(value, 1)]
    if pieces:
        pieces.append(b"\n")
    return pieces


def assemble(metadata: Metadata, members: Sequence[bytes], checksum: bool) -> list[bytes]:
    """The pieces of a whole document, which joined are its bytes.

    :param members: the text of the members that follow the metadata, at an indent of 2, cut anywhere: they
        are concatenated with nothing between them. The last ends with a newline and no comma; without one it
        gets one.
    :param checksum: whether ``metadata.checksum`` is set to the digest of the body; what it held is not used.
    """
    body = [*members]
    if body and not body[-1].endswith(b"\n"):
        body.append(b"\n")
    body.append(b"}\n")
    digest = _digest(body) if checksum else None
    head = pretty(encode(msgspec.structs.replace(metadata, checksum=digest)), 1)
    return [_HEAD, head, b",\n" if len(body) > 1 else b"\n", *body]


def read_document(
    data: bytes, path: Path | str, *, checksum_required: bool, kind: str = "state"
) -> tuple[Metadata, dict[str, Any]]:
    """The metadata and the other members of the document *data*, brought to ``SCHEMA_VERSION`` by migrations.

    A checksum that is there is verified, required or not.

    :param path: where it was read, for the errors.
    :param kind: whose migrations apply: ``state``, ``config``, or another kind they were registered for.
    :raises CorruptState: it is not what was written: cut off, altered, no JSON, without metadata.
    :raises SchemaTooNew: it was written by a later overwinter.
    :raises PersistenceError: it is older, and no migration is registered for its version.
    """
    try:
        document = msgspec.json.decode(data, type=dict[str, Any])
        raw = document[METADATA_KEY]
        version = _version_of(raw)
    except (msgspec.MsgspecError, ValueError, RecursionError, KeyError) as error:
        raise CorruptState(f"{path} is damaged: {_why(error)}.") from error
    if version > SCHEMA_VERSION:
        raise SchemaTooNew(path, version, SCHEMA_VERSION)
    _verify(data, raw.get("checksum"), path, required=checksum_required)
    document = _migrate(document, version, kind, path)
    try:
        metadata = msgspec.convert(document.pop(METADATA_KEY), Metadata)
    except msgspec.ValidationError as error:
        raise CorruptState(f"{path} is damaged: its {METADATA_KEY} says: {error}.") from error
    return metadata, document


def load_document(
    path: Path,
    previous: Path | None,
    *,
    files: FileOperations = FILES,
    now: datetime,
    checksum_required: bool = True,
    kind: str = "state",
) -> LoadedDocument:
    """Read the document at *path*, or, where it is damaged or missing, its previous generation. Blocking.

    A damaged file is renamed to ``*.corrupt-<time>``, and the result says so.

    :raises StateNotFound: there is neither.
    :raises CorruptState: what there is, is damaged, and was set aside.
    :raises SchemaTooNew: it was written by a later overwinter; it stays where it is.
    :raises WorkspaceError: a file cannot be read, or a damaged one not be renamed.
    """
    aside: list[Path] = []
    problems: list[str] = []
    for candidate in (path,) if previous is None else (path, previous):
        data = _read(candidate, files)
        if data is None:
            continue
        try:
            metadata, body = read_document(data, candidate, checksum_required=checksum_required, kind=kind)
        except CorruptState as error:
            problems.append(str(error))
            aside.append(set_aside(candidate, now, files=files))
        else:
            return LoadedDocument(metadata, body, candidate, tuple(aside), tuple(problems), len(data))
    if not aside:
        raise StateNotFound(
            f"there is no saved state at {path}; run the agent with autosave=True, or call save() first"
        )
    moved = ", ".join(str(each) for each in aside)
    raise CorruptState(f"{' '.join(problems)} No good generation is left; set aside as {moved}.")


def _digest(pieces: Iterable[bytes | memoryview]) -> str:
    import hashlib  # dear, and only needed with the first document

    digest = hashlib.sha256()
    for piece in pieces:
        for start in range(0, len(piece), _PIECE):
            digest.update(memoryview(piece)[start : start + _PIECE])
    return f"sha256:{digest.hexdigest()}"


def _version_of(raw: Any) -> int:
    version = msgspec.convert(raw, _Versioned).schema_version
    if version < 0:
        raise ValueError(f"its schema_version is {version}")
    return version


def _why(error: Exception) -> str:
    if isinstance(error, KeyError):
        return f"it has no {METADATA_KEY}"
    if isinstance(error, RecursionError):
        return "it is nested too deeply to be read"
    return f"{error}"


def _verify(data: bytes, checksum: object, path: Path | str, *, required: bool) -> None:
    if checksum is None:
        if required:
            raise CorruptState(f"{path} is damaged: its checksum is missing.")
        return
    end = _METADATA_END.search(data)
    if end is None or not data.startswith(_HEAD) or checksum != _digest([memoryview(data)[end.end() :]]):
        raise CorruptState(f"{path} is damaged or was edited: it does not match its checksum.")


def _migrate(document: dict[str, Any], version: int, kind: str, path: Path | str) -> dict[str, Any]:
    for old in range(version, SCHEMA_VERSION):
        document = migrate(kind, document, old, old + 1, path)
        document[METADATA_KEY]["schema_version"] = old + 1
    return document


def _read(path: Path, files: FileOperations) -> bytes | None:
    try:
        return files.read_bytes(path)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise WorkspaceError(f"{path} cannot be read: {error.strerror or error}.") from error
