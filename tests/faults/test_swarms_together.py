"""Swarms beside each other: names, folders, a disk that fails under them, and who is offered to be resumed."""

from __future__ import annotations

import asyncio
import errno
import json
import sys
from typing import TYPE_CHECKING, Any

import pytest
from tests.support.disk import off_loop
from tests.support.nth_disk import Nth
from tests.support.processes import Child, hear, memory_folder, say
from tests.support.swarms_cast import Cast, Notebook
from tests.support.swarms_lives import told
from tests.support.swarms_patterns import PATTERNS
from tests.support.swarms_stage import AGENTS, ALWAYS, Stage, undisturbed

from overwinter import AgentInUse, OverwinterError, Runtime
from overwinter.agents.swarms.sequential import SequentialWorkflow
from overwinter.errors import MemberFailed

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from overwinter.agents.profile import Durability
    from overwinter.agents.swarms.base import Swarm
    from overwinter.agents.unfinished import UnfinishedAgent

pytestmark = pytest.mark.anyio

MOST = 1000  # operations of a run
EACH = 11  # of them fails


def swarm(name: str, *, session: str = "", **options: Any) -> Swarm[str]:
    cast = Cast(Notebook(), session=session)
    return SequentialWorkflow(name, [cast.agent("ann"), cast.agent("ben")], autosave=True, **options)


async def test_a_second_swarm_of_one_name_is_refused(workspace_dir: Path) -> None:
    """Z10: while a swarm of a name lives, a second one of that name is refused with AgentInUse, which names the
    holder."""
    async with Runtime(workspace_dir) as runtime, Runtime(workspace_dir) as other:
        await runtime.spawn(swarm("hive"))
        for refused in (other.spawn(swarm("hive")), swarm("hive", workspace_dir=workspace_dir).run("a task")):
            with pytest.raises(AgentInUse, match="'hive' is in use by process"):
                await refused
        # The first is not harmed, and another name is another swarm.
        await other.spawn(swarm("meadow", session="other"))


def holds(workspace: str) -> None:
    """A program in which a swarm lives."""

    async def hold() -> None:
        async with Runtime(workspace) as runtime:
            first = swarm("hive")
            await runtime.spawn(first)
            await first.run("a task")
            say("holding")
            await off_loop(hear)

    asyncio.run(hold())


def test_a_second_swarm_of_one_name_is_refused_in_another_process(workspace_dir: Path) -> None:
    """Z10: ... in another process as well, until the first has ended."""

    async def run_another() -> str:
        async with Runtime(workspace_dir) as runtime:
            another = swarm("hive")
            await runtime.spawn(another)
            return (await another.run("a task")).status

    with Child(holds, str(workspace_dir)) as child:
        child.expect("holding")
        with pytest.raises(AgentInUse, match=f"process {child.pid} "):
            asyncio.run(run_another())
        child.tell("end")
        assert child.ended().code == 0
    assert asyncio.run(run_another()) == "finished"


def test_a_member_that_another_swarm_holds_fails_and_the_error_names_it(workspace_dir: Path) -> None:
    """Z11: two swarms in two processes cannot have one saved member at once: the second one's run fails with that
    member, the error says who holds it, and the run can be resumed when the first has ended."""

    async def go_on() -> None:
        async with Runtime(workspace_dir) as runtime:
            second = swarm("second")
            await runtime.spawn(second)
            assert (await second.resume()).status == "finished"

    async def fail(holder: int) -> None:
        async with Runtime(workspace_dir) as runtime:
            second = swarm("second")
            await runtime.spawn(second)
            with pytest.raises(
                MemberFailed, match=rf"member 'ann' of swarm 'second'.*by process {holder} "
            ) as failed:
                await second.run("a task")
            assert isinstance(failed.value.__cause__, AgentInUse)

    with Child(holds, str(workspace_dir)) as child:
        child.expect("holding")
        asyncio.run(fail(child.pid))
        child.tell("end")
        assert child.ended().code == 0
    asyncio.run(go_on())


async def test_five_swarms_in_a_second_have_five_folders_and_five_histories(workspace_dir: Path) -> None:
    """Z12: five swarms of one pattern, made and run within a second, have five folders, each with its own
    configuration, state and history, complete."""
    names = [f"hive {number}" for number in range(1, 6)]
    async with Runtime(workspace_dir) as runtime:
        swarms = [swarm(name, session=name) for name in names]
        for each in swarms:
            await runtime.spawn(each)
        results = await asyncio.gather(*(each.run(f"task of {each.agent_name}") for each in swarms))
    folders = await off_loop(lambda: sorted((workspace_dir / "swarms").iterdir()))
    assert len(folders) == 5
    assert {each.workspace_dir for each in swarms} == set(folders)
    for each, result in zip(swarms, results, strict=True):
        history = await off_loop(read_history, each.workspace_dir)
        assert history["task_accepted"] == [f"task of {each.agent_name}"]
        assert history["member_finished"] == [one.text for one in result.members]
        assert len(result.members) == 2
        state = json.loads(await off_loop(each.state_path.read_text))
        assert [work["text"] for work in state["works"]] == history["member_finished"]
        config = json.loads(await off_loop(each.config_path.read_text))
        assert config["agent_name"] == each.agent_name
        assert config["swarm"]["pattern"] == "SequentialWorkflow"


def read_history(folder: Path) -> dict[str, list[str]]:
    """What stands in the journal: texts by the types of records."""
    history: dict[str, list[str]] = {}
    for segment in sorted((folder / "journal").iterdir()):
        for line in segment.read_text().splitlines():
            record = json.loads(line)["record"]
            history.setdefault(record["type"], []).append(record.get("text") or record.get("task") or "")
    return history


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    with memory_folder(tmp_path) as chosen:
        yield chosen


@pytest.mark.parametrize(
    ("durability", "code", "first"), [("sync", errno.ENOSPC, 1), ("async", errno.EIO, 4)]
)
async def test_any_operation_of_the_disk_fails_once_and_the_swarm_goes_on(
    folder: Path, durability: Durability, code: int, first: int
) -> None:
    """Z13: whichever operation on the disk fails once while swarms in a swarm are at work, no member fails for it:
    the run goes on when the disk does, to the result of one in which nothing failed; no call that was answered is
    repeated, and all of it is on disk."""
    expected, calls = await undisturbed("nested")
    failed: list[str] = []
    went_on = 0
    for number in range(first, MOST, EACH):
        workspace = folder / str(number)
        disk = Nth(number, code)
        stage = Stage("nested", workspace=workspace, durability=durability)
        result, errors = await finish(stage, disk)
        if not disk.failed:
            break
        failed.append(disk.failed)
        went_on += not errors
        # The swarm may say that it cannot be opened, or saved; of no member is that a failure.
        assert not any(isinstance(error, MemberFailed) for error in errors), (number, disk.failed, errors)
        assert told(result) == expected, (number, disk.failed)
        assert stage.answered == calls, (number, disk.failed)
        fresh = Stage("nested", workspace=workspace)
        async with Runtime(workspace) as runtime:
            await runtime.spawn(fresh.swarm)
            assert told(await fresh.swarm.run("the task", run_id="the run")) == expected
        assert not fresh.book.entries
    sys.stdout.write(
        f"{durability!r}: {len(failed)} operations failed, {went_on} without an error: {sorted(set(failed))}\n"
    )
    assert {"open_new", "write", "fsync", "replace"} <= set(failed)
    assert went_on > len(failed) * 3 // 4


async def finish(stage: Stage, disk: Nth) -> tuple[Any, list[Exception]]:
    """The result of its run, tried again for as long as it takes, and the errors on the way."""
    errors: list[Exception] = []
    swarm = stage.swarm
    async with Runtime(stage.workspace, files=disk) as runtime:
        while len(errors) < 4:
            try:
                if swarm.reference_on(runtime) is None:
                    await runtime.spawn(swarm)
                result = await swarm.run("the task", run_id="the run")
                await swarm.save()
            except (OverwinterError, OSError) as error:
                errors.append(error)
            else:
                return result, errors
    raise ExceptionGroup("it never came through", errors)


async def test_only_swarms_are_offered_to_be_resumed_and_not_their_members(workspace_dir: Path) -> None:
    """Z14: of swarms of all patterns that were interrupted, ``runtime.interrupted()`` tells of the swarms alone, and
    not of the agents and swarms that were at work for them; ``resume_all`` finishes each with the result of a run
    that nobody disturbed."""
    stages = {
        pattern: Stage(pattern, AGENTS[pattern], "hangs", ALWAYS, workspace=workspace_dir, session=pattern)
        for pattern in PATTERNS
    }
    async with Runtime(workspace_dir, run_grace=0.0) as runtime:
        runs = []
        for stage in stages.values():
            await runtime.spawn(stage.swarm)
            runs.append(asyncio.ensure_future(stage.swarm.run("the task")))
            await stage.cast.hangs.wait()
        await runtime.stop()
        assert {type(ended).__name__ for ended in await asyncio.gather(*runs, return_exceptions=True)} == {
            "RunInterrupted"
        }
    fresh = {pattern: Stage(pattern, workspace=workspace_dir, session=pattern) for pattern in PATTERNS}
    offered: list[UnfinishedAgent] = []

    def make_found(found: UnfinishedAgent) -> Swarm[str]:
        offered.append(found)
        return fresh[found.agent_name].swarm

    async with Runtime(workspace_dir) as runtime:
        interrupted = await runtime.interrupted()
        assert {(found.agent_name, found.kind, found.status) for found in interrupted} == {
            (pattern, "swarm", "interrupted") for pattern in PATTERNS
        }
        outcomes = await runtime.resume_all(make_found)
        assert sorted(found.agent_name for found in offered) == sorted(PATTERNS)
        assert await runtime.interrupted() == []
    for pattern, stage in fresh.items():
        expected, _ = await undisturbed(pattern, session=pattern)
        result: Any = outcomes[stage.swarm.agent_id]
        assert not isinstance(result, Exception), (pattern, result)
        assert told(result) == expected, pattern
