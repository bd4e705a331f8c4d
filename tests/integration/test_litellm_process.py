"""What importing litellm and ending with it does to a process; each in a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.openai_server import OpenAIServer

SETTINGS = (
    "LITELLM_LOCAL_MODEL_COST_MAP",
    "LITELLM_MODE",
    "LITELLM_LOCAL_ANTHROPIC_BETA_HEADERS",
)

# Every lookup of a name and every connection elsewhere is written down, and refused.
NO_NETWORK = """
import socket, json, os, sys, asyncio
away = []
def refuse(name, *args):
    if name == "socket.getaddrinfo" and args[0] not in (None, "127.0.0.1", b"127.0.0.1"):
        away.append(str(args[0]))
        raise OSError("no network here")
    if name == "socket.connect" and args[1][0] != "127.0.0.1":
        away.append(str(args[1]))
        raise OSError("no network here")
sys.addaudithook(lambda name, args: refuse(name, *args) if name.startswith("socket.") else None)
"""

ASKING = """
from overwinter.agents.models import LiteLLMModel, Message, ModelRequest, aclose_litellm
model = LiteLLMModel("gpt-4o-mini")
request = ModelRequest([Message("user", "hello")])
async def ask(streaming):
    reply = await model.complete(request, on_text=(lambda text: None) if streaming else None)
    assert reply.message.content == "You said: hello", reply
"""


def run(program: str, server: OpenAIServer, cwd: Path, *options: str, **environ: str) -> Any:
    """What the program printed as JSON; its stderr must be empty."""
    kept = {name: value for name, value in os.environ.items() if name not in SETTINGS}
    done = subprocess.run(
        [sys.executable, *options, "-c", program],
        cwd=cwd,
        env={**kept, **server.environment(), **environ},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return json.loads(done.stdout or "null")


def test_importing_and_asking_uses_no_network_and_no_env_file(server: OpenAIServer, tmp_path: Path) -> None:
    """M14"""
    (tmp_path / ".env").write_text("FROM_A_FILE=1\nOPENAI_API_KEY=from-a-file\n")
    program = f"""{NO_NETWORK}
before = dict(os.environ)
{ASKING}
async def main():
    await asyncio.gather(*(model.prepare() for _ in range(5)))
    from litellm.anthropic_beta_headers_manager import get_provider_name
    get_provider_name("anthropic")
    await asyncio.gather(ask(True), ask(False))
asyncio.run(main())
changed = {{name for name in before.keys() | os.environ.keys() if before.get(name) != os.environ.get(name)}}
print(json.dumps([away, sorted(changed - {{"TIKTOKEN_CACHE_DIR"}})]))
"""
    assert run(program, server, tmp_path) == [[], []]


def test_what_the_user_set_for_litellm_is_kept(server: OpenAIServer, tmp_path: Path) -> None:
    """M14"""
    (tmp_path / ".env").write_text("FROM_A_FILE=1\n")
    program = f"""{NO_NETWORK}
{ASKING}
asyncio.run(model.prepare())
print(json.dumps([os.environ["LITELLM_MODE"], os.environ["FROM_A_FILE"], "LITELLM_LOCAL_MODEL_COST_MAP" in os.environ]))
"""
    assert run(program, server, tmp_path, LITELLM_MODE="DEV") == ["DEV", "1", False]


@pytest.mark.parametrize("closing", ["", "asyncio.run(aclose_litellm())"], ids=["at exit", "by hand"])
def test_a_program_ends_without_a_warning(server: OpenAIServer, tmp_path: Path, closing: str) -> None:
    """M16"""
    program = f"""
import asyncio, gc, warnings
{ASKING}
async def main():
    await asyncio.gather(ask(True), ask(False))
    task = asyncio.create_task(ask(True))
    for _ in range(50):
        await asyncio.sleep(0)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
asyncio.run(model.prepare())
warnings.simplefilter("always", ResourceWarning)
warnings.simplefilter("always", RuntimeWarning)
asyncio.run(main())
asyncio.run(main())
gc.collect()
{closing}
"""
    assert run(program, server, tmp_path) is None


def test_litellm_may_be_used_beside_on_a_loop_of_ones_own(server: OpenAIServer, tmp_path: Path) -> None:
    """M15"""
    program = f"""
import asyncio
{ASKING}
async def beside():
    import litellm
    message = {{"role": "user", "content": "hello"}}
    reply = await litellm.acompletion(model="gpt-4o-mini", messages=[message])
    assert reply.choices[0].message.content == "You said: hello"
async def main():
    await model.prepare()
    for _ in range(3):
        await asyncio.gather(*(ask(number % 2 == 0) for number in range(10)), *(beside() for _ in range(10)))
    await aclose_litellm()
    await beside()
asyncio.run(main())
"""
    assert run(program, server, tmp_path) is None


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
def test_a_forked_child_begins_anew(server: OpenAIServer, tmp_path: Path) -> None:
    """M24"""
    program = f"""
import asyncio, os, sys, warnings
{ASKING}
asyncio.run(ask(False))
warnings.simplefilter("ignore", DeprecationWarning)
child = os.fork()
if child == 0:
    asyncio.run(ask(True))
    sys.exit(7)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
asyncio.run(ask(False))
"""
    assert run(program, server, tmp_path) is None
    connections = [request.connection for request in server.requests]
    assert connections[0] == connections[2] != connections[1]
