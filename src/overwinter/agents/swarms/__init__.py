"""Swarms: the patterns in which agents work together, each an actor with a journal of its own."""

from __future__ import annotations

from overwinter.agents.swarms.base import Swarm
from overwinter.agents.swarms.concurrent import ConcurrentWorkflow
from overwinter.agents.swarms.graph import Edge, Graph, Node, to_mermaid
from overwinter.agents.swarms.graph_workflow import GraphWorkflow
from overwinter.agents.swarms.group_chat import GroupChat
from overwinter.agents.swarms.handing import handoff
from overwinter.agents.swarms.handoffs import Handoffs
from overwinter.agents.swarms.hierarchical import HierarchicalSwarm
from overwinter.agents.swarms.map_reduce import MapReduce
from overwinter.agents.swarms.member import Member
from overwinter.agents.swarms.mixture import MixtureOfAgents
from overwinter.agents.swarms.policy import MemberPolicy
from overwinter.agents.swarms.rearrange import AgentRearrange
from overwinter.agents.swarms.results import MemberResult, SwarmResult
from overwinter.agents.swarms.round_robin import RoundRobin
from overwinter.agents.swarms.router import SwarmRouter
from overwinter.agents.swarms.sequential import SequentialWorkflow
from overwinter.agents.swarms.tally import Candidate, Tally
from overwinter.agents.swarms.team import Team
from overwinter.agents.swarms.transcript import Utterance
from overwinter.agents.swarms.voting import MajorityVoting

__all__ = [
    "AgentRearrange",
    "Candidate",
    "ConcurrentWorkflow",
    "Edge",
    "Graph",
    "GraphWorkflow",
    "GroupChat",
    "Handoffs",
    "HierarchicalSwarm",
    "MajorityVoting",
    "MapReduce",
    "Member",
    "MemberPolicy",
    "MemberResult",
    "MixtureOfAgents",
    "Node",
    "RoundRobin",
    "SequentialWorkflow",
    "Swarm",
    "SwarmResult",
    "SwarmRouter",
    "Tally",
    "Team",
    "Utterance",
    "handoff",
    "to_mermaid",
]
