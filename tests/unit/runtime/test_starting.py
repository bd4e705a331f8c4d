"""An actor is there when spawn has returned, and not at all when it raised."""

from __future__ import annotations

import asyncio
import contextvars
import logging
from typing import Any

import anyio
import pytest
from tests.unit.runtime.actors import Recorder, settle

from overwinter.errors import ActorStopped, ConfigurationError, NameTaken, RuntimeClosed
from overwinter.runtime import Actor, ActorContext, ActorSystem, Restart, Stop
from overwinter.testing import FakeClock

pytestmark = pytest.mark.anyio


class Failing(Recorder):
    async def on_start(self) -> None:
        await super().on_start()
        await self.context.spawn(lambda: Recorder(self.log), name="child")
        self.context.start_soon(asyncio.Event().wait)
        raise OSError("no disk")


class Slow(Recorder):
    def __init__(self, log: list[Any] | None = None) -> None:
        super().__init__(log)
        self.gate = asyncio.Event()
        self.began = asyncio.Event()

    async def on_start(self) -> None:
        self.began.set()
        await self.gate.wait()
        await super().on_start()


async def test_spawn_returns_when_on_start_has() -> None:
    """R22: messages told meanwhile wait for on_start."""
    actor = Slow()
    async with ActorSystem() as system:
        spawning = asyncio.create_task(system.spawn(actor, name="slow"))
        await actor.began.wait()
        early = system.find("slow")
        assert early is not None
        await early.tell("early")
        assert not spawning.done()
        actor.gate.set()
        ref = await spawning
        assert ref == early
        await ref.ask("later")
    assert actor.log == ["start", "early", "later", "stop"]


async def test_an_error_of_on_start_is_raised_by_spawn_and_there_is_no_actor() -> None:
    """R22: after a failed start its name is free, its child and job are gone, and on_stop was not called."""
    actor = Failing()
    before = asyncio.all_tasks()
    async with ActorSystem() as system:
        with pytest.raises(OSError, match="no disk"):
            await system.spawn(actor, name="failing")
        assert system.statistics().actors == 0
        assert system.statistics().jobs == 0
        assert asyncio.all_tasks() == before
        await system.spawn(Recorder, name="failing")
    assert actor.log == ["start", "start", "stop"], "its own start, and its child's life"


async def test_what_was_told_to_an_actor_that_did_not_start_is_a_dead_letter() -> None:
    """R22: who told or asked it meanwhile is answered like by any actor that stopped."""

    class Refusing(Slow):
        async def on_start(self) -> None:
            await super().on_start()
            raise OSError("no disk")

    actor = Refusing()
    async with ActorSystem() as system:
        spawning = asyncio.create_task(system.spawn(actor, name="slow"))
        await actor.began.wait()
        early = system.find("/slow")
        assert early is not None
        await early.tell("early")
        asking = asyncio.create_task(early.ask("early"))
        await settle()
        actor.gate.set()
        with pytest.raises(OSError, match="no disk"):
            await spawning
        with pytest.raises(ActorStopped):
            await asking
        assert system.dead_letters.count == 2


async def test_a_cancelled_spawn_leaves_no_actor_behind() -> None:
    """R23: cancelled in on_start, there is neither an actor nor its name when the cancellation is raised."""
    actor = Slow()
    async with ActorSystem(clock=FakeClock()) as system:
        with anyio.CancelScope() as scope:
            scope.cancel()
            await system.spawn(actor, name="slow")
        assert scope.cancelled_caught
        assert system.statistics().actors == 0
        spawning = asyncio.create_task(system.spawn(Slow, name="slow"))
        await settle()
        spawning.cancel()
        with pytest.raises(asyncio.CancelledError):
            await spawning
        assert system.find("slow") is None
    assert actor.log == []


async def test_a_name_is_taken_by_one_live_actor() -> None:
    """R24: a second actor of one name is refused until the first has stopped; a child's name is its own."""

    class Parent(Recorder):
        async def on_start(self) -> None:
            self.child = await self.context.spawn(Recorder, name="one")

    async with ActorSystem() as system:
        first = await system.spawn(Recorder, name="one")
        with pytest.raises(NameTaken, match="/one"):
            await system.spawn(Recorder, name="one")
        parent = Parent()
        await system.spawn(parent, name="parent")
        assert system.find("/parent/one") == parent.child
        assert system.find("one") == first
        await first.stop()
        assert system.find("one") is None
        assert await system.spawn(Recorder, name="one") != first


async def test_names_are_made_up_and_never_collide() -> None:
    """R24: without a name there is one, also when somebody took it before."""
    async with ActorSystem() as system:
        await system.spawn(Recorder, name="Recorder-1")
        ref = await system.spawn(Recorder)
        assert ref.address.path == "/Recorder-2"


@pytest.mark.parametrize("name", ["", "a/b", "a#b", "/"])
async def test_a_name_that_would_not_be_a_path_is_refused(name: str) -> None:
    """R24: names hold neither slash nor hash."""
    async with ActorSystem() as system:
        with pytest.raises(ConfigurationError, match="name"):
            await system.spawn(Recorder, name=name)


async def test_what_is_no_actor_is_refused() -> None:
    """R22: spawn needs an actor, or something that makes one, and a supervision."""
    async with ActorSystem() as system:
        for wrong in (lambda: 3, 3, object):
            with pytest.raises(ConfigurationError, match="spawn needs an Actor"):
                await system.spawn(wrong)  # type: ignore[arg-type]
        with pytest.raises(ConfigurationError, match="supervision"):
            await system.spawn(Recorder, supervision="restart")  # type: ignore[arg-type]
        with pytest.raises(ConfigurationError, match=r"Restart\(\)"):
            await system.spawn(Recorder, supervision=Restart)  # type: ignore[arg-type]
        with pytest.raises(TypeError):
            await system.spawn(Recorder.receive)  # type: ignore[arg-type]
        assert system.statistics().actors == 0


async def test_one_object_is_one_actor() -> None:
    """R22: an object that already runs is refused, and may be spawned again when it has stopped."""
    actor = Recorder()
    async with ActorSystem() as system, ActorSystem() as other:
        ref = await system.spawn(actor, name="first")
        with pytest.raises(ConfigurationError, match="/first"):
            await other.spawn(actor)
        await ref.stop()
        await other.spawn(actor)
    assert actor.log == ["start", "stop", "start", "stop"]


async def test_a_closed_system_takes_no_actors() -> None:
    """R60: before open and after close spawn raises RuntimeClosed, and a system lives once."""
    system = ActorSystem()
    await system.aclose()
    with pytest.raises(RuntimeClosed):
        await system.spawn(Recorder)
    async with system:
        ref = await system.spawn(Recorder)
        assert system.running
    assert not system.running
    with pytest.raises(RuntimeClosed):
        await system.spawn(Recorder)
    with pytest.raises(RuntimeClosed, match="once"):
        await system.open()
    await ref.tell("late")
    with pytest.raises(ActorStopped):
        await ref.ask("late")
    assert system.dead_letters.count == 2


flavour: contextvars.ContextVar[str] = contextvars.ContextVar("flavour", default="none")


async def test_an_actor_runs_in_a_copy_of_the_context_it_was_spawned_in() -> None:
    """R63: what a sender's context holds does not leak into it, and what the actor sets stays with it."""

    class Tasting(Actor[str]):
        async def receive(self, message: str) -> str:
            if message:
                flavour.set(message)
            return flavour.get()

    async with ActorSystem() as system:
        flavour.set("vanilla")
        ref = await system.spawn(Tasting)
        flavour.set("lemon")
        assert await ref.ask("") == "vanilla"
        assert await ref.ask("cherry") == "cherry"
        assert await ref.ask("") == "cherry"
        assert flavour.get() == "lemon"


async def test_the_context_knows_the_actor_and_its_house() -> None:
    """R22: an actor finds its reference, its system and its clock in its context."""
    clock = FakeClock()
    actor = Recorder()
    async with ActorSystem(clock=clock) as system:
        ref = await system.spawn(actor)
        context: ActorContext = actor.context
        assert (context.ref, context.system, context.clock) == (ref, system, clock)
        assert context.alive
        assert context.sender is None
    assert not context.alive


async def test_an_actor_without_receive_says_so() -> None:
    """R15: a forgotten receive is an error that names the class."""

    class Forgetful(Actor[str]):
        pass

    async with ActorSystem() as system:
        ref = await system.spawn(Forgetful, supervision=Stop())
        with pytest.raises(NotImplementedError, match="Forgetful"):
            await ref.ask("anything")


async def test_a_start_that_fails_after_its_spawn_was_cancelled_is_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """R23: an error that spawn can no longer raise is not lost."""

    class Stubborn(Slow):
        async def on_start(self) -> None:
            try:
                await super().on_start()
            except asyncio.CancelledError:
                raise OSError("no disk") from None

    async with ActorSystem() as system:
        spawning = asyncio.create_task(system.spawn(Stubborn))
        await settle()
        with caplog.at_level(logging.ERROR, "overwinter.runtime"):
            spawning.cancel()
            with pytest.raises(asyncio.CancelledError):
                await spawning
        assert "no disk" in caplog.text
        assert system.statistics().actors == 0
