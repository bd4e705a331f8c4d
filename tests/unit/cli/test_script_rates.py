"""``[rate_limits]`` of a swarm's file: read, refused with its line, and kept by the commands that run it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from overwinter import RateLimit, Runtime
from overwinter.cli import resuming, running
from overwinter.cli.refusal import Refusal
from overwinter.cli.resuming import Limits, resume_agent
from overwinter.cli.running import Wanted, run_script
from overwinter.cli.scripts.building import build
from overwinter.cli.scripts.reading import read_again, read_script

if TYPE_CHECKING:
    from pathlib import Path

HEAD = """\
[swarm]
name = "press"
pattern = "ConcurrentWorkflow"

[defaults]
model = "offline"

[[agents]]
name = "writer"

[[agents]]
name = "editor"

[rate_limits]
"""
LIMITS = (
    HEAD
    + '"offline" = { requests_per_minute = 500, in_flight = 1 }\n"*" = { tokens_per_minute = 90_000, window = 1 }\n'
)


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "swarm.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_limits_are_read_by_the_names_of_models(tmp_path: Path) -> None:
    """G16: a file's `[rate_limits]` hold for all its agents together, and go on holding when it is resumed."""
    script = read_script(written(tmp_path, LIMITS))
    expected = {
        "offline": RateLimit(requests_per_minute=500, in_flight=1),
        "*": RateLimit(tokens_per_minute=90_000, window=1),
    }
    assert script.rate_limits == expected
    assert read_again(script.data, "config.json").rate_limits == expected


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("m = 5", "m of rate_limits is 5; give it a table"),
        ("m = { in_flight = 0 }", "RateLimit.in_flight is 0; give a number above zero"),
        ("m = { in_flight = 1.5 }", "in_flight of the rate limit of 'm' is not as it should be"),
        (
            "m = { requests_per_minut = 5 }",
            "unknown key 'requests_per_minut' (did you mean 'requests_per_minute'",
        ),
        ("m = { tokens_per_minute = 5, window = 1 }", "less than one in 1 s; give a longer window"),
        ('"a*b" = { in_flight = 1 }', "rate_limits has the key 'a*b'; give the name of a model"),
    ],
)
def test_what_is_wrong_is_told_with_its_line(tmp_path: Path, line: str, told: str) -> None:
    """G17: whatever is wrong in a file's `[rate_limits]` is refused with its line."""
    path = written(tmp_path, f"{HEAD}{line}\n")
    with pytest.raises(Refusal) as caught:
        read_script(path)
    (problem,) = caught.value.lines
    assert problem.startswith(f"{path}:15: ")
    assert told in problem


ANYTHING = st.recursive(
    st.one_of(
        st.none(), st.booleans(), st.integers(-2, 99), st.floats(), st.text(max_size=3), st.datetimes()
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=2),
        st.dictionaries(
            st.sampled_from(["in_flight", "window", "requests_per_minute", "other"]), inner, max_size=3
        ),
    ),
    max_leaves=5,
)


@given(st.dictionaries(st.text(max_size=3), ANYTHING, max_size=3) | ANYTHING)
def test_whatever_stands_there_is_read_or_refused(limits: Any) -> None:
    """G17"""
    data = {
        "swarm": {"name": "press", "pattern": "ConcurrentWorkflow"},
        "agents": [{"name": name, "model": "offline"} for name in ("writer", "editor")],
        "rate_limits": limits,
    }
    told: list[str] = []
    try:
        script = read_again(data, "swarm.toml")
        build(script)
        Runtime(rate_limits=script.rate_limits)
    except Refusal as refusal:
        told += refusal.lines
    assert all(line.startswith(("swarm.toml:1: ", "and ")) for line in told)


@pytest.mark.allow_blocking  # the command owns its loop, and reads files before it
def test_the_commands_keep_to_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """G16"""
    opened: list[dict[str, RateLimit]] = []

    class Watched(Runtime):
        def __init__(self, *args: Any, **settings: Any) -> None:
            super().__init__(*args, **settings)
            opened.append(self.rate_limits)

    monkeypatch.setattr(running, "Runtime", Watched)
    monkeypatch.setattr(resuming, "Runtime", Watched)
    thrifty = LIMITS.replace("[defaults]", "budget = { tokens = 1 }\n[defaults]")
    path, workspace = written(tmp_path, thrifty), str(tmp_path / "ws")
    assert run_script(path, Wanted(task="go", as_data=True), workspace) != 0
    raised = Limits(tokens=100_000)
    given: dict[str, Any] = {"session": None, "source": None, "limits": raised, "as_data": True}
    assert resume_agent("press", workspace, **given) == 0
    assert "finished" in capsys.readouterr().out
    assert opened == [read_script(path).rate_limits] * 2
