"""``python -m overwinter.cli`` is ``overwinter``."""

from __future__ import annotations

from overwinter.cli import main

__all__: list[str] = []

if __name__ == "__main__":
    main()
