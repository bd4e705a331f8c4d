"""How much of its past an agent keeps."""

from __future__ import annotations

import msgspec

from overwinter.errors import ConfigurationError

__all__ = ["KEEP_64_MB", "Retention"]

_MUCH = 8 << 20


class Retention(msgspec.Struct, frozen=True, kw_only=True):
    """What is dropped of an agent's past, the oldest first, when there is more of it; ``None`` means no bound.

    The past is the journal and the earlier conversations in ``history/``. It goes in pieces of about a megabyte, and
    never so far that a damaged state file could not be made up for. The state file itself, which holds the whole
    present conversation, is no past; nor are earlier conversations that were not finished, because they can be resumed.
    What was dropped is missing in ``history()``, and a ``run_id`` that stood there may be used anew.

    :param runs: how many of the last runs are kept, with every step.
    :param days: what is older is dropped.
    :param bytes: of journal and ``history/`` together.
    """

    runs: int | None = None
    days: float | None = None
    bytes: int | None = None

    def __post_init__(self) -> None:
        for name in ("runs", "days", "bytes"):
            value = getattr(self, name)
            if value is not None and not 0 < value < float("inf"):
                raise ConfigurationError(
                    f"retention.{name} is {value!r}; give a number above zero, or None for no bound"
                )

    @property
    def keeps_everything(self) -> bool:
        """Whether nothing is ever dropped."""
        return self.runs is None and self.days is None and self.bytes is None

    @property
    def only_much_matters(self) -> bool:
        """Whether there is nothing to do as long as a journal has but one segment, of about a megabyte."""
        return self.runs is None and self.days is None and (self.bytes or 0) >= _MUCH


KEEP_64_MB = Retention(bytes=64 << 20)
"""What holds unless something else is asked for: some ten million words, and no workspace grows without bound."""
