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

    __slots__ = ("_watches",)

    def __init__(self) -> None:
        # Replaced and never changed: whoever is being told may watch, and end that, without harm.
        self._watches: tuple[_Watch, ...] = ()

    @property
    def heard(self) -> bool:
        """Whether anybody would be told of an event; an event that nobody hears need not be made."""
        for watch in self._watches:  # noqa: SIM110 - no generator, as it is asked four times a step
            if watch.beyond is None or watch.beyond.heard:
                return True
        return False

    def watch(
        self, watcher: Callable[[Event], None], *, beyond: EventHub | None = None
    ) -> Callable[[], None]:
        """Call *watcher* with each event from now on; what is returned ends that, called once or more often.

        A watcher that raises is logged and goes on being called; it harms no run.

        :param beyond: where the watcher hands on what it is told: while nobody hears that, nobody hears the watcher.
        """
        watch = _Watch(self, watcher, beyond)
        self._watches = (*self._watches, watch)
        return watch

    def publish(self, event: Event) -> None:
        """Hand *event* to every watcher."""
        for watch in self._watches:
            try:
                watch.watcher(event)
            except Exception:
                logger.exception("a watcher of events failed on %s", event.kind)

    def end(self, watch: object) -> None:
        """That one watches no longer."""
        self._watches = tuple(other for other in self._watches if other is not watch)


class _Watch:
    """One who watches; calling it ends that."""

    __slots__ = ("_hub", "beyond", "watcher")

    def __init__(self, hub: EventHub, watcher: Callable[[Event], None], beyond: EventHub | None) -> None:
        self._hub = hub
        self.watcher = watcher
        self.beyond = beyond

    def __call__(self) -> None:
        self._hub.end(self)
