"""The programs of the README, run as they stand there."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING

from tests.support.commands import PATIENCE, directly

if TYPE_CHECKING:
    from tests.support.openai_server import OpenAIServer

ROOT = Path(__file__).resolve().parents[2]
BLOCKS = re.findall(
    r"^```python\n(.*?)^```", (ROOT / "README.md").read_text("utf-8"), re.DOTALL | re.MULTILINE
)


def run(program: str, server: OpenAIServer, folder: Path, *, through_litellm: bool = False) -> str:
    environment = {**os.environ, **(server.environment() if through_litellm else directly(server))}
    done = subprocess.run(
        [sys.executable, "-c", program],
        env=environment,
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def within_main(block: str, head: str) -> str:
    body = textwrap.indent(textwrap.dedent(block), "    ")
    return f"{head}\nasync def main():\n{body}\nasyncio.run(main())\n"


def test_the_programs_do_what_the_readme_says(running_model_server: OpenAIServer, tmp_path: Path) -> None:
    running_model_server.reset()
    first, again, many, _ = BLOCKS
    printed = run(first, running_model_server, tmp_path, through_litellm=True).splitlines()
    assert printed[-1] == str(tmp_path / "agent_workspace" / "agents" / Path(printed[-1]).name)
    assert [request.body["tools"][0]["function"]["name"] for request in running_model_server.requests] == [
        "letters",
        "letters",
    ]
    head = first[: first.index("async def main")]
    run(within_main(again, head), running_model_server, tmp_path)
    said = [message.get("content") for message in running_model_server.requests[-1].body["messages"]]
    assert said[0].startswith("Which is longer")
    assert said[-1] == "And 'drone'?"
    assert "agents=100" in run(within_main(many, "import asyncio"), running_model_server, tmp_path)


def test_the_swarm_of_the_readme_is_done_once_however_often_it_is_started(
    running_model_server: OpenAIServer, tmp_path: Path
) -> None:
    running_model_server.reset()
    program = BLOCKS[-1]
    printed = run(program, running_model_server, tmp_path, through_litellm=True)
    assert len(running_model_server.requests) == 4
    assert "['1-experts', '2-editor']" in printed.splitlines()[-1]
    told = running_model_server.requests[-1].body["messages"][-1]["content"]
    assert all(
        f"## {name}\n\nYou said: What are willows" in told for name in ("botanist", "beekeeper", "historian")
    )
    assert run(program, running_model_server, tmp_path) == printed
    assert len(running_model_server.requests) == 4
