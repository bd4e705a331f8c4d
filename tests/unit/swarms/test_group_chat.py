"""A discussion."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.rehearsal import Rehearsal, broken, goes_on_after_every_cut, run_past_timeouts

from overwinter.agents.swarms.choosing import name_in
from overwinter.agents.swarms.group_chat import GroupChat
from overwinter.agents.swarms.policy import MemberPolicy
from overwinter.errors import ConfigurationError, MemberFailed, NobodyAnswered
from overwinter.testing import ScriptedModel

if TYPE_CHECKING:
    from pathlib import Path

    from overwinter.agents.swarms.transcript import Utterance

pytestmark = pytest.mark.anyio

SKIP = MemberPolicy(then="skip")


def trio(cast: Rehearsal, **settings: Any) -> GroupChat:
    return GroupChat("chat", cast.agents("ann", "bob", "cat"), **settings)


async def test_by_turn_they_speak_in_their_order_and_hear_what_was_said_since() -> None:
    """U26: the result is the transcript; each is told only what was said since its last turn."""
    cast = Rehearsal()
    agents = [cast.agent("ann", "ann1", "ann2"), cast.agent("bob", "bob1", "bob2")]
    result = await GroupChat("chat", agents, max_rounds=3).run("Tea or coffee?")
    assert result.text == "## ann\n\nann1\n\n## bob\n\nbob1\n\n## ann\n\nann2"
    assert [one.key for one in result.members] == ["turn-1/ann", "turn-2/bob", "turn-3/ann"]
    first, second = cast.told("ann")
    assert "Tea or coffee?" in first
    assert "with bob" in first
    assert "## bob\n\nbob1" in second
    assert "ann1" not in second
    assert "Tea" not in second


async def test_a_leader_says_who_speaks_next() -> None:
    """U27: it is told who takes part and what was said since it was last asked, and answers a name."""
    cast = Rehearsal()
    leader = cast.agent("lead", "cat", "I think **Ann**.", "ann")
    agents = [
        cast.agent("ann", "ann1"),
        cast.agent("bob"),
        cast.agent("cat", "cat1", agent_description="a critic"),
    ]
    result = await GroupChat("chat", agents, speaker=leader, max_rounds=3).run("Tea or coffee?")
    assert [name for name in cast.order if name != "lead"] == ["cat", "ann", "ann"]
    first, second, _ = cast.told("lead")
    assert "Tea or coffee?" in first
    assert "- bob\n- cat: a critic" in first
    assert "## cat\n\ncat1" in second
    assert "Tea" not in second
    assert "lead" not in result.text
    assert "It is your turn." in cast.told("ann")[1]
    assert "What was said" not in cast.told("ann")[1]


async def test_when_the_leader_names_nobody_the_next_in_order_speaks(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """U28: and a warning says so; the same when it was skipped."""
    cast = Rehearsal()
    leader = cast.agent("lead", "bob", "ann or bob", *broken(1))
    with caplog.at_level(logging.WARNING, "overwinter.agents"):
        await trio(cast, speaker=leader, max_rounds=3, policy=SKIP).run("Tea or coffee?")
    assert [name for name in cast.order if name != "lead"] == ["bob", "cat", "ann"]
    assert "'ann or bob'" in caplog.text
    assert "out of order" in caplog.text


async def test_a_leader_that_was_skipped_is_told_everything_the_next_time() -> None:
    """U25: leading counts as a turn."""
    cast = Rehearsal()
    leader = cast.agent("lead", *broken(1), "bob")
    agents = [cast.agent("ann", "ann1"), cast.agent("bob")]
    await GroupChat("chat", agents, speaker=leader, max_rounds=2, policy=SKIP).run("Tea or coffee?")
    second = cast.told("lead")[1]
    assert "Tea or coffee?" in second
    assert "## ann\n\nann1" in second


async def test_the_leader_may_be_one_of_them() -> None:
    cast = Rehearsal()
    ann, bob = cast.agent("ann", "bob", "ann", "ann1"), cast.agent("bob", "bob1")
    result = await GroupChat("chat", [ann, bob], speaker=ann, max_rounds=2).run("Tea or coffee?")
    assert result.text == "## bob\n\nbob1\n\n## ann\n\nann1"


async def test_a_function_says_who_speaks_next_and_when_it_is_over(tmp_path: Path) -> None:
    """U29: it is called once for each turn, with all that was said, and never again when the run goes on."""

    def make(cast: Rehearsal) -> GroupChat:
        async def speaker(said: tuple[Utterance, ...]) -> str | None:
            await cast.note("speaker", str([turn.speaker for turn in said]))
            return ("cat", "ann", "cat", None)[len(said)]

        return trio(cast, speaker=speaker, **cast.saved)

    result = await goes_on_after_every_cut(make, tmp_path)
    assert [one.member for one in result.members] == ["cat", "ann", "cat"]


async def test_a_function_that_names_nobody_fails_the_run() -> None:
    def stranger(said: tuple[Utterance, ...]) -> str:
        return "ann" if not said else "dan"

    with pytest.raises(ConfigurationError, match=r"'dan' as the next.*'ann', 'bob', 'cat'") as raised:
        await trio(Rehearsal(), speaker=stranger).run("Tea or coffee?")
    assert "speaker-2" in "".join(raised.value.__notes__)
    with pytest.raises(ConfigurationError, match="somebody has spoken"):
        await trio(Rehearsal(), speaker=lambda _: None).run("Tea or coffee?")


async def test_a_word_ends_the_chat() -> None:
    """U30: the turn in which it stands is the last."""
    cast = Rehearsal()
    agents = [cast.agent("ann", "hm"), cast.agent("bob", "So be it. AGREED.")]
    result = await GroupChat("chat", agents, stopping_token="AGREED").run("Tea or coffee?")
    assert cast.order == ["ann", "bob"]
    assert result.text.endswith("AGREED.")


@pytest.mark.parametrize("kind", ["sync", "async"])
async def test_a_function_ends_the_chat(tmp_path: Path, kind: str) -> None:
    """U30: it is called once with the text of each turn, never again when the run goes on."""

    def make(cast: Rehearsal) -> GroupChat:
        async def content(text: str) -> bool:
            await cast.note("content", text)
            return text.startswith("cat")

        def at_once(text: str) -> bool:
            cast.ledger.append(("content", text))
            return text.startswith("cat")

        return trio(cast, stopping_condition=content if kind == "async" else at_once, **cast.saved)

    result = await goes_on_after_every_cut(make, tmp_path)
    assert [one.member for one in result.members] == ["ann", "bob", "cat"]


async def test_a_turn_that_was_skipped_does_not_end_the_chat() -> None:
    asked: list[str] = []

    def content(text: str) -> bool:
        asked.append(text)
        return text == ""

    cast = Rehearsal()
    agents = [cast.agent("ann", *broken(1), "ann2"), cast.agent("bob", "bob1")]
    await GroupChat("chat", agents, max_rounds=3, stopping_condition=content, policy=SKIP).run(
        "Tea or coffee?"
    )
    assert asked == ["bob1", "ann2"]


async def test_a_turn_that_is_skipped_passes_and_what_was_missed_is_told() -> None:
    """U25: in a chat as in turns."""
    cast = Rehearsal()
    agents = [cast.agent("ann", "ann1", "ann2"), cast.agent("bob", *broken(1), "bob2")]
    result = await GroupChat("chat", agents, max_rounds=4, policy=SKIP).run("Tea or coffee?")
    again = cast.told("bob")[1]
    assert "Tea or coffee?" in again
    assert "## ann\n\nann1\n\n## ann\n\nann2" in again
    assert result.text == "## ann\n\nann1\n\n## ann\n\nann2\n\n## bob\n\nbob2"


async def test_when_all_were_skipped_the_run_fails_and_names_them() -> None:
    cast = Rehearsal()
    agents = [cast.agent("ann", *broken()), cast.agent("bob", *broken())]
    with pytest.raises(NobodyAnswered, match=r"'ann' failed.*'bob' failed"):
        await GroupChat("chat", agents, max_rounds=4, policy=SKIP).run("Tea or coffee?")


async def test_one_that_fails_ends_the_run_and_is_tried_again_by_resume() -> None:
    cast = Rehearsal()
    swarm = GroupChat(
        "chat", [cast.agent("ann", "ann1"), cast.agent("bob", *broken(1), "bob1")], max_rounds=2
    )
    with pytest.raises(MemberFailed, match="'bob'"):
        await swarm.run("Tea or coffee?")
    assert str(await swarm.resume()) == "## ann\n\nann1\n\n## bob\n\nbob1"
    assert cast.order == ["ann", "bob", "bob"]


async def test_a_fallback_speaks_under_the_name_of_whom_it_stands_in_for() -> None:
    cast = Rehearsal()
    policy = MemberPolicy(fallback=cast.agent("spare", "from the spare"))
    agents = [cast.agent("ann", *broken()), cast.agent("bob", "bob1")]
    result = await GroupChat("chat", agents, max_rounds=2, policies={"ann": policy}).run("Tea or coffee?")
    assert result.text == "## ann\n\nfrom the spare\n\n## bob\n\nbob1"


async def test_one_that_hangs_is_given_up_at_its_timeout() -> None:
    cast = Rehearsal()
    agents = [cast.agent("ann", ScriptedModel.gate()), cast.agent("bob", "bob1")]
    swarm = GroupChat("chat", agents, max_rounds=2, policy=MemberPolicy(timeout=5, then="skip"))
    assert (await run_past_timeouts(swarm, [4.9, 0.2])).text == "## bob\n\nbob1"


async def test_cut_off_anywhere_it_goes_on_and_does_nothing_twice(tmp_path: Path) -> None:
    """U4: the leader is not asked again either."""

    def make(cast: Rehearsal) -> GroupChat:
        return trio(cast, speaker=cast.agent("lead"), max_rounds=3, **cast.saved)

    await goes_on_after_every_cut(make, tmp_path)


async def test_a_typed_result_is_read_from_what_was_said_last() -> None:
    """U31: with an `output_type` the text is the last turn's alone."""

    class Choice(msgspec.Struct):
        drink: str

    cast = Rehearsal()
    agents = [cast.agent("ann", "hm"), cast.agent("bob", '{"drink": "tea"}')]
    result = await GroupChat("chat", agents, max_rounds=2, output_type=Choice).run("Tea or coffee?")
    assert result.output == Choice("tea")


async def test_its_picture_is_a_circle_around_who_says_who_is_next() -> None:
    cast = Rehearsal()
    picture = trio(cast, speaker=cast.agent("lead")).to_mermaid()
    assert 'n2("lead")' in picture
    assert "n2 --> n3" in picture
    assert "n3 -.-> n2" in picture
    assert 'n2 -->|"10 turns"| n6' in picture
    assert '{"the next in order"}' in trio(cast, stopping_token="AGREED").to_mermaid()
    assert '{"who speaks next?"}' in trio(cast, speaker=lambda _: None).to_mermaid()


async def test_what_cannot_work_is_refused() -> None:
    cast = Rehearsal()
    with pytest.raises(ConfigurationError, match="two or more"):
        GroupChat("chat", cast.agents("ann"))
    with pytest.raises(ConfigurationError, match="max_rounds"):
        trio(cast, max_rounds=0)
    with pytest.raises(ConfigurationError, match="stopping_token"):
        trio(cast, stopping_token="")
    with pytest.raises(ConfigurationError, match="'trun'"):
        trio(cast, speaker="trun")


@pytest.mark.parametrize(
    ("answer", "meant"),
    [
        ("critic", "critic"),
        ("  Critic.\n", "critic"),
        ("**senior critic**", "senior critic"),
        ("The senior critic should go next.", "senior critic"),
        ("Let the critic speak, not the senior critic", None),
        ("nobody", None),
        ("criticism", None),
        ("hypercritic", None),
        ("", None),
        ("Ann", "Ann"),
        ("ann", "ann"),
        ("ANN", None),
    ],
)
def test_whom_an_answer_means(answer: str, meant: str | None) -> None:
    """U27: a name alone, or the only one that is mentioned."""
    assert name_in(answer, ["critic", "senior critic", "Ann", "ann", "bob"]) == meant


@given(names=st.lists(st.text(min_size=1), min_size=1, max_size=5, unique=True), data=st.data())
def test_an_answer_that_is_a_name_means_it(names: list[str], data: st.DataObject) -> None:
    """U27: whatever the names are."""
    name = data.draw(st.sampled_from(names))
    assert name_in(name, names) == name
    other = name_in(data.draw(st.text()), names)
    assert other is None or other in names
