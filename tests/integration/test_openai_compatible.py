"""OpenAICompatible over real HTTP: what is its alone. What all models share is in test_models_over_http.py."""

from __future__ import annotations

import asyncio
import gc
import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import anyio
import msgspec
import pytest
from anyio import to_thread
from tests.support.http_models import KEY, Client, chunk, sse
from tests.support.openai_server import Answer, Drop, Hold, OpenAIServer, Raw, Status, ToolUse
from tests.support.raw_server import whole

from overwinter import Agent, OpenAICompatible, Price, Runtime, Secret, tool
from overwinter.agents.models import Message, ModelReply, ModelRequest, sessions
from overwinter.errors import ConfigurationError, ModelError

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.anyio

HELLO = ModelRequest([Message("user", "hello")])


@pytest.fixture
def server(running_model_server: OpenAIServer) -> OpenAIServer:
    running_model_server.reset()
    return running_model_server


@pytest.fixture(params=[False, True], ids=["whole", "streamed"])
def client(request: pytest.FixtureRequest, server: OpenAIServer) -> Client:
    return Client(server, streaming=request.param, kind="direct")


@pytest.fixture
def streaming(server: OpenAIServer) -> Client:
    return Client(server, streaming=True, kind="direct")


def local(server: OpenAIServer, **settings: Any) -> OpenAICompatible:
    return OpenAICompatible("qwen", base_url=server.base_url, **settings)


async def failure(model: OpenAICompatible) -> ModelError:
    with pytest.raises(ModelError) as caught:
        await model.complete(HELLO)
    return caught.value


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


async def test_an_agent_known_by_its_name_goes_on_with_the_model_at_its_address(
    server: OpenAIServer, workspace_dir: Path
) -> None:
    """M32"""
    model = local(server, api_key=KEY, headers={"X-Team": "bees"})
    agent = Agent(
        "named", model=model, fallback_models=["gpt-4o"], autosave=True, workspace_dir=workspace_dir
    )
    await agent.run("hello")
    saved = await to_thread.run_sync(agent.config_path.read_text, "utf-8")
    assert server.base_url in saved
    assert KEY not in saved
    del agent, model
    async with Runtime(workspace_dir) as runtime:
        assert await runtime.agent("named").ask("again") == "You said: again"
    assert [request.body["model"] for request in server.requests] == ["qwen", "qwen"]
    assert server.requests[1].headers["x-team"] == "bees"


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


async def test_without_a_key_a_local_server_is_asked_without_one(
    server: OpenAIServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """M30"""
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    await local(server).complete(HELLO)
    assert "authorization" not in server.requests[0].headers
    monkeypatch.setenv("OPENAI_API_KEY", " from-the-environment\n")
    await local(server).complete(HELLO)
    await local(server, api_key="").complete(HELLO)
    await local(server, api_key=Secret(KEY)).complete(HELLO)
    sent = [request.headers.get("authorization") for request in server.requests[1:]]
    assert sent == ["Bearer from-the-environment", None, f"Bearer {KEY}"]


async def test_a_key_that_a_server_misses_is_told_with_its_variable(
    server: OpenAIServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """M9"""
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    server.enqueue(Status(401), Status(401))
    error = await failure(local(server))
    assert "Set the environment variable OPENAI_API_KEY" in str(error)
    assert "Check the api_key" in str(await failure(local(server, api_key=KEY)))


@pytest.mark.parametrize(
    ("base_url", "variable"),
    [("https://api.openai.com/v1", "OPENAI_API_KEY"), ("https://api.groq.com/openai/v1", "GROQ_API_KEY")],
)
async def test_a_provider_that_needs_a_key_is_not_asked_without_its_own(
    base_url: str, variable: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """M30"""
    monkeypatch.setenv("OPENAI_API_KEY", "meant-for-openai")
    monkeypatch.delenv(variable, raising=False)
    error = await failure(OpenAICompatible("m", base_url=base_url))
    assert (error.retryable, error.status_code) == (False, 401)
    assert f"Set the environment variable {variable}" in str(error)


async def test_a_password_in_the_address_is_sent_as_one_and_told_nobody(server: OpenAIServer) -> None:
    """M30"""
    base_url = server.base_url.replace("http://", "http://bee:a-password@")
    model = OpenAICompatible("m", base_url=base_url)
    server.enqueue(Status(400, "who is bee:a-password?"))
    error = await failure(model)
    assert server.requests[0].headers["authorization"] == "Basic YmVlOmEtcGFzc3dvcmQ="
    for told in (str(error), repr(model), str(model.description), model.base_url, model.provider):
        assert "a-password" not in told


async def test_headers_reach_the_server_and_may_be_the_authorization(server: OpenAIServer) -> None:
    """M22"""
    headers = {"api-key": Secret(KEY), "authorization": "Token other"}
    await local(server, api_key="unused", headers=headers).complete(HELLO)
    sent = server.requests[0].headers
    assert (sent["api-key"], sent["authorization"]) == (KEY, "Token other")
    assert sent["user-agent"].startswith("overwinter/")


async def test_members_that_only_this_server_knows_are_sent(client: Client) -> None:
    """M22"""
    await client.ask(
        args={"extra_body": {"guided_regex": "a+"}, "min_p": 0.1, "seed": None, "drop_params": True}
    )
    body = client.server.requests[0].body
    assert (body["guided_regex"], body["min_p"]) == ("a+", 0.1)
    assert not {"seed", "extra_body", "drop_params", "api_key", "api_base"} & body.keys()


async def test_a_server_that_knows_no_stream_options_can_be_spared_them(streaming: Client) -> None:
    """M22"""
    await streaming.ask(args={"stream_options": None})
    assert "stream_options" not in streaming.server.requests[0].body


async def test_a_query_of_the_address_stays_behind_the_path(server: OpenAIServer) -> None:
    """M22"""
    await OpenAICompatible("m", base_url=f"{server.base_url}/?api-version=1").complete(HELLO)
    assert server.requests[0].path == "/v1/chat/completions?api-version=1"


async def test_a_model_is_held_to_a_schema_where_it_was_said_that_it_can_be(server: OpenAIServer) -> None:
    """M23"""
    schema = {"type": "object", "properties": {}}
    asked = ModelRequest([Message("user", "?")], output_schema={"name": "n", "schema": schema})
    await local(server).complete(asked)
    await local(server, takes_schema=True).complete(asked)
    assert ["response_format" in request.body for request in server.requests] == [False, True]


async def test_a_cost_that_the_server_tells_is_the_cost(server: OpenAIServer) -> None:
    """M8"""
    usage = {"prompt_tokens": 10, "completion_tokens": 5, "cost": 0.25}
    server.enqueue(Answer("a", usage=usage), Answer("b", usage=usage))
    assert (await local(server).complete(HELLO)).usage.cost == 0.25
    assert (await local(server, price=Price(input=1.0)).complete(HELLO)).usage.cost == 10.0


async def test_a_server_that_answers_a_stream_in_one_piece_is_understood(streaming: Client) -> None:
    """M3"""
    whole = b'{"choices": [{"message": {"content": "all at once"}, "finish_reason": "stop"}]}'
    streaming.server.enqueue(Raw(whole))
    assert (await streaming.ask()).message.content == "all at once"
    assert streaming.streamed == ["all at once"]


async def test_thinking_that_comes_in_pieces_goes_back_whole(streaming: Client) -> None:
    """M2"""
    streaming.server.enqueue(
        sse(
            chunk({"reasoning_content": "h", "reasoning_details": [{"index": 0, "type": "t", "text": "h"}]}),
            chunk({"reasoning_content": "m", "reasoning_details": [{"index": 0, "type": "t", "text": "m"}]}),
            chunk({"reasoning_details": [{"index": 0, "type": "t", "signature": "c2ln"}]}),
            chunk({"content": "So."}, "stop"),
        )
    )
    reply = await streaming.ask()
    await streaming.ask(Message("user", "?"), reply.message, Message("user", "and?"))
    sent = streaming.server.requests[1].body["messages"][1]
    assert sent["reasoning_content"] == "hm"
    assert sent["reasoning_details"] == [{"index": 0, "type": "t", "text": "hm", "signature": "c2ln"}]


async def test_arguments_that_come_as_an_object_are_a_text_of_it(client: Client) -> None:
    """M4"""
    call = {"id": "1", "type": "function", "function": {"name": "a", "arguments": {"x": 1}}}
    message = {"role": "assistant", "content": None, "tool_calls": [call]}
    if client.streaming:
        client.server.enqueue(sse(chunk(message), chunk({}, "tool_calls")))
    else:
        client.server.enqueue(Raw(msgspec.json.encode({"choices": [{"message": message}]})))
    (made,) = (await client.ask()).message.tool_calls
    assert made.arguments == '{"x":1}'


@pytest.mark.parametrize(
    ("error", "retryable", "status"),
    [
        ({"message": "slow down", "type": "rate_limit_error"}, True, 429),
        ({"message": "no credit", "code": "insufficient_quota"}, False, 429),
        ({"message": "what?", "type": "invalid_request_error", "code": None}, False, 400),
        ("the model crashed", True, None),
    ],
)
async def test_an_error_with_a_good_status_is_one(
    client: Client, error: Any, retryable: bool, status: int | None
) -> None:
    """M9"""
    client.server.enqueue(
        sse({"error": error}) if client.streaming else Raw(msgspec.json.encode({"error": error}))
    )
    told = await client.fail()
    assert (told.retryable, told.status_code) == (retryable, status)


async def test_a_failure_says_what_to_do_about_the_address(server: OpenAIServer) -> None:
    """M9"""
    server.enqueue(Raw(b"<html>hello</html>", "text/html"))
    assert "Check base_url" in str(await failure(local(server)))
    server.enqueue(Status(301, headers={"Location": "https://elsewhere.example/v1/"}))
    moved = await failure(local(server))
    assert not moved.retryable
    assert "https://elsewhere.example/v1/" in str(moved)
    assert "Check that the server at http://127.0.0.1:1/v1 is running" in str(
        await failure(OpenAICompatible("m", base_url="http://127.0.0.1:1/v1"))
    )


@pytest.mark.parametrize("base_url", ["", "localhost:8000/v1", "ftp://a/v1", "http://", "http://a:b:c/"])
def test_an_address_that_is_none_is_refused_where_it_was_written(base_url: str) -> None:
    """M9"""
    with pytest.raises(ConfigurationError, match="base_url"):
        OpenAICompatible("m", base_url=base_url)


async def test_a_setting_that_has_no_form_in_json_is_told(server: OpenAIServer) -> None:
    """M9"""
    error = await failure(local(server, args={"x": object()}))
    assert not error.retryable
    assert server.requests == []


async def test_a_proxy_of_the_environment_is_used(
    server: OpenAIServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """M27"""
    monkeypatch.setenv("http_proxy", server.base_url.removesuffix("/v1"))
    monkeypatch.setenv("no_proxy", "elsewhere.example")
    await OpenAICompatible("m", base_url="http://a-model.example/v1").complete(HELLO)
    assert server.requests[0].path == "http://a-model.example/v1/chat/completions"


async def test_a_page_in_the_place_of_a_stream_is_told(streaming: Client) -> None:
    """M9"""
    streaming.server.enqueue(Raw(b"<html>hello</html>", "text/html"))
    error = await streaming.fail()
    assert "text/html" in str(error)
    assert "Check base_url" in str(error)
