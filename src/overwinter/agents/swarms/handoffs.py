"""Agents that pass a conversation on to each other."""

from __future__ import annotations

from itertools import takewhile
from typing import TYPE_CHECKING, Unpack

from overwinter.agents.swarms.answers import under_names
from overwinter.agents.swarms.base import Swarm
from overwinter.agents.swarms.checks import all_different, at_least_one
from overwinter.agents.swarms.drawing import END, START, node_of
from overwinter.agents.swarms.graph import Edge, Graph
from overwinter.agents.swarms.handing import HandoffTool, handoff_name
from overwinter.agents.swarms.options import OutputT
from overwinter.errors import ConfigurationError, NobodyAnswered, TooManyHandoffs

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from overwinter.agents.swarms.member import Member
    from overwinter.agents.swarms.options import SwarmOptions
    from overwinter.agents.swarms.results import MemberResult
    from overwinter.agents.swarms.team import Team

__all__ = ["Handoffs"]

HANDED_ON = """\
{before} handed this conversation on to you. What was said so far:

{said}

Go on from here, and answer the user."""

UNREACHABLE = """\
{target} cannot be reached, so the conversation is yours again. Go on without, and answer the user."""

EARLIER = """\
What was said so far:

{said}

Now the user says:

{task}"""

_USER, _ANSWER = "user", "answer"
_SPEAKER = "speaker"
_TOLD = 40


class Handoffs(Swarm[OutputT]):
    """One of the ``agents`` has the conversation, until it passes it on to another by a tool call.

    ::

        triage = Agent("triage", model_name, tools=[handoff("billing", "when it is about an invoice")])
        billing = Agent("billing", model_name, tools=[handoff("triage", "when it is about anything else")])
        desk = Handoffs("desk", [triage, billing], autosave=True)

    The tools say who may hand on to whom. Calling one ends the agent's run, and the next agent is told what was said so
    far, in this run and those before it (the last 40 utterances), and why. The result is what the agent says that does
    not hand on. In the next run the conversation is still that one's, which is told the new task as it is; any other is
    told what was said meanwhile as well. When an agent is skipped, the one that handed on to it goes on and is told so;
    when there is none the run fails.

    :param name: any text; the swarm's, as an ``agent_name`` is an agent's.
    :param agents: each of them once. The first one begins.
    :param stay: whoever spoke last begins the next run; otherwise the first one begins each.
    :param max_handoffs: how often the conversation may be handed on in a run; beyond that the run fails with
        ``TooManyHandoffs``, and a swarm with a higher limit can go on with it.
    :raises ConfigurationError: a setting cannot work, such as a handoff to somebody who is not there.
    """

    def __init__(
        self,
        name: str,
        agents: Iterable[Member],
        *,
        stay: bool = True,
        max_handoffs: int = 10,
        **options: Unpack[SwarmOptions[OutputT]],
    ) -> None:
        self._members = {member.agent_name: member for member in all_different(agents)}
        self._stay = stay
        self._max_handoffs = at_least_one("max_handoffs", max_handoffs)
        self._ways: dict[str, str] = {}
        for member in self._members:
            other = self._ways.setdefault(handoff_name(member, stop_reason=True), member)
            if other != member:
                raise ConfigurationError(
                    f"the tools that hand on to {other!r} and to {member!r} would have one name, "
                    f"{handoff_name(member)!r}; rename one of them"
                )
        for giver, tool in self._tools():
            if tool.target not in self._members:
                names = ", ".join(map(repr, self._members))
                raise ConfigurationError(
                    f"{giver!r} hands on to {tool.target!r}, who is not there; there is {names}"
                )
        described = {"stay": stay, "max_handoffs": max_handoffs}
        super().__init__(name, self._members.values(), described=described, **options)

    async def orchestrate(self, task: str, team: Team) -> str:
        """Go from one to the next until one answers."""
        last = await team.decide(_SPEAKER, lambda: str(self.memory.get(_SPEAKER, "")), str)
        said = [*self._earlier(team.run_id)]
        first = last if self._stay and last in self._members else next(iter(self._members))
        told = task if first == last or not said else EARLIER.format(said=_told(said), task=task)
        said.append((_USER, task))
        path = [first]
        for number in range(1, self._max_handoffs + 2):
            speaker = path[-1]
            result = await team.ask(self._members[speaker], told, key=f"{number}-{speaker}")
            if not result.ok:
                path.pop()
                if not path:
                    raise NobodyAnswered(self.agent_name, {result.member: result.error})
                told = UNREACHABLE.format(target=speaker)
                continue
            target = self._target_of(result)
            if target is None:
                self.memory.set(_SPEAKER, speaker)
                return result.text
            said.append((speaker, result.text))
            told = HANDED_ON.format(before=speaker, said=_told(said))
            path.append(target)
        raise TooManyHandoffs(self.agent_name, path, self._max_handoffs)

    def graph(self) -> Graph:
        """Who may hand on to whom, as far as it is known."""
        nodes = {name: node_of(member, f"agent {name}") for name, member in self._members.items()}
        edges = [Edge(START.id, next(iter(nodes.values())).id)]
        edges += [
            Edge(nodes[giver].id, nodes[tool.target].id, tool.when, True) for giver, tool in self._tools()
        ]
        edges += [Edge(node.id, END.id) for node in nodes.values()]
        return Graph((START, *nodes.values(), END), tuple(edges))

    def _tools(self) -> Iterator[tuple[str, HandoffTool]]:
        for name, member in self._members.items():
            for tool in getattr(member, "tools", ()):
                if isinstance(tool, HandoffTool):
                    yield name, tool

    def _earlier(self, run_id: str) -> Iterator[tuple[str, str]]:
        """What was said in the runs before."""
        for entry in takewhile(lambda entry: entry.run_id != run_id, self.state.conversation):
            yield (_USER if entry.role == "user" else _ANSWER), entry.content

    def _target_of(self, result: MemberResult) -> str | None:
        if result.stop_reason in self._ways:
            return self._ways[result.stop_reason]
        if result.stop_reason.startswith(handoff_name("", stop_reason=True)):
            names = ", ".join(map(repr, self._members))
            raise ConfigurationError(
                f"{result.by!r} hands on with {result.stop_reason.partition(':')[2]!r} to somebody who is not in swarm "
                f"{self.agent_name!r}; there is {names}"
            )
        return None


def _told(said: list[tuple[str, str]]) -> str:
    return under_names(said[-_TOLD:])
