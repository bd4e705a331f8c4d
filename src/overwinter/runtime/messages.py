"""What may be a message: plain data, which could one day travel to another machine."""

from __future__ import annotations

import datetime as dt
import enum
import sys
from typing import Any

import msgspec

from overwinter.errors import MessageRefused
from overwinter.runtime.address import Address
from overwinter.runtime.envelope import Envelope

__all__ = ["PLAIN_TYPES", "Terminated", "check_message"]

#: The types already known to be plain; looked into for every message before :func:`check_message` is called.
PLAIN_TYPES: set[type[Any]] = {
    type(None),
    bool,
    int,
    float,
    complex,
    str,
    bytes,
    bytearray,
    list,
    tuple,
    dict,
    set,
    frozenset,
    dt.datetime,
    dt.date,
    dt.time,
    dt.timedelta,
}

# By name, so that a program which never imports these modules does not pay for them.
_PLAIN_BY_NAME = (("uuid", "UUID"), ("decimal", "Decimal"))
_PLAIN_BASES_BY_NAME = (("pathlib", "PurePath"), ("overwinter.runtime.reference", "ActorRef"))


class Terminated(msgspec.Struct, frozen=True):
    """An actor that was watched has stopped; told to its watchers ahead of their other messages.

    ``reason`` is one of ``"stopped"`` (it was asked to), ``"failed"`` (its supervision stopped it),
    ``"restart_limit"`` (it failed more often than allowed), ``"escalated"`` (its failure was handed to its
    parent), ``"cancelled"`` (its task was cancelled from outside) and ``"gone"`` (it had stopped before it
    was watched). ``error`` is the failure as text (``"ValueError: no"``), empty where there was none.
    """

    address: Address
    reason: str
    error: str = ""


def check_message(message: object) -> None:
    """Raise :class:`MessageRefused` unless ``message`` is plain data.

    Plain are None, numbers, text, bytes and the builtin containers (of exactly these types), dates and times,
    UUID, Decimal, paths, enums, msgspec Structs, dataclasses, addresses and references. What a container
    holds is not looked at.
    """
    kind = type(message)
    if kind in PLAIN_TYPES:
        return
    if not _is_plain(kind):
        raise MessageRefused(
            f"a {kind.__module__}.{kind.__qualname__} cannot be a message. Messages are plain data: send a "
            "msgspec.Struct, a dataclass, an enum, or builtin values and containers."
        )
    PLAIN_TYPES.add(kind)


def _is_plain(kind: type[Any]) -> bool:
    if issubclass(kind, Envelope):  # or a mailbox would take what was told for its envelope
        return False
    if issubclass(kind, (msgspec.Struct, enum.Enum)) or "__dataclass_fields__" in dir(kind):
        return True
    if any(kind is _loaded(module, name) for module, name in _PLAIN_BY_NAME):
        return True
    bases = (_loaded(module, name) for module, name in _PLAIN_BASES_BY_NAME)
    return any(base is not None and issubclass(kind, base) for base in bases)


def _loaded(module: str, name: str) -> type[Any] | None:
    return getattr(sys.modules.get(module), name, None)
