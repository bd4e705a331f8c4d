"""OpenAICompatible over real HTTP: its connections, kept, replaced and closed. See test_models_over_http_*.py too."""

from __future__ import annotations

import asyncio
import gc
import os
import subprocess
import sys
from typing import TYPE_CHECKING

import anyio
import pytest
from anyio import to_thread
from tests.support.http_models import HELLO, Client, Kind, failure, local
from tests.support.openai_server import Answer, Drop, Hold, OpenAIServer, ToolUse
from tests.support.raw_server import whole

from overwinter import Agent, OpenAICompatible, Runtime, tool
from overwinter.agents.models import ModelReply, sessions

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.anyio


@pytest.fixture
def kind() -> Kind:
    return "direct"


async def test_an_agent_runs_on_it(server: OpenAIServer, workspace_dir: Path) -> None:
    """M27"""

    @tool
    def add(a: int, b: int) -> int:
        """Add two numbers."""
        return a + b

    server.enqueue(Answer(calls=[ToolUse("add", {"a": 1, "b": 2})]), "It is 3.")
    agent = Agent("direct", model=local(server), tools=[add], workspace_dir=workspace_dir)
    assert str(await agent.run("1 + 2?")) == "It is 3."
    assert server.requests[1].body["messages"][-1]["content"] == "3"
    assert server.requests[0].connection == server.requests[1].connection


async def test_many_agents_share_the_connections_of_one_model(
    server: OpenAIServer, workspace_dir: Path
) -> None:
    """M27"""
    before = server.connections
    model = local(server, connections=5)
    async with Runtime(workspace_dir) as runtime:
        team = [Agent(f"a{number}", model=model) for number in range(40)]
        for agent in team:
            await runtime.spawn(agent)
        async with anyio.create_task_group() as tasks:
            for agent in team:
                tasks.start_soon(agent.run, "hello")
    assert len(server.requests) == 40
    assert server.connections - before <= 5


async def test_calls_after_one_another_use_one_connection(client: Client) -> None:
    """M27"""
    for _ in range(3):
        await client.ask()
    assert len({request.connection for request in client.server.requests}) == 1


async def test_a_kept_connection_that_is_dead_is_replaced_at_once(client: Client) -> None:
    """M28"""
    client.server.enqueue("one", Drop(), "two")
    assert (await client.ask()).message.content == "one"
    assert (await client.ask()).message.content == "two"
    first, dead, fresh = (request.connection for request in client.server.requests)
    assert first == dead != fresh


async def test_a_fresh_connection_that_breaks_is_an_error_and_so_is_the_second(client: Client) -> None:
    """M28"""
    client.server.enqueue(Drop())
    assert (await client.fail()).retryable
    client.server.enqueue("one", Drop(), Drop(), "three")
    await client.ask()
    assert (await client.fail()).retryable
    assert len(client.server.requests) == 4


async def test_an_answer_that_began_is_not_asked_for_again(streaming: Client) -> None:
    """M28"""
    streaming.server.enqueue("one", Answer("one two", drop_after=1), "three")
    await streaming.ask()
    assert (await streaming.fail()).retryable
    assert len(streaming.server.requests) == 2


@pytest.mark.parametrize("begun", [b"HTTP/1.1 200 OK\r\nContent-Ty", b"H"])
async def test_an_answer_whose_first_line_has_begun_is_not_asked_for_again(begun: bytes) -> None:
    """M28"""
    requests: list[bytes] = []

    async def answer(stream: anyio.abc.SocketStream) -> None:
        async with stream:
            for said in (whole({"choices": [{"message": {"content": "first"}}]}), begun):
                requests.append(await stream.receive())
                await stream.send(said)

    async with await anyio.create_tcp_listener(local_host="127.0.0.1") as listener:
        port = listener.extra(anyio.abc.SocketAttribute.local_port)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(listener.serve, answer)
            model = OpenAICompatible("m", base_url=f"http://127.0.0.1:{port}/v1", api_key="")
            assert (await model.complete(HELLO)).message.content == "first"
            assert (await failure(model)).retryable
            await model.aclose()
            tasks.cancel_scope.cancel()
    assert len(requests) == 2


async def test_a_call_that_waits_for_a_connection_can_be_cancelled(server: OpenAIServer) -> None:
    """M12"""
    hold = Hold(Answer("first"))
    server.enqueue(hold)
    model = local(server, connections=1)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(model.complete, HELLO)
        await to_thread.run_sync(hold.reached.wait)
        waiting = asyncio.create_task(model.complete(HELLO))
        for _ in range(20):
            await anyio.lowlevel.checkpoint()
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        hold.release()
    assert waiting.cancelled()
    assert len(server.requests) == 1
    await model.complete(HELLO)
    assert server.requests[0].connection == server.requests[1].connection


async def test_closing_closes_the_connections_and_the_next_call_begins_anew(client: Client) -> None:
    """M29"""
    model = client.model
    assert isinstance(model, OpenAICompatible)
    await client.ask()
    await model.aclose()
    await model.aclose()
    await client.ask()
    assert client.server.requests[0].connection != client.server.requests[1].connection


async def test_closing_does_not_disturb_a_call_in_progress(client: Client) -> None:
    """M29"""
    hold = Hold(Answer("undisturbed"))
    client.server.enqueue(hold)
    model = client.model
    assert isinstance(model, OpenAICompatible)
    replies: list[ModelReply] = []

    async def ask() -> None:
        replies.append(await client.ask())

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(ask)
        await to_thread.run_sync(hold.reached.wait)
        await model.aclose()
        hold.release()
    assert replies[0].message.content == "undisturbed"


async def test_a_model_that_is_dropped_closes_its_connections(server: OpenAIServer) -> None:
    """M29"""
    model = local(server)
    await model.complete(HELLO)
    (session,) = [opened.session for opened in model._sessions._opened.values()]
    del model
    gc.collect()
    while not session.closed:
        await anyio.lowlevel.checkpoint()


@pytest.mark.allow_blocking  # event loops one after another cannot be had inside one
class TestEventLoopsThatEnd:
    @pytest.fixture
    def anyio_backend(self) -> None:
        """These tests bring their own loops."""

    def test_their_connections_end_with_them(self, server: OpenAIServer) -> None:
        """M29"""
        model = local(server)
        for _ in range(3):
            asyncio.run(model.complete(HELLO))
            assert all(opened.session.closed for opened in model._sessions._opened.values())
            assert len(model._sessions._opened) == 1
        gc.collect()  # a session that was not closed would warn here, and a warning is an error

    def test_a_model_that_goes_as_its_loop_ends_leaves_no_task(
        self, server: OpenAIServer, caplog: pytest.LogCaptureFixture
    ) -> None:
        """M29: whatever the loop still does by then, thirty connections are closed within it."""

        async def drop(turns: int) -> None:
            model = local(server)
            async with anyio.create_task_group() as tasks:
                for _ in range(30):
                    tasks.start_soon(model.complete, HELLO)
            del model
            gc.collect()
            for _ in range(turns):
                await anyio.lowlevel.checkpoint()

        for turns in range(6):
            asyncio.run(drop(turns))
            gc.collect()
            assert [record.message for record in caplog.records if record.name == "asyncio"] == []
            assert sessions._closing == {}

    def test_run_sync_leaves_nothing_open(self, server: OpenAIServer, workspace_dir: Path) -> None:
        """M29"""
        agent = Agent("sync", model=local(server), workspace_dir=workspace_dir)
        assert str(agent.run_sync("hello")) == "You said: hello"
        assert str(agent.run_sync("again")) == "You said: again"
        del agent
        gc.collect()

    @pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
    def test_a_forked_child_begins_anew(self, server: OpenAIServer) -> None:
        """M24"""
        program = """
import asyncio, os, sys, warnings
from overwinter.agents.models import Message, ModelRequest, OpenAICompatible
model = OpenAICompatible("m")
request = ModelRequest([Message("user", "hello")])
loop = asyncio.new_event_loop()
loop.run_until_complete(model.complete(request))
warnings.simplefilter("ignore", DeprecationWarning)
child = os.fork()
if child == 0:
    asyncio.run(model.complete(request))
    os._exit(7)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
loop.run_until_complete(model.complete(request))
loop.run_until_complete(loop.shutdown_asyncgens())
loop.close()
"""
        assert run(program, server) == ""
        first, child, last = (request.connection for request in server.requests)
        assert first == last != child


def run(program: str, server: OpenAIServer) -> str:
    """What it printed; its stderr must be empty."""
    done = subprocess.run(
        [sys.executable, "-W", "always", "-c", program],
        env={**os.environ, **server.environment(), "NO_PROXY": "127.0.0.1"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def test_a_program_that_uses_it_never_imports_litellm_and_ends_without_a_warning(
    server: OpenAIServer, tmp_path: Path
) -> None:
    """M27, M29"""
    program = f"""
import asyncio, sys
from overwinter import Agent, OpenAICompatible
assert "aiohttp" not in sys.modules
async def main():
    agent = Agent("a", model=OpenAICompatible("m"), workspace_dir={str(tmp_path)!r}, autosave=True)
    print(await agent.run("hello"))
    cancelled = asyncio.create_task(agent.run("again"))
    for _ in range(60):
        await asyncio.sleep(0)
    cancelled.cancel()
    await asyncio.gather(cancelled, return_exceptions=True)
asyncio.run(main())
asyncio.run(main())
assert "litellm" not in sys.modules
"""
    assert run(program, server) == "You said: hello\n" * 2


async def test_a_proxy_of_the_environment_is_used(
    server: OpenAIServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """M27"""
    monkeypatch.setenv("http_proxy", server.base_url.removesuffix("/v1"))
    monkeypatch.setenv("no_proxy", "elsewhere.example")
    await OpenAICompatible("m", base_url="http://a-model.example/v1").complete(HELLO)
    assert server.requests[0].path == "http://a-model.example/v1/chat/completions"
