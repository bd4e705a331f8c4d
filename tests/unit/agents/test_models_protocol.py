from __future__ import annotations

import msgspec

from overwinter.agents.models import (
    LiteLLMModel,
    Message,
    Model,
    ModelReply,
    ScriptedModel,
    ToolCall,
    Usage,
)


def test_usages_add_up() -> None:
    """M8"""
    one = Usage(input_tokens=10, output_tokens=2, cached_tokens=4, reasoning_tokens=1, cost=0.5, calls=1)
    assert one + one == Usage(
        input_tokens=20, output_tokens=4, cached_tokens=8, reasoning_tokens=2, cost=1.0, calls=2
    )
    assert (one + one).total_tokens == 24


def test_an_unknown_price_makes_the_sum_unknown() -> None:
    """M8"""
    priced, unpriced = Usage(cost=0.5, calls=1), Usage(cost=None, calls=1)
    assert (priced + unpriced).cost is None
    assert (unpriced + priced).cost is None


def test_an_empty_usage_changes_nothing() -> None:
    """M8"""
    used = Usage(input_tokens=1, cost=0.5, calls=1)
    assert Usage() + used == used + Usage() == used


def test_a_message_is_stored_and_read_back_with_all_its_fields() -> None:
    """M2"""
    message = Message(
        "assistant",
        "text",
        (ToolCall("call_1", "search", '{"q": 1.0}', {"extra_content": {"signature": "c2ln"}}),),
        provider={"thinking_blocks": [{"type": "thinking", "thinking": "hm", "signature": "c2ln"}]},
    )
    assert msgspec.json.decode(msgspec.json.encode(message), type=Message) == message


def test_the_shipped_models_satisfy_the_protocol() -> None:
    """M1"""
    assert isinstance(ScriptedModel(), Model)
    assert isinstance(LiteLLMModel("gpt-4o-mini"), Model)


def test_a_reply_needs_nothing_but_its_message() -> None:
    """M1"""
    reply = ModelReply(Message("assistant", "hello"))
    assert (reply.usage, reply.model, reply.finish_reason) == (Usage(), "", "stop")
