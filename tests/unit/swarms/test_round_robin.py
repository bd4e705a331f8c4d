"""In turns."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from tests.support.rehearsal import Rehearsal, broken, goes_on_after_every_cut, run_past_timeouts

from overwinter.agents.swarms.policy import MemberPolicy
from overwinter.agents.swarms.round_robin import RoundRobin
from overwinter.errors import ConfigurationError, MemberFailed, NobodyAnswered
from overwinter.testing import ScriptedModel

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.anyio

SKIP = MemberPolicy(then="skip")


async def test_each_is_told_only_what_was_said_since_its_last_turn() -> None:
    """U24: on its first turn also the task and who the others are; the result is what was said last."""
    cast = Rehearsal()
    agents = [cast.agent(name, f"{name}1", f"{name}2") for name in ("ann", "bob", "cat")]
    result = await RoundRobin("circle", agents, max_loops=2).run("A poem.")
    assert cast.order == ["ann", "bob", "cat"] * 2
    assert result.text == "cat2"
    first, second = cast.told("bob")
    assert "A poem." in first
    assert "ann, cat" in first
    assert "## ann\n\nann1" in first
    assert "## cat\n\ncat1\n\n## ann\n\nann2" in second
    for known in ("A poem.", "ann1", "bob1"):
        assert known not in second
    assert "What the others said" not in cast.told("ann")[0]
    assert [one.key for one in result.members][2:4] == ["round-1/cat", "round-2/ann"]


async def test_one_whose_turn_was_skipped_is_told_what_it_missed() -> None:
    """U25: all since the last turn that it finished itself."""
    cast = Rehearsal()
    agents = [
        cast.agent("ann", "ann1", "ann2", "ann3"),
        cast.agent("bob", "bob1", *broken(1), "bob3"),
    ]
    result = await RoundRobin("circle", agents, max_loops=3, policy=SKIP).run("A poem.")
    assert "## ann\n\nann2\n\n## ann\n\nann3" in cast.told("bob")[2]
    assert "ann1" not in cast.told("bob")[2]
    assert "What the others said" not in cast.told("ann")[2]
    assert result.text == "bob3"
    assert [one.key for one in result.failed] == ["round-2/bob"]


async def test_a_member_is_told_what_its_fallback_said_in_its_name() -> None:
    """U25: it has not said that itself, so it could not know."""
    cast = Rehearsal()
    policy = MemberPolicy(fallback=cast.agent("spare", "from the spare"))
    agents = [cast.agent("ann", *broken(1), "ann2"), cast.agent("bob", "bob1", "bob2")]
    await RoundRobin("circle", agents, max_loops=2, policies={"ann": policy}).run("A poem.")
    assert "## ann\n\nfrom the spare" in cast.told("bob")[0]
    again = cast.told("ann")[1]
    assert "A poem." in again
    assert "## ann\n\nfrom the spare\n\n## bob\n\nbob1" in again


async def test_a_further_task_begins_anew() -> None:
    """U24: what was said about an earlier task is in each one's own conversation, and not told again."""
    cast = Rehearsal()
    swarm = RoundRobin("circle", [cast.agent("ann", "ann1", "ann2"), cast.agent("bob", "bob1", "bob2")])
    await swarm.run("A poem.")
    await swarm.run("A song.")
    assert "A song." in cast.told("ann")[1]
    assert "bob1" not in cast.told("ann")[1]
    assert "## ann\n\nann2" in cast.told("bob")[1]


async def test_when_all_were_skipped_the_run_fails_and_names_them() -> None:
    cast = Rehearsal()
    swarm = RoundRobin("circle", [cast.agent("ann", *broken()), cast.agent("bob", *broken())], policy=SKIP)
    with pytest.raises(NobodyAnswered, match=r"'ann' failed.*'bob' failed"):
        await swarm.run("A poem.")


async def test_one_that_fails_ends_the_run_and_is_tried_again_by_resume() -> None:
    cast = Rehearsal()
    swarm = RoundRobin("circle", [cast.agent("ann"), cast.agent("bob", *broken(1), "bob1")])
    with pytest.raises(MemberFailed, match="'bob'"):
        await swarm.run("A poem.")
    assert str(await swarm.resume()) == "bob1"
    assert cast.order == ["ann", "bob", "bob"]


async def test_one_that_hangs_is_given_up_at_its_timeout() -> None:
    cast = Rehearsal()
    agents = [cast.agent("ann", "ann1"), cast.agent("bob", ScriptedModel.gate())]
    swarm = RoundRobin("circle", agents, policy=MemberPolicy(timeout=5, then="skip"))
    assert (await run_past_timeouts(swarm, [4.9, 0.2])).text == "ann1"


async def test_cut_off_anywhere_it_goes_on_and_does_nothing_twice(tmp_path: Path) -> None:
    """U4: each goes on in its own conversation."""
    await goes_on_after_every_cut(
        lambda cast: RoundRobin("circle", cast.agents("a", "b"), max_loops=3, **cast.saved), tmp_path
    )


async def test_its_picture_is_a_line_back_to_its_beginning() -> None:
    agents = Rehearsal().agents("ann", "bob")
    picture = RoundRobin("circle", agents, max_loops=2).to_mermaid()
    assert "n2 --> n3" in picture
    assert 'n3 -.->|"2 times in all"| n2' in picture
    with pytest.raises(ConfigurationError, match="max_loops"):
        RoundRobin("circle", agents, max_loops=0)
