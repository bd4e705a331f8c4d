"""The same work on other frameworks, each in an environment of its own: ``python -m benchmarks.peers``."""

from __future__ import annotations
