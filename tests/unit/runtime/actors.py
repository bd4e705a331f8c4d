"""Actors that the tests of the runtime share."""

from __future__ import annotations

import asyncio
from typing import Any

from overwinter.runtime import Actor

__all__ = ["Gated", "Recorder", "Unruly", "settle"]


async def settle() -> None:
    """Let every task run until none has anything left to do."""
    for _ in range(100):
        await asyncio.sleep(0)


class Recorder(Actor[Any]):
    """Remembers what it handled and what happened to it; raises the exceptions it is sent in a tuple."""

    def __init__(self, log: list[Any] | None = None) -> None:
        self.log: list[Any] = [] if log is None else log

    async def on_start(self) -> None:
        self.log.append("start")

    async def on_stop(self) -> None:
        self.log.append("stop")

    async def on_restart(self, error: Exception) -> None:
        self.log.append(f"restart after {error}")

    async def receive(self, message: Any) -> Any:
        self.log.append(message)
        if isinstance(message, str) and message.startswith("fail"):
            raise ValueError(message)
        return message


class Gated(Recorder):
    """Handles each message only when its gate is open; ``began`` is set when it has one in hand."""

    def __init__(self, log: list[Any] | None = None) -> None:
        super().__init__(log)
        self.gate = asyncio.Event()
        self.began = asyncio.Event()

    async def receive(self, message: Any) -> Any:
        self.began.set()
        await self.gate.wait()
        return await super().receive(message)


class Unruly(Gated):
    """Ignores that it is cancelled for as long as its gate is closed."""

    async def receive(self, message: Any) -> Any:
        self.began.set()
        while not self.gate.is_set():
            try:
                await self.gate.wait()
            except asyncio.CancelledError:
                self.log.append("ignored")
        return await Recorder.receive(self, message)
