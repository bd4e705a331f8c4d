"""What ``import overwinter`` costs, and whom a program that uses it talks to."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from statistics import median
from typing import TYPE_CHECKING

import pytest
from tests.support.openai_server import Answer, OpenAIServer, ToolUse

if TYPE_CHECKING:
    from pathlib import Path

LONGEST = 180.0
BUDGET = 0.060  # seconds over a bare `import asyncio`
HEAVY = ("litellm", "typer", "rich", "aiohttp", "openai", "httpx", "pydantic", "unittest", "email", "http")


def python(
    program: str, *options: str, env: dict[str, str] | None = None, cwd: Path | None = None
) -> tuple[str, str]:
    done = subprocess.run(
        [sys.executable, *options, "-c", program],
        env={**os.environ, **(env or {})},
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=LONGEST,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout, done.stderr


def test_importing_overwinter_loads_nothing_heavy() -> None:
    _, told = python("import overwinter, overwinter.testing, overwinter.events", "-X", "importtime")
    loaded = {
        line.rpartition("|")[2].strip() for line in told.splitlines() if line.startswith("import time:")
    }
    assert "overwinter.agents.agent" in loaded
    assert "msgspec" in loaded
    assert sorted(name for name in loaded if name.partition(".")[0] in HEAVY) == []


_TIMED = """
import time
began = time.process_time()
import {module}
print(time.process_time() - began)
"""


@pytest.mark.alone
def test_importing_overwinter_takes_at_most_60_ms_over_asyncio(tmp_path: Path) -> None:
    """In processor time, in pairs, and the median of them. What is used is imported with its first use."""
    # An environment may forbid bytecode, and then it is the compiler that is timed.
    env = {"PYTHONDONTWRITEBYTECODE": "", "PYTHONPYCACHEPREFIX": str(tmp_path)}
    python("import overwinter", env=env)

    def one(module: str) -> float:
        return float(python(_TIMED.format(module=module), env=env)[0])

    over = [one("overwinter") - one("asyncio") for _ in range(9)]
    assert median(over) <= BUDGET, [round(seconds * 1000) for seconds in over]


_WATCHED = """
import atexit, json, sys

told = {"text": "", "connected": [], "looked up": [], "started": []}
atexit.register(lambda: print(json.dumps(told)))  # the first to register is the last to run

def watch(event, args):
    if event in ("socket.connect", "socket.sendto"):
        told["connected"].append(list(args[1]) if isinstance(args[1], tuple) else repr(args[1]))
    elif event in ("socket.getaddrinfo", "socket.gethostbyname", "socket.gethostbyaddr"):
        told["looked up"].append(repr(args[0]))
    elif event in ("subprocess.Popen", "os.system", "os.posix_spawn", "os.exec"):
        told["started"].append(repr(args[0]))

sys.addaudithook(watch)

import overwinter
"""

_RUNNING = """
import asyncio
from overwinter import Agent, tool

@tool
def add(a: int, b: int) -> int:
    "Add two numbers."
    return a + b

async def main():
    agent = Agent("watched", "gpt-4o-mini", tools=[add], autosave=True)
    told["text"] = str(await agent.run("1 + 2?"))
    async for event in agent.stream("and again"):
        pass

asyncio.run(main())
"""


def test_importing_overwinter_contacts_nobody() -> None:
    out, _ = python(_WATCHED)
    assert json.loads(out) == {"text": "", "connected": [], "looked up": [], "started": []}


def test_running_overwinter_contacts_nobody_but_the_model(tmp_path: Path) -> None:
    with OpenAIServer() as server:
        server.enqueue(Answer(calls=[ToolUse("add", {"a": 1, "b": 2})]), "It is 3.", "Still 3.")
        port = int(server.base_url.rpartition(":")[2].partition("/")[0])
        env = {**server.environment(), "WORKSPACE_DIR": str(tmp_path / "w"), "NO_PROXY": "127.0.0.1"}
        out, _ = python(_WATCHED + _RUNNING, env=env, cwd=tmp_path)
        assert [request.path for request in server.requests] == ["/v1/chat/completions"] * 3
    told = json.loads(out.splitlines()[-1])
    assert told["text"] == "It is 3."
    assert {tuple(address) for address in told["connected"]} == {("127.0.0.1", port)}
    assert set(told["looked up"]) <= {"'127.0.0.1'", "b'127.0.0.1'"}
    # The provider's client asks the system what it is, for a header of its requests to the model.
    assert set(told["started"]) <= {"'uname'"}


def test_a_dotenv_file_in_the_current_folder_is_the_users_business(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("OVERWINTER_TEST_LEAK=1\n")
    with OpenAIServer() as server:
        program = (
            "import asyncio, os\n"
            "from overwinter import Agent\n"
            "asyncio.run(Agent('a', 'gpt-4o-mini').run('hello'))\n"
            "print(os.environ.get('OVERWINTER_TEST_LEAK'))\n"
        )
        out, _ = python(program, env={**server.environment(), "NO_PROXY": "127.0.0.1"}, cwd=tmp_path)
    assert out.splitlines()[-1] == "None"
