"""File operations that change nothing, and tell what they would have removed."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from overwinter.persistence.files import FileOperations

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["CountingFiles", "DryFiles"]


class CountingFiles(FileOperations):
    """The system's operations; ``removed`` has the size of every file that was there and was removed."""

    def __init__(self) -> None:
        super().__init__()
        self.removed: dict[Path, int] = {}

    def unlink(self, path: Path) -> None:
        """Remove the file, and note how large it was."""
        size = path.stat().st_size
        super().unlink(path)
        self.removed[path] = size


class DryFiles(CountingFiles):
    """Reads as the system does; whatever else is asked for is not done."""

    def open_new(self, path: Path) -> int:  # noqa: ARG002
        """Open something that swallows what is written."""
        return os.open(os.devnull, os.O_WRONLY)

    def open_append(self, path: Path) -> int:
        """Open something that swallows what is written."""
        return self.open_new(path)

    def fsync(self, fd: int) -> None:
        """Nothing."""

    def replace(self, source: Path, target: Path) -> None:
        """Nothing."""

    def link(self, existing: Path, new: Path) -> None:
        """Nothing."""

    def unlink(self, path: Path) -> None:
        """Note how large the file is, if it is there."""
        if path.exists():
            self.removed[path] = path.stat().st_size

    def sync_folder(self, path: Path) -> None:
        """Nothing."""

    def mkdir(self, path: Path) -> None:
        """Nothing."""

    def truncate(self, path: Path, size: int) -> None:
        """Nothing."""

    def remove_folder(self, path: Path) -> None:
        """Nothing."""

    def rename_aside(self, source: Path, target: Path) -> None:
        """Nothing."""
