"""Watching a workspace from outside: what its files tell, read again and again at the price of what is new."""

from __future__ import annotations

__all__: list[str] = []
