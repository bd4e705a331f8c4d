"""OpenAICompatible and servers that do not keep to anything."""

from __future__ import annotations

import gc
import traceback
from typing import TYPE_CHECKING, Any

import anyio
import pytest
from tests.support.http_models import chunk
from tests.support.raw_server import HANG, chunked, serving, whole

from overwinter import OpenAICompatible
from overwinter.agents.models import Message, ModelReply, ModelRequest
from overwinter.errors import ModelError

if TYPE_CHECKING:
    from tests.support.openai_server import OpenAIServer

pytestmark = pytest.mark.anyio

HELLO = ModelRequest([Message("user", "hello")])
END = (chunk({}, "stop"), b"[DONE]")


async def reply_to(answer: bytes, *, streaming: bool, timeout: float = 10.0) -> ModelReply:
    async with serving(answer) as base_url:
        model = OpenAICompatible("m", base_url=base_url, api_key="", timeout=timeout)
        try:
            return await model.complete(HELLO, on_text=(lambda _: None) if streaming else None)
        finally:
            await model.aclose()


async def failure(answer: bytes, *, streaming: bool = False, timeout: float = 10.0) -> ModelError:
    with pytest.raises(ModelError) as caught:
        await reply_to(answer, streaming=streaming, timeout=timeout)
    return caught.value


@pytest.mark.parametrize(
    "stream",
    [
        pytest.param(
            chunked(chunk({"content": "hi"}), *END, ended=False), id="cut off behind the last event"
        ),
        pytest.param(chunked(chunk({"content": "hi"}), END[0], b"[DONE] "), id="a space behind the end"),
        pytest.param(chunked(b"", chunk({"content": "hi"}), b"", *END), id="events without data"),
    ],
)
async def test_a_whole_reply_is_one_however_sloppily_its_stream_ends(stream: bytes) -> None:
    """M31"""
    assert (await reply_to(stream, streaming=True)).message.content == "hi"


@pytest.mark.parametrize("call", ["abc", ["f"], 5, {"name": "f", "arguments": "{}"}])
@pytest.mark.parametrize("index", [0, [1], {"a": 1}])
async def test_calls_of_any_shape_are_borne(call: Any, index: Any) -> None:
    """M31"""
    told = {"index": index, "id": "a", "function": call}
    streamed = await reply_to(chunked(chunk({"tool_calls": [told]}), *END), streaming=True)
    answer = {"choices": [{"message": {"content": "", "tool_calls": [told]}}]}
    at_once = await reply_to(whole(answer), streaming=False)
    names = ["f"] if isinstance(call, dict) else []
    assert [one.name for one in streamed.message.tool_calls] == names
    assert [one.name for one in at_once.message.tool_calls] == names


@pytest.mark.parametrize(
    ("answer", "status", "retryable", "after"),
    [
        pytest.param(whole(b'{"err', 429, "Retry-After: 7", length=99), 429, True, 7.0, id="429, cut off"),
        pytest.param(whole(b'{"err', 401, length=99), 401, False, None, id="401, cut off"),
        pytest.param(whole(b'{"err' + HANG, 503, length=99), 503, True, None, id="503, hanging"),
    ],
)
async def test_a_refusal_is_one_even_where_its_text_breaks_off(
    answer: bytes, status: int, retryable: bool, after: float | None
) -> None:
    """M31"""
    error = await failure(answer, timeout=0.2)
    assert (error.status_code, error.retryable, error.retry_after) == (status, retryable, after)


async def test_an_answer_that_drips_is_not_waited_for_longer_than_its_timeout() -> None:
    """M27"""
    dripping = anyio.Event()

    async def drip(stream: anyio.abc.SocketStream) -> None:
        async with stream:
            await stream.receive()
            try:
                await stream.send(whole(b"", length=10**9))
                while True:
                    await stream.send(b" ")
                    await anyio.sleep(0.01)
            except (anyio.BrokenResourceError, anyio.ClosedResourceError):
                dripping.set()

    async with await anyio.create_tcp_listener(local_host="127.0.0.1") as listener:
        port = listener.extra(anyio.abc.SocketAttribute.local_port)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(listener.serve, drip)
            model = OpenAICompatible("m", base_url=f"http://127.0.0.1:{port}/v1", api_key="", timeout=0.2)
            with anyio.fail_after(5), pytest.raises(ModelError, match="no answer in time"):
                await model.complete(HELLO)
            await dripping.wait()
            await model.aclose()
            tasks.cancel_scope.cancel()


@pytest.mark.parametrize(
    ("usage", "tokens", "cost"),
    [
        pytest.param('"prompt_tokens": 10.0, "completion_tokens": 1', 11, None, id="fractions"),
        pytest.param(f'"prompt_tokens": 1{"0" * 40}, "completion_tokens": 1', 1, None, id="absurdly many"),
        pytest.param('"prompt_tokens": NaN, "completion_tokens": 1', 1, None, id="no number"),
        pytest.param('"prompt_tokens": 1, "completion_tokens": 1, "cost": NaN', 2, None, id="a cost of NaN"),
        pytest.param(
            '"prompt_tokens": 1, "completion_tokens": 1, "cost": 1e999', 2, None, id="an infinite cost"
        ),
        pytest.param(
            '"prompt_tokens": 1, "completion_tokens": 1, "cost": -5', 2, None, id="a cost below zero"
        ),
    ],
)
async def test_a_usage_that_cannot_be_is_not_counted(usage: str, tokens: int, cost: float | None) -> None:
    """M31"""
    body = f'{{"choices": [{{"message": {{"content": "hi"}}}}], "usage": {{{usage}}}}}'.encode()
    told = (await reply_to(whole(body), streaming=False)).usage
    assert (told.total_tokens, told.cost) == (tokens, cost)


async def test_an_empty_usage_at_the_end_does_not_take_the_one_before_away() -> None:
    """M31"""
    usage = {"prompt_tokens": 3, "completion_tokens": 4}
    stream = chunked({**chunk({"content": "hi"}), "usage": usage}, {**END[0], "usage": {}}, b"[DONE]")
    assert (await reply_to(stream, streaming=True)).usage.total_tokens == 7


async def test_an_answer_nested_without_end_is_an_error_of_the_model() -> None:
    """M31"""
    deep = b"[" * 700 + b"1" + b"]" * 700
    body = b'{"choices": [{"message": {"content": "hi", "reasoning_details": ' + deep + b"}}]}"
    error = await failure(whole(body))
    assert error.retryable


@pytest.mark.parametrize("streaming", [False, True], ids=["whole", "streamed"])
async def test_an_error_that_stands_in_the_choice_is_one(streaming: bool) -> None:
    """M31"""
    told = {"code": 502, "message": "the upstream failed"}
    whole_choice = {"message": {"content": ""}, "finish_reason": "error", "error": told}
    choice = {"delta": {}, "finish_reason": "error", "error": told} if streaming else whole_choice
    answer = {"choices": [choice]}
    error = await failure(chunked(answer, b"[DONE]") if streaming else whole(answer), streaming=streaming)
    assert (error.status_code, error.retryable) == (502, True)
    assert "the upstream failed" in str(error)


@pytest.mark.parametrize(
    "args",
    [
        {"extra_headers": "x"},
        {"extra_headers": {5: "x"}},
        {"api_base": 5},
        {"api_key": 7},
        {"extra_body": "x"},
    ],
)
async def test_settings_of_a_wrong_kind_are_errors_of_the_model(args: dict[str, Any]) -> None:
    """M27"""
    model = OpenAICompatible("m", base_url="http://127.0.0.1:9/v1", api_key="")
    with pytest.raises(ModelError) as caught:
        await model.complete(ModelRequest([Message("user", "hello")], args=args))
    assert not caught.value.retryable
    await model.aclose()


async def test_a_password_of_a_proxy_stands_in_no_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    """M30"""

    async def refuse(stream: anyio.abc.SocketStream) -> None:
        async with stream:
            await stream.receive()
            await stream.send(b"HTTP/1.1 407 No\r\nContent-Length: 0\r\n\r\n")

    async with await anyio.create_tcp_listener(local_host="127.0.0.1") as listener:
        port = listener.extra(anyio.abc.SocketAttribute.local_port)
        monkeypatch.setenv("HTTPS_PROXY", f"http://bee:pass-word-77@127.0.0.1:{port}")
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(listener.serve, refuse)
            model = OpenAICompatible("m", base_url="https://models.example/v1", api_key="")
            with pytest.raises(ModelError) as caught:
                await model.complete(HELLO)
            await model.aclose()
            tasks.cancel_scope.cancel()
    assert "pass-word-77" not in "".join(traceback.format_exception(caught.value))


async def test_a_model_that_goes_with_a_circle_closes_its_connections(
    running_model_server: OpenAIServer,
) -> None:
    """M29"""
    running_model_server.reset()
    model = OpenAICompatible("m", base_url=running_model_server.base_url)
    await model.complete(HELLO)
    (session,) = [opened.session for opened in model._sessions._opened.values()]
    connector = session.connector
    assert connector is not None
    circle: list[Any] = [model]
    circle.append(circle)
    del model, circle, session
    gc.collect()  # a session that was not closed would warn here, and a warning is an error
    while not connector.closed:
        await anyio.lowlevel.checkpoint()
