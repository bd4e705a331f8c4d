"""``overwinter verify``: is everything in a workspace what was written, and if not, can it be mended?"""

from __future__ import annotations

__all__: list[str] = []
