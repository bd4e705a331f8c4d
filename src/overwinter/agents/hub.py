"""Where events go."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from overwinter.agents.events import Event
    from overwinter.agents.runtime import Runtime

__all__ = ["EventHub", "Publisher"]

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
        if not self._watchers:
            return
        for watcher in tuple(self._watchers.values()):
            try:
                watcher(event)
            except Exception:
                logger.exception("a watcher of events failed on %s", event.kind)


class Publisher:
    """Hands the events of one agent to those who watch it, and then to those who watch its runtime."""

    __slots__ = ("_hub", "_runtime")

    def __init__(self, hub: EventHub, runtime: Runtime) -> None:
        self._hub = hub
        self._runtime = runtime

    def __call__(self, event: Event) -> None:
        self._hub.publish(event)
        self._runtime.publish(event)
