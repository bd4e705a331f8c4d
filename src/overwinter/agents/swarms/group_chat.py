"""A discussion: somebody says who speaks next, until it is over."""

from __future__ import annotations

from inspect import isawaitable
from typing import TYPE_CHECKING, Literal, Unpack

from overwinter.agents.swarms.answers import anyone
from overwinter.agents.swarms.base import Swarm
from overwinter.agents.swarms.checks import all_different, at_least_one
from overwinter.agents.swarms.drawing import END, START, node_of
from overwinter.agents.swarms.graph import Edge, Graph, Node
from overwinter.agents.swarms.options import OutputT
from overwinter.agents.swarms.speakers import led, named, news_of, read_speaker
from overwinter.agents.swarms.transcript import Transcript
from overwinter.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable

    from overwinter.agents.swarms.member import Member
    from overwinter.agents.swarms.options import SwarmOptions
    from overwinter.agents.swarms.results import MemberResult
    from overwinter.agents.swarms.speakers import SpeakerFunction
    from overwinter.agents.swarms.team import Team

__all__ = ["GroupChat"]

FIRST = """\
You are {name}, in a discussion with {others}. What it is about:

{task}

{news}It is your turn. Say what you have to say, as yourself and to the others."""

NEXT = """\
{news}It is your turn. Say what you have to say, as yourself and to the others."""


class GroupChat(Swarm[OutputT]):
    """The ``agents`` discuss the task, one speaking at a time; the result is the transcript, each turn under its name.

    On its first turn each is told the task, who the others are, and what was said; then what was said since its last
    turn, for it remembers the rest itself. The turn of one that is skipped passes, and on its own next turn it is told
    what it missed. When all turns were skipped the run fails.

    The chat ends after ``max_rounds`` turns, or after one in whose text ``stopping_token`` stands or with which
    ``stopping_condition`` is content. Both functions, where they are yours, are called once for each turn, never again
    when the run is resumed, and what they raise fails the run.

    With an ``output_type`` the text of the result is what was said last, for that is what is read.

    :param name: any text; the swarm's, as an ``agent_name`` is an agent's.
    :param agents: two or more agents, swarms, or any other :class:`~overwinter.Member`, each of them once.
    :param speaker: who says who speaks next. ``"turn"``: they speak in their order. An agent: it is told what was said
        and answers a name; when that is plainly nobody's, or the agent is skipped, the next in order speaks, and a
        warning is logged. It may be one of the ``agents``. A function, sync or async: it is called with
        all :class:`Utterance` so far and returns a name, or ``None`` when the chat is over.
    :param max_rounds: how many turns there are at most.
    :param stopping_token: a text that ends the chat.
    :param stopping_condition: sync or async, called with the text of each turn; the chat ends when it returns true.
    :raises ConfigurationError: a setting cannot work, or ``speaker`` named nobody; the message says which.
    """

    def __init__(
        self,
        name: str,
        agents: Iterable[Member],
        *,
        speaker: Literal["turn"] | Member | SpeakerFunction = "turn",
        max_rounds: int = 10,
        stopping_token: str | None = None,
        stopping_condition: Callable[[str], bool | Awaitable[bool]] | None = None,
        **options: Unpack[SwarmOptions[OutputT]],
    ) -> None:
        self._group = all_different(agents)
        if len(self._group) < 2:
            raise ConfigurationError("a group chat needs two or more agents")
        self._max_rounds = at_least_one("max_rounds", max_rounds)
        self._leader, self._function = read_speaker(speaker)
        if stopping_token == "":
            raise ConfigurationError("stopping_token is empty, and would end the chat with its first turn")
        self._token = stopping_token
        self._condition = stopping_condition
        self._tells_all = options.get("output_type", str) is str
        described = {
            "speaker": self._leader.agent_name if self._leader else "function" if self._function else "turn",
            "max_rounds": max_rounds,
            "stopping_token": stopping_token,
            "stopping_condition": stopping_condition is not None,
        }
        leaders = [] if self._leader is None else [self._leader]
        super().__init__(name, [*self._group, *leaders], described=described, **options)

    async def orchestrate(self, task: str, team: Team) -> str:
        """Give turn after turn, until it is over."""
        transcript = Transcript()
        turns: list[MemberResult] = []
        for number in range(1, self._max_rounds + 1):
            member = await self._next(number, task, transcript, turns, team)
            if member is None:
                break
            told = self._told(member.agent_name, task, transcript)
            turn = await team.ask(member, told, key=f"turn-{number}/{member.agent_name}")
            transcript.take([turn])
            turns.append(turn)
            if turn.ok and await self._is_over(number, turn.text, team):
                break
        answered = anyone(self.agent_name, turns)
        return str(transcript) if self._tells_all else answered[-1].text

    async def _next(
        self, number: int, task: str, transcript: Transcript, turns: list[MemberResult], team: Team
    ) -> Member | None:
        group, function, leader = self._group, self._function, self._leader
        names = [member.agent_name for member in group]
        in_order = group[(names.index(turns[-1].member) + 1) % len(names) if turns else 0]
        if function is not None:
            name = await team.decide(
                f"speaker-{number}", lambda: named(function, group, transcript.said), str
            )
        elif leader is not None:
            told = await led(leader, group, f"speaker-{number}/{leader.agent_name}", task, transcript, team)
            name = told or in_order.agent_name
        else:
            return in_order
        return group[names.index(name)] if name else None

    def _told(self, name: str, task: str, transcript: Transcript) -> str:
        knows, news = news_of(name, transcript)
        if knows:
            return NEXT.format(news=news)
        others = ", ".join(member.agent_name for member in self._group if member.agent_name != name)
        return FIRST.format(name=name, others=others, task=task, news=news)

    async def _is_over(self, number: int, text: str, team: Team) -> bool:
        condition = self._condition
        if self._token is not None and self._token in text:
            return True
        if condition is None:
            return False

        async def content() -> bool:
            verdict = condition(text)
            return bool(await verdict if isawaitable(verdict) else verdict)

        return await team.decide(f"over-{number}", content, bool)

    def graph(self) -> Graph:
        """A circle of turns around whoever says whose it is."""
        label = "who speaks next?" if self._function else "the next in order"
        chooser = (
            Node("speaker", label, "decision") if self._leader is None else node_of(self._leader, "speaker")
        )
        group = [node_of(member, f"turn/{member.agent_name}") for member in self._group]
        edges = [Edge(START.id, chooser.id), *(Edge(chooser.id, node.id) for node in group)]
        edges += [Edge(node.id, chooser.id, dashed=True) for node in group]
        over = f"{self._max_rounds} turns" if self._token is None and self._condition is None else "over"
        return Graph((START, chooser, *group, END), (*edges, Edge(chooser.id, END.id, over)))
