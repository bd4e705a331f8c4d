"""Properties are tried on the same examples each time, and no slow machine fails them."""

from __future__ import annotations

from hypothesis import settings

settings.register_profile("overwinter", deadline=None, derandomize=True, print_blob=True)
settings.load_profile("overwinter")
