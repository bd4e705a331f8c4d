"""One front door."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from tests.support.rehearsal import Rehearsal, broken, goes_on_after_every_cut, run_past_timeouts

from overwinter.agents.swarms.concurrent import ConcurrentWorkflow
from overwinter.agents.swarms.patterns import PATTERNS, pattern_named
from overwinter.agents.swarms.policy import MemberPolicy
from overwinter.agents.swarms.router import SwarmRouter
from overwinter.agents.swarms.sequential import SequentialWorkflow
from overwinter.errors import ConfigurationError, MemberFailed, NobodyAnswered, OutputInvalid
from overwinter.testing import ScriptedModel

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from overwinter.agents.swarms.member import Member

pytestmark = pytest.mark.anyio

SKIP = MemberPolicy(then="skip")


def door(cast: Rehearsal, choose: Any = None, **settings: Any) -> SwarmRouter:
    agents: list[Member] = [
        cast.agent("writer", agent_description="writes prose"),
        SequentialWorkflow("editors", cast.agents("ann", "ben"), description="edit a text"),
        cast.agent("coder"),
    ]
    return SwarmRouter("door", agents, choose, **settings)


async def test_a_name_a_function_or_a_model_chooses() -> None:
    """W24: a router hands each task, as it is, to the one chosen by name, by a function, or by a model."""

    async def by_length(task: str) -> str:
        return "writer" if len(task) < 5 else "coder"

    for choose, chosen in (("coder", "coder"), (lambda task: "writer", "writer"), (by_length, "coder")):
        cast = Rehearsal()
        result = await door(cast, choose).run("the task")
        assert cast.ledger == [(chosen, "the task")]
        assert result.text == result.member(chosen).text
    cast = Rehearsal()
    result = await door(cast, cast.agent("host", "The **editors**, I think.")).run("the task")
    assert cast.order == ["host", "ann", "ben"]
    assert [one.key for one in result.members] == ["choice", "work"]
    (told,) = cast.told("host")
    for part in (
        "the task",
        "- writer: writes prose",
        "- editors: edit a text",
        "- coder: (nothing more is known)",
    ):
        assert part in told


async def test_a_model_that_names_nobody_is_asked_again() -> None:
    """W25: an unknown choice is a clear error; a model is asked again first, with the names there are."""
    cast = Rehearsal()
    await door(cast, cast.agent("host", "the cook", "coder")).run("the task")
    assert cast.order == ["host", "host", "coder"]
    assert "writer, editors, coder" in cast.told("host")[1]
    cast = Rehearsal()
    with pytest.raises(OutputInvalid, match=r"'host' was asked 3 times .* it said 'the cook'"):
        await door(cast, cast.agent("host", *["the cook"] * 9)).run("the task")

    def cook(_: str) -> str:
        return "the cook"

    with pytest.raises(
        ConfigurationError, match=r"'cook' chose 'the cook'; there is 'writer', 'editors', 'coder'"
    ):
        await door(cast, cook).run("the task")
    with pytest.raises(
        ConfigurationError, match=r"choose='cook' is no choice .* 'writer', 'editors', 'coder'"
    ):
        door(cast, "cook")


async def test_all_agents_can_be_put_into_a_pattern_by_its_name() -> None:
    cast = Rehearsal()
    agents = cast.agents("a", "b", "c")
    swarm = SwarmRouter(
        "panel", agents, "ConcurrentWorkflow", patterns=["SequentialWorkflow", "ConcurrentWorkflow"]
    )
    result = await swarm.run("the task")
    assert sorted(cast.ledger) == [("a", "the task"), ("b", "the task"), ("c", "the task")]
    assert isinstance(swarm.member("panel-ConcurrentWorkflow"), ConcurrentWorkflow)
    assert [one.member for one in result.members] == ["panel-ConcurrentWorkflow"]
    await SwarmRouter("panel", cast.agents("d", "e"), swarm_type="SequentialWorkflow").run("the task")
    assert cast.order[3:] == ["d", "e"]
    host = cast.agent("host", "SequentialWorkflow")
    await SwarmRouter("panel", agents, host, patterns=["SequentialWorkflow", "ConcurrentWorkflow"]).run(
        "the task"
    )
    assert "- SequentialWorkflow: The agents work one after the other" in cast.told("host")[0]
    assert cast.order[5:] == ["host", "a", "b", "c"]


async def test_there_need_be_no_choice() -> None:
    cast = Rehearsal()
    await SwarmRouter("door", cast.agents("only")).run("the task")
    assert cast.order == ["only"]


async def test_the_choice_is_made_once(tmp_path: Path) -> None:
    """W26: a choice is recorded: a router that is cut off goes on with whom it chose, and does nothing twice."""

    def make(cast: Rehearsal) -> SwarmRouter:
        async def choose(task: str) -> str:
            await cast.note("choose", task)
            return "editors"

        return door(cast, choose, **cast.saved)

    await goes_on_after_every_cut(make, tmp_path / "function")
    await goes_on_after_every_cut(
        lambda cast: door(cast, cast.agent("host", *["editors"] * 9), **cast.saved), tmp_path / "model"
    )
    await goes_on_after_every_cut(
        lambda cast: SwarmRouter(
            "p", cast.agents("a", "b"), "SequentialWorkflow", patterns=["SequentialWorkflow"], **cast.saved
        ),
        tmp_path / "pattern",
    )


async def test_when_the_one_it_needs_is_skipped_the_run_fails() -> None:
    """W27: a router whose model or whose chosen member is skipped has no answer, and the error names who failed."""
    cast = Rehearsal()
    with pytest.raises(NobodyAnswered, match="'host' failed: RuntimeError: out of order"):
        await door(cast, cast.agent("host", *broken()), policy=SKIP).run("the task")
    with pytest.raises(NobodyAnswered, match="'a' failed: RuntimeError: out of order"):
        await SwarmRouter("door", [cast.agent("a", *broken())], policy=SKIP).run("the task")


async def test_failure_fallback_and_timeout_work_as_everywhere() -> None:
    cast = Rehearsal()
    swarm = SwarmRouter("door", [cast.agent("a", *broken(1), "at last")])
    with pytest.raises(MemberFailed, match=r"'a'.*work"):
        await swarm.run("the task")
    assert str(await swarm.resume()) == "at last"
    policy = MemberPolicy(timeout=5, fallback=cast.agent("spare", "from the spare"))
    swarm = SwarmRouter("door", [cast.agent("b", ScriptedModel.gate())], policies={"b": policy})
    result = await run_past_timeouts(swarm, [4.9, 0.2])
    assert (result.text, result.member("b").by) == ("from the spare", "spare")


def test_its_picture_and_what_is_refused() -> None:
    cast = Rehearsal()
    assert door(cast, cast.agent("host")).to_mermaid() == (
        "flowchart TD\n"
        '    n1(["task"])\n'
        '    n2{"host"}\n'
        '    n3("writer")\n'
        '    n4[["editors"]]\n'
        '    n5("coder")\n'
        '    n6(["result"])\n'
        "    n1 --> n2\n"
        "    n2 -.-> n3\n"
        "    n3 --> n6\n"
        "    n2 -.-> n4\n"
        "    n4 --> n6\n"
        "    n2 -.-> n5\n"
        "    n5 --> n6\n"
    )
    a = cast.agent("a")
    refused: list[tuple[Callable[[], object], str]] = [
        (lambda: door(cast), "has to choose from 'writer', 'editors', 'coder'; say how"),
        (lambda: door(cast, 3), "choose is a name, a function or an agent, not 3"),
        (
            lambda: SwarmRouter("d", [a], cast.agent("a")),
            "'a' chooses for swarm 'd', and is none of its agents",
        ),
        (
            lambda: SwarmRouter("d", [a], patterns=["MapReduce"]),
            "no pattern 'MapReduce' can be made of agents alone",
        ),
        (
            lambda: SwarmRouter("d", [cast.agent("RoundRobin")], patterns=["RoundRobin"]),
            "two choices named 'RoundRobin'",
        ),
    ]
    for make, message in refused:
        with pytest.raises(ConfigurationError, match=message):
            make()


@pytest.mark.parametrize("name", PATTERNS)
async def test_every_pattern_that_can_be_named_works_with_agents_alone(name: str) -> None:
    cast = Rehearsal()
    swarm = pattern_named(name)("swarm", cast.agents("a", "b"))
    assert type(swarm).__name__ == name
    assert str(await swarm.run("the task"))
