"""Models over real HTTP, the same for all of them: refusals, broken connections, time-outs, retries and cancelling."""

from __future__ import annotations

import asyncio
import gc
import random
from typing import Any

import anyio
import pytest
from anyio import to_thread
from tests.support.http_models import KEY, Client, chunk, make_model, sse
from tests.support.openai_server import Answer, Drop, Hold, Raw, Status

from overwinter.agents.models import Message, ModelReply, ModelRequest, RetryPolicy, complete_with_fallbacks
from overwinter.runtime.fake_clock import FakeClock

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize("status", [408, 409, 429, 500, 502, 503, 529])
async def test_failures_that_may_pass_are_retryable(client: Client, status: int) -> None:
    """M9"""
    client.server.enqueue(Status(status))
    error = await client.fail()
    assert error.retryable
    assert error.status_code == status
    assert len(client.server.requests) == 1


@pytest.mark.parametrize("status", [400, 401, 402, 403, 404, 413, 422])
async def test_failures_that_will_not_pass_are_not(client: Client, status: int) -> None:
    """M9"""
    client.server.enqueue(Status(status))
    error = await client.fail()
    assert not error.retryable
    assert error.status_code == status
    name = {"litellm": "openai/gpt-4o-mini", "direct": "gpt-4o-mini"}[client.kind]
    assert error.model == name
    assert str(error).startswith(f"{name}: ")
    assert f"({status})" in str(error)


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({"Retry-After": "1.5"}, 1.5),
        ({"Retry-After": "20", "retry-after-ms": "250"}, 0.25),
        ({"Retry-After": "Wed, 21 Oct 2015 07:28:00 GMT"}, 0.0),
        ({"Retry-After": "soon"}, None),
        ({"Retry-After": "-1"}, None),
        ({"Retry-After": "NaN"}, None),
        ({"Retry-After": "Fri, 31 Dec 99999999999999999999 23:59:59 GMT"}, None),
        ({}, None),
    ],
)
async def test_the_delay_a_provider_asks_for_is_told(
    client: Client, headers: dict[str, str], expected: float | None
) -> None:
    """M9"""
    client.server.enqueue(Status(429, headers=headers))
    assert (await client.fail()).retry_after == expected


async def test_an_account_without_credit_is_not_asked_again(client: Client) -> None:
    """M9"""
    client.server.enqueue(Status(429, "insufficient_quota: check your plan and billing details"))
    assert not (await client.fail()).retryable


@pytest.mark.parametrize("drop", [Drop(), Drop(reset=True)], ids=["closed", "reset"])
async def test_a_connection_that_breaks_before_the_answer_is_retryable(client: Client, drop: Drop) -> None:
    """M11"""
    client.server.enqueue(drop)
    error = await client.fail()
    assert (error.retryable, error.status_code) == (True, None)
    assert "the connection failed" in str(error)


async def test_a_server_that_is_not_there_is_retryable(client: Client) -> None:
    """M11"""
    error = await client.fail(args={"api_base": "http://127.0.0.1:1/v1"})
    assert (error.retryable, error.status_code) == (True, None)


@pytest.mark.parametrize("after", range(5))
async def test_a_stream_that_breaks_is_never_taken_for_a_reply(streaming: Client, after: int) -> None:
    """M11"""
    streaming.server.enqueue(Answer("one two three", drop_after=after))
    error = await streaming.fail()
    assert error.retryable
    assert "one two three".startswith("".join(streaming.streamed))


@pytest.mark.parametrize("done", [False, True])
async def test_a_stream_that_just_ends_is_never_taken_for_a_reply(streaming: Client, done: bool) -> None:
    """M11"""
    streaming.server.enqueue(sse(chunk({"role": "assistant", "content": "half"}), done=done))
    error = await streaming.fail()
    assert error.retryable
    assert "broke off" in str(error)


@pytest.mark.parametrize(
    "body",
    [
        b'{"id": "x", "choices": [{"mess',
        b"<html>busy</html>",
        b"",
        b'{"object": "chat.completion", "choices": []}',
    ],
    ids=["cut", "html", "empty", "no choices"],
)
async def test_an_answer_that_is_none_is_a_retryable_error(client: Client, body: bytes) -> None:
    """M11"""
    client.server.enqueue(Raw(body))
    assert (await client.fail()).retryable


async def test_an_error_in_the_middle_of_a_stream_is_told(streaming: Client) -> None:
    """M11"""
    overloaded = {"error": {"message": "we are overloaded", "type": "server_error", "code": 500}}
    streaming.server.enqueue(sse(chunk({"role": "assistant", "content": "half"}), overloaded))
    error = await streaming.fail()
    assert error.retryable
    assert "we are overloaded" in str(error)


async def test_no_answer_in_time_is_retryable(client: Client) -> None:
    """M9"""
    hold = Hold()
    client.server.enqueue(hold)
    error = await client.fail(args={"timeout": 0.2})
    hold.release()
    assert (error.retryable, error.status_code) == (True, None)
    assert "no answer in time" in str(error)


async def test_a_stream_whose_next_piece_does_not_come_is_retryable(streaming: Client) -> None:
    """M9, M11"""
    hold = Hold(Answer("one two three"), after=3)
    streaming.server.enqueue(hold)
    error = await streaming.fail(args={"timeout": 0.3})
    hold.release()
    assert (error.retryable, error.status_code) == (True, None)
    assert "no answer in time" in str(error)
    assert streaming.streamed == ["one", " two"]


@pytest.mark.parametrize("status", [400, 401, 403, 429, 500])
async def test_errors_hold_no_credentials(
    client: Client, status: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """M10"""
    monkeypatch.setenv("SOME_API_KEY", "another-secret-of-mine")
    client.server.enqueue(Status(status, f"Incorrect key: {KEY}, another-secret-of-mine"))
    error = await client.fail()
    assert KEY not in str(error)
    assert "another-secret-of-mine" not in str(error)
    assert "[redacted]" in str(error)


async def test_a_refused_key_does_not_stand_in_the_traceback(client: Client) -> None:
    """M10"""
    client.server.enqueue(Status(401, f"Incorrect key: {KEY}"))
    error = await client.fail()
    assert error.__cause__ is None
    assert error.__suppress_context__


async def test_one_call_is_one_request(client: Client) -> None:
    """M21"""
    client.server.enqueue(*[Status(500)] * 3)
    await client.fail(args={"num_retries": 3, "max_retries": 3, "fallbacks": ["openai/other"]})
    assert len(client.server.requests) == 1


async def test_retries_and_fallbacks_work_over_http(client: Client) -> None:
    """M18"""
    client.server.enqueue(
        Status(429, retry_after=3.0), Answer("half a reply", drop_after=2), Status(400), "well"
    )
    other = make_model(client.kind, "gpt-4.1-mini")
    clock, events = FakeClock(), list[Any]()
    request = ModelRequest([Message("user", "?")], args={"api_base": client.server.base_url, "api_key": KEY})
    replies: list[ModelReply] = []

    async def ask() -> None:
        replies.append(
            await complete_with_fallbacks(
                [client.model, other],
                request,
                policy=RetryPolicy(),
                clock=clock,
                random=random.Random(1),
                on_text=client.streamed.append,
                on_event=events.append,
            )
        )

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(ask)
        while not replies:
            while not clock.pending and not replies:
                await anyio.lowlevel.checkpoint()
            await clock.advance(10.0)
    assert [type(event).__name__ for event in events] == ["ModelRetried", "ModelRetried", "ModelFellBack"]
    assert events[0].delay == 3.0
    assert events[1].streamed == len("half")
    assert replies[0].message.content == "well"
    assert [request.body["model"] for request in client.server.requests] == ["gpt-4o-mini"] * 3 + [
        "gpt-4.1-mini"
    ]


async def test_cancelling_closes_the_connection(client: Client) -> None:
    """M12"""
    hold = Hold(Answer("one two three"), after=3 if client.streaming else 0)
    client.server.enqueue(hold)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(client.ask)
        await to_thread.run_sync(hold.reached.wait)
        tasks.cancel_scope.cancel()
    so_far = [*client.streamed]
    assert await to_thread.run_sync(client.server.requests[0].gone.wait, 5)
    assert client.streamed == so_far


async def test_cancelling_at_any_moment_leaves_nothing_behind(client: Client) -> None:
    """M12"""
    for turns in range(40):
        task = asyncio.create_task(client.ask())
        for _ in range(turns * turns):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    gc.collect()  # a coroutine never awaited would warn here, and a warning is an error
    assert (await client.ask()).message.content == "You said: hello"


@pytest.mark.parametrize("word", ["one", " three"])
@pytest.mark.parametrize("broken", [False, True])
async def test_what_on_text_raises_is_raised(streaming: Client, word: str, broken: bool) -> None:
    """M26"""

    def fail(text: str) -> None:
        if text == word:
            raise ZeroDivisionError(text)

    streaming.server.enqueue(Answer("one two three", drop_after=4 if broken else None))
    request = ModelRequest(
        [Message("user", "?")], args={"api_base": streaming.server.base_url, "api_key": KEY}
    )
    with pytest.raises(ZeroDivisionError, match=word):
        await streaming.model.complete(request, on_text=fail)


async def test_a_conversation_that_is_too_long_says_what_to_do(client: Client) -> None:
    """M9"""
    client.server.enqueue(Status(400, "This model's maximum context length is 128000 tokens."))
    error = await client.fail()
    assert not error.retryable
    assert "context=[KeepLast" in str(error)
