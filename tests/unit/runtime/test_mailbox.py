"""A mailbox keeps the order and its bounds."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.runtime.actors import settle

from overwinter.errors import ActorStopped, ConfigurationError, MailboxFull
from overwinter.runtime.envelope import Envelope
from overwinter.runtime.mailbox import Mailbox

pytestmark = pytest.mark.anyio


def letter(message: Any) -> Envelope:
    return Envelope(message)


async def put(mailbox: Mailbox, envelope: Envelope) -> None:
    """As a tell does."""
    if not mailbox.offer(envelope) and not await mailbox.admission(envelope):
        raise ActorStopped("before there was room")


def put_nowait(mailbox: Mailbox, envelope: Envelope) -> None:
    """As a tell does that does not wait."""
    if not mailbox.offer(envelope):
        mailbox.withdraw(envelope)
        raise MailboxFull


def taken(mailbox: Mailbox) -> list[Any]:
    messages = []
    while (envelope := mailbox.take()) is not None:
        messages.append(envelope.message)
    return messages


async def test_put_waits_for_room_and_the_line_is_served_in_order() -> None:
    """R5: room goes to the head of the line, and a newcomer does not overtake it."""
    mailbox = Mailbox(1)
    await put(mailbox, letter(0))
    waiting = [asyncio.create_task(put(mailbox, letter(number))) for number in (1, 2, 3)]
    await settle()
    assert mailbox.waiting == 3

    first = mailbox.take()
    assert first is not None
    assert first.message == 0
    with pytest.raises(MailboxFull):
        put_nowait(mailbox, letter("newcomer"))

    assert taken(mailbox) == [1, 2, 3]
    await asyncio.gather(*waiting)


async def test_a_cancelled_waiter_withdraws_and_loses_nobody_elses_wake_up() -> None:
    """R6: those behind a cancelled waiter get the room it would have had."""
    mailbox = Mailbox(1)
    put_nowait(mailbox, letter(0))
    leaving = asyncio.create_task(put(mailbox, letter("leaving")))
    staying = asyncio.create_task(put(mailbox, letter("staying")))
    await settle()
    leaving.cancel()
    await settle()
    assert taken(mailbox) == [0, "staying"]
    await staying


async def test_a_waiter_cancelled_in_the_instant_it_got_room_withdraws_too() -> None:
    """R6: room that was given to a waiter which is cancelled before it runs goes to the next."""
    mailbox = Mailbox(1)
    put_nowait(mailbox, letter(0))
    leaving = asyncio.create_task(put(mailbox, letter("leaving")))
    staying = asyncio.create_task(put(mailbox, letter("staying")))
    await settle()
    mailbox.take()
    leaving.cancel()
    await settle()
    assert leaving.cancelled()
    assert staying.done()
    assert taken(mailbox) == ["staying"]


async def test_the_weight_of_the_messages_is_bounded_and_a_heavier_one_passes_alone() -> None:
    """R7: weights add up to the bound, and what is heavier than it passes when the mailbox is empty."""
    mailbox = Mailbox(None, weigh=len, max_weight=10)
    put_nowait(mailbox, letter("12345"))
    put_nowait(mailbox, letter("12345"))
    with pytest.raises(MailboxFull):
        put_nowait(mailbox, letter("1"))
    assert mailbox.weight == 10
    heavy = asyncio.create_task(put(mailbox, letter("x" * 100)))
    light = asyncio.create_task(put(mailbox, letter("1")))
    await settle()

    mailbox.take()
    await settle()
    assert not heavy.done()
    mailbox.take()
    await settle()
    assert heavy.done()
    assert not light.done(), "a light one must not overtake the heavy one before it"
    mailbox.take()
    await light
    assert mailbox.weight == 1


async def test_a_heavy_waiter_that_leaves_makes_way_for_the_light_ones_behind_it() -> None:
    """R6: when the head of the line leaves, what fits behind it is let in at once."""
    mailbox = Mailbox(None, weigh=len, max_weight=10)
    put_nowait(mailbox, letter("12345678"))
    heavy = asyncio.create_task(put(mailbox, letter("x" * 100)))
    light = asyncio.create_task(put(mailbox, letter("1")))
    await settle()
    heavy.cancel()
    await light


async def test_messages_of_the_system_overtake() -> None:
    """R47: the system's lane is emptied first."""
    mailbox = Mailbox(1)
    put_nowait(mailbox, letter("user"))
    mailbox.put_system(letter("one"))
    mailbox.put_system(letter("two"))
    assert len(mailbox) == 1
    assert taken(mailbox) == ["one", "two", "user"]


async def test_closing_turns_the_waiting_away_or_lets_them_in() -> None:
    """R27: a mailbox that is drained admits those who already waited, and takes nothing new."""
    for admit in (False, True):
        mailbox = Mailbox(1)
        put_nowait(mailbox, letter(0))
        waiting = asyncio.create_task(put(mailbox, letter(1)))
        await settle()
        refused = mailbox.close(admit=admit)
        with pytest.raises(ActorStopped):
            put_nowait(mailbox, letter(2))
        if admit:
            await waiting
            assert refused == []
            assert taken(mailbox) == [0, 1]
        else:
            with pytest.raises(ActorStopped):
                await waiting
            assert [envelope.message for envelope in refused] == [1]
            assert taken(mailbox) == [0]


async def test_withdrawn_messages_take_no_room_and_no_memory() -> None:
    """R16: a withdrawn message makes room at once, and its place in the queue is reclaimed."""
    mailbox = Mailbox(1000)
    envelopes = [letter(number) for number in range(1000)]
    for envelope in envelopes:
        put_nowait(mailbox, envelope)
    for envelope in envelopes[:-1]:
        assert mailbox.withdraw(envelope)
        assert not mailbox.withdraw(envelope)
    assert len(mailbox) == 1
    assert len(mailbox.queue or ()) <= 66
    assert taken(mailbox) == [999]
    assert len(mailbox) == 0


async def test_discard_empties_it() -> None:
    """R26: what was queued is handed back once, withdrawn messages not among it."""
    mailbox = Mailbox(None, weigh=lambda _: 1, max_weight=100)
    kept, withdrawn = letter("kept"), letter("withdrawn")
    put_nowait(mailbox, kept)
    put_nowait(mailbox, withdrawn)
    mailbox.withdraw(withdrawn)
    mailbox.put_system(letter("system"))
    assert mailbox.discard() == [kept]
    assert mailbox.discard() == []
    assert (len(mailbox), mailbox.weight, mailbox.take()) == (0, 0, None)


def test_bounds_that_cannot_work_are_refused() -> None:
    """R3: a bound leaves room for one message at least, and the error names the setting."""
    with pytest.raises(ConfigurationError, match="mailbox_capacity"):
        Mailbox(0)
    with pytest.raises(ConfigurationError, match="mailbox_weight"):
        Mailbox(1, len, 0)


class Model:
    """What a mailbox ought to do, in the plainest way: one list, and the bounds looked at from its head."""

    def __init__(self, capacity: int, max_weight: int) -> None:
        self.capacity, self.max_weight = capacity, max_weight
        self.inside: list[int] = []
        self.line: list[int] = []

    def fits(self, weight: int) -> bool:
        total = sum(message % 7 for message in self.inside)
        return not self.inside or (len(self.inside) < self.capacity and total + weight <= self.max_weight)

    def admit(self) -> None:
        while self.line and self.fits(self.line[0] % 7):
            self.inside.append(self.line.pop(0))

    def put(self, message: int) -> None:
        self.line.append(message)
        self.admit()

    def take(self) -> int | None:
        message = self.inside.pop(0) if self.inside else None
        self.admit()
        return message

    def withdraw(self, message: int) -> None:
        if message in self.inside:
            self.inside.remove(message)
        elif message in self.line:
            self.line.remove(message)
        self.admit()


@settings(max_examples=200, deadline=None)
@given(
    capacity=st.integers(1, 4),
    max_weight=st.integers(1, 12),
    steps=st.lists(st.tuples(st.sampled_from(["put", "put", "take", "leave"]), st.integers(0, 40))),
)
def test_whatever_comes_and_goes_the_order_and_the_bounds_hold(
    capacity: int, max_weight: int, steps: list[tuple[str, int]]
) -> None:
    """R2: puts, takes and withdrawals in any order keep the sender's order, the count and the weight."""
    mailbox = Mailbox(capacity, weigh=lambda message: message % 7, max_weight=max_weight)
    model = Model(capacity, max_weight)
    envelopes: dict[int, Envelope] = {}
    serial = 0
    for step, choice in steps:
        if step == "put":
            serial += 1
            envelopes[serial] = letter(serial)
            mailbox.offer(envelopes[serial])
            model.put(serial)
        elif step == "take":
            envelope = mailbox.take()
            assert (None if envelope is None else envelope.message) == model.take()
        elif choice in envelopes:
            here = choice in model.inside or choice in model.line
            assert mailbox.withdraw(envelopes[choice]) == here
            model.withdraw(choice)
        assert len(mailbox) == len(model.inside) <= capacity
        assert mailbox.waiting == len(model.line)
        assert mailbox.weight == sum(message % 7 for message in model.inside)
        assert mailbox.weight <= max_weight or len(mailbox) == 1
    assert taken(mailbox) == [*model.inside, *model.line]
