"""A value of a plain actor, kept on disk."""

from __future__ import annotations

import logging
import warnings
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import msgspec

from overwinter._version import __version__
from overwinter.errors import CorruptFileSetAside, CorruptState, StateNotFound
from overwinter.persistence.autosaver import Autosaver
from overwinter.persistence.codec import encode, encode_checked
from overwinter.persistence.document import SCHEMA_VERSION, Metadata, load_document, members
from overwinter.persistence.messages import ReplaceDocument
from overwinter.persistence.names import agent_id_for, storable_name

if TYPE_CHECKING:
    from pathlib import Path

    from overwinter.persistence.document import LoadedDocument
    from overwinter.persistence.lease import Claim
    from overwinter.persistence.storage import Storage

__all__ = ["Snapshot"]

T = TypeVar("T")

logger = logging.getLogger("overwinter.persistence")

_MEMBER = "value"


class Snapshot(Generic[T]):
    """One value of type ``T``, held in memory and kept in a file; made by :meth:`open`.

    It stands in ``{workspace}/actors/{name}-{id12}/{name}_state.json``, which nobody else writes while it is
    open. The value is encoded when it is handed over, so that what is changed in it afterwards is not saved.
    """

    def __init__(self, storage: Storage, claim: Claim, type_: Any, value: T, sequence: int) -> None:
        self._storage = storage
        self._claim = claim
        self._type = type_
        self._value = value
        self._encoded = b""
        self._sequence = sequence
        self._closed = False
        self._autosaver = Autosaver(storage, self._document, on_error=self._report)

    @classmethod
    async def open(
        cls,
        storage: Storage,
        name: str,
        *,
        type: Any,  # noqa: A002
        default: T,
        session: str = "",
        timeout: float = 0.0,  # noqa: ASYNC109
    ) -> Snapshot[T]:
        """Claim the folder of ``name`` and load what was saved there, or take ``default``.

        Cancelled or failed, it holds nothing.

        :param type: what the value is decoded as: ``T``.
        :param timeout: seconds to wait for another holder to let go.
        :raises AgentInUse: it is open elsewhere, or here.
        :raises CorruptState: nothing that was saved can be read, or it does not fit ``type``.
        :raises SchemaTooNew: a later overwinter wrote it.
        :raises WorkspaceError: the folder cannot be used.
        :warns CorruptFileSetAside: a damaged file was moved away, and the one before it is used.
        """
        folder = storage.workspace.folder(name, agent_id_for(name, session), "actors", session=session)
        claim = await storage.claim(folder, timeout=timeout)
        try:
            loaded = await storage.call(_load, claim, storage)
            value = default if loaded is None else _convert(loaded, type)
        except BaseException:
            await storage.release(claim, claim.sequence)
            raise
        return cls(storage, claim, type, value, 0 if loaded is None else loaded.metadata.sequence)

    @property
    def value(self) -> T:
        """The newest value."""
        return self._value

    @property
    def path(self) -> Path:
        """The file it is kept in."""
        return self._claim.folder.state_path

    @property
    def unsaved(self) -> bool:
        """Whether the newest value is not on disk yet."""
        return self._autosaver.unsaved

    async def save(self, value: T) -> None:
        """Take the value and return when it, or a newer one, is safely on disk.

        :raises SaveRejected: it cannot be stored; the value is the old one.
        :raises SaveFailed: the disk refused; the value is the new one, and is tried again behind.
        :raises SaveNotDurable: it is written, but a power cut may undo it; it is tried again behind.
        """
        self.mark(value)
        await self._autosaver.settle()

    def mark(self, value: T) -> None:
        """Take the value and have it saved behind, of several the newest; or raise ``SaveRejected``."""
        self._encoded = encode_checked(value, what=_MEMBER, type=self._type)
        self._value = value
        self._autosaver.mark()

    async def aclose(self) -> None:
        """Save what is unsaved and give the folder back; then it can neither be saved nor marked. Idempotent.

        :raises SaveError: it could not be saved; the folder is given back all the same.
        """
        if self._closed:
            return
        self._closed = True
        try:
            await self._autosaver.settle()
        finally:
            await self._autosaver.aclose()
            await self._storage.release(self._claim, self._sequence)

    def _document(self) -> ReplaceDocument:
        self._sequence += 1
        folder = self._claim.folder
        metadata = Metadata(
            timestamp=self._storage.clock.now().isoformat(),
            loop_count=0,
            agent_id=folder.agent_id,
            agent_name=storable_name(folder.name),
            run_id="",
            status="",
            sequence=self._sequence,
            schema_version=SCHEMA_VERSION,
            overwinter_version=__version__,
        )
        return ReplaceDocument(
            path=str(folder.state_path),
            metadata=metadata,
            members=tuple(members({_MEMBER: self._encoded})),
            keep_previous=True,
            checksum=True,
        )

    def _report(self, error: Exception) -> None:
        logger.debug("%s: %s", self.path, error)


def _load(claim: Claim, storage: Storage) -> LoadedDocument | None:
    folder = claim.folder
    try:
        return load_document(
            folder.state_path, folder.previous_path, files=storage.files, now=storage.clock.now()
        )
    except StateNotFound:
        return None


def _convert(loaded: LoadedDocument, type_: Any) -> Any:
    for path, problem in zip(loaded.set_aside, loaded.problems, strict=True):
        warnings.warn(
            f"{problem} It was moved to {path.name}; the generation before it is used.",
            CorruptFileSetAside,
            stacklevel=3,
        )
    try:
        return msgspec.json.decode(encode(loaded.body[_MEMBER]), type=type_)
    except (KeyError, msgspec.DecodeError) as error:
        raise CorruptState(
            f"{loaded.path} does not hold what is expected now: {error}. It was left as it is. Open it with "
            "the type it was saved with, or move it away."
        ) from error
