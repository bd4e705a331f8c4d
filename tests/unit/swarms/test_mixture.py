"""Layers of answers, and one made of the last."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from tests.support.rehearsal import Rehearsal, broken, goes_on_after_every_cut, run_past_timeouts

from overwinter.agents.swarms.mixture import MixtureOfAgents
from overwinter.agents.swarms.policy import MemberPolicy
from overwinter.errors import ConfigurationError, MemberFailed, NobodyAnswered
from overwinter.testing import ScriptedModel

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.anyio

SKIP = MemberPolicy(then="skip")


def mixture(cast: Rehearsal, **settings: Any) -> MixtureOfAgents:
    return MixtureOfAgents("mix", cast.agents("a", "b"), cast.agent("best"), **settings)


async def test_in_each_layer_they_hear_what_the_others_answered_and_the_aggregator_has_the_last_word() -> (
    None
):
    """U14: the first layer is told the task as it is, later ones only what the others said since."""
    cast = Rehearsal()
    a = cast.agent("a", "a's first", "a's second")
    b = cast.agent("b", "b's first", "b's second")
    result = await MixtureOfAgents("mix", [a, b], cast.agent("best", "the best"), layers=2).run(
        "The question."
    )
    assert result.text == "the best"
    first, second = cast.told("a")
    assert first == "The question."
    assert "## b\n\nb's first" in second
    assert "The question." not in second
    assert "a's first" not in second
    (told,) = cast.told("best")
    assert "The question." in told
    assert "## a\n\na's second\n\n## b\n\nb's second" in told
    assert "first" not in told
    assert [one.key for one in result.members][-1] == "aggregator/best"


async def test_with_one_layer_none_hears_of_the_others() -> None:
    cast = Rehearsal()
    await mixture(cast, layers=1).run("The question.")
    assert cast.told("a") == cast.told("b") == ["The question."]


async def test_all_of_a_layer_work_at_the_same_time() -> None:
    cast = Rehearsal()
    await mixture(cast).run("The question.")
    assert cast.most_at_work == 2
    assert [sorted(cast.order[n : n + 2]) for n in (0, 2, 4)] == [["a", "b"]] * 3


async def test_one_that_was_skipped_is_told_what_it_missed() -> None:
    """U15: also the task, if it had never finished a turn; the aggregator hears of no answer of it."""
    cast = Rehearsal()
    a, b = cast.agent("a", *broken(1), "a's second"), cast.agent("b", "b's first", *broken(1))
    result = await MixtureOfAgents("mix", [a, b], cast.agent("best"), layers=2, policy=SKIP).run(
        "The question."
    )
    again = cast.told("a")[1]
    assert "The question." in again
    assert "## b\n\nb's first" in again
    (told,) = cast.told("best")
    assert "## a\n\na's second" in told
    assert "## b" not in told
    assert [one.key for one in result.failed] == ["layer-1/a", "layer-2/b"]


async def test_a_layer_of_which_all_were_skipped_is_left_out() -> None:
    cast = Rehearsal()
    a = cast.agent("a", "a's first", *broken())
    await MixtureOfAgents("mix", [a], cast.agent("best"), layers=2, policy=SKIP).run("The question.")
    assert "## a\n\na's first" in cast.told("best")[0]


async def test_alone_it_is_asked_to_look_once_more() -> None:
    cast = Rehearsal()
    await MixtureOfAgents("mix", cast.agents("a"), cast.agent("best"), layers=2).run("The question.")
    assert "Nobody else has answered" in cast.told("a")[1]


async def test_without_answers_or_aggregator_the_run_fails_and_names_who_did() -> None:
    cast = Rehearsal()
    with pytest.raises(NobodyAnswered, match="'a' failed"):
        await MixtureOfAgents("mix", [cast.agent("a", *broken())], cast.agent("best"), policy=SKIP).run(
            "Why?"
        )
    assert cast.told("best") == []
    with pytest.raises(NobodyAnswered, match="'best' failed"):
        await MixtureOfAgents("mix", [cast.agent("a")], cast.agent("best", *broken()), policy=SKIP).run(
            "Why?"
        )


async def test_one_that_fails_ends_the_run_and_is_tried_again_by_resume() -> None:
    cast = Rehearsal()
    swarm = MixtureOfAgents(
        "mix", cast.agents("a", "b"), cast.agent("best", *broken(1), "the best"), layers=1
    )
    with pytest.raises(MemberFailed, match="'best'"):
        await swarm.run("Why?")
    assert str(await swarm.resume()) == "the best"
    assert sorted(cast.order) == ["a", "b", "best", "best"]


async def test_the_aggregator_may_be_one_of_the_agents_and_a_fallback_may_stand_in_for_it() -> None:
    cast = Rehearsal()
    a, b = cast.agent("a", "a's first", *broken()), cast.agent("b")
    policies = {"a": MemberPolicy(fallback=cast.agent("spare", "from the spare"))}
    result = await MixtureOfAgents("mix", [a, b], a, layers=1, policies=policies).run("Why?")
    assert result.text == "from the spare"


async def test_one_that_hangs_is_given_up_at_its_timeout() -> None:
    cast = Rehearsal()
    swarm = MixtureOfAgents(
        "mix",
        [cast.agent("a", ScriptedModel.gate()), cast.agent("b")],
        cast.agent("best", "the best"),
        layers=1,
        policy=MemberPolicy(timeout=5, then="skip"),
    )
    assert (await run_past_timeouts(swarm, [4.9, 0.2])).text == "the best"


async def test_cut_off_anywhere_it_goes_on_and_does_nothing_twice(tmp_path: Path) -> None:
    """U4: in the middle of a layer those that had answered do not work again."""
    await goes_on_after_every_cut(lambda cast: mixture(cast, layers=2, **cast.saved), tmp_path)


async def test_its_picture_shows_the_layers() -> None:
    picture = mixture(Rehearsal(), layers=2).to_mermaid()
    assert picture.count('("a")') == picture.count('("b")') == 2
    assert picture.count("-->") == 2 + 4 + 2 + 1
    crowd = Rehearsal().agents(*"abcdefghij")
    assert MixtureOfAgents("mix", crowd, crowd[0]).to_mermaid().count("-->") == 10 + 20 + 20 + 10 + 1
    with pytest.raises(ConfigurationError, match="layers"):
        mixture(Rehearsal(), layers=0)
