"""How a runtime shows those who watch from outside what its files do not tell: mailboxes and saves."""

from __future__ import annotations

import asyncio
import os
from contextlib import suppress
from typing import TYPE_CHECKING

from overwinter.agents.events import Saved
from overwinter.errors import OverwinterError
from overwinter.persistence.runtime_status import RuntimeStatus, write_status

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from overwinter.agents.events import Event
    from overwinter.agents.rates import Rates
    from overwinter.persistence.storage import Storage
    from overwinter.runtime.cell import Cell

__all__ = ["StatusPublisher"]

_INTERVAL = 1.0
# At most this part of the time is spent on it, with however many actors.
_SHARE = 0.01
_MOST = 1000
_AGENT = "/agent-"


class StatusPublisher:
    """Writes ``.runtimes/{id}/status.json``: at most once a second, in a thread of the storage, while things happen.

    On the event loop it costs a comparison for each thing that happens. The second is one of those who watch, and not
    of the runtime's clock, which may stand still.

    :param cells: the actors of the runtime, by path.
    :param rates: who waits for its turn at a model.
    """

    def __init__(self, cells: Mapping[str, Cell], rates: Rates) -> None:
        self._cells = cells
        self._rates = rates
        self._storage: Storage | None = None
        self._saves: dict[str, int] = {}
        self._pause = _INTERVAL
        self._due = True  # so that nothing is begun: without a storage there is no place to publish in
        self._again = False
        self._timer: asyncio.TimerHandle | None = None
        self._writing: asyncio.Task[None] | None = None

    def begin(self, storage: Storage) -> None:
        """Publish from now on; the storage has been opened."""
        self._storage = storage
        self._due = False

    def note(self, event: Event) -> None:
        """That happened."""
        if type(event) is Saved and self._storage is not None:
            folder = event.path.rpartition(os.sep)[0]
            # At the end, where those are that were saved last.
            self._saves[folder] = self._saves.pop(folder, 0) + 1
            if len(self._saves) > _MOST:
                del self._saves[next(iter(self._saves))]
        self.stir()

    def stir(self) -> None:
        """Something happened."""
        if not self._due:
            self._due = True
            self._timer = asyncio.get_running_loop().call_later(self._pause, self._write)
        else:
            self._again = True

    def close(self) -> None:
        """Publish no more; what is being written is left to its thread."""
        self._due, self._storage = True, None
        if self._timer is not None:
            self._timer.cancel()
        if self._writing is not None:
            self._writing.cancel()

    def _write(self) -> None:
        self._again = False
        self._writing = asyncio.get_running_loop().create_task(self._write_now())

    async def _write_now(self) -> None:
        storage, loop = self._storage, asyncio.get_running_loop()
        if storage is None:
            return
        with suppress(OverwinterError):  # the storage was closed meanwhile
            took = await storage.call(self._publish, storage, loop.time)
            self._pause = max(_INTERVAL, took / _SHARE)
            self._due = False
            if self._again:
                self._due = True
                self._timer = loop.call_later(self._pause, self._write)

    def _publish(self, storage: Storage, clock: Callable[[], float]) -> float:
        """Write what is known, in the storage's thread; the seconds that took.

        What is read here changes meanwhile: it is copied in one step each, and may be older or newer by a message.
        """
        began = clock()
        root = os.fspath(storage.workspace.root)
        saves = list(self._saves.items())[-_MOST:]
        mailboxes: dict[str, int] = {}
        for cell in list(self._cells.values()):
            waiting = len(cell) + cell.waiting
            if waiting and cell.path.startswith(_AGENT) and len(mailboxes) < _MOST:
                mailboxes[cell.path.removeprefix(_AGENT)] = waiting
        told = storage.statistics()
        write_status(
            storage.workspace.runtimes_dir / storage.runtime_id,
            RuntimeStatus(
                at=storage.clock.now().isoformat(),
                pid=os.getpid(),
                documents=told.saves,
                records=told.records,
                failing=told.failing,
                saves={_relative(folder, root): count for folder, count in saves},
                mailboxes=mailboxes,
                waits=dict(list(self._rates.waits().items())[:_MOST]),
            ),
        )
        return clock() - began


def _relative(folder: str, root: str) -> str:
    return folder.removeprefix(root).replace(os.sep, "/").strip("/")
