"""OpenAICompatible over real HTTP: what it sends and what may come back. See test_models_over_http_*.py too."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from anyio import to_thread
from tests.support.http_models import HELLO, KEY, Client, Kind, chunk, failure, local, sse
from tests.support.openai_server import Answer, OpenAIServer, Raw, Status

from overwinter import Agent, OpenAICompatible, Price, Runtime, Secret
from overwinter.agents.models import Message, ModelRequest
from overwinter.errors import ConfigurationError

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.anyio


@pytest.fixture
def kind() -> Kind:
    return "direct"


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


async def test_a_page_in_the_place_of_a_stream_is_told(streaming: Client) -> None:
    """M9"""
    streaming.server.enqueue(Raw(b"<html>hello</html>", "text/html"))
    error = await streaming.fail()
    assert "text/html" in str(error)
    assert "Check base_url" in str(error)
