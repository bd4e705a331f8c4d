"""Taking turns."""

from __future__ import annotations

import asyncio

import anyio
import pytest

from overwinter.agents.turns import Turns

pytestmark = pytest.mark.anyio


async def test_one_after_the_other_in_the_order_in_which_they_came() -> None:
    turns, order = Turns[str](), list[str]()

    async def take(name: str) -> None:
        async with turns.at("key"):
            order.append(f"{name} begins")
            await anyio.lowlevel.checkpoint()
            order.append(f"{name} ends")

    async with anyio.create_task_group() as tasks:
        for name in "abc":
            tasks.start_soon(take, name)
        async with turns.at("another key"):
            order.append("elsewhere")
    assert order == ["elsewhere", *[f"{name} {what}" for name in "abc" for what in ("begins", "ends")]]
    assert not turns._waiting


@pytest.mark.parametrize("while_it_comes", [False, True])
async def test_who_is_cancelled_is_passed_over(while_it_comes: bool) -> None:
    turns, had = Turns[str](), list[str]()

    async def take(name: str) -> None:
        async with turns.at("key"):
            had.append(name)

    async with turns.at("key"):
        first, second = (asyncio.create_task(take(name)) for name in "ab")
        await anyio.wait_all_tasks_blocked()
        if not while_it_comes:
            first.cancel()
    # Otherwise its turn is on its way to the first.
    first.cancel()
    await asyncio.wait([first, second])
    assert first.cancelled()
    assert had == ["b"]
    assert not turns._waiting
