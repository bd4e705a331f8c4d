"""Boards that agents write on: the board itself with the tools for a model."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
from anyio import Lock

from overwinter.agents.tools import Tool, ToolContext
from overwinter.errors import SaveError, ToolError, VersionConflict
from overwinter.persistence import board as kept
from overwinter.runtime import Resume

if TYPE_CHECKING:
    from overwinter.agents.addressing import Addressing

__all__ = ["Board", "Boards"]


class Board(kept.Board):
    """Values under keys that agents and programs share, on disk; opened with ``await runtime.board(name)``.

    Every write has a version that no other write of the board has; who writes with ``expect=`` the version that was
    read overwrites nobody. See also :meth:`tools`.
    """

    def tools(self) -> tuple[Tool[..., Any], ...]:
        """``read_board`` and ``write_board``, for a model.

        A write that is repeated after its process was killed is done once, and a version that is not the expected one
        is told to the model.
        """

        async def read_board(key: str = "") -> str:
            if not key:
                return (
                    "\n".join(f"{name} (version {entry.version})" for name, entry in self.items()) or "Empty."
                )
            entry = self.get(key)
            if entry is None:
                raise ToolError(f"{key!r} is not on the board; without a key, all keys are listed")
            text = entry.value if isinstance(entry.value, str) else msgspec.json.encode(entry.value).decode()
            return f"version {entry.version}\n{text}"

        async def write_board(key: str, value: str, context: ToolContext, expect: int | None = None) -> str:
            try:
                version = await self.set(
                    key, value, expect, once=f"{context.run_id}:{context.loop}:{context.call_id}"
                )
            except (VersionConflict, SaveError) as error:
                raise ToolError(str(error)) from error
            return f"version {version}"

        return (
            Tool(
                read_board,
                description=f"Read what stands under a key of the shared board {self.name!r}, with its version. "
                "Without a key: which keys there are.",
                idempotent=True,
            ),
            Tool(
                write_board,
                description=f"Write a value under a key of the shared board {self.name!r}. Give the version that you "
                "read as `expect` (0 for a key that is new), and nobody's work is overwritten; if somebody was faster "
                "you are told, and read it again.",
                idempotent=True,
            ),
        )


class Boards:
    """The boards of a runtime, each opened once."""

    def __init__(self, runtime: Addressing) -> None:
        self._runtime = runtime
        self._opened: dict[str, Board] = {}
        self._opening = Lock()

    async def board(self, name: str) -> Board:
        """See :meth:`Runtime.board`."""
        async with self._opening:
            board = self._opened.get(name)
            if board is None or not board.is_open:
                snapshot = await self._runtime.snapshot(
                    name, type=kept.BoardBody, default=kept.BoardBody(), session=kept.SESSION
                )
                actor = kept.BoardActor(name, snapshot)
                ref = await self._runtime.spawn(actor, supervision=Resume())
                board = self._opened[name] = Board(actor, ref)
            return board
