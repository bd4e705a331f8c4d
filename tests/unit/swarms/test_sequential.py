"""One after the other."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from tests.support.rehearsal import Rehearsal, broken, goes_on_after_every_cut, run_past_timeouts

from overwinter.agents.swarms.policy import MemberPolicy
from overwinter.agents.swarms.sequential import SequentialWorkflow
from overwinter.errors import ConfigurationError, MemberFailed, NobodyAnswered
from overwinter.testing import ScriptedModel

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.anyio

SKIP = MemberPolicy(then="skip")


def line(cast: Rehearsal, *names: str, **settings: Any) -> SequentialWorkflow:
    return SequentialWorkflow("line", cast.agents(*names), **settings)


async def test_each_goes_on_from_what_the_one_before_it_wrote() -> None:
    """U1: the first is told the task as it is, the others the task and what the one before wrote."""
    cast = Rehearsal()
    result = await SequentialWorkflow(
        "line", [cast.agent("researcher", "Bees sleep."), cast.agent("writer", "Goodnight, bees.")]
    ).run("Write about bees.")
    assert str(result) == "Goodnight, bees."
    assert cast.told("researcher") == ["Write about bees."]
    (told,) = cast.told("writer")
    assert "Write about bees." in told
    assert "Bees sleep." in told
    assert "researcher" in told
    assert [one.key for one in result.members] == ["1-researcher", "2-writer"]


async def test_an_agent_may_stand_in_it_more_than_once() -> None:
    cast = Rehearsal()
    writer, critic = cast.agents("writer", "critic")
    result = await SequentialWorkflow("line", [writer, critic, writer]).run("Write.")
    assert cast.order == ["writer", "critic", "writer"]
    assert [one.key for one in result.members] == ["1-writer", "2-critic", "3-writer"]


async def test_in_a_further_loop_the_first_goes_on_from_the_last() -> None:
    cast = Rehearsal()
    result = await line(cast, "a", "b", max_loops=2).run("Write.")
    assert cast.order == ["a", "b", "a", "b"]
    assert result.members[1].text in cast.told("a")[1]
    assert result.text == result.members[-1].text


async def test_one_that_is_skipped_is_left_out() -> None:
    """U2: the next goes on from what was there before, and the result is that of the last who answered."""
    cast = Rehearsal()
    a, b, c, d = (
        cast.agent("a", "from a"),
        cast.agent("b", *broken()),
        cast.agent("c"),
        cast.agent("d", *broken()),
    )
    result = await SequentialWorkflow("line", [a, b, c, d], policy=SKIP).run("Write.")
    assert "from a" in cast.told("c")[0]
    assert "b did the part" not in cast.told("c")[0]
    assert result.text == result.members[2].text
    assert [one.member for one in result.failed] == ["b", "d"]
    assert "out of order" in result.failed[0].error


async def test_when_all_were_skipped_the_run_fails_and_names_them() -> None:
    """U3: no answer is made up; the error says who failed with what."""
    cast = Rehearsal()
    swarm = SequentialWorkflow("line", [cast.agent("a", *broken()), cast.agent("b", *broken())], policy=SKIP)
    with pytest.raises(
        NobodyAnswered, match=r"'a' failed: .*out of order.*'b' failed: .*out of order"
    ) as raised:
        await swarm.run("Write.")
    assert set(raised.value.errors) == {"a", "b"}
    assert isinstance(raised.value, MemberFailed)


async def test_one_that_fails_ends_the_run_and_is_tried_again_by_resume() -> None:
    cast = Rehearsal()
    swarm = SequentialWorkflow(
        "line", [cast.agent("a"), cast.agent("b", *broken(1), "b at last"), cast.agent("c", "end")]
    )
    with pytest.raises(MemberFailed, match=r"'b'.*2-b"):
        await swarm.run("Write.")
    assert str(await swarm.resume()) == "end"
    assert cast.order == ["a", "b", "b", "c"]


async def test_a_fallback_does_the_part_in_its_place() -> None:
    cast = Rehearsal()
    policy = MemberPolicy(fallback=cast.agent("spare", "from the spare"))
    swarm = SequentialWorkflow("line", [cast.agent("a"), cast.agent("b", *broken())], policies={"b": policy})
    result = await swarm.run("Write.")
    assert result.text == "from the spare"
    assert (result.member("b").by, result.member("b").ok) == ("spare", True)
    assert cast.told("spare") == cast.told("b")


async def test_one_that_hangs_is_given_up_at_its_timeout() -> None:
    cast = Rehearsal()
    policy = MemberPolicy(timeout=5, then="skip")
    swarm = SequentialWorkflow(
        "line", [cast.agent("a"), cast.agent("b", ScriptedModel.gate())], policies={"b": policy}
    )
    result = await run_past_timeouts(swarm, [4.9, 0.2])
    assert result.text == result.member("a").text
    assert "MemberTimeout" in result.failed[0].error


async def test_cut_off_anywhere_it_goes_on_and_does_nothing_twice(tmp_path: Path) -> None:
    """U4: every pattern, cut off at any answer, is finished by fresh objects with the result that it would have had."""
    await goes_on_after_every_cut(lambda cast: line(cast, "a", "b", "c", max_loops=2, **cast.saved), tmp_path)


async def test_a_swarm_can_stand_in_it(tmp_path: Path) -> None:
    """U5: swarms nest: cut off two deep, both go on and nothing is done twice."""

    def nested(cast: Rehearsal) -> SequentialWorkflow:
        inner = SequentialWorkflow("inner", cast.agents("b", "c"))
        return SequentialWorkflow("outer", [cast.agent("a"), inner, cast.agent("d")], **cast.saved)

    result = await goes_on_after_every_cut(nested, tmp_path)
    assert [one.member for one in result.members] == ["a", "inner", "d"]


async def test_its_picture_is_a_line() -> None:
    cast = Rehearsal()
    writer, critic = cast.agents("writer", "critic")
    picture = SequentialWorkflow("line", [writer, critic, writer], max_loops=3).to_mermaid()
    assert picture.count('("writer")') == 2
    assert "n1 --> n2" in picture
    assert "n4 --> n5" in picture
    assert '-.->|"3 times in all"| n2' in picture


async def test_what_cannot_work_is_refused() -> None:
    cast = Rehearsal()
    with pytest.raises(ConfigurationError, match="max_loops"):
        line(cast, "a", max_loops=0)
    with pytest.raises(ConfigurationError, match="no members"):
        SequentialWorkflow("line", [])
