"""Swarms described in files: what is read, what is refused and in which line, and what is built."""

from __future__ import annotations

import inspect
import tomllib
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from overwinter import Agent
from overwinter.agents.swarms import Handoffs, MapReduce, Swarm
from overwinter.agents.swarms.handing import HandoffTool
from overwinter.agents.swarms.options import SwarmOptions
from overwinter.cli.refusal import Refusal
from overwinter.cli.scripts.agents import BUILT_IN_TOOLS
from overwinter.cli.scripts.building import build
from overwinter.cli.scripts.patterns import PATTERNS
from overwinter.cli.scripts.reading import read_again, read_script

if TYPE_CHECKING:
    from overwinter.cli.scripts.description import Script

ROOT = Path(__file__).resolve().parents[3]

HEAD = """\
[swarm]
name = "press"
pattern = "SequentialWorkflow"

[defaults]
model = "offline"

[[agents]]
name = "writer"

[[agents]]
name = "editor"
"""

CYCLE = """
max_visits = 3
entry_points = ["writer"]
end_points = ["judge"]
edges = ["writer -> editor -> judge", { from = "judge", to = "writer", contains = "AGAIN" }]
"""


def read(tmp_path: Path, text: str) -> Script:
    path = tmp_path / "swarm.toml"
    path.write_text(text, encoding="utf-8")
    return read_script(path)


def problems(tmp_path: Path, text: str) -> list[str]:
    """What is wrong, each as ``line: problem``."""
    with pytest.raises(Refusal) as caught:
        build(read(tmp_path, text))
    prefix = f"{tmp_path / 'swarm.toml'}:"
    assert all(line.startswith(prefix) for line in caught.value.lines), caught.value.lines
    return [line.removeprefix(prefix) for line in caught.value.lines]


def the_problem(tmp_path: Path, text: str) -> str:
    (told,) = problems(tmp_path, text)
    return told


def changed(old: str, new: str) -> str:
    assert old in HEAD
    return HEAD.replace(old, new)


def test_a_router_has_one_who_chooses(tmp_path: Path) -> None:
    """Y56: a router with both `choose` and `chooser` is refused, with the line; neither is passed over in silence."""
    text = changed('"SequentialWorkflow"', '"SwarmRouter"\nchoose = "writer"\nchooser = "editor"')
    assert problems(tmp_path, text) == ["5: the swarm has both choose and chooser; give either"]


class TestWhatIsRead:
    def test_members_stand_in_the_order_of_the_file(self, tmp_path: Path) -> None:
        """Y1: a swarm without `members` has all agents and swarms that no other place names, in the file's order."""
        text = HEAD + (
            '[[swarms]]\nname = "panel"\npattern = "ConcurrentWorkflow"\nmembers = ["a", "b"]\n'
            '[[agents]]\nname = "a"\n[[agents]]\nname = "b"\n[[agents]]\nname = "last"\n'
        )
        script = read(tmp_path, text)
        assert script.swarm.members == ["writer", "editor", "panel", "last"]
        assert [member.agent_name for member in build(script).members] == script.swarm.members

    def test_what_a_script_was_read_from_reads_the_same_again(self, tmp_path: Path) -> None:
        """Y2: what config.json keeps of a file makes the same swarm again, its members in the same order."""
        text = (
            '[[swarms]]\nname = "panel"\npattern = "RoundRobin"\nmembers = ["a"]\n[[agents]]\nname = "a"\n'
            + HEAD
        )
        first = read(tmp_path, text)
        again = read_again(first.data, "config.json")
        assert (again.swarm, again.agents, again.swarms) == (first.swarm, first.agents, first.swarms)
        assert first.swarm.members == ["panel", "writer", "editor"]
        assert build(again).graph() == build(first).graph()

    def test_settings_reach_the_agents(self, tmp_path: Path) -> None:
        """Y3: what [defaults] says holds for every agent that does not say otherwise."""
        text = HEAD.replace(
            'model = "offline"',
            'model = "offline"\ntemperature = 0.5\nmax_tokens = 9\nbudget = { tokens = 50 }\n'
            'model_args = { top_p = 0.5 }\ncontext = [{ policy = "keep_last", messages = 4 }]',
        ).replace(
            'name = "editor"', 'name = "editor"\ntemperature = 1\nmax_loops = "auto"\ntools = ["ask_human"]'
        )
        writer, editor = build(read(tmp_path, text)).members
        assert isinstance(writer, Agent)
        assert isinstance(editor, Agent)
        settings, other = writer._profile.settings, editor._profile.settings
        assert (settings.temperature, other.temperature) == (0.5, 1.0)
        assert (settings.max_loops, other.max_loops) == (None, "auto")
        assert settings.budget == other.budget
        assert settings.budget is not None
        assert settings.budget.tokens == 50
        assert settings.context == other.context
        assert writer._profile.request_args["top_p"] == 0.5
        assert [tool.name for tool in editor.tools] == ["ask_human"]

    def test_policies_reach_the_members(self, tmp_path: Path) -> None:
        text = changed(
            'pattern = "SequentialWorkflow"',
            'pattern = "SequentialWorkflow"\npolicy = { attempts = 3, backoff = 0, then = "skip" }\n'
            '[swarm.policies.writer]\ntimeout = 1.5\nfallback = "spare"',
        )
        swarm = build(read(tmp_path, text + '[[agents]]\nname = "spare"\n'))
        writer, editor = swarm.members
        assert swarm.roster.policy_of(writer).timeout == 1.5
        fallback = swarm.roster.policy_of(writer).fallback
        assert fallback is swarm.member("spare")
        policy = swarm.roster.policy_of(editor)
        assert (policy.attempts, policy.backoff, policy.then, policy.fallback) == (3, 0.0, "skip", None)

    def test_one_session_holds_for_all(self, tmp_path: Path) -> None:
        swarm = build(read(tmp_path, changed('name = "press"', 'name = "press"\nsession = "tuesday"')))
        assert {swarm.session, *(getattr(member, "session", "") for member in swarm.members)} == {"tuesday"}


class TestEveryPattern:
    @pytest.mark.parametrize("name", PATTERNS)
    def test_every_parameter_of_a_pattern_can_be_said_or_is_said_to_be_code(self, name: str) -> None:
        """Y4: a file can say whatever a pattern takes, but what is code."""
        pattern = PATTERNS[name]
        made: Any = getattr(import_module(f"overwinter.agents.swarms.{pattern.module}"), name)
        parameters = set(inspect.signature(made.__init__).parameters) - {"self", "name", "options"}
        said = {option.parameter or key for key, option in pattern.options.items()}
        # What swarm_type says of a router, patterns and choose say as well.
        assert parameters - {"swarm_type"} == (said | {pattern.takes} | set(pattern.code)) - {"", "nodes"} | (
            {"nodes"} if name == "GraphWorkflow" else set()
        )

    def test_no_pattern_is_missing(self) -> None:
        from overwinter.agents import swarms

        exported = {
            name
            for name in swarms.__all__
            if inspect.isclass(getattr(swarms, name)) and issubclass(getattr(swarms, name), Swarm)
        }
        assert exported - {"Swarm"} == set(PATTERNS)

    def test_no_option_has_the_name_of_something_that_every_swarm_has(self) -> None:
        common = {*SwarmOptions.__annotations__, "name", "pattern", "members"}
        for pattern in PATTERNS.values():
            assert not common & set(pattern.options)

    @pytest.mark.parametrize(
        ("pattern", "options"),
        [
            ("SequentialWorkflow", 'max_loops = 2\nmembers = ["writer", "editor", "writer", "judge"]'),
            ("ConcurrentWorkflow", "at_once = 2"),
            ("AgentRearrange", 'flow = "writer, editor -> judge"\nmax_loops = 2'),
            ("GraphWorkflow", CYCLE),
            ("MixtureOfAgents", 'aggregator_agent = "judge"\nlayers = 2'),
            ("MajorityVoting", 'consensus_agent = "judge"'),
            ("RoundRobin", "max_loops = 3"),
            ("GroupChat", 'speaker = "turn"\nmax_rounds = 4\nstopping_token = "DONE"'),
            ("GroupChat", 'speaker = "judge"'),
            ("HierarchicalSwarm", 'director = "judge"\nmax_loops = 2\nplan_attempts = 1'),
            ("SwarmRouter", 'chooser = "judge"\npatterns = ["RoundRobin"]'),
            ("SwarmRouter", 'choose = "writer"'),
            ("Handoffs", "stay = false\nmax_handoffs = 3"),
        ],
    )
    def test_each_pattern_is_built_with_its_options(self, tmp_path: Path, pattern: str, options: str) -> None:
        text = changed('pattern = "SequentialWorkflow"', f'pattern = "{pattern}"\n{options}')
        swarm = build(read(tmp_path, text + '[[agents]]\nname = "judge"\n'))
        assert type(swarm).__name__ == pattern
        assert {"writer", "editor", "judge"} <= {member.agent_name for member in swarm.members}
        assert swarm.to_mermaid().startswith("flowchart")

    @pytest.mark.parametrize(
        ("split", "items"), [("lines", ["a", "b", "c"]), ("paragraphs", ["a\nb", "c"]), ("json", None)]
    )
    def test_a_task_is_split_by_words_for_it(
        self, tmp_path: Path, split: str, items: list[str] | None
    ) -> None:
        head = changed(
            'pattern = "SequentialWorkflow"',
            f'pattern = "MapReduce"\nmapper = "writer"\nreducer = "editor"\nsplit = "{split}"\nat_once = 7',
        )
        swarm = build(read(tmp_path, head))
        assert isinstance(swarm, MapReduce)
        assert (swarm._split("a\nb\n\n c \n") if swarm._split else None) == items

    def test_who_hands_on_to_whom_is_said_with_the_agents(self, tmp_path: Path) -> None:
        """Y5: `handoffs` gives an agent the tools that hand a conversation on."""
        text = changed('"SequentialWorkflow"', '"Handoffs"').replace(
            'name = "writer"', 'name = "writer"\nhandoffs = [{ to = "editor", when = "when it is done" }]'
        )
        swarm = build(read(tmp_path, text + 'handoffs = ["writer"]\n'))
        assert isinstance(swarm, Handoffs)
        tools = [tool for member in swarm.members if isinstance(member, Agent) for tool in member.tools]
        assert [(tool.target, tool.when) for tool in tools if isinstance(tool, HandoffTool)] == [
            ("editor", "when it is done"),
            ("writer", ""),
        ]

    def test_conditions_of_edges_are_words(self, tmp_path: Path) -> None:
        """Y6: an edge of a graph may depend on what an answer contains, or lacks, or on neither being so."""
        edges = (
            'edges = [{ from = "writer", to = "editor", contains = "GOOD" }, '
            '{ from = "writer", to = "judge", otherwise = true }, { from = "editor", to = "judge", lacks = "BAD" }]'
        )
        text = changed('pattern = "SequentialWorkflow"', f'pattern = "GraphWorkflow"\n{edges}')
        swarm: Any = build(read(tmp_path, text + '[[agents]]\nname = "judge"\n'))
        good, otherwise, lacks = swarm._plan.links
        assert (good.when("all GOOD"), good.when("good")) == (True, False)
        assert otherwise.otherwise
        assert (lacks.when("fine"), lacks.when("BAD")) == (True, False)


class TestWhatIsRefused:
    @pytest.mark.parametrize(
        ("old", "new", "told"),
        [
            ('name = "press"', "name = 3", "2: name of the swarm is 3; give it a text in quotes"),
            ('name = "press"', 'name = " "', "2: name of the swarm is empty"),
            ('name = "press"', "", '1: the swarm has no name; give it one, as in name = "..."'),
            ('"SequentialWorkflow"', '"Sequential"', "3: the swarm has an unknown pattern 'Sequential' (did"),
            (
                'pattern = "SequentialWorkflow"',
                "",
                "1: the swarm has no pattern; there are SequentialWorkflow",
            ),
            (
                'name = "press"',
                'name = "press"\nautosve = true',
                "3: the swarm has an unknown key 'autosve' (did you",
            ),
            (
                'name = "press"',
                'name = "press"\nautosave = "yes"',
                "3: autosave of the swarm is the text 'yes'; give it",
            ),
            ('name = "press"', 'name = "press"\nagents = ["a"]', "'agents'; here it is called 'members'"),
            (
                'name = "press"',
                'name = "press"\ndurability = "snyc"',
                "3: durability of the swarm is 'snyc' (did you me",
            ),
            (
                'name = "press"',
                'name = "press"\nbudget = { tokens = 0 }',
                "3: budget of the swarm: budget.tokens is 0;",
            ),
            (
                'name = "press"',
                'name = "press"\nbudget = { tokns = 1 }',
                "3: budget of the swarm has an unknown key 'tok",
            ),
            ('name = "press"', 'name = "press"\nat_once = 3', "3: the swarm has an unknown key 'at_once'"),
            (
                'name = "press"',
                'name = "press"\nmembers = [\n"writer",\n"editr"]',
                "5: the swarm names 'editr', and",
            ),
            (
                'name = "press"',
                'name = "press"\npolicy = { attempts = 0 }',
                "3: attempts of policy of the swarm is 0",
            ),
            (
                'name = "press"',
                'name = "press"\npolicy = { retry = 2 }',
                "'retry'; here it is called 'attempts'",
            ),
            (
                'name = "press"',
                'name = "press"\npolicy = { then = "skp" }',
                "is 'skp' (did you mean 'skip'?)",
            ),
            (
                'name = "press"',
                'name = "press"\npolicies.wrter.attempts = 2',
                "3: the swarm has a policy for 'wrter'",
            ),
            (
                'name = "press"',
                'name = "press"\npolicy.fallback = "nobody"',
                "3: the swarm names 'nobody', and no agent",
            ),
            ('name = "writer"', 'name = "press"', "9: there is another 'press', in line 1"),
            ('name = "editor"', 'name = "writer"', "12: there is another 'writer', in line 8"),
            (
                'name = "editor"',
                'sytem_prompt = "x"\nname = "editor"',
                "12: agent 'editor' has an unknown key 'sytem_p",
            ),
            (
                'name = "editor"',
                'name = "editor"\ntools = [\n"shell"]',
                "14: agent 'editor' has the tool 'shell', and a",
            ),
            (
                'name = "editor"',
                'name = "editor"\nmax_loops = 0',
                "13: max_loops of agent 'editor' is 0; give it a wh",
            ),
            (
                'name = "editor"',
                'name = "editor"\nmax_loops = "all"',
                "13: max_loops of agent 'editor' is a text; give",
            ),
            (
                'name = "editor"',
                'name = "editor"\ntemperature = -1',
                "13: temperature of agent 'editor' is -1; give it",
            ),
            (
                'name = "editor"',
                'name = "editor"\nmax_tokens = true',
                "13: max_tokens of agent 'editor' is true; give",
            ),
            (
                'name = "editor"',
                'name = "editor"\napi_key = "x"',
                "'api_key'; keys come from the environment",
            ),
            (
                'name = "editor"',
                'name = "editor"\nmodel_args.at = 07:30:00',
                "13: at of model_args of agent 'editor' is a",
            ),
            (
                'name = "editor"',
                'name = "editor"\ncontext = [{ policy = "keep" }]',
                "13: this context policy of agent 'ed",
            ),
            (
                'name = "editor"',
                'name = "editor"\ncontext = [{ policy = "keep_last" }]',
                "policy of agent 'editor' has no ",
            ),
            (
                'name = "editor"',
                'name = "editor"\nretry.max_attempts = 0',
                "13: retry of agent 'editor': max_attempts m",
            ),
            (
                'name = "editor"',
                'name = "editor"\nhandoffs = ["nobdy"]',
                "13: agent 'editor' hands on to 'nobdy', and no",
            ),
            (
                'name = "editor"',
                'name = "editor"\nsystem_prompt = """\n"""\nstray = 1',
                "15: agent 'editor' has an unknown",
            ),
            ('model = "offline"', "", "8: agent 'writer' has no model; give it one"),
            (
                "[defaults]",
                "[defalts]",
                "5: the file has an unknown key 'defalts' (did you mean 'defaults'?)",
            ),
            ("[[agents]]", "[agents]", "11: this is no TOML: cannot declare"),
            ("[swarm]", "[swarms]", "1: "),
            ('name = "press"', "name = press", "2: this is no TOML: invalid value"),
            ('name = "editor"', 'name = "editor', "12: this is no TOML: "),
        ],
    )
    def test_an_error_points_at_its_line(self, tmp_path: Path, old: str, new: str, told: str) -> None:
        """Y7: what is wrong is told with the file, the line, what is allowed there, and what was probably meant."""
        assert any(told in each for each in problems(tmp_path, changed(old, new)))

    def test_all_that_is_wrong_is_told_at_once_in_the_order_of_the_file(self, tmp_path: Path) -> None:
        """Y8: all problems of a file are told at once, in its order, and of very many the first twenty."""
        found = problems(tmp_path, HEAD.replace("name", "nmae"))
        lines = [int(each.partition(":")[0]) for each in found]
        assert lines == sorted(lines)
        assert len(lines) > 3
        with pytest.raises(Refusal) as caught:
            read(tmp_path, HEAD + "".join(f"x{number} = 1\n" for number in range(30)))
        assert len(caught.value.lines) == 21
        assert caught.value.lines[-1] == "and 10 more like these"

    def test_an_option_that_a_pattern_needs_is_asked_for(self, tmp_path: Path) -> None:
        told = the_problem(tmp_path, changed('"SequentialWorkflow"', '"HierarchicalSwarm"'))
        assert told == "1: the swarm has no director, which its pattern needs"

    def test_what_is_code_is_said_to_be(self, tmp_path: Path) -> None:
        """Y9: a file has no code: no tools but overwinter's own, no functions, and nothing is imported."""
        text = changed('"SequentialWorkflow"', '"GroupChat"\nstopping_condition = "os:getcwd"')
        assert "'stopping_condition'; it is code: make this swarm in a program" in the_problem(tmp_path, text)
        assert BUILT_IN_TOOLS == ("ask_human",)

    @pytest.mark.parametrize(
        ("edges", "told"),
        [
            ('["writer"]', "4: the swarm has an edge that is none; write it as"),
            ('["writer -> "]', "4: the swarm has an edge that is none"),
            ('["writer -> editr"]', "4: the swarm names 'editr' here, which is no member of it"),
            ('[{ from = "writer" }]', "4: this edge of the swarm has no to"),
            (
                '[{ from = "writer", to = "editor", when = "x" }]',
                "a condition is contains, lacks or otherwise",
            ),
            (
                '[{ from = "writer", to = "editor", contains = "x", lacks = "y" }]',
                "has more than one condition",
            ),
            ('"writer -> editor"', "4: edges of the swarm is a list of edges, as in"),
            ('["writer -> editor", "editor -> writer"]', "every node is part of a cycle"),
        ],
    )
    def test_edges_are_checked(self, tmp_path: Path, edges: str, told: str) -> None:
        text = changed('pattern = "SequentialWorkflow"', f'pattern = "GraphWorkflow"\nedges = {edges}')
        assert told in the_problem(tmp_path, text)

    def test_what_the_pattern_itself_refuses_has_its_line(self, tmp_path: Path) -> None:
        """Y10: what only the pattern finds wrong is told with the line of the option that it speaks of."""
        text = changed('"SequentialWorkflow"', '"AgentRearrange"\nflow = "writer -> nobody"')
        with pytest.raises(Refusal) as caught:
            build(read(tmp_path, text))
        told, line, mark = caught.value.lines
        assert told.startswith(f"{tmp_path / 'swarm.toml'}:4: ")
        assert "nobody" in told
        assert line.index("nobody") == mark.index("^")

    def test_a_person_in_a_flow_is_sent_to_the_tool_that_asks_one(self, tmp_path: Path) -> None:
        text = changed('"SequentialWorkflow"', '"AgentRearrange"\nflow = "writer -> H, editor"')
        assert 'tools = ["ask_human"]' in the_problem(tmp_path, text)

    def test_a_byte_order_mark_is_passed_over(self, tmp_path: Path) -> None:
        (tmp_path / "swarm.toml").write_bytes(b"\xef\xbb\xbf" + HEAD.encode())
        assert build(read_script(tmp_path / "swarm.toml")).agent_name

    def test_a_swarm_within_itself_is_refused(self, tmp_path: Path) -> None:
        ring = (
            '[[swarms]]\nname = "a"\npattern = "RoundRobin"\nmembers = ["b"]\n'
            '[[swarms]]\nname = "b"\npattern = "RoundRobin"\nmembers = ["a"]\n'
        )
        found = problems(tmp_path, HEAD + ring)
        assert "16: swarm 'a' is a member of itself" in found

    def test_who_takes_part_in_nothing_is_told(self, tmp_path: Path) -> None:
        """Y11: an agent that no swarm names is a mistake, and told as one."""
        text = changed('name = "press"', 'name = "press"\nmembers = ["writer"]')
        assert the_problem(tmp_path, text) == "13: agent 'editor' takes part in nothing: no swarm names it"

    @pytest.mark.parametrize(
        ("content", "told"),
        [
            (b"", "1: there is no [swarm] in the file"),
            (b"# nothing\n", "1: there is no [swarm] in the file"),
            (b"[swarm]\n\xff = 1\n", "2: this is no text in UTF-8, as TOML is"),
            (b"a = [[[[[[", "1: this is no TOML: "),
            (b"a = 1\na = 2\n", "2: this is no TOML: cannot overwrite a value"),
        ],
    )
    def test_what_is_no_script_is_refused_in_one_line(
        self, tmp_path: Path, content: bytes, told: str
    ) -> None:
        path = tmp_path / "swarm.toml"
        path.write_bytes(content)
        with pytest.raises(Refusal) as caught:
            read_script(path)
        assert f"{path}:{told}" in caught.value.lines[0]

    def test_a_file_that_is_not_there_is_named(self, tmp_path: Path) -> None:
        with pytest.raises(Refusal, match=r"gone\.toml cannot be read: no such file"):
            read_script(tmp_path / "gone.toml")


ANYTHING = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(-2, 9),
        st.floats(),
        st.sampled_from(
            ["", "writer", "editor", "a -> b", "auto", "turn", "MapReduce", "GroupChat", "offline"]
        ),
        st.datetimes(),
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(
            st.sampled_from(["name", "to", "from", "contains", "policy", "attempts"]), inner, max_size=3
        ),
    ),
    max_leaves=4,
)
KEYS = sorted(
    {key for pattern in PATTERNS.values() for key in pattern.options}
    | {"name", "pattern", "members", "policy", "policies", "budget", "tools", "handoffs", "context", "retry"}
    | {"model", "model_args", "max_loops", "fallback_models", "session", "task", "autosave", "durability"}
)


@given(
    st.sampled_from(sorted(PATTERNS)),
    st.lists(
        st.tuples(st.sampled_from(["swarm", "defaults", "agents", "swarms"]), st.sampled_from(KEYS), ANYTHING)
    ),
)
def test_whatever_a_file_holds_it_is_built_or_refused(
    pattern: str, changes: list[tuple[str, str, Any]]
) -> None:
    """Y48: however wrong a file is, it is built or refused, and every refusal names the file and a line."""
    data: dict[str, Any] = {
        "swarm": {"name": "press", "pattern": pattern},
        "defaults": {"model": "offline"},
        "agents": [{"name": "writer"}, {"name": "editor"}],
        "swarms": [{"name": "inner", "pattern": "RoundRobin", "members": ["writer"]}],
    }
    for table, key, value in changes:
        one = data[table] if isinstance(data[table], dict) else data[table][0]
        one[key] = value
    told: list[str] = []
    try:
        build(read_again(data, "swarm.toml"))
    except Refusal as refusal:
        told += refusal.lines
    assert all(line.startswith(("swarm.toml:1: ", "and ")) for line in told)


class TestTheDocumentation:
    def test_every_key_is_documented(self) -> None:
        """Y12: docs/swarm-files.md tells of every key and every option."""
        told = (ROOT / "docs" / "swarm-files.md").read_text(encoding="utf-8")
        for name, pattern in PATTERNS.items():
            assert f"`{name}`" in told
            for key in pattern.options:
                assert f"`{key}`" in told, (name, key)
        asked = {
            "name",
            "pattern",
            "members",
            "description",
            "session",
            "autosave",
            "durability",
            "task",
            "budget",
        }
        asked |= {
            "policy",
            "policies",
            "attempts",
            "backoff",
            "timeout",
            "then",
            "fallback",
            "model",
            "system_prompt",
        }
        asked |= {
            "tools",
            "handoffs",
            "max_loops",
            "temperature",
            "max_tokens",
            "stopping_token",
            "fallback_models",
        }
        asked |= {"model_args", "context", "retry"}
        assert [key for key in sorted(asked) if f"`{key}`" not in told] == []

    def test_every_example_in_it_can_be_built(self, tmp_path: Path) -> None:
        """Y13: every whole file that is shown there is a good one."""
        told = (ROOT / "docs" / "swarm-files.md").read_text(encoding="utf-8")
        examples = [part.partition("```")[0] for part in told.split("```toml\n")[1:]]
        whole = [example for example in examples if "[swarm]" in example and "[[agents]]" in example]
        assert whole
        for example in whole:
            tomllib.loads(example)
            build(read(tmp_path, example))
