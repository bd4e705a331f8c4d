"""How the members of a swarm are asked, and what becomes of what they answer."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING, Any

import anyio
import pytest
from tests.support.made_swarms import ById, Foreign, Made, agent, together_by_number

from overwinter import (
    Agent,
    MemberFailed,
    MemberPolicy,
    NothingToResume,
    Runtime,
    ask_human,
    errors,
    events,
)
from overwinter.persistence.files import FileOperations
from overwinter.testing import FakeClock, ScriptedModel

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from pathlib import Path

    from overwinter.agents.swarms.team import Team

pytestmark = pytest.mark.anyio


async def test_what_is_decided_is_decided_once(tmp_path: Path) -> None:
    """O11: a resumed run sees what the first one saw."""
    asked: list[str] = []

    async def decide(swarm: Made, task: str, team: Team) -> str:
        def choose() -> list[str]:
            asked.append("choose")
            return ["a", "b"]

        async def later() -> dict[str, int]:
            asked.append("later")
            return {"n": 1}

        chosen = await team.decide("choose", choose, list[str])
        more = await team.decide("later", later, dict[str, int])
        third = await team.decide("thread", lambda: 7, int, thread=True)
        text = (await team.ask(swarm.members[0], task, key="1")).text
        return f"{chosen} {more} {third} {text}"

    def make(*script: Any) -> Made:
        return Made("s", [agent("a", *script)], decide, autosave=True, workspace_dir=tmp_path)

    with pytest.raises(MemberFailed):
        await make(RuntimeError("no")).run("go")
    result = await make("yes").resume()
    assert result.text == "['a', 'b'] {'n': 1} 7 yes"
    assert asked == ["choose", "later"]


async def test_a_decision_that_cannot_be_recorded_is_refused() -> None:
    async def wrong(_: Made, __: str, team: Team) -> str:
        return str(await team.decide("which", lambda: "x", int))  # type: ignore[arg-type, return-value]

    with pytest.raises(errors.ConfigurationError, match="'which' in swarm 's' is 'x', which is no int"):
        await Made("s", [agent("a")], wrong).run("go")

    async def raising(_: Made, __: str, team: Team) -> str:
        def fail() -> int:
            raise KeyError("k")

        return str(await team.decide("which", fail, int))

    with pytest.raises(KeyError) as raised:
        await Made("s", [agent("a")], raising).run("go")
    assert "decides 'which'" in raised.value.__notes__[0]


async def test_a_swarm_that_was_changed_is_not_gone_on_with(tmp_path: Path) -> None:
    """O12: work of one member is never taken for another's."""
    swarm = Made(
        "s",
        [agent("a", "one"), agent("b", RuntimeError("no"))],
        together_by_number,
        autosave=True,
        workspace_dir=tmp_path,
    )
    with pytest.raises(MemberFailed):
        await swarm.run("go")
    changed = Made(
        "s", [agent("b", "x"), agent("a", "y")], together_by_number, autosave=True, workspace_dir=tmp_path
    )
    with pytest.raises(errors.SwarmChanged, match="asks member 'b' for '0', which 'a' did"):
        await changed.resume()


async def test_a_key_names_one_piece_of_work() -> None:
    async def twice(swarm: Made, task: str, team: Team) -> str:
        await team.ask_all([(member, task, "same") for member in swarm.members])
        return task

    with pytest.raises(errors.ConfigurationError, match="have the key 'same'"):
        await Made("s", [agent("a", "one"), agent("b", "two")], twice).run("go")


async def test_only_so_many_are_at_work_at_once() -> None:
    """O13: and a long list of work is gone through no faster than it is done."""
    at_work = most = pulled = 0

    class Counting:
        def __init__(self, name: str) -> None:
            self.agent_name = name

        async def run(self, task: str) -> str:
            nonlocal at_work, most
            at_work += 1
            most = max(most, at_work)
            assert pulled <= int(task) + 3
            for _ in range(5):
                await anyio.lowlevel.checkpoint()
            at_work -= 1
            return task

        async def stream(self, task: str) -> AsyncGenerator[Any, None]:
            yield await self.run(task)

        async def resume(self) -> str:
            raise NothingToResume("nothing")

        async def save(self) -> None:
            return None

    async def many(swarm: Made, _: str, team: Team) -> str:
        def work() -> Any:
            nonlocal pulled
            for pulled in range(20):
                yield swarm.members[pulled], str(pulled), str(pulled)

        return " ".join(one.text for one in await team.ask_all(work(), at_once=3))

    result = await Made("s", [Counting(f"c{number}") for number in range(20)], many).run("go")
    assert result.text == " ".join(map(str, range(20)))
    assert most == 3


async def test_anything_that_has_the_shape_of_an_agent_can_be_a_member() -> None:
    """O14: what was cut off of it is resumed, or asked for again under the same id."""
    foreign = Foreign("foreign", RuntimeError("down"), NothingToResume("never began"), "answered")
    by_id = ById("by id", RuntimeError("down"), "answered too")
    swarm = Made("s", [foreign, by_id], policy=MemberPolicy(attempts=2, backoff=0.0))
    result = await swarm.run("go")
    assert result.text == "answered too"
    assert foreign.asked == ["run go", "resume", "run go"]
    assert by_id.asked == ["2-by id", "2-by id"]
    with pytest.raises(errors.ConfigurationError, match="no run, stream, resume, save, agent_name"):
        Made("t", [object()])


async def test_attempts_wait_longer_and_longer_by_the_clock() -> None:
    """O15: then the fallback does the task, and the result says who did it."""
    clock = FakeClock()
    failing = Foreign("failing", *[RuntimeError(f"down {n}") for n in range(3)])
    policy = MemberPolicy(attempts=3, backoff=2.0, fallback=agent("other", "saved the day"))
    seen: list[tuple[str, int, str, float]] = []
    swarm = Made("s", [failing], policy=policy)

    def note(event: events.Event) -> None:
        if isinstance(event, events.MemberFailed):
            seen.append((event.error, event.attempt, event.what_next, clock.monotonic() - began))

    async with Runtime(clock=clock) as runtime:
        await runtime.spawn(swarm)
        swarm.watch(note)
        began = clock.monotonic()
        outcome: list[Any] = []

        async def run() -> None:
            outcome.append(await swarm.run("go"))

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(run)
            for seconds in (2.0, 4.0):
                await clock.advance(seconds)
    (result,) = outcome
    assert seen == [
        ("RuntimeError: down 0", 1, "retry", 0.0),
        ("RuntimeError: down 1", 2, "retry", 2.0),
        ("RuntimeError: down 2", 3, "fallback", 6.0),
    ]
    assert result.text == "saved the day"
    (work,) = result.members
    assert (work.member, work.by, work.attempts) == ("failing", "other", 4)


async def test_who_was_skipped_for_nothing_is_asked_again(tmp_path: Path) -> None:
    """O22: a run without an answer, because too many were skipped, asks them again when it goes on."""

    async def anybody(swarm: Made, task: str, team: Team) -> str:
        asked = [(member, task, member.agent_name) for member in swarm.members]
        results = await team.ask_all(asked)
        if not results[0].ok:
            raise errors.NobodyAnswered(swarm.agent_name, {"a": results[0].error})
        return " ".join(one.text for one in results)

    def make(*script: Any) -> Made:
        members = [agent("a", *script), agent("b", "fine")]
        return Made(
            "s", members, anybody, policy=MemberPolicy(then="skip"), autosave=True, workspace_dir=tmp_path
        )

    with pytest.raises(errors.NobodyAnswered, match="'a' failed: RuntimeError: away"):
        await make(RuntimeError("away")).run("go", run_id="mine")
    swarm = make("back")
    result = await swarm.run("go", run_id="mine")
    assert result.text == "back fine"
    assert [(one.member, one.ok, one.attempts) for one in result.members] == [("b", True, 1), ("a", True, 1)]
    assert (result.usage.calls, result.loop_count) == (2, 3)
    of_a = [work.status for work in swarm.state.works if work.member == "a"]
    assert of_a == ["skipped", "reopened", "finished"]


async def test_one_member_does_one_piece_of_work_after_the_other(tmp_path: Path) -> None:
    """O27: the time of an attempt begins when the member does, and one that pauses leaves the rest for later."""
    asking = Agent(
        "a",
        model=ScriptedModel([ScriptedModel.call("ask_human", {"question": "?"}), "first", "second"]),
        tools=[ask_human],
    )

    async def twice(swarm: Made, task: str, team: Team) -> str:
        results = await team.ask_all([(swarm.members[0], task, "1"), (swarm.members[0], task, "2")])
        return " ".join(result.text for result in results)

    swarm = Made(
        "s", [asking], twice, autosave=True, workspace_dir=tmp_path, policy=MemberPolicy(then="skip")
    )
    paused = await swarm.run("go")
    assert (paused.status, paused.stop_reason, paused.members) == ("paused", "question", ())
    await swarm.answer("yes")
    assert (await swarm.resume()).text == "first second"


async def test_an_older_run_goes_on_with_its_own_work(tmp_path: Path) -> None:
    """O28: what began in one run of a swarm is not taken for what began in another."""
    foreign = Foreign("foreign", RuntimeError("down"), "second", "first")
    swarm = Made("s", [foreign], autosave=True, workspace_dir=tmp_path)
    with pytest.raises(MemberFailed):
        await swarm.run("one", run_id="one")
    assert (await swarm.run("two", run_id="two")).text == "second"
    assert (await swarm.resume("one")).text == "first"
    assert foreign.asked == ["run one", "run two", "resume"]


async def test_a_pattern_must_answer_with_a_text() -> None:
    async def forgetful(_: Made, __: str, ___: Team) -> str:
        return None  # type: ignore[return-value]

    with pytest.raises(errors.ConfigurationError, match=r"orchestrate\(\) of Made returned None"):
        await Made("s", [agent("a")], forgetful).run("go")


@pytest.mark.parametrize("key", ["", "x" * 2001, 5])
async def test_a_key_is_a_text(key: Any) -> None:
    async def ask(swarm: Made, task: str, team: Team) -> str:
        return (await team.ask(swarm.members[0], task, key=key)).text

    with pytest.raises(errors.ConfigurationError, match="is no key for the work of swarm 's'"):
        await Made("s", [agent("a", "one")], ask).run("go")


async def test_reopened_work_may_be_another_task(tmp_path: Path) -> None:
    """O22: who is asked again may be told something else, for those before it answer now."""

    async def line(swarm: Made, task: str, team: Team) -> str:
        results = []
        for member in swarm.members:
            results.append(await team.ask(member, task, key=member.agent_name))
            task = results[-1].text or task
        if not any(result.ok for result in results):
            raise errors.NobodyAnswered(swarm.agent_name, {one.member: one.error for one in results})
        return task

    def make(a: Any, b: Any) -> Made:
        members = [agent("a", a), agent("b", b)]
        return Made(
            "s", members, line, policy=MemberPolicy(then="skip"), autosave=True, workspace_dir=tmp_path
        )

    with pytest.raises(errors.NobodyAnswered):
        await make(RuntimeError("away"), RuntimeError("away")).run("go")
    assert (await make("from a", "from b").resume()).text == "from b"


async def test_a_task_that_changed_is_not_taken_for_the_one_that_began(tmp_path: Path) -> None:
    """O12: nor is it a failure of the member, that could be skipped."""

    def make(script: Any, told: str) -> Made:
        async def ask(swarm: Made, _: str, team: Team) -> str:
            return (await team.ask(swarm.members[0], told, key="1")).text

        return Made("s", [agent("a", script)], ask, autosave=True, workspace_dir=tmp_path)

    with pytest.raises(MemberFailed):
        await make(RuntimeError("broken"), "told so").run("go")
    with pytest.raises(errors.SwarmChanged, match="'1' of swarm 's' was begun by 'a', with another task"):
        await make("x", "told otherwise").resume()


async def test_a_key_is_asked_for_once(tmp_path: Path) -> None:
    """O29: a second time it would be answered with what the first one asked for."""

    async def again(swarm: Made, task: str, team: Team) -> str:
        for _ in range(2):
            task = (await team.ask(swarm.members[0], task, key="work")).text
        return task

    with pytest.raises(errors.ConfigurationError, match="have the key 'work'; give each its own"):
        await Made("s", [agent("a", "one", "two")], again).run("go")


async def test_a_disk_that_fails_is_no_fault_of_a_member(tmp_path: Path) -> None:
    """O31: it is waited for, and nobody is skipped."""
    clock = FakeClock()
    full = FailingClaims(fail=2)
    async with Runtime(tmp_path, clock=clock, files=full) as runtime:
        swarm = Made("s", [agent("a", "one")], autosave=True, policy=MemberPolicy(then="skip"))
        await runtime.spawn(swarm)
        full.armed = True
        outcome: list[Any] = []
        failing = anyio.Event()
        swarm.watch(lambda event: failing.set() if isinstance(event, events.SaveFailing) else None)

        async def run() -> None:
            outcome.append(await swarm.run("go"))

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(run)
            await failing.wait()
            while not outcome:
                await clock.advance(1.0)
                await anyio.lowlevel.checkpoint()
    assert (outcome[0].text, outcome[0].failed) == ("one", ())


async def test_the_wait_for_a_disk_is_no_part_of_an_attempt(tmp_path: Path) -> None:
    """O31: the time of an attempt begins when the member is there, however long its folder could not be had."""
    clock, times = FakeClock(), 9
    full = FailingClaims(fail=times, folder="a-")
    async with Runtime(tmp_path, clock=clock, files=full) as runtime:
        policy = MemberPolicy(then="skip", timeout=10.0)
        swarm = Made("s", [agent("a", "one")], autosave=True, policy=policy)
        await runtime.spawn(swarm)
        full.armed = True
        failing: list[events.Event] = []
        swarm.watch(lambda event: failing.append(event) if isinstance(event, events.SaveFailing) else None)
        outcome: list[Any] = []

        async def run() -> None:
            outcome.append(await swarm.run("go"))

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(run)
            while len(failing) < times:
                await clock.advance(1.0)
                await anyio.lowlevel.checkpoint()
            assert clock.monotonic() > 10.0
            await clock.advance(5.0)
    assert (outcome[0].text, outcome[0].failed) == ("one", ())


class FailingClaims(FileOperations):
    """Folders of such a name cannot be made for want of room, so many times."""

    def __init__(self, fail: int, folder: str = "") -> None:
        super().__init__()
        self._folder = folder
        self.armed = False
        self._left = fail

    def mkdir(self, path: Path) -> None:
        if self.armed and self._left and path.name.startswith(self._folder):
            self._left -= 1
            raise OSError(errno.ENOSPC, "No space left on device")
        super().mkdir(path)
