"""The vote of the most, and the counting of it."""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.rehearsal import Rehearsal, broken, goes_on_after_every_cut, run_past_timeouts

from overwinter.agents.swarms.policy import MemberPolicy
from overwinter.agents.swarms.tally import Ballot, normalised, tally
from overwinter.agents.swarms.voting import MajorityVoting
from overwinter.errors import ConfigurationError, MemberFailed, NobodyAnswered
from overwinter.testing import ScriptedModel

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.anyio

SKIP = MemberPolicy(then="skip")
NAMES = ["ann", "bob", "cat", "dan", "eve"]


def panel(cast: Rehearsal, *answers: Any, **settings: Any) -> MajorityVoting:
    """Ann, bob, ... with an answer each."""
    agents = [
        cast.agent(name, *(answer if isinstance(answer, list) else [answer]))
        for name, answer in zip(NAMES, answers, strict=False)
    ]
    return MajorityVoting("panel", agents, **settings)


def ballots() -> st.SearchStrategy[list[Ballot]]:
    votes = st.lists(st.sampled_from(["", "a", "b", "c"]), max_size=12)
    return votes.map(lambda cast: [Ballot(f"v{n}", vote, vote.upper()) for n, vote in enumerate(cast)])


@given(cast=ballots())
def test_every_voter_is_counted_once(cast: list[Ballot]) -> None:
    """U16: voters and those who did not vote make up all; the choices stand by their counts."""
    counted = tally(cast)
    voters = [voter for candidate in counted.candidates for voter in candidate.voters]
    assert sorted([*voters, *counted.silent]) == sorted(ballot.voter for ballot in cast)
    assert counted.votes == len(voters)
    counts = [candidate.count for candidate in counted.candidates]
    assert counts == sorted(counts, reverse=True)
    assert counted.tied == (counts.count(max(counts, default=0)) > 1)


@given(cast=ballots(), seed=st.integers())
def test_the_counts_do_not_depend_on_the_order_of_the_votes(cast: list[Ballot], seed: int) -> None:
    """U16: only the order among equals does, which is that of their first voters."""
    mixed = list(cast)
    Random(seed).shuffle(mixed)
    one, other = tally(cast), tally(mixed)
    assert {c.vote: set(c.voters) for c in one.candidates} == {
        c.vote: set(c.voters) for c in other.candidates
    }
    if one.candidates and not one.tied:
        assert one.candidates[0].vote == other.candidates[0].vote
    if one.tied:
        firsts = [int(leader.voters[0][1:]) for leader in one.leaders]
        assert firsts == sorted(firsts)


@given(answer=st.text())
def test_normalising_twice_is_normalising_once(answer: str) -> None:
    """U17: capitals, spaces, a full stop at the end, quotes and emphasis do not count."""
    once = normalised(answer)
    assert normalised(once) == once
    assert normalised(f"  **{answer}**  ") == normalised(f"**{answer}**")


@pytest.mark.parametrize(
    "answer", ["Paris", " paris. ", "**Paris**", '"Paris."', "PARIS\n", "`Paris`;", "\u201cParis\u201d"]
)
def test_answers_that_mean_the_same_are_one_vote(answer: str) -> None:
    """U17: these are all one vote."""
    assert normalised(answer) == "paris"


@pytest.mark.parametrize(
    ("one", "other"),
    [("-5", "5"), ("5!", "5"), ("__init__", "init"), ("C++", "C"), (".5", "5"), ("x\u00b2", "x2")],
)
def test_answers_that_mean_something_else_are_two_votes(one: str, other: str) -> None:
    assert normalised(one) != normalised(other)


async def test_the_answer_that_most_gave_is_the_result_with_the_counts_below() -> None:
    """U18: as the first who gave it wrote it; all are told the task as it is."""
    cast = Rehearsal()
    swarm = panel(cast, "Lyon", "Paris", "paris.", "**PARIS**", "Nice")
    result = await swarm.run("The capital?")
    assert result.text == 'Paris\n\nVotes: 3 of 5 votes for "Paris"; 1 for "Lyon"; 1 for "Nice".'
    assert {told for _, told in cast.ledger} == {"The capital?"}
    assert swarm.tally(result).candidates[0].voters == ("bob", "cat", "dan")
    assert cast.most_at_work == 5


async def test_a_tie_is_said_and_goes_to_the_first_in_the_order_of_the_agents() -> None:
    """U19: whoever answers first; the same votes always have the same result."""
    cast = Rehearsal()
    late = ScriptedModel.gate("Rome")

    def last(_: object) -> str:
        late.open()
        return "Paris"

    swarm = panel(cast, late, "Paris", "Rome", last)
    result = await swarm.run("The capital?")
    assert result.members[-1].member == "ann"
    assert [leader.answer for leader in swarm.tally(result).leaders] == ["Rome", "Paris"]
    assert result.text == (
        'Rome\n\nA tie between "Rome" (ann, cat) and "Paris" (bob, dan); taken was the first, by the order of the '
        'agents. Votes: 2 of 4 votes for "Rome"; 2 for "Paris".'
    )


async def test_long_answers_and_long_lists_of_them_are_cut_short_in_the_counts() -> None:
    """U18: the answer itself never is."""
    cast = Rehearsal()
    answers = [f"Number {n} of the answers, {'and so on, ' * 9}" for n in range(12)]
    agents = [cast.agent(f"v{n:02}", answer) for n, answer in enumerate(answers)]
    result = await MajorityVoting("panel", agents).run("Why?")
    answer, verdict = result.text.split("\n\n")
    assert answer == answers[0].rstrip()
    assert verdict.startswith("A tie between 12 answers; taken was the first, by the order of the agents.")
    assert verdict.endswith(
        '1 for "Number 9 of the answers, and so on, and so on, and so on, an ..."; 2 for 2 other answers.'
    )


async def test_a_judge_decides_and_is_told_all_answers_and_counts() -> None:
    """U20: the result is what the judge answers, with the counts below."""
    cast = Rehearsal()
    judge = cast.agent("judge", "Paris, France")
    result = await panel(cast, "Paris", "It is Paris!", "Rome", consensus_agent=judge).run("The capital?")
    (told,) = cast.told("judge")
    assert "The capital?" in told
    assert "## bob\n\nIt is Paris!" in told
    assert '1 of 3 votes for "Paris"' in told
    assert result.text.startswith("Paris, France\n\nDecided by judge. Votes: 1 of 3 votes")


async def test_without_its_judge_the_votes_decide_and_the_result_says_so() -> None:
    cast = Rehearsal()
    judge = cast.agent("judge", *broken())
    result = await panel(cast, "Paris", "Rome", "Rome", consensus_agent=judge, policy=SKIP).run(
        "The capital?"
    )
    assert result.text.startswith(
        "Rome\n\njudge, who was to decide, gave no answer; the votes did. Votes: 2 of 3"
    )


async def test_those_who_are_skipped_do_not_vote() -> None:
    """U21: nor do those with an empty vote; the counts name them."""
    cast = Rehearsal()
    result = await panel(cast, broken(), "Paris", " ", policy=SKIP).run("The capital?")
    assert result.text == 'Paris\n\nVotes: 1 of 1 votes for "Paris"; no vote of ann, cat.'


async def test_nobody_votes_twice() -> None:
    """U21: a voter that stands in for another has its own vote only."""
    cast = Rehearsal()
    spare, bob, cat = (
        cast.agent("spare", "Paris", "Paris"),
        cast.agent("bob", "Rome"),
        cast.agent("cat", *broken()),
    )
    swarm = MajorityVoting("panel", [spare, bob, cat], policies={"cat": MemberPolicy(fallback=spare)})
    result = await swarm.run("The capital?")
    assert result.text.startswith("Paris\n\nA tie")
    assert result.text.endswith("no vote of cat.")


async def test_a_fallback_that_is_no_voter_votes_for_whom_it_stands_in() -> None:
    cast = Rehearsal()
    policy = MemberPolicy(fallback=cast.agent("spare", "Rome"))
    result = await panel(cast, "Paris", "Rome", broken(), policies={"cat": policy}).run("The capital?")
    assert result.text == 'Rome\n\nVotes: 2 of 3 votes for "Rome"; 1 for "Paris".'


async def test_a_parser_finds_the_vote_in_an_answer_and_is_called_once_for_each(tmp_path: Path) -> None:
    """U22: what it found is recorded, and it is not called again when the run goes on."""
    parsed: list[str] = []

    def last_word(text: str) -> str:
        parsed.append(text)
        return text.split()[-1]

    cast = Rehearsal()
    judge = cast.agent("judge", *broken(1), "A.")
    swarm = panel(cast, "I say A", "so do I: A", "No! B", output_parser=last_word, consensus_agent=judge)
    with pytest.raises(MemberFailed, match="judge"):
        await swarm.run("A or B?")
    assert (
        str(await swarm.resume())
        == 'A.\n\nDecided by judge. Votes: 2 of 3 votes for "I say A"; 1 for "No! B".'
    )
    assert sorted(parsed) == ["I say A", "No! B", "so do I: A"]


async def test_what_a_parser_raises_fails_the_run() -> None:
    def parser(text: str) -> str:
        raise LookupError(text)

    with pytest.raises(LookupError, match="Paris"):
        await panel(Rehearsal(), "Paris", output_parser=parser).run("The capital?")


async def test_a_typed_result_is_the_answer_alone_and_the_counts_are_to_be_had() -> None:
    """U23: with an `output_type` nothing is written below the answer; `tally` tells the counts."""

    class Verdict(msgspec.Struct):
        approve: bool

    cast = Rehearsal()
    agents = [
        cast.agent(name, answer)
        for name, answer in zip(
            NAMES, ['{"approve": true}', '{"approve": false}', '{"approve":  true}'], strict=False
        )
    ]
    swarm = MajorityVoting("panel", agents, output_type=Verdict)
    result = await swarm.run("Approve?")
    assert result.output == Verdict(approve=True)
    assert str(swarm.tally(result)).startswith("2 of 3 votes")


async def test_when_nobody_votes_the_run_fails_and_says_why() -> None:
    with pytest.raises(NobodyAnswered, match=r"'ann' failed: .*out of order"):
        await panel(Rehearsal(), broken(), policy=SKIP).run("The capital?")
    with pytest.raises(NobodyAnswered, match="'ann' failed: its answer holds no vote"):
        await panel(Rehearsal(), " ").run("The capital?")
    judge = Rehearsal().agent("judge", *broken())
    with pytest.raises(NobodyAnswered, match="'judge' failed"):
        await panel(Rehearsal(), " ", consensus_agent=judge, policy=SKIP).run("The capital?")


async def test_one_that_fails_ends_the_run_and_is_tried_again_by_resume() -> None:
    cast = Rehearsal()
    swarm = panel(cast, "Paris", [*broken(1), "Rome"])
    with pytest.raises(MemberFailed, match="'bob'"):
        await swarm.run("The capital?")
    assert (await swarm.resume()).text.startswith("Paris\n\nA tie")
    assert sorted(cast.order) == ["ann", "bob", "bob"]


async def test_one_that_hangs_is_given_up_at_its_timeout() -> None:
    swarm = panel(Rehearsal(), ScriptedModel.gate(), "Paris", policy=MemberPolicy(timeout=5, then="skip"))
    result = await run_past_timeouts(swarm, [4.9, 0.2])
    assert result.text == 'Paris\n\nVotes: 1 of 1 votes for "Paris"; no vote of ann.'


async def test_cut_off_anywhere_it_goes_on_and_does_nothing_twice(tmp_path: Path) -> None:
    """U4: those that had voted do not vote again."""

    def make(cast: Rehearsal) -> MajorityVoting:
        return MajorityVoting(
            "panel", cast.agents("a", "b", "c"), consensus_agent=cast.agent("judge"), **cast.saved
        )

    await goes_on_after_every_cut(make, tmp_path)


async def test_its_picture_shows_the_votes_and_who_decides() -> None:
    cast = Rehearsal()
    picture = panel(cast, "x", "y", consensus_agent=cast.agent("judge")).to_mermaid()
    assert '{"count the votes"}' in picture
    assert '("judge")' in picture
    with pytest.raises(ConfigurationError, match="'ann' stands twice"):
        MajorityVoting("panel", [*cast.agents("ann"), *cast.agents("ann")])
