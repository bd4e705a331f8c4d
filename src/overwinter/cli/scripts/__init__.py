"""Swarms described in a file: reading, checking and building them. No code of a file is ever imported or run."""

from __future__ import annotations

__all__: list[str] = []
