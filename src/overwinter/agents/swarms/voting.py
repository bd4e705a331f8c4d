"""All answer, and the answer that most of them gave is the result."""

from __future__ import annotations

from typing import TYPE_CHECKING, Unpack

from overwinter.agents.swarms.answers import anyone, under_names
from overwinter.agents.swarms.base import Swarm
from overwinter.agents.swarms.checks import all_different
from overwinter.agents.swarms.drawing import graph_of_steps, node_of
from overwinter.agents.swarms.graph import Node
from overwinter.agents.swarms.options import OutputT
from overwinter.agents.swarms.tally import Ballot, Tally, normalised, tally
from overwinter.errors import NobodyAnswered

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from overwinter.agents.swarms.graph import Graph
    from overwinter.agents.swarms.member import Member
    from overwinter.agents.swarms.options import SwarmOptions
    from overwinter.agents.swarms.results import MemberResult, SwarmResult
    from overwinter.agents.swarms.team import Team

__all__ = ["MajorityVoting"]

_NAMED = 5  # answers of a tie that are named

JUDGE = """\
Several were given the same task, each by itself.

The task:

{task}

Their answers:

{answers}

Counted word by word: {counts}.

Say what most of them agree on, also where they say it in different words, and give that as the one answer to the \
task. Where they do not agree, give the answer for which the best reasons were given. Answer with that answer alone."""


class MajorityVoting(Swarm[OutputT]):
    """The ``agents`` answer the task, each by itself and at the same time, and the most frequent answer is the result.

    What is counted is the *vote* in each answer: what ``output_parser`` makes of it, or else the answer without regard
    to capitals, spaces, a full stop at its end, and quotes or emphasis around it. The result is the winning answer as
    the first who gave it wrote it, and below it the counts. A tie is said to be one, and goes to the answer whose first
    voter stands first in ``agents``; so that the same votes always have the same result.

    With a ``consensus_agent`` that one decides: it is told the task, all answers and the counts, and the result is what
    it answers, with the counts below. If it is skipped, the votes decide, and the result says so.

    One that is skipped, or whose vote is empty, does not vote. Nobody votes twice: where the fallback of one voter is
    another voter, it has its own vote only. When nobody votes the run fails.

    With an ``output_type`` the text of the result is the answer alone; :meth:`tally` tells the counts.

    :param name: any text; the swarm's, as an ``agent_name`` is an agent's.
    :param agents: agents, swarms, or any other :class:`~overwinter.Member`, each of them once.
    :param consensus_agent: a judge; it may be one of the ``agents``.
    :param output_parser: called with each answer, to find the vote in it; an empty one is none. The same answer must
        always give the same vote. What it raises fails the run.
    :raises ConfigurationError: a setting cannot work; the message names it.
    """

    def __init__(
        self,
        name: str,
        agents: Iterable[Member],
        *,
        consensus_agent: Member | None = None,
        output_parser: Callable[[str], str] | None = None,
        **options: Unpack[SwarmOptions[OutputT]],
    ) -> None:
        self._voters = all_different(agents)
        self._judge = consensus_agent
        self._parser = output_parser or normalised
        self._tells_counts = options.get("output_type", str) is str
        judges = [] if consensus_agent is None else [consensus_agent]
        described = {
            "consensus_agent": consensus_agent.agent_name if consensus_agent else None,
            "output_parser": output_parser is not None,
        }
        super().__init__(name, [*self._voters, *judges], described=described, **options)

    async def orchestrate(self, task: str, team: Team) -> str:
        """Let them vote, count, and have it judged if there is a judge."""
        results = await team.ask_all([(member, task, f"vote/{member.agent_name}") for member in self._voters])
        answered = anyone(self.agent_name, results)
        votes = await team.decide("votes", lambda: self._votes(answered), dict[str, str])
        counted = _counted(results, votes)
        if self._judge is not None:
            return await self._judged(self._judge, task, answered, counted, team)
        if not counted.candidates:
            raise NobodyAnswered(
                self.agent_name, {one.member: one.error or "its answer holds no vote" for one in results}
            )
        return self._with_counts(counted.candidates[0].answer, _verdict(counted))

    async def _judged(
        self, judge: Member, task: str, answered: Sequence[MemberResult], counted: Tally, team: Team
    ) -> str:
        answers = under_names((result.member, result.text) for result in answered)
        told = JUDGE.format(task=task, answers=answers, counts=counted)
        result = await team.ask(judge, told, key=f"judge/{judge.agent_name}")
        if result.ok:
            return self._with_counts(result.text, f"Decided by {judge.agent_name}. Votes: {counted}.")
        if not counted.candidates:
            raise NobodyAnswered(self.agent_name, {judge.agent_name: result.error})
        verdict = f"{judge.agent_name}, who was to decide, gave no answer; the votes did. {_verdict(counted)}"
        return self._with_counts(counted.candidates[0].answer, verdict)

    def tally(self, result: SwarmResult[OutputT]) -> Tally:
        """The counts of a finished run of this swarm; ``output_parser`` is called for them again."""
        results = [one for one in result.members if one.key.startswith("vote/")]
        order = {member.agent_name: place for place, member in enumerate(self._voters)}
        results.sort(key=lambda one: order.get(one.member, len(order)))
        return _counted(results, self._votes(one for one in results if one.ok))

    def _votes(self, answered: Iterable[MemberResult]) -> dict[str, str]:
        return {one.member: self._parser(one.text) for one in answered}

    def _with_counts(self, answer: str, verdict: str) -> str:
        return f"{answer.rstrip()}\n\n{verdict}" if self._tells_counts else answer

    def graph(self) -> Graph:
        """All side by side, and who counts or judges."""
        voters = [node_of(member, f"vote/{member.agent_name}") for member in self._voters]
        count = Node("count", "count the votes", "decision")
        if self._judge is None:
            return graph_of_steps([voters, [count]])
        return graph_of_steps([voters, [count], [node_of(self._judge, f"judge/{self._judge.agent_name}")]])


def _counted(results: Sequence[MemberResult], votes: Mapping[str, str]) -> Tally:
    voters = {result.member for result in results}
    return tally(
        Ballot(
            one.member,
            "" if one.by != one.member and one.by in voters else votes.get(one.member, ""),
            one.text,
        )
        for one in results
    )


def _verdict(counted: Tally) -> str:
    if not counted.tied:
        return f"Votes: {counted}."
    leaders = [f"{leader.shown} ({', '.join(leader.voters)})" for leader in counted.leaders]
    tied = " and ".join(leaders) if len(leaders) <= _NAMED else f"{len(leaders)} answers"
    return f"A tie between {tied}; taken was the first, by the order of the agents. Votes: {counted}."
