"""The program of docs/rate-limits.md, run as it stands there."""

from __future__ import annotations

from pathlib import Path

from tests.support.examples import environment, programs_in, run_programs
from tests.support.openai_server import OpenAIServer

GUIDE = Path(__file__).resolve().parents[2] / "docs" / "rate-limits.md"


def test_the_program_of_the_guide_does_what_it_says(tmp_path: Path) -> None:
    with OpenAIServer() as server:
        (said,) = run_programs(
            programs_in(GUIDE.read_text("utf-8")),
            environment(tmp_path / "agent_workspace", server.environment()),
            tmp_path,
        )
        assert len(server.requests) == 40
    assert said.startswith("RateStatistics(in_flight=0, waiting=0, requests=40, tokens=")
