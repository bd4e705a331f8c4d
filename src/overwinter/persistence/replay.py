"""Bringing in what a dead runtime left in its log: its records go where it would have moved them.

Records count by the incarnation of their folder and their sequence, and one that is in its journal already
is passed over. So this may be cut off anywhere and begun again, by anybody. Everything here blocks.
"""

from __future__ import annotations

import logging
from datetime import UTC, datetime
from pathlib import PurePosixPath
from threading import Lock
from typing import TYPE_CHECKING, TypeAlias

from overwinter.errors import PersistenceError, WorkspaceError
from overwinter.persistence.atomic import set_aside
from overwinter.persistence.files import FILES
from overwinter.persistence.identity import read_identity
from overwinter.persistence.journal import JournalEnd, mend, read_journal
from overwinter.persistence.journal_file import JournalFile
from overwinter.persistence.lease import read_lease
from overwinter.persistence.lines import read_line, read_log_line
from overwinter.persistence.lock import locked
from overwinter.persistence.runtime_lock import is_alive, is_runtime_id, remove_runtime, workspace_errors
from overwinter.persistence.segments import SEGMENT_BYTES, segment_numbers, segment_path
from overwinter.persistence.together import together
from overwinter.persistence.workspace import AgentFolder

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from overwinter.persistence.files import FileOperations
    from overwinter.persistence.lines import LogLine
    from overwinter.persistence.workspace import Workspace

    #: A folder, its incarnation, and what the log has for it.
    _Job: TypeAlias = tuple[Path, str, Mapping[int, LogLine]]

__all__ = ["replay_dead_runtimes", "replay_runtime"]

logger = logging.getLogger("overwinter.persistence")

_HEAD_BYTES = 1 << 16


def replay_dead_runtimes(
    workspace: Workspace, *, files: FileOperations = FILES, keep: str = ""
) -> tuple[str, ...]:
    """Bring in what the dead runtimes of the workspace left, and remove their folders.

    Returns remarks on what was found damaged. What cannot be brought in now is logged, and stays for the next
    time. Nothing happens where there is no workspace.

    :param keep: the id of a runtime to leave alone.
    :raises WorkspaceError: the workspace cannot be used, or another process has it locked for too long.
    """
    if not files.is_folder(workspace.runtimes_dir):
        return ()
    remarks: list[str] = []
    with workspace_errors(workspace.runtimes_dir), locked(workspace.mutex_path):
        for runtime_id in sorted(files.list(workspace.runtimes_dir)):
            if runtime_id == keep or not is_runtime_id(runtime_id):
                continue
            if not files.is_folder(workspace.runtimes_dir / runtime_id) or is_alive(runtime_id, workspace):
                continue
            try:
                remarks += replay_runtime(workspace, runtime_id, files=files)
            except PersistenceError as error:
                logger.warning("What runtime %s left in its log stays there for now: %s", runtime_id, error)
            else:
                remove_runtime(runtime_id, workspace)
    return tuple(remarks)


def replay_runtime(
    workspace: Workspace, runtime_id: str, *, files: FileOperations = FILES, wanted: Path | None = None
) -> tuple[str, ...]:
    """Move every record in the log of a dead runtime into its journal, durably, and remove the log.

    Only under the workspace's mutex. A folder that is not there any more, or is another one by now, gets
    nothing. Where the log is so damaged that records of a folder are missing, those behind them are not
    moved; the remarks that are returned say so, and the log is set aside.

    :param wanted: the folder that must be complete afterwards. Of another that cannot be written only the log
        tells, and it stays.
    :raises SchemaTooNew: a later overwinter wrote the log.
    :raises PersistenceError: the log cannot be read, or what is in it cannot be brought in.
    """
    if not is_runtime_id(runtime_id):
        return ()
    folder = workspace.runtimes_dir / runtime_id
    with workspace_errors(folder):
        numbers = segment_numbers(folder, files=files)
        if not numbers:
            return ()
        log = _Log(folder, numbers, files)
        _sync_log(folder, numbers, files)
    remarks = list(log.remarks)
    aside, stays = log.damaged, False
    alive = _Alive(workspace)
    jobs: list[_Job] = []

    def bring_in(job: _Job) -> tuple[list[str], bool] | PersistenceError | OSError:
        path, incarnation, lines = job
        try:
            return _bring_in(path, incarnation, lines, files, alive)
        except (PersistenceError, OSError) as error:
            return error

    for (name, incarnation), lines in log.lines.items():
        path = _inside(workspace, name)
        if path is None:
            logger.warning("%s speaks of the folder %r, which is none of this workspace.", folder, name)
            continue
        jobs.append((path, incarnation, lines))
    for (path, _, _), outcome in zip(jobs, together(bring_in, jobs), strict=True):
        if isinstance(outcome, Exception):
            if path == wanted:
                raise outcome
            stays = True
            logger.warning("Records for %s stay in %s for now: %s", path, folder, outcome)
            continue
        found, complete = outcome
        remarks += found
        aside = aside or not complete
    for remark in remarks:
        logger.warning("%s", remark)
    if not stays:
        _remove(folder, numbers, files, aside=aside)
    return tuple(remarks)


def _sync_log(folder: Path, numbers: Sequence[int], files: FileOperations) -> None:
    """Bring the log to disk before its records move: what the dead never synced may be there in memory only.

    After a power cut in the midst of the replay a journal has any of the blocks that were appended to it, and only the
    log can tell what stood between them.
    """
    for number in numbers:
        _sync(segment_path(folder, number), files)
    for each in (folder, folder.parent, folder.parent.parent):
        files.sync_folder(each)


class _Log:
    """All there is in a log: its sound lines, by the folder and incarnation they are for, then by sequence."""

    def __init__(self, folder: Path, numbers: list[int], files: FileOperations) -> None:
        self.lines: dict[tuple[str, str], dict[int, LogLine]] = {}
        self.remarks: list[str] = []
        self.damaged = False  # somewhere else than at the end of a segment, which a crash may well tear
        for number in numbers:
            path = segment_path(folder, number)
            damaged: list[int] = []
            *whole, rest = files.read_bytes(path).split(b"\n")
            for at, text in enumerate(whole, 1):
                line = read_log_line(text, path)
                if line is None:
                    damaged.append(at)
                else:
                    self.lines.setdefault((line.folder, line.incarnation), {})[line.sequence] = line
            if rest:
                damaged.append(len(whole) + 1)
            if damaged and damaged[0] <= len(whole):
                self.damaged = True
                self.remarks.append(f"{path}, line {damaged[0]}: this is not what was written")
            elif damaged:
                self.remarks.append(f"{path}, line {damaged[0]}: its torn end was left out")


def _inside(workspace: Workspace, name: str) -> Path | None:
    """The folder of that name; None for one that could lead out of the workspace."""
    parts = PurePosixPath(name).parts
    plain = len(parts) == 2 and "/".join(parts) == name and ".." not in parts
    if not plain or parts[0].startswith(".") or any(bad in name for bad in ("\\", ":", "\0")):
        return None
    return workspace.root / parts[0] / parts[1]


class _Alive:
    """Which runtimes live; each is looked at once, for a second look at the same time would find its lock taken."""

    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace
        self._known: dict[str, bool] = {}
        self._one_at_a_time = Lock()

    def __call__(self, runtime_id: str) -> bool:
        with self._one_at_a_time:
            if runtime_id not in self._known:
                self._known[runtime_id] = is_alive(runtime_id, self._workspace)
            return self._known[runtime_id]


def _bring_in(
    path: Path,
    incarnation: str,
    lines: Mapping[int, LogLine],
    files: FileOperations,
    alive: Callable[[str], bool],
) -> tuple[list[str], bool]:
    """Complete the journal of one folder, durably; remarks on what was damaged, and whether all is there."""
    identity = read_identity(path, files=files)
    if identity is None or identity.incarnation != incarnation:
        return [], True
    folder = AgentFolder(path, "", "")
    holder = read_lease(folder.lease_path, files)
    if holder is not None and not holder.released and alive(holder.runtime_id):
        # It has replayed this log before it took the folder, and is writing there now.
        return [], True
    journal_dir = folder.journal_dir
    sequences = sorted(lines)
    if _ends_with(journal_dir, sequences, lines, files):
        return [], True
    end = mend(journal_dir, files=files)
    remarks = [end.torn] if end.torn else []
    _sync_since(journal_dir, sequences[0], files)
    missing = _missing(journal_dir, end, sequences, files)
    chosen = _follow(missing, end.sequence, lines)
    last = max([end.sequence, *chosen])
    if chosen:
        # What the journal lost in its midst goes behind everything, into a segment of its own.
        size = SEGMENT_BYTES if chosen[0] <= end.sequence else end.size
        file = JournalFile(journal_dir, JournalEnd(end.sequence, end.segment, size), files=files)
        file.append([lines[each].line for each in chosen], last)
        file.sync()
    if len(chosen) == len(missing):
        return remarks, True
    gap = (
        f"the log of a runtime that died has for {path}, after record {last}, only record "
        f"{missing[len(chosen)]} and later ones. Those were not moved, and the log was set aside."
    )
    return [*remarks, gap], False


def _ends_with(
    journal_dir: Path, sequences: Sequence[int], lines: Mapping[int, LogLine], files: FileOperations
) -> bool:
    """Whether the journal's last segment ends with all these records, in their place; then they are on disk now.

    So it mostly is, and so it is found out with one look at the segment, where a thousand folders are waited for.
    """
    numbers = segment_numbers(journal_dir, files=files)
    if not numbers or sequences[-1] - sequences[0] + 1 != len(sequences):
        return False
    path = segment_path(journal_dir, numbers[-1])
    data = files.read_bytes(path)
    logged = b"".join([lines[each].line for each in sequences])
    if not data.endswith(logged):
        return False
    before = data[: len(data) - len(logged)]
    if before:
        begins = read_line(before.partition(b"\n")[0], path)
        last = read_line(before[before.rfind(b"\n", 0, -1) + 1 :], path)
        if not before.endswith(b"\n") or last is None or last.sequence != sequences[0] - 1:
            return False
        if begins is None or begins.sequence > sequences[0]:
            # What has to be synced begins in a segment before it.
            return False
    _sync(path, files)
    _sync_names(journal_dir, files)
    return True


def _missing(
    journal_dir: Path, end: JournalEnd, sequences: Sequence[int], files: FileOperations
) -> Sequence[int]:
    """The sequences from the first on that the journal lacks, or that a reader of it would not take."""
    if end.sequence < sequences[0]:
        return sequences
    reading = read_journal(journal_dir, files=files, after=sequences[0] - 1, allow_gaps=True)
    have = {line.sequence for line in reading.lines}
    first = _first_kept(journal_dir, files)
    # A record that stands before those it follows upon, as after a replay that a power cut ended, is there and yet
    # not to be read: it is written again behind them.
    broken = min((gap.after for gap in reading.gaps if gap.before > max(first, gap.after)), default=None)
    for index, each in enumerate(sequences):
        if each >= first and (each not in have or (broken is not None and each > broken)):
            return sequences[index:]
    return ()


def _first_kept(journal_dir: Path, files: FileOperations) -> int:
    """The sequence before which everything was dropped, because it is old."""
    number = segment_numbers(journal_dir, files=files)[0]
    path = segment_path(journal_dir, number)
    line = read_line(files.read_range(path, 0, _HEAD_BYTES).partition(b"\n")[0], path)
    # Where its first line is damaged nobody knows; to write too much again is harmless.
    return line.sequence if number > 1 and line is not None else 0


def _follow(wanted: Sequence[int], last: int, lines: Mapping[int, LogLine]) -> list[int]:
    """Those of the sequences that may be appended to a journal which ends with ``last``."""
    chosen: list[int] = []
    for each in wanted:
        if each > last:
            if each != last + 1:
                line = read_line(lines[each].line)
                if line is None or not line.base:
                    break
            last = each
        chosen.append(each)
    return chosen


def _sync_since(journal_dir: Path, sequence: int, files: FileOperations) -> None:
    """Bring to disk what the dead may have left in the system's memory: everything since that record."""
    numbers = segment_numbers(journal_dir, files=files)
    for number in reversed(numbers):
        path = segment_path(journal_dir, number)
        _sync(path, files)
        first = read_line(files.read_range(path, 0, _HEAD_BYTES).partition(b"\n")[0], path)
        if first is not None and first.sequence <= sequence:
            break
    if numbers:
        _sync_names(journal_dir, files)


def _sync(path: Path, files: FileOperations) -> None:
    fd = files.open_append(path)
    try:
        files.fsync(fd)
    finally:
        files.close(fd)


def _sync_names(journal_dir: Path, files: FileOperations) -> None:
    files.sync_folder(journal_dir)
    files.sync_folder(journal_dir.parent)


def _remove(folder: Path, numbers: Sequence[int], files: FileOperations, *, aside: bool) -> None:
    for number in numbers:
        path = segment_path(folder, number)
        try:
            if aside:
                set_aside(path, datetime.now(UTC), files=files)
            else:
                files.unlink(path)
        except (OSError, WorkspaceError) as error:
            # To replay it again does nothing.
            logger.warning("%s was brought in and could not be removed: %s", path, error)
