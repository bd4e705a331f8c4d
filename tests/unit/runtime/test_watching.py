"""Who watches an actor is told when it has stopped."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from tests.unit.runtime.actors import Gated, Recorder, settle

from overwinter.errors import ConfigurationError
from overwinter.runtime import ActorRef, ActorSystem, Backoff, Restart, Terminated
from overwinter.testing import FakeClock

pytestmark = pytest.mark.anyio


class Watcher(Gated):
    def watch(self, ref: ActorRef[Any]) -> None:
        self.context.watch(ref)

    def unwatch(self, ref: ActorRef[Any]) -> None:
        self.context.unwatch(ref)

    @property
    def told(self) -> list[Terminated]:
        return [message for message in self.log if isinstance(message, Terminated)]


async def test_a_watcher_is_told_ahead_of_its_other_messages() -> None:
    """R47: Terminated overtakes what is queued, also in a full mailbox."""
    watcher = Watcher()
    async with ActorSystem() as system:
        ref = await system.spawn(watcher, mailbox_capacity=1)
        watched = await system.spawn(Recorder)
        watcher.watch(watched)
        watcher.watch(watched)
        await ref.tell("in hand")
        await watcher.began.wait()
        await ref.tell("queued")
        await watched.stop()
        watcher.gate.set()
        await ref.ask("end")
    assert watcher.log[1:4] == ["in hand", Terminated(watched.address, "stopped", ""), "queued"]
    assert len(watcher.told) == 1


async def test_an_idle_watcher_is_told_at_once() -> None:
    """R47: nobody has to send it anything."""
    watcher = Watcher()
    watcher.gate.set()
    async with ActorSystem() as system:
        await system.spawn(watcher)
        watched = await system.spawn(Recorder)
        watcher.watch(watched)
        await watched.stop()
        await settle()
        assert [told.reason for told in watcher.told] == ["stopped"]


async def test_who_watches_an_actor_that_is_gone_is_told_so() -> None:
    """R48: there is no way to watch in vain."""
    watcher = Watcher()
    watcher.gate.set()
    async with ActorSystem() as system:
        await system.spawn(watcher)
        watched = await system.spawn(Recorder)
        await watched.stop()
        watcher.watch(watched)
        await settle()
        assert watcher.told == [Terminated(watched.address, "gone", "")]


async def test_unwatch_calls_it_off_and_drops_what_was_not_handled() -> None:
    """R48: after unwatch nothing is told, even when the actor had stopped already."""
    watcher = Watcher()
    async with ActorSystem() as system:
        ref = await system.spawn(watcher)
        first = await system.spawn(Recorder)
        second = await system.spawn(Recorder)
        third = await system.spawn(Recorder)
        for watched in (first, second, third):
            watcher.watch(watched)
        await ref.tell("in hand")
        await watcher.began.wait()
        watcher.unwatch(first)
        await first.stop()
        await second.stop()
        await third.stop()
        watcher.unwatch(second)
        watcher.unwatch(second)
        watcher.gate.set()
        await ref.ask("end")
    assert [told.address for told in watcher.told] == [third.address]


async def test_restarts_are_not_told_and_the_watchers_own_restart_keeps_the_watch() -> None:
    """R47: only the end is told, to the watcher that lives then, and not during its backoff."""
    clock = FakeClock()
    watcher = Watcher()
    watcher.gate.set()
    async with ActorSystem(clock=clock) as system:
        ref = await system.spawn(watcher, supervision=Restart(backoff=Backoff(initial=1, jitter=0)))
        watched = await system.spawn(Recorder, supervision=Restart(backoff=Backoff(initial=0)))
        watcher.watch(watched)
        await watched.tell("fail")
        await settle()
        await ref.tell("fail")
        await settle()
        await watched.stop()
        assert watcher.told == []
        await clock.advance(1)
        assert [told.reason for told in watcher.told] == ["stopped"]


async def test_an_actor_cannot_watch_itself() -> None:
    """R48: it would never be told."""
    watcher = Watcher()
    async with ActorSystem() as system:
        ref = await system.spawn(watcher)
        with pytest.raises(ConfigurationError, match="itself"):
            watcher.watch(ref)


async def test_a_watcher_that_has_stopped_is_forgotten_and_not_told() -> None:
    """R47: neither side holds on to the other after its end."""
    watcher = Watcher()
    watcher.gate.set()
    async with ActorSystem() as system:
        ref = await system.spawn(watcher)
        watched = await system.spawn(Recorder)
        watcher.watch(watched)
        await ref.stop()
        await watched.stop()
        await settle()
        assert system.dead_letters.count == 0
    assert watcher.told == []


async def test_a_cancelled_actor_is_told_as_such() -> None:
    """R33: the reason of a cancellation from outside is cancelled."""
    watcher = Watcher()
    watcher.gate.set()
    async with ActorSystem() as system:
        await system.spawn(watcher)
        victim = Gated()
        watched = await system.spawn(victim, name="victim")
        watcher.watch(watched)
        await watched.tell("in hand")
        await victim.began.wait()
        next(task for task in asyncio.all_tasks() if task.get_name() == "/victim").cancel()
        await settle()
        assert [told.reason for told in watcher.told] == ["cancelled"]
