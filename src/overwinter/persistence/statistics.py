"""What a storage tells of itself."""

from __future__ import annotations

import msgspec

__all__ = ["PersistenceStatistics"]


class PersistenceStatistics(msgspec.Struct, frozen=True):
    """What a storage has done, and what stands out.

    ``saves`` are documents written, ``batches`` the hops to the disk they took, ``superseded`` those that a
    newer one made needless, ``failures`` documents whose write failed; ``failing`` tells whether some file is
    behind what was last sent, and ``last_error`` is the newest reason. ``pending`` documents of
    ``pending_bytes`` are under way. ``records`` were handed over, of which ``pending_records`` are not in the
    log; that has taken ``log_bytes`` in ``log_batches``, and was fsynced ``log_syncs`` times.
    """

    saves: int = 0
    batches: int = 0
    bytes_written: int = 0
    superseded: int = 0
    failures: int = 0
    failing: bool = False
    last_error: str = ""
    pending: int = 0
    pending_bytes: int = 0
    claims: int = 0
    records: int = 0
    pending_records: int = 0
    log_batches: int = 0
    log_syncs: int = 0
    log_bytes: int = 0
