"""What overwinter promises, taken out of it in a child process, so that the checks are seen to notice."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Literal

from overwinter.agents.journal_records import ToolsStarted
from overwinter.agents.saving import Saving
from overwinter.agents.state import AgentState
from overwinter.persistence import FileOperations
from overwinter.persistence.journal_writer import JournalWriter

if TYPE_CHECKING:
    from overwinter.agents.journal_records import JournalRecord

__all__ = ["leave_out"]


class SlowLog(FileOperations):
    """A disk that takes its time with a log."""

    def write(self, fd: int, data: bytes | memoryview) -> int:
        if bytes(data[:12]) == b'{"checksum":':
            time.sleep(0.02)
        return super().write(fd, data)


def leave_out(what: Literal["start records", "waiting for the disk"]) -> FileOperations | None:
    """Do without it, in this process; returns the disk on which that shows."""
    if what == "start records":
        happened = AgentState.happened

        def all_but_starts(self: AgentState, record: JournalRecord) -> None:
            if not isinstance(record, ToolsStarted):
                happened(self, record)

        async def calls_begin(self: Saving, *, may_repeat: bool) -> None:
            pass

        AgentState.happened = all_but_starts  # type: ignore[method-assign]
        Saving.calls_begin = calls_begin  # type: ignore[method-assign]
        return None

    def settle(self: JournalWriter, *, sync: bool) -> asyncio.Future[None]:
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        done.set_result(None)
        return done

    JournalWriter.settle = settle  # type: ignore[method-assign]
    return SlowLog()
