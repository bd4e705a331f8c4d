from __future__ import annotations

import anyio
import pytest

from overwinter.agents.models import Message, ModelReply, ModelRequest, ScriptedModel, ToolCall, Usage
from overwinter.errors import ModelError

pytestmark = pytest.mark.anyio


def asking(*texts: str) -> ModelRequest:
    return ModelRequest([Message("user", text) for text in texts])


async def test_replies_are_given_one_after_another() -> None:
    """M25"""
    model = ScriptedModel(["one", "two"])
    texts = [(await model.complete(asking("?"))).message.content for _ in range(2)]
    assert texts == ["one", "two"]
    assert model.remaining == 0


async def test_a_used_up_script_says_so() -> None:
    """M25"""
    model = ScriptedModel("only", name="tester")
    await model.complete(asking("first"))
    with pytest.raises(
        ModelError, match=r"'tester' has 1 replies and this is request 2.*'second'.*loop=True"
    ) as caught:
        await model.complete(asking("first", "second"))
    assert not caught.value.retryable


async def test_a_looping_script_repeats_its_last_reply() -> None:
    """M25"""
    model = ScriptedModel(["one", "again"], loop=True)
    texts = [(await model.complete(asking("?"))).message.content for _ in range(4)]
    assert texts == ["one", "again", "again", "again"]


async def test_one_reply_may_hold_a_text_and_several_calls() -> None:
    """M25"""
    model = ScriptedModel(
        [["Looking.", ScriptedModel.call("a", {"x": 1}), ScriptedModel.call("b", "{broken")]]
    )
    reply = await model.complete(asking("?"))
    assert reply.message == Message(
        "assistant", "Looking.", (ToolCall("call_1", "a", '{"x":1}'), ToolCall("call_2", "b", "{broken"))
    )
    assert reply.finish_reason == "tool_calls"


async def test_calls_are_numbered_beyond_those_of_the_conversation() -> None:
    """M25"""
    model = ScriptedModel(
        [ScriptedModel.call("a"), ScriptedModel.call("a"), ScriptedModel.call("a", call_id="mine")]
    )
    request = ModelRequest([Message("assistant", "", (ToolCall("call_7", "a"), ToolCall("other", "a")))])
    ids = [(await model.complete(request)).message.tool_calls[0].id for _ in range(3)]
    assert ids == ["call_8", "call_9", "mine"]


async def test_an_exception_in_the_script_is_raised() -> None:
    """M25"""
    model = ScriptedModel([ModelError("busy", retryable=True), "well"])
    with pytest.raises(ModelError, match="busy"):
        await model.complete(asking("?"))
    assert (await model.complete(asking("?"))).message.content == "well"


async def test_a_stream_may_break_in_the_middle() -> None:
    """M25"""
    streamed: list[str] = []
    model = ScriptedModel([["half a sen", ModelError("dropped", retryable=True)]])
    with pytest.raises(ModelError, match="dropped"):
        await model.complete(asking("?"), on_text=streamed.append)
    assert streamed == ["half", " a", " sen"]


async def test_functions_compute_replies_from_the_request() -> None:
    """M25"""

    async def slowly(request: ModelRequest) -> list[str]:
        await anyio.lowlevel.checkpoint()
        return ["slowly ", request.messages[-1].content]

    model = ScriptedModel([lambda request: request.messages[-1].content.upper(), slowly])
    texts = [(await model.complete(asking("hello"))).message.content for _ in range(2)]
    assert texts == ["HELLO", "slowly hello"]
    lone = ScriptedModel(lambda request: str(len(request.messages)), loop=True)
    assert (await lone.complete(asking("a", "b"))).message.content == "2"


async def test_a_whole_reply_is_given_as_it_is() -> None:
    """M25"""
    reply = ModelReply(
        Message("assistant", "two words"), Usage(input_tokens=9, cost=None, calls=1), "other", "length"
    )
    streamed: list[str] = []
    assert await ScriptedModel([reply]).complete(asking("?"), on_text=streamed.append) is reply
    assert streamed == ["two", " words"]


async def test_streamed_pieces_join_to_the_text() -> None:
    """M3"""
    for text in ("", " ", "one", " a  b\nc ", "long\n" * 2000):
        streamed: list[str] = []
        reply = await ScriptedModel([text]).complete(asking("?"), on_text=streamed.append)
        assert "".join(streamed) == reply.message.content == text


async def test_a_gate_holds_a_reply_until_the_test_opens_it() -> None:
    """M25"""
    gate = ScriptedModel.gate(" and the rest")
    model = ScriptedModel([["begun", gate]])
    streamed: list[str] = []
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(lambda: model.complete(asking("?"), on_text=streamed.append))
        await gate.reached.wait()
        assert streamed == ["begun"]
        gate.open()
    assert "".join(streamed) == "begun and the rest"


async def test_a_model_at_a_gate_can_be_cancelled() -> None:
    """M25"""
    gate = ScriptedModel.gate()
    model = ScriptedModel([gate, "next"])
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(model.complete, asking("?"))
        await gate.reached.wait()
        tasks.cancel_scope.cancel()
    assert (await model.complete(asking("?"))).message.content == "next"


async def test_requests_are_kept_as_they_were() -> None:
    """M25"""
    model = ScriptedModel(["one"], loop=True)
    messages = [Message("user", "hello")]
    request = ModelRequest(messages=messages)
    await model.complete(request)
    messages.append(Message("assistant", "one"))
    await model.complete(request)
    assert [len(kept.messages) for kept in model.requests] == [1, 2]


async def test_usage_is_deterministic() -> None:
    """M25"""
    model = ScriptedModel(["three small words"], cost=0.25, loop=True)
    usages = [(await model.complete(asking("one two"))).usage for _ in range(2)]
    assert usages == [Usage(input_tokens=2, output_tokens=3, cost=0.25, calls=1)] * 2
