"""The programs of docs/talking.md, run as they stand there."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.support.examples import environment, programs_in, run_programs
from tests.support.openai_server import Answer, OpenAIServer, ToolUse

if TYPE_CHECKING:
    from collections.abc import Mapping

GUIDE = Path(__file__).resolve().parents[2] / "docs" / "talking.md"


def respond(body: Mapping[str, Any]) -> Answer:
    """What a good model answers: it uses its tools, one after the other, and then says what it was told last."""
    messages = body["messages"]
    told = messages[-1]["content"]
    calls = [call for message in messages for call in message.get("tool_calls") or ()]
    if "poem" in messages[0]["content"] and len(calls) < 2:
        use = [
            ToolUse("ask_colleague", {"name": "editor", "question": "Is it right?"}),
            ToolUse("tell_colleague", {"name": "printer", "message": "Print it."}),
        ][len(calls)]
        return Answer(calls=[use])
    if "next site" in messages[0]["content"] and not calls:
        return Answer(calls=[ToolUse("write_board", {"key": "next", "value": "linden", "expect": 0})])
    return Answer(f"{messages[0]['content'].removeprefix('You are the ').rstrip('.')} heard: {told}")


def test_the_programs_of_the_guide_do_what_it_says(tmp_path: Path) -> None:
    workspace = tmp_path / "agent_workspace"
    with OpenAIServer(responder=respond) as server:
        named, colleagues, topics, boards = run_programs(
            programs_in(GUIDE.read_text("utf-8")), environment(workspace, server.environment()), tmp_path
        )
        heard = [request.body["messages"][-1]["content"] for request in server.requests]
    assert named.startswith("editor heard: Is the article done?\nconcierge heard: When is breakfast?\n")
    assert re.search(r"active=2, at_work=\d, activations=2", named)
    assert colleagues == "Have your poem corrected and printed heard: printer has it.\n"
    assert topics.splitlines()[0::2] == ["2", "[{'in bloom': 'linden'}]"]
    assert "version" in boards.splitlines()[0]
    assert "'hives': 4" in boards
    assert boards.endswith("('site', 'next')\n")
    assert {"Write to the printer.", "Is it right?", "Print it."} <= set(heard)
