"""How the changes of an agent's memory get into its journal, from whichever thread they come."""

from __future__ import annotations

import asyncio
from collections import deque
from contextlib import suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from overwinter.agents.journal_records import MemoryDeleted, MemorySet
from overwinter.agents.weakly import weakly

if TYPE_CHECKING:
    import msgspec

    from overwinter.agents.state import AgentState
    from overwinter.runtime import Clock

__all__ = ["Remembering"]


class Remembering:
    """Has each change of one agent's memory recorded, in the order of the changes, on the loop where it lives.

    :ivar clock: tells the time where it lives; ``None`` while it lives nowhere.
    :ivar loop: the event loop on which the agent lives, or lived last; a tool's thread may outlast its stay there.
    """

    def __init__(self, state: AgentState) -> None:
        self._state = state
        self.clock: Clock | None = None
        # Made with the first change: most agents have none, and an empty one takes half a kilobyte.
        self._waiting: deque[MemorySet | MemoryDeleted] | None = None
        self.loop: asyncio.AbstractEventLoop | None = None
        state.memory.watch(weakly(self._changed, None))

    def _changed(self, key: str, value: msgspec.Raw | None) -> None:
        at = (datetime.now(UTC) if self.clock is None else self.clock.now()).isoformat()
        record = MemoryDeleted(at=at, key=key) if value is None else MemorySet(at=at, key=key, value=value)
        # In the order of the changes, also where the loop makes one before it has heard of a thread's.
        if self._waiting is None:
            self._waiting = deque()
        self._waiting.append(record)
        loop = self.loop
        if loop is not None and _running_loop() is not loop:
            with suppress(RuntimeError):  # the loop is closed, and nobody keeps records any more
                loop.call_soon_threadsafe(self._hand_on)
                return
        self._hand_on()

    def _hand_on(self) -> None:
        while self._waiting:
            self._state.hand_on(self._waiting.popleft())


def _running_loop() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None
