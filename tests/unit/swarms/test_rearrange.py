"""In the order that a line of text says, and that line."""

from __future__ import annotations

from functools import partial
from threading import Event, current_thread, main_thread
from typing import TYPE_CHECKING, Any

import anyio
import anyio.from_thread
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.rehearsal import Rehearsal, broken, goes_on_after_every_cut, run_past_timeouts

from overwinter.agents.swarms.flow import flow_of, parse_flow
from overwinter.agents.swarms.policy import MemberPolicy
from overwinter.agents.swarms.rearrange import AgentRearrange
from overwinter.errors import ConfigurationError, MemberFailed, NobodyAnswered
from overwinter.testing import ScriptedModel

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.anyio

SKIP = MemberPolicy(then="skip")
FLOW = "a -> b, c -> d"


def arranged(cast: Rehearsal, flow: str = FLOW, **settings: Any) -> AgentRearrange:
    return AgentRearrange("flow", cast.agents("a", "b", "c", "d"), flow, **settings)


def names_of_a_flow() -> st.SearchStrategy[list[list[str]]]:
    name = st.text(min_size=1, max_size=8) | st.sampled_from(
        ["a", "->", ",", '"', "\\", " a ", "H", "a b", "-", ">"]
    )
    return st.lists(st.lists(name, min_size=1, max_size=4, unique=True), min_size=1, max_size=4)


@given(steps=names_of_a_flow())
def test_any_names_can_be_written_as_a_flow(steps: list[list[str]]) -> None:
    """U10: what `flow_of` writes is read as the same steps, whatever the names."""
    names = {name for step in steps for name in step}
    assert parse_flow(flow_of(steps), names) == tuple(map(tuple, steps))


@given(flow=st.text(alphabet='ab,->"\\ \nH'))
def test_any_text_is_a_flow_or_an_error_that_shows_its_place(flow: str) -> None:
    """U11: nothing but a ConfigurationError comes out, and its mark stands within the flow."""
    try:
        steps = parse_flow(flow, {"a", "b"})
    except ConfigurationError as error:
        if flow.strip():
            first, line, mark = str(error).rsplit("\n", 2)
            assert line[4:] in flow.split("\n")
            assert mark.strip().strip("^") == ""
            assert "column" in first
    else:
        assert parse_flow(flow_of(steps), {"a", "b"}) == steps


@pytest.mark.parametrize(
    ("flow", "problem", "marked"),
    [
        ("a -> writter, b", "no agent is called 'writter'; did you mean 'writer'?", "writter"),
        ("a -> zzz", "no agent is called 'zzz'; there are 'a', 'b', 'writer'", "zzz"),
        ("a -> -> b", "a name is missing before '->'", "->"),
        ("a,, b", "a name is missing before ','", ","),
        ("a -> b ->", "a name is missing after '->'", "->"),
        ("-> a", "a name is missing before '->'", "->"),
        ('a "b"', "'->' or a comma is missing before this name", '"b"'),
        ('a -> "b', "this quotation mark is not closed", '"'),
        ("a -> b, b", "'b' stands twice in one step", "b"),
        ("a -> H", "'H' is a person; pass human_in_the_loop=", "H"),
    ],
)
def test_an_error_points_into_the_flow(flow: str, problem: str, marked: str) -> None:
    """U11: the message shows the line with a mark under what is wrong."""
    with pytest.raises(ConfigurationError) as raised:
        parse_flow(flow, {"a", "b", "writer"})
    first, line, mark = str(raised.value).split("\n")
    assert problem in first
    start = mark.index("^")
    assert line[start : start + mark.count("^")] == marked


def test_in_a_flow_of_several_lines_the_error_names_the_line() -> None:
    with pytest.raises(ConfigurationError, match=r"line 3, column 5: no agent is called 'c'"):
        parse_flow("a ->\n  b\n -> c -> a", {"a", "b"})


def test_an_empty_flow_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="empty"):
        parse_flow(" \n", {"a"})


async def test_steps_follow_each_other_and_commas_work_together() -> None:
    """U12: each step is told the task and what came of the one before; several answers stand under their names."""
    cast = Rehearsal()
    result = await arranged(cast).run("Write.")
    assert cast.order[0] == "a"
    assert set(cast.order[1:3]) == {"b", "c"}
    assert cast.told("a") == ["Write."]
    assert cast.told("b") == cast.told("c")
    assert result.member("a").text in cast.told("b")[0]
    assert f"## b\n\n{result.member('b').text}\n\n## c\n\n{result.member('c').text}" in cast.told("d")[0]
    assert result.text == result.member("d").text
    assert {one.key for one in result.members} == {"1-a", "2-b", "2-c", "3-d"}


async def test_the_answers_of_a_last_step_stand_under_their_names() -> None:
    cast = Rehearsal()
    result = await arranged(cast, "a -> b, c").run("Write.")
    assert result.text == f"## b\n\n{result.member('b').text}\n\n## c\n\n{result.member('c').text}"


async def test_in_a_further_loop_the_first_step_goes_on_from_the_last() -> None:
    cast = Rehearsal()
    result = await arranged(cast, "a -> b", max_loops=2).run("Write.")
    assert [one.key for one in result.members] == ["1-a", "2-b", "loop-2/1-a", "loop-2/2-b"]
    assert result.members[1].text in cast.told("a")[1]


async def test_one_that_is_skipped_beside_others_is_said_to_have_no_answer() -> None:
    cast = Rehearsal()
    agents = [cast.agent("a"), cast.agent("b", *broken()), cast.agent("c", "from c"), cast.agent("d")]
    await AgentRearrange("flow", agents, FLOW, policy=SKIP).run("Write.")
    assert "## b\n\n(no answer)\n\n## c\n\nfrom c" in cast.told("d")[0]


async def test_a_step_of_which_all_were_skipped_is_left_out() -> None:
    cast = Rehearsal()
    agents = [
        cast.agent("a", "from a"),
        cast.agent("b", *broken()),
        cast.agent("c", *broken()),
        cast.agent("d", "from d"),
    ]
    result = await AgentRearrange("flow", agents, FLOW, policy=SKIP).run("Write.")
    assert "from a" in cast.told("d")[0]
    assert result.text == "from d"


async def test_when_all_were_skipped_the_run_fails_and_names_them() -> None:
    cast = Rehearsal()
    agents = [cast.agent("a", *broken()), cast.agent("b", *broken())]
    with pytest.raises(NobodyAnswered, match=r"'a' failed.*'b' failed"):
        await AgentRearrange("flow", agents, "a -> b", policy=SKIP).run("Write.")


async def test_one_that_fails_ends_the_run_and_is_tried_again_by_resume() -> None:
    cast = Rehearsal()
    agents = [cast.agent("a"), cast.agent("b", *broken(1), "from b"), cast.agent("c", "from c")]
    swarm = AgentRearrange("flow", agents, "a -> b -> c")
    with pytest.raises(MemberFailed, match="'b'"):
        await swarm.run("Write.")
    assert str(await swarm.resume()) == "from c"
    assert cast.order == ["a", "b", "b", "c"]


async def test_a_fallback_does_the_part_in_its_place() -> None:
    cast = Rehearsal()
    policy = MemberPolicy(fallback=cast.agent("spare", "from the spare"))
    swarm = AgentRearrange(
        "flow", [cast.agent("a", *broken()), cast.agent("b")], "a -> b", policies={"a": policy}
    )
    await swarm.run("Write.")
    assert "What a handed on to you:\n\nfrom the spare" in cast.told("b")[0]


async def test_one_that_hangs_is_given_up_at_its_timeout() -> None:
    cast = Rehearsal()
    agents = [cast.agent("a", ScriptedModel.gate()), cast.agent("b", "from b")]
    policy = MemberPolicy(timeout=5, then="skip")
    result = await run_past_timeouts(AgentRearrange("flow", agents, "a -> b", policy=policy), [4.9, 0.2])
    assert result.text == "from b"


async def test_a_person_is_asked_by_a_function_and_only_once(tmp_path: Path) -> None:
    """U13: what a person said is recorded, goes on as a step's answer, and is not asked for again."""

    async def ask(cast: Rehearsal, text: str) -> str:
        await cast.note("person", text)
        return f"I read: {text}"

    def make(cast: Rehearsal) -> AgentRearrange:
        return arranged(cast, "a -> H -> b, c -> H", human_in_the_loop=partial(ask, cast), **cast.saved)

    result = await goes_on_after_every_cut(make, tmp_path)
    assert result.text == f"I read: ## b\n\n{result.member('b').text}\n\n## c\n\n{result.member('c').text}"


async def test_a_person_may_be_the_first_and_a_sync_function_asks_in_a_thread() -> None:
    cast, asked = Rehearsal(), []

    def ask(text: str) -> str:
        asked.append((text, current_thread() is main_thread()))
        return "in two lines"

    await arranged(cast, "H -> a", human_in_the_loop=ask).run("Write.")
    assert asked == [("Write.", False)]
    assert "a person handed on to you:\n\nin two lines" in cast.told("a")[0]


@pytest.mark.alone
async def test_a_person_who_takes_too_long_does_not_hold_up_a_cancellation() -> None:
    """U13: the thread in which a person is asked is left to itself, and the next time the person is asked again."""
    asked, answered, said = anyio.Event(), Event(), list[str]()

    def ask(_: str) -> str:
        anyio.from_thread.run_sync(asked.set)
        answered.wait(20)
        said.append("too late")
        return "too late"

    swarm = arranged(Rehearsal(), "H -> a", human_in_the_loop=ask)
    with anyio.fail_after(5):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(swarm.run, "Write.")
            await asked.wait()
            tasks.cancel_scope.cancel()
    assert not said
    answered.set()
    assert (await swarm.resume()).member("a").ok


async def test_a_person_stands_alone_and_is_no_agent() -> None:
    cast = Rehearsal()
    with pytest.raises(
        ConfigurationError, match=r"'H', the person, stands alone in its step\n    a, H\n       \^$"
    ):
        arranged(cast, "a, H", human_in_the_loop=str)
    with pytest.raises(ConfigurationError, match="no agent may be called that"):
        AgentRearrange("flow", cast.agents("a", "H"), "a -> H", human_in_the_loop=str)
    await AgentRearrange("flow", cast.agents("a", "H"), "a -> H").run("Write.")
    assert cast.order == ["a", "H"]


async def test_cut_off_anywhere_it_goes_on_and_does_nothing_twice(tmp_path: Path) -> None:
    """U4: in the middle of a step those that had answered do not work again."""
    await goes_on_after_every_cut(lambda cast: arranged(cast, "a -> b, c -> a", **cast.saved), tmp_path)


async def test_its_picture_shows_the_steps() -> None:
    picture = arranged(Rehearsal(), "a -> b, c -> H -> a", human_in_the_loop=str).to_mermaid()
    assert picture.count('("a")') == 2
    assert '["a person"]' in picture
    assert '("d")' not in picture
    for edge in ("n1 --> n2", "n2 --> n3", "n2 --> n4", "n3 --> n5", "n4 --> n5", "n5 --> n6", "n6 --> n7"):
        assert edge in picture
