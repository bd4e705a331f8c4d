"""``overwinter demo``: a swarm that reads documents, writes a report, and saves itself."""

from __future__ import annotations

__all__: list[str] = []
