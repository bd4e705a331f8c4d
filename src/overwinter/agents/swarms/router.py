"""One front door: each task goes to the member, or to the pattern, that is chosen for it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Unpack, cast

from overwinter.agents.swarms.base import Swarm
from overwinter.agents.swarms.checks import all_different
from overwinter.agents.swarms.drawing import END, START, node_of
from overwinter.agents.swarms.graph import Edge, Graph, Node
from overwinter.agents.swarms.options import OutputT
from overwinter.agents.swarms.patterns import pattern_named
from overwinter.agents.swarms.routing import choose
from overwinter.errors import ConfigurationError, NobodyAnswered

if TYPE_CHECKING:
    from collections.abc import Iterable

    from overwinter.agents.swarms.member import Member
    from overwinter.agents.swarms.options import SwarmOptions
    from overwinter.agents.swarms.routing import Choice
    from overwinter.agents.swarms.team import Team

__all__ = ["SwarmRouter"]


class SwarmRouter(Swarm[OutputT]):
    """Gives each task to one of its ``agents``, or to all of them in one of its ``patterns``; its answer is the result.

    Who is chosen is told the task as it is. What a function returned or a model answered is recorded, so that a run
    that goes on stays with its choice. When the chosen one, or a model that chooses, is skipped, the run fails.

    ::

        SwarmRouter("desk", [writer, coder, mathematician], choose=receptionist)
        SwarmRouter("panel", [ann, ben, cleo], swarm_type="MajorityVoting")

    :param name: any text; the swarm's, as an ``agent_name`` is an agent's.
    :param agents: agents or swarms of any pattern, each of them once. Their names are what is chosen from, and their
        ``agent_description`` is what a model is told of them.
    :param choose: a name; a function of the task that returns one, sync or async; or an agent, which is asked for one
        and asked again when its answer names nobody. Unless given, the only choice there is.
    :param patterns: names of patterns made of all ``agents``, such as ``"SequentialWorkflow"``, that can be chosen
        besides.
    :param swarm_type: one such name, which is the choice as well unless ``choose`` is given.
    :raises ConfigurationError: a setting cannot work, such as a name that is none of the choices.
    """

    def __init__(
        self,
        name: str,
        agents: Iterable[Member],
        choose: Choice | None = None,
        *,
        patterns: Iterable[str] = (),
        swarm_type: str | None = None,
        **options: Unpack[SwarmOptions[OutputT]],
    ) -> None:
        members = all_different(agents)
        self._choices = {member.agent_name: member for member in members}
        if swarm_type is not None:
            patterns, choose = [*patterns, swarm_type], choose or swarm_type
        for pattern in patterns:
            if pattern in self._choices:
                raise ConfigurationError(
                    f"swarm {name!r} has two choices named {pattern!r}; rename the agent"
                )
            self._choices[pattern] = pattern_named(pattern)(
                f"{name}-{pattern}", members, session=options.get("session", "")
            )
        self._by = self._checked(name, choose)
        team = list(self._choices.values())
        if hasattr(self._by, "agent_name"):
            chooser = cast("Member", self._by)
            if chooser.agent_name in self._choices:
                raise ConfigurationError(
                    f"{chooser.agent_name!r} chooses for swarm {name!r}, and is none of its agents"
                )
            team.append(chooser)
        described = {"choose": _name_of(self._by), "choices": list(self._choices)}
        super().__init__(name, team, described=described, **options)

    async def orchestrate(self, task: str, team: Team) -> str:
        """Choose, and have the chosen one do it."""
        known = {name: _description(member) for name, member in self._choices.items()}
        chosen = await choose(self._by, known, task, team, swarm=self.agent_name)
        result = await team.ask(self._choices[chosen], task, key="work")
        if not result.ok:
            raise NobodyAnswered(self.agent_name, {result.member: result.error})
        return result.text

    def graph(self) -> Graph:
        """The choice, and the ways from there."""
        ways = [node_of(member, f"choice {name}") for name, member in self._choices.items()]
        door = Node("choose", _name_of(self._by), "decision")
        edges = [Edge(START.id, door.id)]
        for name, way in zip(self._choices, ways, strict=True):
            edges += [Edge(door.id, way.id, "" if way.label == name else name, True), Edge(way.id, END.id)]
        return Graph((START, door, *ways, END), tuple(edges))

    def _checked(self, name: str, choose: Choice | None) -> Choice:
        names = ", ".join(map(repr, self._choices))
        if choose is None:
            if len(self._choices) != 1:
                raise ConfigurationError(f"swarm {name!r} has to choose from {names}; say how with choose=")
            return next(iter(self._choices))
        if isinstance(choose, str) and choose not in self._choices:
            raise ConfigurationError(f"choose={choose!r} is no choice of swarm {name!r}; there is {names}")
        if not isinstance(choose, str) and not hasattr(choose, "agent_name") and not callable(choose):
            raise ConfigurationError(f"choose is a name, a function or an agent, not {choose!r}")
        return choose


def _name_of(by: object) -> str:
    return by if isinstance(by, str) else str(getattr(by, "agent_name", getattr(by, "__name__", "function")))


def _description(member: Member) -> str:
    told = str(getattr(member, "agent_description", ""))
    if told or not isinstance(member, Swarm):
        return told
    what = cast("Swarm[object]", member).__doc__ or ""
    return " ".join(what.split("\n\n", 1)[0].replace("``", "").split())
