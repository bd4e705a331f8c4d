"""The moment at which the plug is pulled: a reply is on record, and the tool it asked for has not returned yet."""

from __future__ import annotations

from typing import TYPE_CHECKING

import anyio

if TYPE_CHECKING:
    from collections.abc import Callable

    from overwinter import ToolContext

__all__ = ["Plug"]

_PATIENCE = 20.0
_MIDDLE = 0.4
# The first is not idempotent: to run it again would be to do it twice. Where no model calls it, the others will do.
_CHOSEN = "note_finding"
_ELSE = frozenset({"write_report", "read_summary"})


class Plug:
    """Chooses the tool call that is under way when the process is killed.

    :param progress: how much of the whole work is done, from 0 to 1.
    :param saves: whether the disk takes what is saved; while it does not, this is no time for killing.
    :param pull: tells whoever will kill this process that a call hangs: its agent, its tool and its id.
    :param patience: seconds for which it hangs at most.
    """

    def __init__(
        self,
        progress: Callable[[], float],
        saves: Callable[[], bool],
        pull: Callable[[str, str, str], None],
        *,
        patience: float = _PATIENCE,
    ) -> None:
        self._progress = progress
        self._saves = saves
        self._pull = pull
        self._patience = patience
        self._offered = False

    async def offer(self, tool: str, context: ToolContext) -> None:
        """Let *tool*, which has had its effect, hang if this is the moment. If nobody kills it, it goes on."""
        if self._offered or not (tool in _ELSE or (tool == _CHOSEN and self._progress() >= _MIDDLE)):
            return
        if not self._saves():
            return
        self._offered = True
        self._pull(context.agent_name, tool, context.call_id)
        await anyio.sleep(self._patience)
