"""Where events go."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from overwinter.agents.events import Event

__all__ = ["EventHub"]

logger = logging.getLogger("overwinter.agents")


class EventHub:
    """Hands each event to everyone who watches, at once and in order, on the event loop."""

    __slots__ = ("_watchers",)

    def __init__(self) -> None:
        self._watchers: dict[object, Callable[[Event], None]] = {}

    def watch(self, watcher: Callable[[Event], None]) -> Callable[[], None]:
        """Call *watcher* with each event from now on; the returned function ends that, once or more often.

        A watcher that raises is logged and goes on being called; it harms no run.
        """
        key = object()
        self._watchers[key] = watcher

        def unwatch() -> None:
            self._watchers.pop(key, None)

        return unwatch

    def publish(self, event: Event) -> None:
        """Hand *event* to every watcher."""
        for watcher in tuple(self._watchers.values()):
            try:
                watcher(event)
            except Exception:
                logger.exception("a watcher of events failed on %s", event.kind)
