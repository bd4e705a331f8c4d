"""The ``overwinter`` command."""

from __future__ import annotations

from overwinter.cli.app import main

__all__ = ["main"]
