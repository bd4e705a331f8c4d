"""What overwinter costs, measured beside its baselines: ``python -m benchmarks``; see ``docs/benchmarks.md``."""

from __future__ import annotations
