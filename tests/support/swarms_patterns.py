"""One swarm of each pattern, with members that a test gives: agents, another swarm, and who is neither.

The parts that a pattern's members have to play are theirs: a director gives orders, a leader names who speaks next.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import msgspec

from overwinter import Message, ToolCall
from overwinter.agents.swarms.concurrent import ConcurrentWorkflow
from overwinter.agents.swarms.graph_workflow import GraphWorkflow
from overwinter.agents.swarms.group_chat import GroupChat
from overwinter.agents.swarms.handing import handoff, handoff_name
from overwinter.agents.swarms.handoffs import Handoffs
from overwinter.agents.swarms.hierarchical import HierarchicalSwarm
from overwinter.agents.swarms.map_reduce import MapReduce
from overwinter.agents.swarms.mixture import MixtureOfAgents
from overwinter.agents.swarms.rearrange import AgentRearrange
from overwinter.agents.swarms.round_robin import RoundRobin
from overwinter.agents.swarms.router import SwarmRouter
from overwinter.agents.swarms.sequential import SequentialWorkflow
from overwinter.agents.swarms.voting import MajorityVoting

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tests.support.swarms_cast import Answer, Cast

    from overwinter.agents.swarms.base import Swarm
    from overwinter.agents.swarms.graph_nodes import NodeLike
    from overwinter.agents.swarms.member import Member

__all__ = ["CONDITIONS", "PATTERNS", "make"]

#: The decisions that a condition of the cast made.
CONDITIONS = re.compile(r"^over-|->$")


def sequential(name: str, cast: Cast, options: dict[str, Any]) -> Swarm[str]:
    line: list[Member] = [cast.agent("ann"), cast.foreigner("zoe"), cast.agent("ben")]
    return SequentialWorkflow(name, line, **options)


def concurrent(name: str, cast: Cast, options: dict[str, Any]) -> Swarm[str]:
    crowd: list[Member] = [cast.agent("ann"), cast.agent("ben"), cast.foreigner("zoe"), cast.agent("cleo")]
    return ConcurrentWorkflow(name, crowd, at_once=2, **options)


def rearrange(name: str, cast: Cast, options: dict[str, Any]) -> Swarm[str]:
    crew: list[Member] = [cast.agent("ann"), cast.agent("ben"), cast.foreigner("zoe"), cast.agent("cleo")]
    flow = "ann -> ben, zoe -> H -> cleo"
    return AgentRearrange(name, crew, flow, human_in_the_loop=cast.human(), **options)


def graph(name: str, cast: Cast, options: dict[str, Any]) -> Swarm[str]:
    nodes: list[NodeLike] = [
        cast.agent("plan"),
        cast.agent("draft"),
        cast.foreigner("side"),
        cast.agent("review"),
        cast.joins("join"),
        cast.agent("publish"),
    ]
    edges: list[Any] = [
        ("plan", "draft"),
        ("plan", "side"),
        ("draft", "review"),
        ("review", "draft", cast.condition("once_more", lambda text: True)),
        ("review", "join", "otherwise"),
        ("side", "join"),
        ("join", "publish"),
    ]
    return GraphWorkflow(name, nodes, edges, max_visits=2, **options)


def mixture(name: str, cast: Cast, options: dict[str, Any]) -> Swarm[str]:
    return MixtureOfAgents(
        name, [cast.agent("ann"), cast.foreigner("zoe")], cast.agent("all"), layers=2, **options
    )


def voting(name: str, cast: Cast, options: dict[str, Any]) -> Swarm[str]:
    voters: list[Member] = [cast.agent("ann"), cast.foreigner("zoe"), cast.agent("ben")]
    return MajorityVoting(
        name, voters, consensus_agent=cast.agent("judge"), output_parser=cast.joins("parse"), **options
    )


def round_robin(name: str, cast: Cast, options: dict[str, Any]) -> Swarm[str]:
    return RoundRobin(name, [cast.agent("ann"), cast.foreigner("zoe")], max_loops=2, **options)


def group_chat(name: str, cast: Cast, options: dict[str, Any]) -> Swarm[str]:
    group: list[Member] = [cast.agent("ann"), cast.agent("ben"), cast.foreigner("zoe")]
    leader = cast.agent("leader", _names)
    over = cast.condition("is_over", lambda text: False)
    return GroupChat(name, group, speaker=leader, max_rounds=3, stopping_condition=over, **options)


def _names(shown: Sequence[Message], marked: str) -> str:
    asked = sum(message.role == "user" for message in shown)
    return f"{('zoe', 'ann', 'ben')[asked % 3]}, for {marked}"


def hierarchical(name: str, cast: Cast, options: dict[str, Any]) -> Swarm[str]:
    workers: list[Member] = [cast.agent("ann"), cast.foreigner("zoe"), cast.agent("ben")]
    return HierarchicalSwarm(name, workers, cast.agent("director", _directs), max_loops=3, **options)


def _directs(shown: Sequence[Message], marked: str) -> str:
    """Two rounds of orders, the second in order; then the answer."""
    last = shown[-1].content
    orders = ["ann", "zoe"] if "Plan how" in last else ["zoe", "ben"]
    if "Now write the final answer" in last:
        return f"the answer: {marked}"
    planned = sum("orders" in message.content for message in shown if message.role == "assistant")
    plan = {
        "plan": marked,
        "orders": []
        if planned % 3 == 2
        else [{"agent_name": name, "task": f"do it: {marked}"} for name in orders],
        "in_order": planned % 3 == 1,
    }
    return msgspec.json.encode(plan).decode()


def map_reduce(name: str, cast: Cast, options: dict[str, Any]) -> Swarm[str]:
    return MapReduce(name, cast.agent("mapper"), cast.agent("reducer"), cast.splits(4), at_once=2, **options)


def map_reduce_saved(name: str, cast: Cast, options: dict[str, Any]) -> Swarm[str]:
    saved = {name: options[name] for name in ("autosave", "durability") if name in options}
    reduce = cast.joins("reduce")
    mapper = cast.agent("mapper", **saved)
    return MapReduce(name, mapper, lambda texts: reduce(*texts), cast.splits(3), at_once=2, **options)


def router(name: str, cast: Cast, options: dict[str, Any]) -> Swarm[str]:
    line: list[Member] = [cast.foreigner("zoe"), cast.agent("ben")]
    inner = SequentialWorkflow(f"{name}-inner", line, policies=options.pop("policies", None))
    chooser = cast.agent("chooser", lambda _, marked: f"{name}-inner, for {marked}")
    return SwarmRouter(name, [cast.agent("ann"), inner], choose=chooser, **options)


def handoffs(name: str, cast: Cast, options: dict[str, Any]) -> Swarm[str]:
    ann = cast.agent("ann", _hands_on("ben"), tools=[handoff("ben")])
    ben = cast.agent("ben", _hands_on("zoe"), tools=[handoff("zoe"), handoff("ann")])
    return Handoffs(name, [ann, ben, cast.foreigner("zoe")], stay=False, **options)


def _hands_on(target: str) -> Answer:
    def hands_on(shown: Sequence[Message], marked: str) -> Message:
        if "cannot be reached" in shown[-1].content:
            return Message(role="assistant", content=f"then so it is: {marked}")
        arguments = msgspec.json.encode({"reason": f"because of {marked}"}).decode()
        call = ToolCall(marked.replace(":", "-"), handoff_name(target), arguments)
        return Message(role="assistant", content=marked, tool_calls=(call,))

    return hands_on


def nested(name: str, cast: Cast, options: dict[str, Any]) -> Swarm[str]:
    """A swarm in a swarm in a swarm."""
    policies = options.pop("policies", None)
    circle: list[Member] = [cast.agent("ann"), cast.foreigner("zoe")]
    inmost = RoundRobin(f"{name}-inmost", circle, max_loops=1, policies=policies)
    inner = ConcurrentWorkflow(f"{name}-inner", [cast.agent("ben"), inmost])
    return SequentialWorkflow(name, [cast.agent("cleo"), inner, cast.agent("dan")], **options)


PATTERNS: dict[str, Callable[[str, Cast, dict[str, Any]], Swarm[str]]] = {
    "SequentialWorkflow": sequential,
    "ConcurrentWorkflow": concurrent,
    "AgentRearrange": rearrange,
    "GraphWorkflow": graph,
    "MixtureOfAgents": mixture,
    "MajorityVoting": voting,
    "RoundRobin": round_robin,
    "GroupChat": group_chat,
    "HierarchicalSwarm": hierarchical,
    "MapReduce": map_reduce,
    "MapReduce-saved": map_reduce_saved,
    "SwarmRouter": router,
    "Handoffs": handoffs,
    "nested": nested,
}


def make(pattern: str, cast: Cast, **options: Any) -> Swarm[str]:
    """The swarm of that pattern, which is its name too.

    :param options: the swarm's; ``policies`` are given to the swarm in which ``ann``, ``ben`` and ``zoe`` are.
    """
    return PATTERNS[pattern](pattern, cast, options)
