"""LiteLLMModel over real HTTP: what is litellm's alone. What all models share is in test_models_over_http_*.py."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING

import anyio
import pytest
from anyio import to_thread
from tests.support.http_models import Client
from tests.support.openai_server import Answer, Hold, OpenAIServer

from overwinter.agents.models import LiteLLMModel, aclose_litellm
from overwinter.agents.models.litellm_library import library

if TYPE_CHECKING:
    from overwinter.errors import ModelError

pytestmark = pytest.mark.anyio


@pytest.fixture(params=[False, True], ids=["whole", "streamed"])
def client(request: pytest.FixtureRequest, model_server: OpenAIServer) -> Client:
    return Client(model_server, streaming=request.param, kind="litellm")


async def test_a_missing_key_names_the_variable_to_set(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """M9"""
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    error = await client.fail(args={"api_key": None})
    assert (error.retryable, error.status_code) == (False, 401)
    assert "Set the environment variable OPENAI_API_KEY" in str(error)
    assert client.server.requests == []


async def test_an_unknown_model_says_how_to_name_one(model_server: OpenAIServer) -> None:
    """M9"""
    client = Client(model_server, streaming=False, kind="litellm")
    client.model = LiteLLMModel("no-such-thing")
    error = await client.fail()
    assert (error.retryable, error.status_code) == (False, 400)
    assert "provider" in str(error).lower()


async def test_what_the_user_has_litellm_call_is_called(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """M22"""
    called = threading.Event()

    async def callback(*args: object) -> None:
        called.set()

    monkeypatch.setattr(library.module, "_async_success_callback", [])
    monkeypatch.setattr(library.module, "success_callback", [callback])
    await client.ask()
    assert await to_thread.run_sync(called.wait, 5)


@pytest.mark.allow_blocking  # event loops one after another cannot be had inside one
class TestSeveralEventLoops:
    @pytest.fixture
    def anyio_backend(self) -> None:
        """These tests bring their own loops."""

    def test_one_after_another_they_share_the_connections(self, model_server: OpenAIServer) -> None:
        """M15"""
        library.close()
        replies = [asyncio.run(Client(model_server, streaming=False, kind="litellm").ask()) for _ in range(3)]
        assert {reply.message.content for reply in replies} == {"You said: hello"}
        assert len({request.connection for request in model_server.requests}) == 1


async def test_closing_leaves_no_thread_and_no_connection(client: Client) -> None:
    """M16"""
    await client.ask()
    await aclose_litellm()
    await aclose_litellm()
    assert not [
        thread.name for thread in threading.enumerate() if thread.name.startswith("overwinter-models")
    ]
    assert (await client.ask()).message.content == "You said: hello"
    assert client.server.requests[0].connection != client.server.requests[1].connection


async def test_closing_does_not_disturb_a_call_in_progress(client: Client) -> None:
    """M16"""
    hold = Hold(Answer("undisturbed"))
    client.server.enqueue(hold)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(client.ask)
        await to_thread.run_sync(hold.reached.wait)
        await aclose_litellm()
        hold.release()
    assert len(client.server.requests) == 1


async def test_a_call_that_meets_the_closing_begins_anew(client: Client) -> None:
    """M16"""
    for _ in range(5):
        await client.ask()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(aclose_litellm)
            for _ in range(3):
                tasks.start_soon(client.ask)


async def test_a_stopped_side_loop_is_a_failure_that_may_pass(client: Client) -> None:
    """M16"""
    hold = Hold()
    client.server.enqueue(hold)
    errors: list[ModelError] = []

    async def ask() -> None:
        errors.append(await client.fail())

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(ask)
        await to_thread.run_sync(hold.reached.wait)
        side = library._side
        assert side is not None
        await to_thread.run_sync(side.stop)
    library._side = None
    assert errors[0].retryable


async def test_the_provider_is_known_once_it_is_prepared(model_server: OpenAIServer) -> None:
    """M20"""
    model = LiteLLMModel("gpt-4o-mini")
    assert model.provider == "gpt-4o-mini"
    await model.prepare()
    assert model.provider == "openai"
    unknown = LiteLLMModel("no-such-thing")
    await unknown.prepare()
    assert unknown.provider == "no-such-thing"
