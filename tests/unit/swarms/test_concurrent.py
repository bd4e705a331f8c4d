"""All at the same time."""

from __future__ import annotations

from typing import TYPE_CHECKING

import anyio
import pytest
from tests.support.rehearsal import Rehearsal, broken, goes_on_after_every_cut, run_past_timeouts

from overwinter import Agent
from overwinter.agents.swarms.concurrent import ConcurrentWorkflow
from overwinter.agents.swarms.policy import MemberPolicy
from overwinter.errors import ConfigurationError, MemberFailed, NobodyAnswered
from overwinter.testing import ScriptedModel

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.anyio

SKIP = MemberPolicy(then="skip")


async def test_each_answer_stands_under_its_name_in_the_order_of_the_agents() -> None:
    """U6: all are told the task as it is and work at the same time; the result is each one's answer under its name."""
    cast = Rehearsal()
    waits_for_b = anyio.Event()

    async def last(_: object) -> str:
        await waits_for_b.wait()
        return "from a"

    def first(_: object) -> str:
        waits_for_b.set()
        return "from b"

    swarm = ConcurrentWorkflow("all", [cast.agent("a", last), cast.agent("b", first)])
    result = await swarm.run("Look.")
    assert result.text == "## a\n\nfrom a\n\n## b\n\nfrom b"
    assert [one.member for one in result.members] == ["b", "a"]
    assert cast.told("a") == cast.told("b") == ["Look."]


async def test_no_more_than_at_once_are_at_work() -> None:
    """U7: ``at_once`` bounds how many work at the same time, and all of them get to work."""
    cast = Rehearsal()
    swarm = ConcurrentWorkflow("all", cast.agents(*"abcdefgh"), at_once=3)
    await swarm.run("Look.")
    assert cast.most_at_work == 3
    assert sorted(cast.order) == [*"abcdefgh"]
    cast = Rehearsal()
    await ConcurrentWorkflow("all", cast.agents(*"abcdefgh")).run("Look.")
    assert cast.most_at_work == 8


async def test_of_one_that_is_skipped_the_result_says_that_there_is_no_answer() -> None:
    """U8: a failure is never handed on as a result."""
    cast = Rehearsal()
    swarm = ConcurrentWorkflow("all", [cast.agent("a", *broken()), cast.agent("b", "from b")], policy=SKIP)
    result = await swarm.run("Look.")
    assert result.text == "## a\n\n(no answer)\n\n## b\n\nfrom b"
    assert [one.member for one in result.failed] == ["a"]
    assert "out of order" not in result.text


async def test_when_all_were_skipped_the_run_fails_and_names_them() -> None:
    cast = Rehearsal()
    swarm = ConcurrentWorkflow("all", [cast.agent("a", *broken())], policy=SKIP)
    with pytest.raises(NobodyAnswered, match="'a' failed"):
        await swarm.run("Look.")


async def test_one_that_fails_interrupts_the_others_and_resume_does_what_is_left() -> None:
    cast = Rehearsal()
    gate = ScriptedModel.gate("never")

    async def fails_when_the_other_waits(_: object) -> Exception:
        await gate.reached.wait()
        return RuntimeError("out of order")

    a, b, c = (
        cast.agent("a", fails_when_the_other_waits, "from a"),
        cast.agent("b", gate, "from b"),
        cast.agent("c", "from c"),
    )
    swarm = ConcurrentWorkflow("all", [a, b, c])
    with pytest.raises(MemberFailed, match="'a'"):
        await swarm.run("Look.")
    result = await swarm.resume()
    assert result.text == "## a\n\nfrom a\n\n## b\n\nfrom b\n\n## c\n\nfrom c"
    assert cast.order.count("c") == 1


async def test_a_fallback_answers_under_the_name_of_whom_it_stands_in_for() -> None:
    cast = Rehearsal()
    policy = MemberPolicy(fallback=cast.agent("spare", "from the spare"))
    swarm = ConcurrentWorkflow("all", [cast.agent("a", *broken()), cast.agent("b", "from b")], policy=policy)
    result = await swarm.run("Look.")
    assert result.text == "## a\n\nfrom the spare\n\n## b\n\nfrom b"
    assert result.member("a").by == "spare"


async def test_those_that_hang_are_given_up_at_their_timeout() -> None:
    cast = Rehearsal()
    swarm = ConcurrentWorkflow(
        "all",
        [cast.agent("a", ScriptedModel.gate()), cast.agent("b", "from b")],
        policy=MemberPolicy(timeout=5, then="skip"),
    )
    result = await run_past_timeouts(swarm, [4.9, 0.2])
    assert result.text == "## a\n\n(no answer)\n\n## b\n\nfrom b"


@pytest.mark.parametrize("at_once", [None, 2])
async def test_cut_off_anywhere_it_goes_on_and_does_nothing_twice(
    tmp_path: Path, at_once: int | None
) -> None:
    """U4: those that had answered do not work again."""
    await goes_on_after_every_cut(
        lambda cast: ConcurrentWorkflow("all", cast.agents("a", "b", "c"), at_once=at_once, **cast.saved),
        tmp_path,
    )


async def test_a_thousand_work_together() -> None:
    """U9: a thousand members are asked before the first of them has answered."""
    asked, all_are_asked = 0, anyio.Event()

    async def answer(_: object) -> str:
        nonlocal asked
        asked += 1
        if asked == 1000:
            all_are_asked.set()
        await all_are_asked.wait()
        return "here"

    swarm = ConcurrentWorkflow("all", [Agent(f"a{n}", model=ScriptedModel(answer)) for n in range(1000)])
    result = await swarm.run("Look.")
    assert result.text.count("here") == len(result.members) == 1000


async def test_its_picture_is_a_fan() -> None:
    picture = ConcurrentWorkflow("all", Rehearsal().agents("a", "b")).to_mermaid()
    assert [line.strip() for line in picture.splitlines()] == [
        "flowchart TD",
        'n1(["task"])',
        'n2("a")',
        'n3("b")',
        'n4(["result"])',
        "n1 --> n2",
        "n1 --> n3",
        "n2 --> n4",
        "n3 --> n4",
    ]


async def test_what_cannot_work_is_refused() -> None:
    (agent,) = Rehearsal().agents("a")
    with pytest.raises(ConfigurationError, match="'a' stands twice"):
        ConcurrentWorkflow("all", [agent, agent])
    with pytest.raises(ConfigurationError, match="at_once"):
        ConcurrentWorkflow("all", [agent], at_once=0)
