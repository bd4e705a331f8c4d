"""The programs of docs/swarms.md, run as they stand there, and its table held against what there is on both sides."""

from __future__ import annotations

import re
from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from tests.support.examples import environment, programs_in, run_programs
from tests.support.openai_server import Answer, OpenAIServer, Status, ToolUse
from typer.main import get_command

import overwinter
from overwinter import Swarm
from overwinter.agents import swarms
from overwinter.cli.app import app

if TYPE_CHECKING:
    from collections.abc import Mapping

DOCS = Path(__file__).resolve().parents[2] / "docs"
GUIDE = (DOCS / "swarms.md").read_text("utf-8")
BLOCKS = programs_in(GUIDE)

#: What swarms/structs/__init__.py of swarms 16.0.3 has in its __all__, and swarms/agents/__init__.py in its own: the
#: structures and agents that `from swarms import ...` gives.
VERSION = "16.0.3"
STRUCTURES = """
    AdvisorSwarm Agent ConcurrentWorkflow SocialAlgorithms CommsChannel FileChannel QueueChannel SqliteChannel
    Conversation GroupChat MajorityVoting AgentRearrange rearrange RoundRobinSwarm SequentialWorkflow MixtureOfAgents
    GraphWorkflow Node NodeType Edge broadcast circular_swarm grid_swarm mesh_swarm one_to_one one_to_three OneToOne
    OneToThree Broadcast pyramid_swarm star_swarm SpreadSheetSwarm SwarmRouter SwarmType batched_grid_agent_execution
    run_agent_async run_agents_concurrently run_agents_concurrently_async run_agents_concurrently_multiprocess
    run_agents_with_different_tasks run_single_agent MultiAgentRouter ModelRouter HybridHierarchicalClusterSwarm
    get_agents_info get_swarms_info AutoAgentBuilder AutoSwarmBuilder CouncilAsAJudge LLMCouncil batch_agent_execution
    aggregate find_agent_by_name run_agent HierarchicalSwarm HeavySwarm CronJob AgentLoader load_agent_from_markdown
    load_agents_from_markdown BatchedGridWorkflow SelfMoASeq DebateWithJudge DecisionModel get_decision_model_prices
    get_decision_models PlannerGeneratorEvaluator StepContract EvaluationReport HarnessResult SubagentRegistry
    SubagentTask TaskStatus RESPOND_TOOL model_count MCPDeployer deploy_as_mcp get_available_models is_model_available
"""
AGENTS = """
    IterativeReflectiveExpansion SelfConsistencyAgent ReasoningDuo ReasoningAgentRouter agent_types ReflexionAgent
    GKPAgent AgentJudge ContextCompressor SkillsManager LLMManager AgentMarketplaceHandler TreeOfThoughts
    TreeOfThoughtsResult ThoughtNode
"""

PLAN = """{"plan": "Both.", "orders": [
    {"agent_name": "baker", "task": "Bread."}, {"agent_name": "brewer", "task": "Mead."}
]}"""


def respond(body: Mapping[str, Any]) -> Answer | Status:
    """What a good model answers each agent of the guide, which are told who they are in their system prompt."""
    name = body["messages"][0]["content"].removeprefix("You are the ").rstrip(".")
    told = body["messages"][-1]["content"]
    number = sum(message["role"] == "assistant" for message in body["messages"]) + 1
    match name:
        case "actor" | "critic":
            return Status(400, "stage fright")
        case "reviewer":
            return Answer("Fine." if number > 1 else "REVISE")
        case "ann" | "ben" | "cleo" if "end with yes or no" in told:
            return Answer(f"{name}: {'no' if name == 'cleo' else 'yes'}")
        case "ann" if "discussion" in body["messages"][1]["content"] and number > 1:
            return Answer("AGREED, by the linden.")
        case "chair":
            return Answer("ben" if number == 1 else "ann")
        case "director" if "Plan how" in told:
            return Answer(PLAN)
        case "director" if "further orders" in told:
            return Answer('{"plan": "Done.", "orders": []}')
        case "porter":
            return Answer("baker")
        case "triage":
            return Answer(calls=[ToolUse("handoff_to_billing", {"reason": "They paid twice."})])
        case "reader":
            return Answer("read")
        case _:
            return Answer(f"{name} says {number}")


@pytest.fixture(scope="module")
def server() -> Any:
    with OpenAIServer(responder=respond) as running:
        yield running


@pytest.fixture(scope="module")
def printed(server: OpenAIServer, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """What each program of the guide printed."""
    home = tmp_path_factory.mktemp("home")
    return run_programs(BLOCKS, environment(home / "agent_workspace", server.environment()), home)


#: Words of a program of the guide, and what it prints.
PRINTS = {
    "SequentialWorkflow(\n": "",
    'SequentialWorkflow("blog"': r"editor says 1\n1-writer finished \d+\n2-editor finished \d+\n",
    'ConcurrentWorkflow("readers"': r"## botanist\n\nbotanist says 1\n\n## chemist.*## poet\n\npoet says 1\n",
    'AgentRearrange("article"': r"poet says \d\n",
    "GraphWorkflow(": r"publisher says 1\nflowchart .*reviewer.*",
    'MixtureOfAgents("mixture"': r"aggregator says 1\n",
    'MajorityVoting("jury"': r'ann: yes\n\nVotes: 2 of 3 votes for "ann: yes".*\n\(\'ann\', \'ben\'\)\n',
    'RoundRobin("poem"': r"ben says 2\n",
    'GroupChat("council"': r".*ben says 1.*AGREED, by the linden.\n",
    'HierarchicalSwarm("firm"': r"director says 3\n",
    'MapReduce("letters"': r"100 read\n",
    'SwarmRouter("door"': r"baker says 1\n",
    'Handoffs("desk"': r"billing says 1\n",
    "MemberPolicy(": r"understudy \['critic'\]\n",
    "Budget(": r"paused .*tokens\nben says 1\n",
    'run_id="monday"': r"editor says 1\neditor says 1\n",
    "async for event in": r".*done: 1-writer\n.*done: 2-editor\n",
    "class Debate": r"judge says 1\n",
}


def in_it(words: str, block: str) -> bool:
    """Whether a program has these words, wherever its lines are broken."""
    return "".join(words.split()) in "".join(block.split())


@pytest.mark.parametrize("words", [words for words, text in PRINTS.items() if text])
def test_a_program_of_the_guide_prints_what_it_says(words: str, printed: list[str]) -> None:
    (number,) = [number for number, block in enumerate(BLOCKS) if in_it(words, block)][:1]
    assert re.fullmatch(PRINTS[words], printed[number], re.DOTALL), printed[number]


def test_every_program_of_the_guide_is_looked_at() -> None:
    assert [block for block in BLOCKS if not any(in_it(words, block) for words in PRINTS)] == []


def test_every_pattern_stands_in_the_guide_and_in_the_readme() -> None:
    readme = (DOCS.parent / "README.md").read_text("utf-8")
    for name in swarms.__all__:
        if issubclass(type(getattr(swarms, name)), type(Swarm)) and issubclass(getattr(swarms, name), Swarm):
            assert f"**{name}**" in GUIDE or name == "Swarm", name
            assert f"`{name}`" in readme or name == "Swarm", name


def rows() -> list[tuple[list[str], list[str], str]]:
    """The rows of the tables: what swarms exports, what does it here, and what is said of that."""
    section = GUIDE.partition("## Coming from swarms")[2]
    cells = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in section.splitlines()
        if line[:1] == "|"
    ]
    return [
        (re.findall(r"`([^`]+)`", theirs), re.findall(r"`([^`]+)`", ours), why)
        for theirs, ours, why in cells
        if "`" in theirs
    ]


def test_the_table_has_every_structure_that_swarms_exports_and_no_other() -> None:
    named = [name for theirs, _, _ in rows() for name in theirs]
    assert len(named) == len(set(named))
    assert set(named) == {*STRUCTURES.split(), *AGENTS.split()}
    assert f"at version {VERSION}" in GUIDE


def test_every_counterpart_in_the_table_exists_and_where_there_is_none_it_says_why() -> None:
    commands = vars(get_command(app))["commands"]
    for theirs, ours, why in rows():
        for name in ours:
            command, _, word = name.partition(" ")
            if word:
                assert (command, word in commands) == ("overwinter", True), name
            else:
                assert name.partition(".")[0] in overwinter.__all__, name
                assert attrgetter(name)(overwinter) is not None, name
        assert ours or why, theirs


def test_what_the_table_says_beside_it_exists_too() -> None:
    for _, _, why in rows():
        for name in re.findall(r"`([A-Z]\w+(?:\.\w+)*)`", why):
            assert attrgetter(name)(overwinter) is not None, name
