"""A director and those who work for it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from tests.support.rehearsal import Rehearsal, broken, goes_on_after_every_cut, run_past_timeouts

from overwinter.agents.swarms.hierarchical import HierarchicalSwarm
from overwinter.agents.swarms.policy import MemberPolicy
from overwinter.agents.swarms.sequential import SequentialWorkflow
from overwinter.errors import ConfigurationError, MemberFailed, NobodyAnswered, OutputInvalid
from overwinter.testing import ScriptedModel

if TYPE_CHECKING:
    from pathlib import Path

    from overwinter import ModelRequest

pytestmark = pytest.mark.anyio

SKIP = MemberPolicy(then="skip")


def orders(*given: tuple[str, str], in_order: bool = False) -> str:
    made = [{"agent_name": name, "task": task} for name, task in given]
    return msgspec.json.encode({"plan": "as always", "orders": made, "in_order": in_order}).decode()


BOTH = orders(("ann", "Find facts."), ("ben", "Find pictures."))
DONE = orders()


def firm(
    cast: Rehearsal, *director: Any, workers: Any = ("ann", "ben"), **settings: Any
) -> HierarchicalSwarm:
    return HierarchicalSwarm("firm", cast.agents(*workers), cast.agent("boss", *director), **settings)


async def test_the_director_plans_the_workers_work_and_the_director_answers() -> None:
    """W13: workers are told their orders and nothing else; the director reads the reports and writes the answer."""
    cast = Rehearsal()
    ann = cast.agent("ann", "Bees sleep.", agent_description="finds facts")
    swarm = HierarchicalSwarm(
        "firm", [ann, cast.agent("ben", "A bee.png")], cast.agent("boss", BOTH, "All about bees.")
    )
    result = await swarm.run("Write about bees.")
    assert str(result) == "All about bees."
    assert (cast.told("ann"), cast.told("ben")) == (["Find facts."], ["Find pictures."])
    plan, answer = cast.told("boss")
    for part in ("Write about bees.", "- ann: finds facts", "- ben: (nothing more is known)", '"agent_name"'):
        assert part in plan
    for part in ("## ann\n\nBees sleep.", "## ben\n\nA bee.png"):
        assert part in answer
    assert [one.key for one in result.members] == ["loop-1/plan", "loop-1/1-ann", "loop-1/2-ben", "answer"]


async def test_orders_are_worked_on_at_the_same_time_or_in_their_order() -> None:
    cast = Rehearsal()
    await firm(cast, BOTH, "done").run("the task")
    assert cast.most_at_work == 2
    cast = Rehearsal()
    await firm(cast, orders(("ann", "First."), ("ann", "Second."), ("ben", "Third.")), "done").run("the task")
    assert (cast.order[1:3], cast.told("ann")) == (["ann", "ben"], ["First.", "Second."])
    assert cast.told("boss")[1].index("## ben") > cast.told("boss")[1].rindex("## ann")
    cast = Rehearsal()
    await firm(cast, orders(("ben", "First."), ("ann", "Second."), in_order=True), "done").run("the task")
    assert (cast.most_at_work, cast.order) == (1, ["boss", "ben", "ann", "boss"])
    assert cast.told("ben") == ["First."]
    assert "## ben\n\nben says" in cast.told("ann")[0]


async def test_the_director_gives_further_orders_until_it_has_none_or_the_loops_are_spent() -> None:
    """W14: the director may give orders max_loops times in all, and is told each report once."""
    better = orders(("ann", "Find more."))
    cast = Rehearsal()
    await firm(cast, BOTH, better, "the answer", max_loops=2).run("the task")
    assert cast.order[-2:] == ["ann", "boss"]
    assert cast.told("ann") == ["Find facts.", "Find more."]
    assert [told.count("## ben") for told in cast.told("boss")] == [0, 1, 0]
    assert [told.count("## ann") for told in cast.told("boss")] == [0, 1, 1]
    cast = Rehearsal()
    await firm(cast, BOTH, DONE, "the answer", max_loops=9).run("the task")
    assert cast.order == ["boss", "ann", "ben", "boss", "boss"]
    assert "##" not in cast.told("boss")[2]


@pytest.mark.parametrize(
    ("wrong", "problem"),
    [
        ("I would ask ann.", "malformed"),
        ('{"plan": "x", "orders": [{"agent_name": "ann"}]}', "missing required field `task`"),
        (orders(("eve", "Listen.")), "there is no 'eve' in the team, which is 'ann', 'ben'"),
        (orders(("ann", " ")), "an order has an empty task"),
        (DONE, "there are no orders"),
    ],
)
async def test_a_plan_that_cannot_be_carried_out_is_given_back_with_the_problem_named(
    wrong: str, problem: str
) -> None:
    """W15: an invalid plan is asked for again with its problem named, a bounded number of times."""
    cast = Rehearsal()
    result = await firm(cast, wrong, f"```json\n{BOTH}\n```", "done").run("the task")
    assert str(result) == "done"
    assert problem in cast.told("boss")[1]
    assert cast.order.count("boss") == 3
    cast = Rehearsal()
    with pytest.raises(OutputInvalid, match=r"'boss' .* no plan .* in 2 attempts"):
        await firm(cast, wrong, wrong, plan_attempts=2).run("the task")
    assert cast.order == ["boss", "boss"]


async def test_of_a_worker_that_is_skipped_the_director_hears() -> None:
    """W16: the director is told who gave no answer; when nobody did, or the director is skipped, the run fails."""
    cast = Rehearsal()
    ann, ben = cast.agent("ann", *broken()), cast.agent("ben")
    swarm = HierarchicalSwarm("firm", [ann, ben], cast.agent("boss", BOTH, "done"), policy=SKIP)
    result = await swarm.run("the task")
    assert "## ann\n\n(no answer)" in cast.told("boss")[1]
    assert [one.member for one in result.failed] == ["ann"]
    swarm = HierarchicalSwarm("firm", [ann], cast.agent("boss", orders(("ann", "x")), "done"), policy=SKIP)
    with pytest.raises(NobodyAnswered, match="'ann' failed: RuntimeError: out of order"):
        await swarm.run("the task")
    with pytest.raises(NobodyAnswered, match="'boss' failed"):
        await firm(cast, *broken(), policy=SKIP).run("the task")


async def test_one_that_fails_ends_the_run_and_is_tried_again_by_resume() -> None:
    cast = Rehearsal()
    workers = [cast.agent("ann"), cast.agent("ben", *broken(1), "at last")]
    swarm = HierarchicalSwarm("firm", workers, cast.agent("boss", BOTH, "done"))
    with pytest.raises(MemberFailed, match=r"'ben'.*loop-1/2-ben"):
        await swarm.run("the task")
    assert str(await swarm.resume()) == "done"
    assert cast.order.count("boss") == 2


async def test_a_fallback_and_a_timeout_work_as_everywhere() -> None:
    cast = Rehearsal()
    policies = {
        "ann": MemberPolicy(fallback=cast.agent("spare", "from the spare")),
        "ben": MemberPolicy(timeout=5, then="skip"),
    }
    workers = [cast.agent("ann", *broken()), cast.agent("ben", ScriptedModel.gate())]
    swarm = HierarchicalSwarm("firm", workers, cast.agent("boss", BOTH, "done"), policies=policies)
    result = await run_past_timeouts(swarm, [4.9, 0.2])
    assert "from the spare" in cast.told("boss")[1]
    assert "MemberTimeout" in result.member("ben").error


async def test_cut_off_anywhere_it_goes_on_and_does_nothing_twice(tmp_path: Path) -> None:
    """W17: a hierarchy that is cut off at any answer is finished by fresh objects, with nothing done twice."""
    replies = ["nonsense", BOTH, orders(("ann", "a"), ("ben", "b"), in_order=True), "done"]

    def make(cast: Rehearsal) -> HierarchicalSwarm:
        def direct(request: ModelRequest) -> str:
            said = sum(message.role == "assistant" for message in request.messages)
            return replies[said]

        return firm(cast, *[direct] * 9, max_loops=2, **cast.saved)

    result = await goes_on_after_every_cut(make, tmp_path)
    assert result.text == "done"


async def test_a_swarm_can_work_in_it(tmp_path: Path) -> None:
    def make(cast: Rehearsal) -> HierarchicalSwarm:
        def direct(request: Any) -> str:
            told = request.messages[-1].content
            return "done" if "reports" in told and "JSON" not in told else orders(("inner", "x"))

        inner = SequentialWorkflow("inner", cast.agents("b", "c"))
        return HierarchicalSwarm("firm", [inner], cast.agent("boss", *[direct] * 9), **cast.saved)

    await goes_on_after_every_cut(make, tmp_path)


def test_its_picture_and_what_is_refused() -> None:
    cast = Rehearsal()
    assert firm(cast, max_loops=3).to_mermaid() == (
        "flowchart TD\n"
        '    n1(["task"])\n'
        '    n2("boss")\n'
        '    n3("ann")\n'
        '    n4("ben")\n'
        '    n5(["result"])\n'
        "    n1 --> n2\n"
        '    n2 -.->|"orders"| n3\n'
        '    n3 -->|"reports"| n2\n'
        '    n2 -.->|"orders"| n4\n'
        '    n4 -->|"reports"| n2\n'
        "    n2 --> n5\n"
    )
    for settings, message in (
        ({"max_loops": 0}, "max_loops"),
        ({"plan_attempts": 0}, "plan_attempts"),
        ({"workers": ()}, "nobody to direct"),
        ({"workers": ("ann", "ann")}, "stands twice"),
        ({"workers": ("ann", "boss")}, "'boss' is the director"),
    ):
        with pytest.raises(ConfigurationError, match=message):
            firm(cast, **settings)
