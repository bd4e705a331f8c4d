"""The patterns that a script may name, and the options that each of them has there."""

from __future__ import annotations

from msgspec import Struct

from overwinter.cli.scripts.options import Option

__all__ = ["PATTERNS", "Pattern"]


class Pattern(Struct, frozen=True, kw_only=True):
    """One pattern.

    :ivar module: where it is, in ``overwinter.agents.swarms``.
    :ivar takes: how its constructor calls the members; empty where it has none but those in its options.
    :ivar repeats: a member may stand in it more than once.
    :ivar code: what it takes in a program, and a file cannot have.
    """

    module: str
    options: dict[str, Option] = {}
    takes: str = "agents"
    repeats: bool = False
    code: tuple[str, ...] = ()


_LOOPS = Option(kind="whole")

PATTERNS: dict[str, Pattern] = {
    "SequentialWorkflow": Pattern(module="sequential", options={"max_loops": _LOOPS}, repeats=True),
    "ConcurrentWorkflow": Pattern(module="concurrent", options={"at_once": Option(kind="whole")}),
    "AgentRearrange": Pattern(
        module="rearrange",
        options={"flow": Option(kind="text", required=True), "max_loops": _LOOPS},
        code=("human_in_the_loop",),
    ),
    "GraphWorkflow": Pattern(
        module="graph_workflow",
        options={
            "edges": Option(kind="edges"),
            "entry_points": Option(kind="members", within=True),
            "end_points": Option(kind="members", within=True),
            "max_visits": Option(kind="whole"),
        },
        takes="nodes",
        code=("nodes",),
    ),
    "MixtureOfAgents": Pattern(
        module="mixture",
        options={"aggregator_agent": Option(kind="member", required=True), "layers": Option(kind="whole")},
    ),
    "MajorityVoting": Pattern(
        module="voting", options={"consensus_agent": Option(kind="member")}, code=("output_parser",)
    ),
    "RoundRobin": Pattern(module="round_robin", options={"max_loops": _LOOPS}),
    "GroupChat": Pattern(
        module="group_chat",
        options={
            "speaker": Option(kind="member", or_one_of=("turn",)),
            "max_rounds": Option(kind="whole"),
            "stopping_token": Option(kind="text"),
        },
        code=("stopping_condition",),
    ),
    "HierarchicalSwarm": Pattern(
        module="hierarchical",
        options={
            "director": Option(kind="member", required=True),
            "max_loops": _LOOPS,
            "plan_attempts": Option(kind="whole"),
        },
    ),
    "SwarmRouter": Pattern(
        module="router",
        options={
            "choose": Option(kind="text"),
            "chooser": Option(kind="member", parameter="choose", instead_of="choose"),
            "patterns": Option(kind="texts"),
        },
    ),
    "Handoffs": Pattern(
        module="handoffs", options={"stay": Option(kind="flag"), "max_handoffs": Option(kind="whole")}
    ),
    "MapReduce": Pattern(
        module="map_reduce",
        options={
            "mapper": Option(kind="member", required=True),
            "reducer": Option(kind="member"),
            "split": Option(kind="text", one_of=("json", "lines", "paragraphs")),
            "at_once": Option(kind="whole"),
            "reduce_chars": Option(kind="whole"),
        },
        takes="",
    ),
}
