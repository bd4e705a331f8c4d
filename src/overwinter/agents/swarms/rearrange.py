"""As a line of text says: ``"a -> b, c -> d"``."""

from __future__ import annotations

from inspect import isawaitable, iscoroutinefunction
from typing import TYPE_CHECKING, TypeAlias, Unpack

from anyio import CapacityLimiter, to_thread

from overwinter.agents.swarms.answers import answer_of, anyone, handed_on, under_names
from overwinter.agents.swarms.base import Swarm
from overwinter.agents.swarms.checks import all_different, at_least_one
from overwinter.agents.swarms.drawing import graph_of_steps, node_of
from overwinter.agents.swarms.flow import HUMAN, parse_flow
from overwinter.agents.swarms.graph import Node
from overwinter.agents.swarms.options import OutputT
from overwinter.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Sequence

    from overwinter.agents.swarms.graph import Graph
    from overwinter.agents.swarms.member import Member
    from overwinter.agents.swarms.options import SwarmOptions
    from overwinter.agents.swarms.results import MemberResult
    from overwinter.agents.swarms.team import Team

__all__ = ["AgentRearrange"]

#: How a person is called in what agents are told.
PERSON = "a person"

Answers: TypeAlias = "Sequence[tuple[str, str]]"


class AgentRearrange(Swarm[OutputT]):
    """The ``agents`` work in the order that ``flow`` says; the result is what came of its last step.

    In a flow ``->`` stands between steps, and a comma between those who work at the same time: in ``"a -> b, c -> d"``
    first ``a`` works, then ``b`` and ``c`` together, then ``d``. An agent may stand in several steps, and one that is
    in none does not work. A name with a comma, an arrow or a quotation mark in it stands in double quotes.

    Those of the first step are told the task as it is, all others the task and what came of the step before: the text
    of the only one in it, or the answer of each under its name. Of one that is skipped beside others these are told
    that there is no answer; a step of which all were skipped is left out. When no step has an answer the run fails.

    The word ``H`` is a person, alone in its step: ``human_in_the_loop`` is called with what came of the step before
    (or with the task) and what it returns goes on. That is recorded, so that nobody is asked twice.

    :param name: any text; the swarm's, as an ``agent_name`` is an agent's.
    :param agents: agents, swarms, or any other :class:`~overwinter.Member`, each of them once.
    :param flow: who works when.
    :param max_loops: how many times the flow is gone through; its first step then goes on from what came of its last.
    :param human_in_the_loop: asks a person; async, or sync and then called in a thread, so that it may wait for
        a key. When the run is cancelled, such a thread is left to itself and what it returns is lost.
    :raises ConfigurationError: a setting cannot work; of the flow, the message shows the place.
    """

    def __init__(
        self,
        name: str,
        agents: Iterable[Member],
        flow: str,
        *,
        max_loops: int = 1,
        human_in_the_loop: Callable[[str], str | Awaitable[str]] | None = None,
        **options: Unpack[SwarmOptions[OutputT]],
    ) -> None:
        crew = all_different(agents)
        names = {member.agent_name: member for member in crew}
        if human_in_the_loop is not None and HUMAN in names:
            raise ConfigurationError(f"{HUMAN!r} in the flow is a person, so no agent may be called that")
        self._crew = names
        self._human = human_in_the_loop
        self._steps = parse_flow(flow, names, human=human_in_the_loop is not None)
        self._max_loops = at_least_one("max_loops", max_loops)
        super().__init__(name, crew, described={"flow": flow, "max_loops": max_loops}, **options)

    async def orchestrate(self, task: str, team: Team) -> str:
        """Go through the steps."""
        asked: list[MemberResult] = []
        answers: Answers = ()
        for loop in range(1, self._max_loops + 1):
            for number, names in enumerate(self._steps, 1):
                if self._human is not None and names == (HUMAN,):
                    answers = [
                        (PERSON, await self._ask_person(_key(loop, number, HUMAN), task, answers, team))
                    ]
                    continue
                told = handed_on(task, answers) if answers else task
                asks = [(self._crew[name], told, _key(loop, number, name)) for name in names]
                results = await team.ask_all(asks)
                asked += results
                if any(result.ok for result in results):
                    answers = [answer_of(result) for result in results]
        if not answers:
            anyone(self.agent_name, asked)
        return _text(answers)

    async def _ask_person(self, key: str, task: str, answers: Answers, team: Team) -> str:
        human, shown = self._human, _text(answers) if answers else task
        assert human is not None

        async def ask() -> str:
            answer = human(shown) if iscoroutinefunction(human) else await _in_a_thread(human, shown)
            return await answer if isawaitable(answer) else answer

        return await team.decide(key, ask, str)

    def graph(self) -> Graph:
        """The flow; one who stands in it several times is there as many times."""
        steps = [
            [self._node(_key(1, number, name), name) for name in names]
            for number, names in enumerate(self._steps, 1)
        ]
        return graph_of_steps(steps, again=self._max_loops)

    def _node(self, key: str, name: str) -> Node:
        member = self._crew.get(name)
        return Node(key, PERSON, "function") if member is None else node_of(member, key)


async def _in_a_thread(human: Callable[[str], str | Awaitable[str]], shown: str) -> str | Awaitable[str]:
    # People take their time: they are not to use up the threads that everybody shares.
    return await to_thread.run_sync(human, shown, abandon_on_cancel=True, limiter=CapacityLimiter(1))


def _text(answers: Answers) -> str:
    return answers[0][1] if len(answers) == 1 else under_names(answers)


def _key(loop: int, number: int, name: str) -> str:
    key = f"{number}-{name}"
    return key if loop == 1 else f"loop-{loop}/{key}"
