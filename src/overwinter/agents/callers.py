"""Who waits for a run."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    from overwinter.runtime import Reply

__all__ = ["Callers"]


class Callers:
    """Those who wait for one run: who asked for it, and who asked for it again. All get the same answer."""

    __slots__ = ("_replies",)

    def __init__(self) -> None:
        self._replies: dict[str, Reply] = {}

    def join(self, caller: str, reply: Reply, abandoned: Callable[..., object], *args: Any) -> None:
        """One more waits; ``abandoned(*args)`` is called when the last of all has given up."""
        caller = caller or f"{id(reply)}"
        self._replies[caller] = reply
        reply.on_abandon(partial(self._gave_up, caller, abandoned, *args))

    def _gave_up(self, caller: str, abandoned: Callable[..., object], *args: Any) -> None:
        if self.leave(caller):
            abandoned(*args)

    def leave(self, caller: str) -> bool:
        """That one waits no longer; tells whether that leaves nobody."""
        self._replies.pop(caller, None)
        return not self._replies

    def complete(self, value: object) -> None:
        """Answer all of them."""
        for reply in self._replies.values():
            reply.complete(value)

    def fail(self, error: BaseException) -> None:
        """Let the error be raised for all of them."""
        for reply in self._replies.values():
            reply.fail(error)
