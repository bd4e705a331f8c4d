"""One agent's records, on their way into its journal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from overwinter.persistence.lines import journal_line

if TYPE_CHECKING:
    import asyncio

    from overwinter.persistence.lease import Claim
    from overwinter.persistence.storage import Storage

__all__ = ["JournalWriter"]


class JournalWriter:
    """Numbers the records of one claimed agent and hands them to the storage. For the event loop only.

    :param claim: the claim under which they are written, which is held as long as this is used.
    :param sequence: that of the last record there is; the next is one more.

    What is appended in one turn of the loop goes to the disk in one batch, with that of all other agents.
    """

    __slots__ = ("_at", "_journal", "_records", "sequence")

    def __init__(self, storage: Storage, claim: Claim, sequence: int) -> None:
        self._records = storage.records
        self._journal = self._records.journal_of(claim)
        self._at = 0
        self.sequence = sequence

    @property
    def waiting(self) -> bool:
        """Whether the disk refuses the log and is waited for."""
        return self._records.log.waiting

    @property
    def error(self) -> Exception | None:
        """What the disk said when it last refused the log; None when it does not."""
        return self._records.log.error

    def append(self, record: bytes, *, base: bool = False) -> int:
        """Send an encoded record off and return its sequence, at once.

        :param base: the record carries a whole state.
        :raises RuntimeClosed: the storage is closed; nothing was taken.
        :raises ForkedRuntime: this is a forked child.
        """
        sequence = self.sequence + 1
        line = journal_line(sequence, record, base=base)
        self._at = self._records.append(self._journal, (line,), sequence)
        self.sequence = sequence
        return sequence

    def settle(self, *, sync: bool) -> asyncio.Future[None]:
        """To be awaited: done when everything appended so far is in the log; with ``sync``, when it is on the disk.

        A disk that fails is waited for (see ``waiting``). Cancelled, it leaves the records alone.

        :raises RuntimeClosed: the storage was closed before.
        """
        return self._records.settle(self._at, sync=sync)

    @property
    def full(self) -> bool:
        """Whether there is no room for more records; what is appended is taken all the same."""
        return self._records.room.full

    async def room(self) -> None:
        """Return when there is room for more records; at once, mostly. Cancellable.

        :raises RuntimeClosed: the storage was closed while the disk did not take what it was given.
        """
        await self._records.room.wait()
