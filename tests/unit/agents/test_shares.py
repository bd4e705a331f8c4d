"""Shares of a turn of the event loop."""

from __future__ import annotations

import asyncio

import pytest

from overwinter.agents.shares import Shares

pytestmark = pytest.mark.anyio


async def turns_of(shares: Shares, *amounts: int) -> list[int]:
    """In which turn each of the pieces goes, all of them begun at once."""
    turn = 0
    went: dict[int, int] = {}

    async def piece(number: int, amount: int) -> None:
        await shares.take(amount)
        went[number] = turn

    tasks = [asyncio.create_task(piece(*each)) for each in enumerate(amounts)]
    while not all(task.done() for task in tasks):
        await asyncio.sleep(0)
        turn += 1
    return [went[number] for number in range(len(amounts))]


async def test_small_pieces_share_a_turn() -> None:
    first, *others = await turns_of(Shares(10), 1, 1, 1, 1)
    assert others == [first] * 3


async def test_a_turn_takes_no_more_than_its_share() -> None:
    one, two, three, four, five = await turns_of(Shares(10), 5, 5, 5, 5, 5)
    assert one == two < three == four < five


async def test_a_piece_that_is_larger_than_a_share_goes_all_the_same() -> None:
    one, two, three = await turns_of(Shares(10), 1, 100, 1)
    assert one == two < three


async def test_whoever_is_cancelled_is_passed_over() -> None:
    shares = Shares(1)
    goes, gone, stays = (asyncio.create_task(shares.take(1)) for _ in range(3))
    await asyncio.sleep(0)
    gone.cancel()
    await asyncio.wait({goes, gone, stays})
    assert gone.cancelled()
    assert stays.result() is None


async def test_a_turn_that_takes_long_has_more(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0

    def time() -> float:
        nonlocal now
        now += 0.5
        return now

    monkeypatch.setattr(asyncio.get_running_loop(), "time", time)
    one, two, *others = await turns_of(Shares(1, a_second=100), 1, 1, 1, 1, 1, 1)
    assert one < two
    assert others == [two] * 4
