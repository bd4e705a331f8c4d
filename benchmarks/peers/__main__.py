"""Installs the peers where they are not, and measures them: ``python -m benchmarks.peers``, options as without."""

from __future__ import annotations

import sys

from benchmarks.__main__ import main
from benchmarks.peers.environments import PEERS, install

if __name__ == "__main__":
    for name in PEERS:
        install(name)
    sys.exit(main(subjects=("peers.contests",)))
