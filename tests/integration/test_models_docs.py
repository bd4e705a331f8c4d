"""The programs of docs/models.md, run as they stand there."""

from __future__ import annotations

from pathlib import Path

from tests.support.examples import environment, programs_in, run_programs
from tests.support.openai_server import OpenAIServer

GUIDE = Path(__file__).resolve().parents[2] / "docs" / "models.md"


def test_the_programs_of_the_guide_do_what_it_says(tmp_path: Path) -> None:
    workspace = tmp_path / "agent_workspace"
    with OpenAIServer() as server:
        many, several = run_programs(
            programs_in(GUIDE.read_text("utf-8")), environment(workspace, server.environment()), tmp_path
        )
    assert many == "100 True\n"
    assert several == "You said: Name a bee.\n"
    assert len(server.requests) == 101
