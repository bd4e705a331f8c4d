"""Models over real HTTP, the same for all of them: replies, streams, calls of tools, settings and event loops."""

from __future__ import annotations

import asyncio
import json
import threading
from typing import Any

import anyio
import pytest
from tests.support.http_models import KEY, SEARCH, Client, Kind, chunk, make_model, sse
from tests.support.openai_server import Answer, Hold, OpenAIServer, ToolUse

from overwinter.agents.models import Message, ModelReply, ModelRequest, Price, ToolCall, Usage
from overwinter.agents.models.price import price_of
from overwinter.persistence.secrets import Secret

pytestmark = pytest.mark.anyio


async def test_a_reply_arrives_with_its_usage_and_cost(client: Client) -> None:
    """M8"""
    details = {
        "prompt_tokens_details": {"cached_tokens": 60},
        "completion_tokens_details": {"reasoning_tokens": 7},
    }
    usage = {"prompt_tokens": 100, "completion_tokens": 20, "total_tokens": 120, **details}
    client.server.enqueue(Answer("It is fine.", usage=usage))
    reply = await client.ask()
    assert reply.message == Message("assistant", "It is fine.")
    assert (reply.finish_reason, reply.model) == ("stop", "gpt-4o-mini")
    assert reply.usage.cost is not None
    assert 0 < reply.usage.cost < 0.001
    price = price_of(client.model)
    assert price is not None
    assert reply.usage.cost == pytest.approx(price.of(reply.usage))
    expected = Usage(input_tokens=100, output_tokens=20, cached_tokens=60, reasoning_tokens=7, calls=1)
    assert expected.cost is None
    assert reply.usage == Usage(100, 20, 60, 7, reply.usage.cost, 1)


async def test_a_model_without_a_known_price_has_no_cost(kind: Kind, model_server: OpenAIServer) -> None:
    """M8"""
    for streams in (False, True):
        reply = await Client(model_server, streaming=streams, kind=kind, name="of-my-own").ask()
        assert reply.usage.cost is None
        assert reply.usage.input_tokens == 1


async def test_a_reply_that_was_cut_by_the_limit_says_so(client: Client) -> None:
    """M9"""
    client.server.enqueue(Answer("half a", finish_reason="length"))
    assert (await client.ask(max_tokens=2)).finish_reason == "length"
    assert client.server.requests[0].body["max_tokens"] == 2


async def test_streamed_pieces_join_to_the_text_of_the_reply(streaming: Client) -> None:
    """M3"""
    for text in ("", "one", " two\n\nlines  of it \n"):
        streaming.server.enqueue(Answer(text))
        reply = await streaming.ask()
        assert "".join(streaming.streamed) == reply.message.content == text


async def test_text_is_handed_over_while_the_rest_is_still_to_come(streaming: Client) -> None:
    """M3"""
    hold = Hold(Answer("one two three"), after=3)
    streaming.server.enqueue(hold)
    arrived = anyio.Event()
    streaming.streamed = _Listening(2, arrived)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(streaming.ask)
        await arrived.wait()
        assert [*streaming.streamed] == ["one", " two"]
        hold.release()
    assert "".join(streaming.streamed) == "one two three"


class _Listening(list[str]):
    """A list that tells when it has so many."""

    def __init__(self, enough: int, event: anyio.Event) -> None:
        super().__init__()
        self.enough, self.event = enough, event

    def append(self, text: str) -> None:
        super().append(text)
        if len(self) == self.enough:
            self.event.set()

    def clear(self) -> None:
        """Kept for the test."""


async def test_a_refusal_is_the_text_of_the_reply(client: Client) -> None:
    """M3"""
    client.server.enqueue(Answer(extra={"refusal": "I would rather not."}))
    reply = await client.ask()
    assert reply.message == Message("assistant", "I would rather not.")
    if client.streaming:
        assert "".join(client.streamed) == "I would rather not."


async def test_a_refusal_that_comes_in_pieces_is_not_lost(streaming: Client) -> None:
    """M3"""
    pieces = ("I would", " rather", " not.")
    streaming.server.enqueue(sse(*(chunk({"refusal": piece}) for piece in pieces), chunk({}, "stop")))
    reply = await streaming.ask()
    assert "".join(streaming.streamed) == reply.message.content == "I would rather not."


async def test_parallel_tool_calls_are_assembled(client: Client) -> None:
    """M4"""
    long = {"q": "a text that comes in many pieces", "n": [1, 2.0, None]}
    client.server.enqueue(
        Answer("Looking.", calls=[ToolUse("search", long), ToolUse("other", {}), ToolUse("search", "{")])
    )
    reply = await client.ask(tools=(SEARCH,))
    assert reply.message.content == "Looking."
    assert reply.message.tool_calls == (
        ToolCall("call_1_0", "search", json.dumps(long)),
        ToolCall("call_1_1", "other", "{}"),
        ToolCall("call_1_2", "search", "{"),
    )
    assert reply.finish_reason == "tool_calls"


async def test_calls_without_ids_get_ids_of_their_own(client: Client) -> None:
    """M5"""
    client.server.enqueue(Answer(calls=[ToolUse("a", {"x": 1}, id=None), ToolUse("b", {"x": 2}, id=None)]))
    calls = (await client.ask()).message.tool_calls
    assert [(call.name, call.arguments) for call in calls] == [("a", '{"x": 1}'), ("b", '{"x": 2}')]
    assert all(call.id for call in calls)
    assert calls[0].id != calls[1].id


async def test_an_id_that_the_conversation_has_already_is_replaced(client: Client) -> None:
    """M5"""
    client.server.enqueue(Answer(calls=[ToolUse("a", {}, id="call_0"), ToolUse("b", {}, id="call_0")]))
    before = Message("assistant", "", (ToolCall("call_0", "a", "{}"),))
    answered = Message("tool", "done", tool_call_id="call_0")
    calls = (await client.ask(Message("user", "?"), before, answered)).message.tool_calls
    assert [call.name for call in calls] == ["a", "b"]
    assert len({"call_0", *(call.id for call in calls)}) == 3


@pytest.mark.parametrize(
    "deltas",
    [
        pytest.param(
            [
                {"index": 0, "id": "1", "function": {"name": "a", "arguments": '{"x"'}},
                {"index": 0, "id": "1", "function": {"name": "a", "arguments": ": 1}"}},
                {"index": 1, "id": "2", "function": {"name": "b", "arguments": "{}"}},
            ],
            id="id and name in every piece",
        ),
        pytest.param(
            [
                {"index": 0, "id": "1", "function": {"name": "a", "arguments": '{"x": 1}'}},
                {"index": 0, "id": "2", "function": {"name": "b", "arguments": "{}"}},
            ],
            id="one index for all",
        ),
        pytest.param(
            [
                {"index": 1, "id": "2", "function": {"name": "b", "arguments": ""}},
                {"index": 0, "id": "1", "function": {"name": "a", "arguments": '{"x": 1}'}},
                {"index": 1, "function": {"arguments": "{}"}},
            ],
            id="out of order",
        ),
    ],
)
async def test_calls_are_assembled_whichever_way_a_server_streams_them(
    streaming: Client, deltas: list[dict[str, Any]]
) -> None:
    """M4"""
    events = [chunk({"tool_calls": [delta]}) for delta in deltas]
    streaming.server.enqueue(sse(*events, chunk({}, "tool_calls")))
    calls = (await streaming.ask()).message.tool_calls
    assert sorted((call.id, call.name, call.arguments) for call in calls) == [
        ("1", "a", '{"x": 1}'),
        ("2", "b", "{}"),
    ]


async def test_the_answers_of_tools_go_back_with_the_calls(client: Client) -> None:
    """M2"""
    question = Message("user", "where?")
    asked = await client.ask(question, tools=(SEARCH,))
    (call,) = asked.message.tool_calls
    found = Message("tool", "there", tool_call_id=call.id, name=call.name)
    reply = await client.ask(question, asked.message, found, tools=(SEARCH,))
    assert reply.message.content == "You said: where?"
    _, called, answered = client.server.requests[1].body["messages"]
    assert not called.get("content")
    function = {"name": "search", "arguments": call.arguments}
    assert called["tool_calls"] == [{"type": "function", "id": call.id, "function": function}]
    assert answered == {"role": "tool", "content": "there", "tool_call_id": call.id, "name": "search"}
    assert client.server.requests[0].body["tools"][0]["function"]["parameters"] == SEARCH.parameters


async def test_signed_thinking_is_kept_and_goes_back_verbatim(client: Client) -> None:
    """M2"""
    thinking = {
        "thinking_blocks": [{"type": "thinking", "thinking": "hm", "signature": "c2ln"}],
        "reasoning_content": "hm",
    }
    client.server.enqueue(Answer("So.", extra=thinking))
    reply = await client.ask()
    assert thinking.items() <= reply.message.provider.items()
    await client.ask(Message("user", "?"), reply.message, Message("user", "and?"))
    assert thinking.items() <= client.server.requests[1].body["messages"][1].items()


async def test_half_an_emoji_becomes_a_replacement_character(client: Client) -> None:
    """M6"""
    client.server.enqueue(
        Answer(
            "\ud83d\ude00 \ud83d",
            pieces=["\ud83d", "\ude00 ", "\ud83d"],
            calls=[ToolUse("f", '{"a": "\ude00"}')],
        )
    )
    reply = await client.ask()
    assert reply.message.content == "\U0001f600 \ufffd"
    assert reply.message.tool_calls[0].arguments == '{"a": "\ufffd"}'
    if client.streaming:
        assert "".join(client.streamed) == reply.message.content


async def test_a_malformed_call_does_not_spoil_the_conversation(client: Client) -> None:
    """M7"""
    client.server.enqueue(Answer(calls=[ToolUse("search", '{"q": "cut o')]))
    reply = await client.ask(tools=(SEARCH,))
    (call,) = reply.message.tool_calls
    assert call.arguments == '{"q": "cut o'
    await client.ask(Message("user", "?"), reply.message, Message("tool", "not JSON", tool_call_id=call.id))
    sent = client.server.requests[1].body["messages"][1]["tool_calls"][0]["function"]["arguments"]
    assert json.loads(sent) == {"malformed_arguments": '{"q": "cut o'}


async def test_settings_reach_the_provider(client: Client) -> None:
    """M22"""
    args = {
        "api_key": Secret(KEY),
        "top_p": 0.25,
        "extra_headers": {"X-Team": Secret("bees")},
        "model": "other",
    }
    await client.ask(args=args, temperature=0.0)
    (request,) = client.server.requests
    assert (request.body["model"], request.body["top_p"], request.body["temperature"]) == (
        "gpt-4o-mini",
        0.25,
        0.0,
    )
    assert request.headers["authorization"] == f"Bearer {KEY}"
    assert request.headers["x-team"] == "bees"


async def test_a_models_own_settings_stand_behind_those_of_the_request(
    kind: Kind, model_server: OpenAIServer
) -> None:
    """M22"""
    own = {"api_base": model_server.base_url, "api_key": KEY, "top_p": 0.5, "seed": 1}
    model = make_model(kind, args=own)
    await model.complete(ModelRequest([Message("user", "?")], args={"top_p": 0.1}))
    assert (model_server.requests[0].body["top_p"], model_server.requests[0].body["seed"]) == (0.1, 1)


@pytest.mark.parametrize("variable", ["OPENAI_API_BASE", "OPENAI_BASE_URL"])
async def test_the_environment_alone_leads_to_a_server(
    kind: Kind, model_environment: OpenAIServer, variable: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """M22"""
    monkeypatch.delenv({"OPENAI_API_BASE", "OPENAI_BASE_URL"}.difference({variable}).pop())
    reply = await make_model(kind).complete(ModelRequest([Message("user", "hello")]))
    assert reply.message.content == "You said: hello"


async def test_a_schema_is_sent_to_a_model_that_takes_it(client: Client) -> None:
    """M23"""
    schema = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}
    await client.ask(output_schema={"name": "Answer", "schema": schema})
    assert client.server.requests[0].body["response_format"]["json_schema"]["schema"] == schema
    client.model = make_model(client.kind, "of-my-own")
    await client.ask(output_schema={"name": "Answer", "schema": schema})
    assert "response_format" not in client.server.requests[1].body


async def test_the_callers_event_loop_is_left_alone(client: Client) -> None:
    """M13"""
    before = asyncio.all_tasks()
    names = {thread.name for thread in threading.enumerate() if thread.name.startswith("asyncio_")}
    for _ in range(3):
        await client.ask()
    assert asyncio.all_tasks() == before
    assert {thread.name for thread in threading.enumerate() if thread.name.startswith("asyncio_")} == names


async def test_many_calls_at_once_share_the_connections(client: Client) -> None:
    """M15"""
    replies: list[ModelReply] = []

    async def ask(number: int) -> None:
        asker = Client(client.server, streaming=client.streaming, kind=client.kind)
        replies.append(await asker.ask(Message("user", str(number))))

    async with anyio.create_task_group() as tasks:
        for number in range(50):
            tasks.start_soon(ask, number)
    assert {reply.message.content for reply in replies} == {f"You said: {number}" for number in range(50)}


async def test_the_price_that_was_given_is_what_a_reply_costs(kind: Kind, model_server: OpenAIServer) -> None:
    """M8"""
    own = {"api_base": model_server.base_url, "api_key": KEY}
    model = make_model(kind, "of-my-own", args=own, price=Price(input=0.5, output=2.0))
    model_server.enqueue(Answer("It is fine.", usage={"prompt_tokens": 10, "completion_tokens": 4}))
    assert (await model.complete(ModelRequest([Message("user", "?")]))).usage.cost == 13.0


@pytest.mark.allow_blocking  # event loops one after another cannot be had inside one
class TestSeveralEventLoops:
    @pytest.fixture
    def anyio_backend(self) -> None:
        """These tests bring their own loops."""

    @pytest.mark.parametrize("streaming", [False, True], ids=["whole", "streamed"])
    def test_one_after_another_they_are_asked(
        self, kind: Kind, model_server: OpenAIServer, streaming: bool
    ) -> None:
        """M15"""
        client = Client(model_server, streaming=streaming, kind=kind)
        replies = [asyncio.run(client.ask()) for _ in range(3)]
        assert {reply.message.content for reply in replies} == {"You said: hello"}

    def test_at_once_they_are_asked(self, kind: Kind, model_server: OpenAIServer) -> None:
        """M15"""
        client = Client(model_server, streaming=False, kind=kind)
        replies: list[ModelReply] = []
        threads = [
            threading.Thread(target=lambda: replies.append(asyncio.run(client.ask()))) for _ in range(5)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert [reply.message.content for reply in replies] == ["You said: hello"] * 5
