"""An agent's past as its files tell it: what happened, and what it knew at each step. Everything here blocks.

The files are only read, and nobody needs to hold the agent for that: who writes them meanwhile appends, or puts a whole
new file in the place of an old one.
"""

from __future__ import annotations

import logging
from itertools import pairwise
from typing import TYPE_CHECKING

from overwinter.agents.base import base_path, bases, state_of
from overwinter.agents.history import GAP, KEPT, HistoryStep, Teller
from overwinter.agents.restore import fold
from overwinter.agents.state import AgentState
from overwinter.errors import StateNotFound, StepNotFound, WorkspaceError
from overwinter.persistence.files import FILES
from overwinter.persistence.journal import find_end, read_all, read_journal
from overwinter.persistence.replay import replay_dead_runtimes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from typing import TypeVar

    from overwinter.agents.base import Base
    from overwinter.persistence.files import FileOperations
    from overwinter.persistence.lines import JournalLine
    from overwinter.persistence.workspace import AgentFolder, Workspace

    T = TypeVar("T")

__all__ = ["look_back", "read_history", "read_state_at"]

logger = logging.getLogger("overwinter.agents")

_ATTEMPTS = 4


def look_back(
    workspace: Workspace, folder: AgentFolder, read: Callable[[AgentFolder, FileOperations], T]
) -> T:
    """What *read* finds of an agent that lives nowhere here; what a process that died left in its log is brought in."""
    try:
        replay_dead_runtimes(workspace, files=FILES)
    except WorkspaceError as error:
        logger.warning("what dead processes left could not be looked at: %s", error)
    full = workspace.folder(folder.name, folder.agent_id, session=folder.session, full=True)
    return read(full if FILES.is_folder(full.path) else folder, FILES)


def read_state_at(folder: AgentFolder, step: int | None, *, files: FileOperations) -> AgentState:
    """What the agent knew when *step* had happened, or, with None, the last of all.

    :raises StateNotFound: None was asked for, and nothing was ever saved.
    :raises StepNotFound: there is no such step, or it is not kept any more.
    :raises SchemaTooNew: a later overwinter wrote what is needed.
    :raises WorkspaceError: a file cannot be read.
    """
    return _retried(lambda: _read_state_at(folder, _last(folder, files) if step is None else step, files))


def _last(folder: AgentFolder, files: FileOperations) -> int:
    sequences = [base.sequence for base in bases(folder, files=files)]
    last = max(*sequences, find_end(folder.journal_dir, files=files).sequence, 0)
    if not last:
        raise StateNotFound(
            f"nothing of agent {folder.name!r} was saved; run it with autosave=True, or call save()"
        )
    return last


def _read_state_at(folder: AgentFolder, step: int, files: FileOperations) -> AgentState:
    state = AgentState()
    for base in reversed([base for base in bases(folder, files=files) if base.sequence <= step]):
        found = state_of(base.path, files=files)
        if found is not None:
            state = found
            break
    if state.sequence < step:
        lines = read_journal(folder.journal_dir, files=files, after=state.sequence, allow_gaps=True).lines
        wanted = [line for line in lines if line.sequence <= step]
        if not _leads_to(step, state.sequence, wanted):
            # What is damaged may hide what a later state has made needless.
            lines = read_all(folder.journal_dir, files=files)
            wanted = [line for line in lines if state.sequence < line.sequence <= step]
        if not _leads_to(step, state.sequence, wanted):
            raise _not_found(folder, step, files)
        fold(state, wanted, folder.journal_dir)
    if not step or state.sequence != step:
        raise _not_found(folder, step, files)
    return state


def _leads_to(step: int, base: int, lines: Sequence[JournalLine]) -> bool:
    """Whether the lines say how the state at *base* became that at *step*."""
    at = base
    whole = True
    for line in lines:
        whole = line.base or (whole and line.sequence == at + 1)
        at = line.sequence
    return whole and at == step


def _not_found(folder: AgentFolder, step: int, files: FileOperations) -> StepNotFound:
    known = [line.sequence for line in read_all(folder.journal_dir, files=files)]
    known += [base.sequence for base in bases(folder, files=files) if base.sequence]
    return StepNotFound(folder.name, step, first=min(known, default=0), last=max(known, default=0))


def read_history(folder: AgentFolder, *, files: FileOperations) -> list[HistoryStep]:
    """Everything that is known to have happened, in its order.

    :raises SchemaTooNew: a later overwinter wrote it.
    :raises WorkspaceError: a file cannot be read.
    """
    return _retried(lambda: _read_history(folder, files))


def _read_history(folder: AgentFolder, files: FileOperations) -> list[HistoryStep]:
    lines = read_all(folder.journal_dir, files=files)
    documents = bases(folder, files=files)
    have = {line.sequence for line in lines}
    steps: list[HistoryStep] = [
        _kept(base)
        for base in documents
        if base.sequence and base.sequence not in have and base.path != base_path(folder)
    ]
    steps = list({step.step: step for step in steps}.values())
    teller = Teller(_before(lines, documents, files))
    steps.extend(teller.tell(line) for line in lines)
    steps.sort(key=lambda step: step.step)
    return list(_with_gaps(steps))


def _before(
    lines: Sequence[JournalLine], documents: Iterable[Base], files: FileOperations
) -> AgentState | None:
    """What the agent knew before the first of the lines, where that is kept."""
    if not lines or lines[0].base or lines[0].sequence == 1:
        return None
    wanted = lines[0].sequence - 1
    states = (state_of(base.path, files=files) for base in documents if base.sequence == wanted)
    return next((state for state in states if state is not None), None)


def _kept(base: Base) -> HistoryStep:
    said = base.metadata
    return HistoryStep(
        step=base.sequence,
        at=said.timestamp,
        run_id=said.run_id,
        loop=said.loop_count,
        kind=KEPT,
        summary=f"{said.status}; kept as {base.path.name}",
    )


def _with_gaps(steps: Sequence[HistoryStep]) -> Iterable[HistoryStep]:
    if steps and steps[0].step > 1:
        yield _gap(1, steps[0].step - 1)
    for step, following in pairwise(steps):
        yield step
        if following.step > step.step + 1:
            yield _gap(step.step + 1, following.step - 1)
    yield from steps[-1:]


def _gap(first: int, last: int) -> HistoryStep:
    what = f"steps {first} to {last} are" if first < last else f"step {first} is"
    return HistoryStep(last, "", "", 0, GAP, f"{what} not kept, or cannot be read")


def _retried(read: Callable[[], T]) -> T:
    """Read again where a file went away between being seen and being read: retention dropped it."""
    for _ in range(_ATTEMPTS - 1):
        try:
            return read()
        except WorkspaceError as error:
            if not isinstance(error.__cause__, FileNotFoundError):
                raise
    return read()
