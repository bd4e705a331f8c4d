"""The benchmarks run, on a very small scale, and what they print is what they measured."""

from __future__ import annotations

import json
from io import StringIO
from math import isfinite
from typing import TYPE_CHECKING

import pytest
from benchmarks.__main__ import main
from benchmarks.contest import Contest, Goal, Row, Size, Skipped, take_turns
from benchmarks.harness import SUBJECTS, Taken, chosen, contests_of, result_of
from benchmarks.peers.contests import CONTESTS as PEERS
from benchmarks.table import as_data, as_table, circumstances
from rich.console import Console

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from benchmarks.contest import Figures
    from benchmarks.harness import Result

_ALL = [(subject, contest) for subject in SUBJECTS for contest in contests_of(subject)]
#: Of those that start processes one each is enough, and importing litellm takes seconds.
_QUICK = [(subject, contest) for subject, contest in _ALL if contest.name != "calls-litellm"]


# A benchmark has its loop to itself, and whatever it does there is its own affair.
@pytest.mark.allow_blocking
@pytest.mark.parametrize(("subject", "contest"), _QUICK, ids=[contest.name for _, contest in _QUICK])
def test_each_benchmark_yields_figures_for_all_its_rows(subject: str, contest: Contest) -> None:
    """All candidates run, and every row has a figure and, where it has a baseline, a ratio."""
    taken = Taken(subject, contest)
    taken.turns, taken.skipped = take_turns(contest, Size.TINY, 1)
    assert taken.skipped == {}
    for row in contest.rows:
        result = result_of(row, taken)
        assert result.value is not None
        assert isfinite(result.value)
        assert result.value >= 0
        assert (result.ratio is None) == (not row.against)
        assert (result.reached is None) == (not row.goals)


def test_keys_of_rows_are_unique_and_can_be_asked_for() -> None:
    """A row, a contest or a subject is measured by its name, and nothing else with it."""
    keys = [row.key for contest in (*(contest for _, contest in _ALL), *PEERS) for row in contest.rows]
    assert len(keys) == len(set(keys))
    assert [taken.contest.name for taken in chosen(["steps-sync", "tell"])] == ["tell", "steps"]
    assert {taken.subject for taken in chosen(["restarts"])} == {"restarts"}
    with pytest.raises(LookupError, match="nothing is called 'tells'"):
        chosen(["tells"])


def _contest(**candidates: list[float] | str) -> Contest:
    def measure(name: str) -> Figures:
        told = candidates[name]
        if isinstance(told, str):
            raise Skipped(told)
        return {"rate": told.pop(0)}

    row = Row(
        "row",
        "what is done",
        "rate",
        "/s",
        against="other",
        goals=(Goal("value", 90, "least"), Goal("ratio", 2, "least")),
    )
    both = {name: lambda _, name=name: measure(name) for name in candidates}
    return Contest("contest", both, (row,), warm_up=False)


def test_a_row_is_the_median_of_its_turns_and_of_their_ratios() -> None:
    """Ratios are taken within a turn, so that what slowed down both of them does not count."""
    contest = _contest(overwinter=[100.0, 10.0, 120.0], other=[50.0, 4.0, 55.0])
    taken = Taken("", contest)
    taken.turns, taken.skipped = take_turns(contest, Size.FULL, 3)
    result = result_of(contest.rows[0], taken)
    assert (result.value, result.baseline, result.reached, result.turns) == (100.0, 50.0, True, 3)
    assert result.ratio == 120 / 55


@pytest.mark.parametrize("missing", ["overwinter", "other"])
def test_what_cannot_be_measured_says_why(missing: str) -> None:
    """A candidate that is skipped takes nothing from the other one, and its reason stands in the row."""
    told: dict[str, list[float] | str] = {"overwinter": [100.0], "other": [50.0]}
    contest = _contest(**told | {missing: "it is not here"})
    taken = Taken("", contest)
    taken.turns, taken.skipped = take_turns(contest, Size.FULL, 1)
    result = result_of(contest.rows[0], taken)
    assert (result.ratio, result.reached, result.why) == (None, None, "it is not here")
    assert (result.value is None) == (missing == "overwinter")
    assert "it is not here" in _printed([result])


def test_the_table_and_the_json_say_the_same() -> None:
    """Each row of the JSON is in the table with its figures, its goals and whether they are reached."""
    results = []
    for ours in (100.0, 80.0):
        contest = _contest(overwinter=[ours], other=[40.0])
        taken = Taken("", contest)
        taken.turns, _ = take_turns(contest, Size.FULL, 1)
        results.append(result_of(contest.rows[0], taken))
    data = as_data(results, circumstances(), 1.0)
    lines = _printed(results)
    for row, ratio, word in zip(data["rows"], ("2.50 x", "2.00 x"), ("yes", "no"), strict=True):
        assert row["reached"] is (word == "yes")
        for part in (row["what"], f"{row['value']:.0f}", ratio, "≥ 90 /s", "≥ 2 x", word):
            assert part in lines


def _printed(results: Sequence[Result]) -> str:
    text = StringIO()
    Console(file=text, width=150).print(as_table(results, "title"))
    return text.getvalue()


def test_the_command_measures_in_processes_of_its_own(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """``python -m benchmarks`` prints the table and writes the figures; a name that there is not is an error."""
    told = tmp_path / "figures.json"
    assert main(["tell", "--size", "tiny", "--quick", "--rounds", "2", "--json", str(told)]) == 0
    (row,) = json.loads(told.read_text())["rows"]
    assert row["key"] == "tell"
    assert row["turns"] == 4
    assert f"{row['ratio']:.2f} x" in capsys.readouterr().out
    assert main(["tells"]) == 2
