"""From an agent's files back to what it knew."""

from __future__ import annotations

import logging
import warnings
from typing import TYPE_CHECKING, Any

import msgspec

from overwinter.agents.base import base_path, state_of
from overwinter.agents.documents import EncodedLists
from overwinter.agents.journal_records import decode_record
from overwinter.agents.records import StateBody
from overwinter.agents.state import AgentState
from overwinter.errors import CorruptFileSetAside, CorruptState, StateNotFound, WorkspaceError
from overwinter.persistence.document import LoadedDocument, load_document, read_document
from overwinter.persistence.journal import read_journal

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime
    from pathlib import Path

    from overwinter.agents.profile import Profile
    from overwinter.persistence import Metadata
    from overwinter.persistence.files import FileOperations
    from overwinter.persistence.lines import JournalLine
    from overwinter.persistence.workspace import AgentFolder

__all__ = ["Restored", "convert_body", "fold", "read_agent", "read_file", "report", "warn_of"]

logger = logging.getLogger("overwinter.agents")


class Restored:
    """An agent as its files say it is.

    :ivar state: what it knew, with the sequence of the last record that is in it.
    :ivar document: the document it was built on, or None where the journal alone told everything.
    :ivar tail: the bytes of the records that were folded on top of the document.
    :ivar problems: what was wrong with files on the way, a sentence each.
    :ivar lists: what was encoded of the state already.
    :ivar encoded: whether that is all of it.
    """

    def __init__(
        self,
        state: AgentState,
        document: LoadedDocument | None,
        tail: int,
        problems: tuple[str, ...],
        settings: dict[str, Any] | None = None,
    ) -> None:
        self.state = state
        self.document = document
        self.tail = tail
        self.problems = problems
        self.lists = EncodedLists()
        self.encoded = False
        self._settings = settings or {}

    @property
    def metadata(self) -> Metadata | None:
        """What the document says of itself."""
        return None if self.document is None else self.document.metadata

    @property
    def settings(self) -> dict[str, Any]:
        """The configuration that was saved with the state."""
        if self.document is None:
            return self._settings
        settings: dict[str, Any] = self.document.body.get("agent", {})
        return settings

    def encode(self) -> None:
        """Encode the lists now, in the thread that read them, and not at the next save on the event loop."""
        state = self.state
        self.lists.update(state, checked=True)
        self.encoded = True


def read_agent(folder: AgentFolder, *, files: FileOperations, now: datetime) -> Restored:
    """What the agent's own files say: the state file, and the records of the journal beyond it. Blocking.

    A damaged state file is set aside, and its previous generation or, failing that, the journal from its beginning (or
    from the state that retention left there) takes its place. A run that was under way is interrupted.

    :raises StateNotFound: there is nothing.
    :raises CorruptState: what there is, is damaged, and cannot be made up for.
    :raises SchemaTooNew: a later overwinter wrote it.
    """
    state = AgentState()
    document: LoadedDocument | None = None
    missing: StateNotFound | CorruptState | None = None
    try:
        document = load_document(folder.state_path, folder.previous_path, files=files, now=now)
    except (StateNotFound, CorruptState) as error:
        missing = error
        base = state_of(base_path(folder), files=files)
        state = state if base is None else base
    else:
        state.restore(convert_body(document))
        state.sequence = document.metadata.sequence
        # The rest stands in the state now; kept twice, a thousand agents are dear to the garbage collector.
        document = msgspec.structs.replace(document, body={"agent": document.body.get("agent", {})})
    reading = read_journal(folder.journal_dir, files=files, after=state.sequence)
    if missing is not None and not state.sequence:
        first = reading.lines[0] if reading.lines else None
        if first is None or not (first.base or first.sequence == 1):
            try:
                raise missing
            finally:
                # What it was raised in would otherwise know it, and it that: a circle, with all that was read.
                del missing
    tail = fold(state, reading.lines, folder.journal_dir)
    state.found_dead()
    problems = () if document is None else problems_of(document)
    if isinstance(missing, CorruptState):
        problems = (f"{missing} The journal has everything, and is used.",)
    return Restored(state, document, tail, problems)


def read_file(path: Path, *, files: FileOperations) -> Restored:
    """What the state file at *path*, which may be anybody's, says. It is only read. Blocking.

    :raises StateNotFound: there is none.
    :raises CorruptState: it is damaged.
    :raises SchemaTooNew: a later overwinter wrote it.
    """
    try:
        data = files.read_bytes(path)
    except FileNotFoundError:
        raise StateNotFound(f"there is no saved state at {path}") from None
    except OSError as error:
        raise WorkspaceError(f"{path} cannot be read: {error.strerror or error}") from error
    metadata, body = read_document(data, path, checksum_required=True)
    document = LoadedDocument(metadata, body, path)
    state = AgentState()
    state.restore(convert_body(document))
    state.sequence = metadata.sequence
    state.found_dead()
    return Restored(state, document, 0, ())


def fold(state: AgentState, lines: Iterable[JournalLine], where: Path | str) -> int:
    """Fold the records of *lines* into *state*, and return how many bytes they have.

    :raises CorruptState: one of them is no record that this overwinter knows.
    """
    size = 0
    for line in lines:
        try:
            state.apply(decode_record(line.record))
        except (msgspec.MsgspecError, StopIteration) as error:
            raise CorruptState(
                f"{where} holds, as number {line.sequence}, something that no overwinter wrote: {error}. It was left "
                "as it is."
            ) from error
        state.sequence = line.sequence
        size += len(line.record)
    return size


def convert_body(document: LoadedDocument) -> StateBody:
    """The members of a state file, typed; ``CorruptState`` where they are not what they should be."""
    try:
        return msgspec.convert(document.body, StateBody)
    except msgspec.ValidationError as error:
        raise CorruptState(
            f"{document.path} holds something that no overwinter wrote: {error}. It was left as it is."
        ) from error


def report(restored: Restored, *, profile: Profile[Any]) -> None:
    """Report in the log what the constructor's settings override, and take over what they left open."""
    for name, (saved, used) in profile.adopt(restored.settings).items():
        logger.warning(
            "agent %r: its saved %s was %r; the constructor's %r is used", profile.name, name, saved, used
        )
    metadata = restored.metadata
    if metadata is not None and metadata.agent_id != profile.agent_id:
        logger.warning(
            "agent %r was loaded from the state of agent %r (%s)",
            profile.name,
            metadata.agent_name,
            metadata.agent_id,
        )


def problems_of(loaded: LoadedDocument) -> tuple[str, ...]:
    """What was wrong with each file that was moved away on the way to the good one."""
    return tuple(
        f"{problem} It was set aside as {path}, and {loaded.path.name} is used."
        for path, problem in zip(loaded.set_aside, loaded.problems, strict=True)
    )


def warn_of(problems: Iterable[str]) -> None:
    """Issue a warning for each damaged file."""
    for problem in problems:
        warnings.warn(problem, CorruptFileSetAside, stacklevel=2)
