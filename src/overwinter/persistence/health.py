"""What is known of the disk: which files could not be saved, and who wants to know."""

from __future__ import annotations

import logging
import os
from typing import TYPE_CHECKING, Literal

import msgspec

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

__all__ = ["DiskHealth", "StorageEvent"]

logger = logging.getLogger("overwinter.persistence")


class StorageEvent(msgspec.Struct, frozen=True):
    """A file could not be saved although it could before, or can be saved again.

    ``kind`` is "failed" or "recovered", ``path`` the file and ``error`` the reason, "" when it recovered.
    """

    kind: Literal["failed", "recovered"]
    path: str
    error: str = ""


class DiskHealth:
    """Which files are not on disk as they should be.

    A file is failing from its first failed save to its next good one. Listeners are told of each change of
    each file; the log says only when the first begins to fail and when the last has recovered.
    """

    def __init__(self) -> None:
        self.failing: dict[str, str] = {}
        self.failures = 0
        self.last_error = ""
        self._listeners: list[Callable[[StorageEvent], object]] = []

    def watch(self, listener: Callable[[StorageEvent], object]) -> Callable[[], None]:
        """Call ``listener`` with every change; returns what ends that. What it raises is logged."""
        self._listeners.append(listener)

        def unwatch() -> None:
            if listener in self._listeners:
                self._listeners.remove(listener)

        return unwatch

    def failed(self, path: str, error: Exception) -> None:
        """Note that a save of ``path`` failed."""
        self.failures += 1
        self.last_error = str(error)
        if not self.failing:
            logger.warning("Saving fails: %s Runs go on meanwhile, and saving is tried again.", error)
        was_failing = path in self.failing
        self.failing[path] = str(error)
        if not was_failing:
            self._tell(StorageEvent("failed", path, str(error)))

    def succeeded(self, path: str) -> None:
        """Note that ``path`` is on disk."""
        if self.failing.pop(path, None) is not None:
            if not self.failing:
                logger.info("Saving works again: %s is on disk, and no file is behind.", path)
            self._tell(StorageEvent("recovered", path))

    def forget(self, folder: Path) -> None:
        """Give up on the files in ``folder``: nobody is left who would save them again."""
        inside = os.fspath(folder) + os.sep
        for path in [path for path in self.failing if path.startswith(inside)]:
            del self.failing[path]
            logger.warning("%s was given up; what is on disk is older than what was last in memory.", path)

    def _tell(self, event: StorageEvent) -> None:
        for listener in tuple(self._listeners):
            try:
                listener(event)
            except Exception:
                logger.exception("A listener for storage events failed on %r", event)
