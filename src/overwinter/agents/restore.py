"""From a state file back to an agent."""

from __future__ import annotations

import itertools
import logging
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from overwinter.agents.records import StateBody
from overwinter.errors import CorruptFileSetAside, CorruptState, SaveError, StateNotFound, WorkspaceError
from overwinter.persistence.atomic import write_once
from overwinter.persistence.document import LoadedDocument, load_document, read_document
from overwinter.persistence.workspace import create_folder

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

    from overwinter.agents.profile import Profile
    from overwinter.agents.state import AgentState
    from overwinter.persistence.files import FileOperations
    from overwinter.persistence.workspace import AgentFolder

__all__ = [
    "Earlier",
    "apply",
    "config_sequence",
    "find_earlier",
    "keep_earlier",
    "problems_of",
    "read_state",
    "warn_of",
]

logger = logging.getLogger("overwinter.agents")


class Earlier(msgspec.Struct):
    """What stands in an agent's folder before a fresh agent begins there, and whether the user was told.

    ``waiting`` counts the tasks that were accepted and never begun.
    """

    path: Path
    status: str
    run_id: str
    task: str
    sequence: int
    waiting: int = 0
    announced: bool = False


def read_state(
    folder: AgentFolder, path: Path | None, *, files: FileOperations, now: datetime
) -> tuple[LoadedDocument, StateBody]:
    """Read the agent's own state file, or the one at *path*. Blocking.

    A damaged file of its own is set aside and its previous generation used; *path* is only read.

    :raises StateNotFound: there is none.
    :raises CorruptState: it is damaged, and so is its previous generation.
    :raises SchemaTooNew: a later overwinter wrote it.
    """
    if path is None or path == folder.state_path:
        loaded = load_document(folder.state_path, folder.previous_path, files=files, now=now)
    else:
        loaded = _read_foreign(path, files)
    try:
        return loaded, msgspec.convert(loaded.body, StateBody)
    except msgspec.ValidationError as error:
        raise CorruptState(
            f"{loaded.path} holds something that no overwinter wrote: {error}. It was left as it is."
        ) from error


def apply(loaded: LoadedDocument, body: StateBody, *, profile: Profile[Any], state: AgentState) -> None:
    """Make *state* what the file says, and report in the log what the constructor's settings override."""
    state.restore(body, loaded.metadata)
    for name, (saved, used) in profile.adopt(body.agent).items():
        logger.warning(
            "agent %r: its saved %s was %r; the constructor's %r is used", profile.name, name, saved, used
        )
    if loaded.metadata.agent_id != profile.agent_id:
        logger.warning(
            "agent %r was loaded from the state of agent %r (%s)",
            profile.name,
            loaded.metadata.agent_name,
            loaded.metadata.agent_id,
        )


def find_earlier(
    folder: AgentFolder, *, files: FileOperations, now: datetime
) -> tuple[Earlier | None, int, tuple[str, ...]]:
    """What stands in *folder*, the highest sequence any of its files carries, and what was damaged. Blocking.

    :raises SchemaTooNew: a later overwinter wrote it; a fresh start would put an older file in its place.
    """
    sequence, damaged = config_sequence(folder, files=files, now=now)
    try:
        loaded, body = read_state(folder, None, files=files, now=now)
    except StateNotFound:
        return None, sequence, damaged
    except CorruptState as error:
        return None, sequence, (*damaged, str(error))
    found = loaded.metadata
    earlier = Earlier(
        path=loaded.path,
        status=found.status,
        run_id=found.run_id,
        task=body.task or (body.accepted[0].task if body.accepted else ""),
        sequence=found.sequence,
        waiting=len(body.accepted),
    )
    return earlier, max(sequence, found.sequence), (*damaged, *problems_of(loaded))


def keep_earlier(folder: AgentFolder, earlier: Earlier, *, files: FileOperations) -> Path:
    """Keep the state that a fresh agent is about to replace as ``history/{sequence}.json``, durably. Blocking.

    :raises WorkspaceError: it cannot be kept; nothing was replaced.
    """
    create_folder(folder.history_dir, files=files)
    try:
        data = files.read_bytes(earlier.path)
        for name in _names(f"{earlier.sequence:06d}"):
            kept = folder.history_dir / f"{name}.json"
            if write_once(kept, [data], files=files) or files.read_bytes(kept) == data:
                return kept
    except (OSError, SaveError) as error:
        raise WorkspaceError(
            f"{earlier.path} cannot be kept in {folder.history_dir}: {error}. It would be lost to a new conversation, "
            "so none was begun; make room, or call load() to go on in the old one."
        ) from error
    raise AssertionError("the names do not end")


def _names(stem: str) -> Iterator[str]:
    yield stem
    for number in itertools.count(2):
        yield f"{stem}-{number}"


def problems_of(loaded: LoadedDocument) -> tuple[str, ...]:
    """What was wrong with each file that was moved away on the way to the good one."""
    return tuple(
        f"{problem} It was set aside as {path}, and {loaded.path.name} is used."
        for path, problem in zip(loaded.set_aside, loaded.problems, strict=True)
    )


def warn_of(problems: tuple[str, ...]) -> None:
    """Issue a warning for each damaged file."""
    for problem in problems:
        warnings.warn(problem, CorruptFileSetAside, stacklevel=2)


def _read_foreign(path: Path, files: FileOperations) -> LoadedDocument:
    try:
        data = files.read_bytes(path)
    except FileNotFoundError:
        raise StateNotFound(f"there is no saved state at {path}") from None
    except OSError as error:
        raise WorkspaceError(f"{path} cannot be read: {error.strerror or error}") from error
    metadata, body = read_document(data, path, checksum_required=True)
    return LoadedDocument(metadata, body, path)


def config_sequence(
    folder: AgentFolder, *, files: FileOperations, now: datetime
) -> tuple[int, tuple[str, ...]]:
    """The sequence of the agent's config.json, 0 without one, and what was wrong with a damaged one. Blocking."""
    try:
        config = load_document(
            folder.config_path, None, files=files, now=now, checksum_required=False, kind="config"
        )
    except StateNotFound:
        return 0, ()
    except CorruptState as error:
        return 0, (str(error),)
    return config.metadata.sequence, ()
