"""Messages are plain data."""

from __future__ import annotations

import dataclasses
import datetime
import decimal
import enum
import pathlib
import uuid
from typing import Any, NamedTuple

import msgspec
import pytest
from tests.unit.runtime.actors import Recorder

from overwinter.errors import MessageRefused
from overwinter.runtime import ActorSystem, Address
from overwinter.runtime.messages import check_message

pytestmark = pytest.mark.anyio


class Letter(msgspec.Struct):
    text: str


class SpecialLetter(Letter):
    pass


@dataclasses.dataclass
class Note:
    text: str


class Colour(enum.Enum):
    RED = 1


class Level(enum.IntEnum):
    LOW = 1


class Pair(NamedTuple):
    left: int
    right: int


class Text(str):
    __slots__ = ()


class Thing:
    pass


PLAIN: list[Any] = [
    None,
    True,
    1,
    1.5,
    1j,
    "text",
    b"bytes",
    bytearray(b"bytes"),
    [],
    (),
    {},
    set(),
    frozenset(),
    datetime.datetime(2030, 1, 1, tzinfo=datetime.UTC),
    datetime.date(2030, 1, 1),
    datetime.time(12),
    datetime.timedelta(1),
    uuid.UUID(int=1),
    decimal.Decimal("1.5"),
    pathlib.PurePosixPath("a/b"),
    pathlib.PurePath("a"),
    Letter("a"),
    SpecialLetter("a"),
    Note("a"),
    Colour.RED,
    Level.LOW,
    Address("system", "/path", "uid"),
]


@pytest.mark.parametrize("message", PLAIN, ids=lambda message: type(message).__name__)
def test_plain_data_passes(message: Any) -> None:
    """R8: structs, dataclasses, enums and builtin values are messages, the second time as well."""
    check_message(message)
    check_message(message)


@pytest.mark.parametrize(
    "message",
    [Thing(), Thing, Letter, Pair(1, 2), Text("a"), ValueError("no"), lambda: None, object(), open, iter([])],
    ids=lambda message: type(message).__name__,
)
def test_anything_else_is_refused_and_named(message: Any) -> None:
    """R8: a message that is not plain data is refused, and the error names its type."""
    for _ in range(2):
        with pytest.raises(MessageRefused, match=type(message).__qualname__):
            check_message(message)


async def test_every_way_to_send_refuses_at_the_sender() -> None:
    """R8: tell, tell_nowait and ask raise at the sender, and the actor does not notice."""
    actor = Recorder()
    async with ActorSystem() as system:
        ref = await system.spawn(actor)
        with pytest.raises(MessageRefused):
            await ref.tell(Thing())
        with pytest.raises(MessageRefused):
            ref.tell_nowait(Thing())
        with pytest.raises(MessageRefused):
            await ref.ask(Thing())
        assert await ref.ask(ref) == ref
    assert actor.log == ["start", ref, "stop"]
