"""Named agents in any order of events: nothing accepted is lost, and there are never two of one agent."""

from __future__ import annotations

import asyncio
import tempfile
import weakref
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from tests.support.disk import UnsyncedDisk

from overwinter import Agent, RunInterrupted, Runtime
from overwinter.errors import ActorStopped, NothingToResume, RuntimeClosed
from overwinter.testing import FakeClock, ScriptedModel

if TYPE_CHECKING:
    from collections.abc import Coroutine

NAMES = st.sampled_from("abc")
_ROUNDS = 60_000


class NamedAgents(RuleBasedStateMachine):
    """Three agents, of which two may be active; every rule begins something, and few wait for its end."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.folder = tempfile.TemporaryDirectory()
        self.clock = FakeClock()
        self.made: list[tuple[str, weakref.ref[Agent[Any]]]] = []
        self.doubles: list[str] = []
        self.begun: set[asyncio.Task[Any]] = set()
        self.asking: list[asyncio.Task[Any]] = []
        self.accepted: dict[str, str] = {}
        self.answered: dict[str, int] = {}
        self.count = 0
        self.runtime = self._open()

    def _open(self) -> Runtime:
        async def opened() -> Runtime:
            runtime = Runtime(
                Path(self.folder.name) / "w",
                agents=self._make,
                files=UnsyncedDisk(),
                clock=self.clock,
                active_limit=2,
                idle_timeout=10.0,
                run_grace=0.0,
            )
            await runtime.open()
            return runtime

        return self.loop.run_until_complete(opened())

    def _make(self, name: str, session: str) -> Agent[Any]:
        async def reply(request: Any) -> str:
            task = request.messages[-1].content
            living = [one() for known, one in self.made if known == name]
            if (
                sum(agent is not None and agent.reference_on(self.runtime) is not None for agent in living)
                > 1
            ):
                self.doubles.append(name)
            for _ in range(len(task) % 7):
                await asyncio.sleep(0)
            self.answered[task] = self.answered.get(task, 0) + 1
            return f"did {task}"

        agent = Agent(name, session=session, model=ScriptedModel(reply, loop=True), autosave=True)
        self.made.append((name, weakref.ref(agent)))
        return agent

    def _task(self, name: str) -> str:
        self.count += 1
        return f"{name}-{'x' * (self.count % 5)}-{self.count}"

    def _begin(self, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        task = self.loop.create_task(work)
        self.begun.add(task)
        return task

    @rule(name=NAMES)
    def tell(self, name: str) -> None:
        async def tell(runtime: Runtime, task: str) -> None:
            await runtime.agent(name).tell(task, run_id=task)
            self.accepted[task] = name

        self._begin(tell(self.runtime, self._task(name)))

    @rule(name=NAMES)
    def ask(self, name: str) -> None:
        async def ask(runtime: Runtime, task: str) -> None:
            assert await runtime.agent(name).ask(task, run_id=task) == f"did {task}"

        self.asking.append(self._begin(ask(self.runtime, self._task(name))))

    @rule(name=NAMES)
    def passivate(self, name: str) -> None:
        self._begin(self.runtime.passivate(name))

    @rule(name=NAMES)
    def resume(self, name: str) -> None:
        async def resume(runtime: Runtime) -> None:
            with suppress(NothingToResume):
                await runtime.agent(name).resume()

        self._begin(resume(self.runtime))

    @precondition(lambda self: self.asking)
    @rule(data=st.data())
    def give_up(self, data: st.DataObject) -> None:
        self.asking.pop(data.draw(st.integers(0, len(self.asking) - 1))).cancel()

    @rule(name=NAMES)
    def stop(self, name: str) -> None:
        """Somebody stops the agent itself, whatever it does."""

        async def stop(runtime: Runtime) -> None:
            for agent in runtime.agents:
                if agent.agent_name == name:
                    await runtime.stop(agent)

        self._begin(stop(self.runtime))

    @rule(turns=st.integers(1, 60))
    def go_on(self, turns: int) -> None:
        async def turn() -> None:
            for _ in range(turns):
                await asyncio.sleep(0)

        self.loop.run_until_complete(turn())

    @rule(seconds=st.sampled_from((1.0, 10.0)))
    def wait(self, seconds: float) -> None:
        self.loop.run_until_complete(self.clock.advance(seconds))

    @rule()
    def settle(self) -> None:
        self.loop.run_until_complete(self._all_ended())

    @rule()
    def restart(self) -> None:
        """The runtime is closed in the midst of everything, and another opened."""
        self.loop.run_until_complete(self.runtime.aclose())
        self.loop.run_until_complete(self._all_ended())
        assert not self.runtime.directory.background
        self.runtime = self._open()

    @invariant()
    def there_are_never_two_of_one_agent(self) -> None:
        assert self.doubles == []

    async def _all_ended(self) -> None:
        for _ in range(_ROUNDS):
            if all(task.done() for task in self.begun):
                break
            # What the clock has overtaken in the disk's threads is waited for by the clock.
            await asyncio.wait(self.begun, timeout=0.01)
            await self.clock.advance(0.05)
        assert [task for task in self.begun if not task.done()] == []
        for task in self.begun:
            if not task.cancelled():
                # To be stopped is nobody's error; that an agent is in use, by another of its own, would be one.
                with suppress(RunInterrupted, RuntimeClosed, ActorStopped):
                    task.result()
        self.begun.clear()
        self.asking.clear()

    def teardown(self) -> None:
        try:
            self.loop.run_until_complete(self._check_the_end())
        finally:
            self.loop.run_until_complete(self.runtime.aclose())
            self.loop.close()
            self.folder.cleanup()

    async def _check_the_end(self) -> None:
        await self._all_ended()
        for task, name in self.accepted.items():
            result = await self.runtime.agent(name).run(task, run_id=task)
            assert (result.status, result.text) == ("finished", f"did {task}")
            assert self.answered[task] >= 1
        directory = self.runtime.directory
        for _ in range(_ROUNDS):
            there = directory.statistics()
            if not there.at_work and not directory._door.leaving and there.active <= 2:
                break
            await asyncio.sleep(0.0005)  # the disk's threads have their own time
        assert (there.at_work, directory._door.leaving) == (0, 0)
        assert there.active == len(directory._berths) == len(directory._resting) <= 2
        assert not directory.waits._waiting


def test_nothing_is_lost_in_any_order_of_events() -> None:
    """N26: whatever is told, asked, passivated, stopped and restarted in any order, no accepted task is lost, and there
    are never two actors of one agent."""
    run_state_machine_as_test(
        NamedAgents,
        settings=settings(
            max_examples=40,
            stateful_step_count=25,
            deadline=None,
            derandomize=True,
            suppress_health_check=[HealthCheck.too_slow],
        ),
    )
