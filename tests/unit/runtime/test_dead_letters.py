"""Undeliverable messages are counted and can be watched."""

from __future__ import annotations

import pytest
from tests.unit.runtime.actors import Recorder

from overwinter.errors import ActorStopped
from overwinter.runtime import ActorSystem, Address, DeadLetter, DeadLetters

pytestmark = pytest.mark.anyio

ADDRESS = Address("system", "/path", "uid")


async def test_what_is_told_to_a_stopped_actor_is_a_dead_letter_and_no_error() -> None:
    """R9: tell and tell_nowait raise nothing, ask raises ActorStopped; all are counted."""
    async with ActorSystem() as system:
        ref = await system.spawn(Recorder, name="gone")
        await ref.stop()
        await ref.tell("one")
        ref.tell_nowait(2)
        with pytest.raises(ActorStopped, match="/gone has stopped"):
            await ref.ask("three")
        assert system.dead_letters.count == system.statistics().dead_letters == 3
        assert [letter.message_type for letter in system.dead_letters.recent] == ["str", "int", "str"]
        assert {letter.address for letter in system.dead_letters.recent} == {ref.address}


def test_the_latest_are_kept_without_their_content() -> None:
    """R10: all are counted, the last hundred remembered by address, type and reason."""
    letters = DeadLetters()
    for number in range(250):
        letters.add(ADDRESS, f"secret {number}", f"reason {number}")
    assert letters.count == 250
    assert len(letters.recent) == 100
    assert letters.recent[-1] == DeadLetter(ADDRESS, "str", "reason 249")
    assert "secret" not in repr(letters.recent)


def test_a_watcher_is_called_for_each_until_it_unwatches(caplog: pytest.LogCaptureFixture) -> None:
    """R10: one that fails is logged and does not keep the others from being called."""
    letters = DeadLetters()
    seen: list[str] = []

    def broken(letter: DeadLetter) -> None:
        raise ValueError("watcher")

    def once(letter: DeadLetter) -> None:
        seen.append("once")
        unwatch_once()

    unwatch_once = letters.watch(once)
    letters.watch(broken)
    unwatch = letters.watch(lambda letter: seen.append(letter.reason))
    letters.add(ADDRESS, 1, "first")
    letters.add(ADDRESS, 1, "second")
    unwatch()
    unwatch()
    letters.add(ADDRESS, 1, "third")
    assert seen == ["once", "first", "second"]
    assert "ValueError: watcher" in caplog.text
