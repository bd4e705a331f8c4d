"""Members that raise, hang or are stopped: in every pattern the policy decides, and nothing is swallowed."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from tests.support.swarms_lives import told
from tests.support.swarms_patterns import PATTERNS
from tests.support.swarms_stage import AGENTS, ALWAYS, CASES, EVERYBODY, Stage, assert_once, undisturbed

from overwinter import events
from overwinter.errors import MemberFailed

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.anyio

#: Those in which the member is in a swarm of its own, whose results are its own too.
WITHIN = {"nested", "SwarmRouter"}

every_case = pytest.mark.parametrize(("pattern", "victim", "way"), CASES)


@every_case
async def test_a_member_that_fails_once_is_tried_again(pattern: str, victim: str, way: str) -> None:
    """Z3: in every pattern a member that raises, hangs or is stopped is tried again as its policy says, and the
    result is that of a run in which nothing failed."""
    expected, calls = await undisturbed(pattern)
    stage = Stage(pattern, victim, way, 1, attempts=2, backoff=0.0)
    result = await stage.run()
    assert stage.cast.failures == 1
    assert told(result) == expected
    assert stage.answered == calls
    assert [(event.member, event.what_next) for event in stage.failed] == [(victim, "retry")]


@every_case
async def test_a_member_that_fails_is_skipped(pattern: str, victim: str, way: str) -> None:
    """Z4: in every pattern a member that always fails is skipped where its policy says so: the swarm goes on without
    it, and the result tells who was left out, and with what it failed; where nothing is left the error names it."""
    stage = Stage(pattern, victim, way, ALWAYS, attempts=2, backoff=0.0, then="skip")
    result = await stage.run()
    assert result.status == "finished"
    if pattern not in WITHIN:
        assert {one.member for one in result.failed} == {victim}
        assert all(says(way) in one.error and not one.text for one in result.failed)
    assert {event.member for event in stage.failed} == {victim}
    assert [event.what_next for event in stage.failed[:2]] == ["retry", "skip"]
    assert all(says(way) in event.error for event in stage.failed)


def says(way: str) -> str:
    """What is told of a failure."""
    return {"raises": "does not feel well", "hangs": "5 s", "is stopped": "RunInterrupted"}.get(
        way, "was cancelled"
    )


@every_case
async def test_a_member_that_fails_ends_the_run_and_resume_finishes_it(
    pattern: str, victim: str, way: str
) -> None:
    """Z5: in every pattern the run fails with the member that fails fast, the error names the member, the swarm and
    the work, and ``resume()`` finishes the run: with the result of one in which nothing failed, and no call that was
    answered is repeated."""
    expected, calls = await undisturbed(pattern)
    stage = Stage(pattern, victim, way, ALWAYS)
    with pytest.raises(MemberFailed) as failed:
        await stage.run()
    assert victim in str(failed.value)
    assert says(way) in str(failed.value)
    assert failed.value.__cause__ is not None
    assert stage.swarm.status == "failed"
    assert {event.what_next for event in stage.failed} == {"fail"}
    stage.cast.times = 0
    result = await stage.run(resume=True)
    assert told(result) == expected
    assert_once(pattern, stage.answered, calls)


@pytest.mark.parametrize("pattern", PATTERNS)
async def test_a_swarm_that_failed_is_finished_by_fresh_objects(pattern: str, tmp_path: Path) -> None:
    """Z5: ... by fresh objects, from what was saved, as well."""
    expected, calls = await undisturbed(pattern)
    victim = AGENTS[pattern]
    stage = Stage(pattern, victim, "raises", ALWAYS, workspace=tmp_path)
    with pytest.raises(MemberFailed):
        await stage.run()
    fresh = Stage(pattern, victim, "raises", 0, workspace=tmp_path)
    assert told(await fresh.run(resume=True)) == expected
    assert_once(pattern, stage.answered + fresh.answered, calls, saved=True)


@every_case
async def test_a_fallback_does_the_work_of_a_member_that_fails(pattern: str, victim: str, way: str) -> None:
    """Z6: in every pattern the fallback of a member that always fails does its work, and the result tells who did
    it."""
    stage = Stage(pattern, victim, way, ALWAYS, fallback=True)
    result = await stage.run()
    assert result.status == "finished"
    assert not result.failed
    if pattern not in WITHIN:
        done = [one for one in result.members if one.member == victim and one.by != victim]
        assert done
        assert all(one.by == "stand-in" and "reply:" in one.text for one in done)
    assert {(event.member, event.what_next) for event in stage.failed} == {(victim, "fallback")}


# In the other one a person answers, who cannot be skipped.
@pytest.mark.parametrize("pattern", [pattern for pattern in PATTERNS if pattern != "AgentRearrange"])
async def test_where_all_are_skipped_the_run_fails_with_their_errors_and_resume_asks_them_again(
    pattern: str,
) -> None:
    """Z7: where all members from whom a result would come are skipped the run fails and the error names them and
    what they failed with; ``resume()`` asks them again, and finishes when they have recovered."""
    expected, calls = await undisturbed(pattern)
    stage = Stage(pattern, EVERYBODY, "raises", ALWAYS, then="skip")
    with pytest.raises(MemberFailed) as failed:
        await stage.run()
    skipped = {event.member for event in stage.failed if event.what_next == "skip"}
    assert skipped
    assert any(name in str(failed.value) for name in skipped)
    assert "does not feel well" in str(failed.value)
    assert stage.swarm.status == "failed"
    stage.cast.times = 0
    result = await stage.run(resume=True)
    assert result.status == "finished"
    assert not result.failed
    # Members remember what they were told in vain, so that their answers need not be the same.
    assert {one.key for one in result.members} == {one["key"] for one in expected["members"]}
    assert len(result.members) == len(expected["members"])
    assert set(stage.answered.values()) == {1}
    assert len(stage.answered) == len(calls)


async def test_of_several_that_fail_at_once_none_is_swallowed() -> None:
    """Z5: ... of several that fail in the same moment each is told of by an event, one by the error, and the others
    in its notes."""
    stage = Stage("ConcurrentWorkflow", EVERYBODY, "raises", ALWAYS)
    with pytest.raises(MemberFailed) as failed:
        await stage.run()
    at_once = {event.member for event in stage.failed}
    assert len(at_once) == 2
    told_of = "\n".join([str(failed.value), *failed.value.__notes__])
    assert all(f"member '{name}'" in told_of for name in at_once)


@pytest.mark.parametrize(
    "pattern", ["SequentialWorkflow", "MajorityVoting", "MapReduce", "HierarchicalSwarm"]
)
async def test_who_was_skipped_stays_skipped_when_the_run_goes_on(pattern: str, workspace_dir: Path) -> None:
    """Z4: ... that stands, also when the run is cut off later and gone on with, and the member has recovered."""
    victim = AGENTS[pattern]
    stage = Stage(pattern, victim, "raises", 1, workspace=workspace_dir, then="skip")
    expected = told(await Stage(pattern, victim, "raises", 1, then="skip").run())
    run: asyncio.Task[object] | None = None

    def cut_off(event: events.Event) -> None:
        if isinstance(event, events.MemberStarted) and stage.failed and run and not run.cancelling():
            run.cancel()

    stage.swarm.watch(cut_off)
    run = asyncio.ensure_future(stage.run())
    with pytest.raises(asyncio.CancelledError):
        await run
    fresh = Stage(pattern, workspace=workspace_dir)
    result = await fresh.run(resume=True)
    assert told(result) == expected
    assert [one.member for one in result.failed] == [victim]
