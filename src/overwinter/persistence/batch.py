"""What is written in one go: a batch is one hop to the writer's thread, however many files it holds."""

from __future__ import annotations

from pathlib import Path
from traceback import clear_frames
from typing import TYPE_CHECKING, TypeAlias

from overwinter.errors import SaveFailed
from overwinter.persistence.atomic import not_durable, replace_file
from overwinter.persistence.document import assemble
from overwinter.persistence.load import LoopLoad
from overwinter.persistence.messages import ReplaceDocument, Saved
from overwinter.persistence.together import together

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from concurrent.futures import Executor

    from overwinter.persistence.files import FileOperations

__all__ = ["BatchWriter", "Outcome", "previous_of"]

Outcome: TypeAlias = Saved | Exception


class BatchWriter:
    """Writes batches, one at a time, in the thread of ``executor``, to which those of many folders add some.

    While the event loop in whose thread it was made is ``busy`` they do not: it is quicker without them.
    """

    def __init__(
        self, files: FileOperations, executor: Executor, *, busy: Callable[[], bool] | None = None
    ) -> None:
        # Its import brings in tempfile, shutil and the compressors; whoever saves nothing does without.
        from aiofiles.os import wrap

        self._files = files
        self._executor = executor
        self._busy = busy if busy is not None else LoopLoad().busy
        self._write_in_thread = wrap(self._write_now)
        self._given_up = False

    async def write(self, documents: Sequence[ReplaceDocument]) -> list[Outcome]:
        """Write each of the documents; their outcomes in the same order.

        Cancelled, it returns at once. A batch that has begun is written to its end in the thread, so that
        nothing is left half done; one that has not is withdrawn.
        """
        return await self._write_in_thread(documents, executor=self._executor)

    def give_up(self) -> None:
        """Begin no other document, not even of the batch that is being written."""
        self._given_up = True

    def _write_now(self, documents: Sequence[ReplaceDocument]) -> list[Outcome]:
        folders: dict[Path, list[ReplaceDocument]] = {}
        for document in documents:
            folders.setdefault(Path(document.path).parent, []).append(document)
        outcomes_of = together(self._write_folder, [*folders.items()], alone=self._busy)
        written = dict(zip(folders, map(iter, outcomes_of), strict=True))
        outcomes = [next(written[Path(document.path).parent]) for document in documents]
        for outcome in outcomes:
            if isinstance(outcome, Exception):
                _let_go(outcome)
        return outcomes

    def _write_folder(self, work: tuple[Path, Sequence[ReplaceDocument]]) -> list[Outcome]:
        """Write those of one folder, in their order, and then bring all of their names to disk at once."""
        folder, documents = work
        outcomes = [self._write_one(document) for document in documents]
        if any(isinstance(outcome, Saved) for outcome in outcomes):
            try:
                self._files.sync_folder(folder)
            except OSError as error:
                return [
                    not_durable(Path(outcome.path), error) if isinstance(outcome, Saved) else outcome
                    for outcome in outcomes
                ]
        return outcomes

    def _write_one(self, document: ReplaceDocument) -> Outcome:
        path = Path(document.path)
        if self._given_up:
            return SaveFailed(f"{path} was not saved: the storage was closed before its turn came", path)
        try:
            pieces = assemble(document.metadata, document.members, checksum=document.checksum)
            replace_file(
                path,
                pieces,
                files=self._files,
                keep_previous=previous_of(path) if document.keep_previous else None,
                sync=False,
            )
        except Exception as error:  # noqa: BLE001  (it is the outcome of this document, and of no other)
            return error
        return Saved(document.path, document.metadata.sequence, sum(map(len, pieces)))


def _let_go(error: BaseException | None) -> None:
    """Empty the frames of a traceback, which may be kept long, and would keep whole documents."""
    while error is not None:
        clear_frames(error.__traceback__)
        error = error.__cause__


def previous_of(path: Path) -> Path:
    """Where the previous generation of the file at ``path`` stands."""
    return path.with_name(path.name + ".previous")
