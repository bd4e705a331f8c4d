from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from overwinter.agents.models import Message, ModelRequest, ToolCall, ToolSpec
from overwinter.agents.models.litellm_request import ORIGIN, settings_for
from overwinter.persistence.secrets import Secret

THINKING = [{"type": "thinking", "thinking": "hm", "signature": "c2ln"}]
CLOSED = {
    "type": "object",
    "properties": {"a": {"type": "integer"}},
    "required": ["a"],
    "additionalProperties": False,
}


def settings(
    request: ModelRequest, *, provider: str = "openai", schema_supported: bool = True, **args: Any
) -> Any:
    return settings_for(request, args, provider=provider, schema_supported=schema_supported)


def thinking_message(**provider: Any) -> Message:
    call = ToolCall("call_1", "search", "{}", {"extra_content": {"signature": "c2ln"}})
    return Message("assistant", "", (call,), provider={"thinking_blocks": THINKING, **provider})


def test_a_conversation_goes_out_in_the_usual_form() -> None:
    """M22"""
    request = ModelRequest(
        [
            Message("system", "be brief"),
            Message("user", "hello", name="ann"),
            Message("assistant", "", (ToolCall("call_1", "search", '{"q": 1}'),)),
            Message("tool", "found", tool_call_id="call_1", name="search"),
        ],
        tools=(ToolSpec("search", "Search.", {"type": "object"}),),
        temperature=0.0,
        max_tokens=50,
    )
    assert settings(request) == {
        "messages": [
            {"role": "system", "content": "be brief"},
            {"role": "user", "content": "hello", "name": "ann"},
            {
                "role": "assistant",
                "content": None,
                "tool_calls": [
                    {
                        "type": "function",
                        "id": "call_1",
                        "function": {"name": "search", "arguments": '{"q": 1}'},
                    }
                ],
            },
            {"role": "tool", "content": "found", "tool_call_id": "call_1", "name": "search"},
        ],
        "temperature": 0.0,
        "max_tokens": 50,
        "tools": [
            {
                "type": "function",
                "function": {"name": "search", "description": "Search.", "parameters": {"type": "object"}},
            }
        ],
        "_skip_mcp_handler": True,
    }


def test_what_a_provider_gave_goes_back_to_it_verbatim() -> None:
    """M2"""
    sent = settings(ModelRequest([thinking_message(**{ORIGIN: "anthropic"})]), provider="anthropic")[
        "messages"
    ][0]
    assert sent["thinking_blocks"] == THINKING
    assert sent["tool_calls"][0]["extra_content"] == {"signature": "c2ln"}
    assert ORIGIN not in sent


def test_what_a_provider_gave_goes_to_no_other() -> None:
    """M2"""
    sent = settings(ModelRequest([thinking_message(**{ORIGIN: "anthropic"})]), provider="openai")["messages"][
        0
    ]
    assert "thinking_blocks" not in sent
    assert set(sent["tool_calls"][0]) == {"type", "id", "function"}


def test_litellms_own_container_goes_only_to_adapters_that_read_it() -> None:
    """M2"""
    request = ModelRequest(
        [Message("assistant", "hi", provider={"provider_specific_fields": {"citations": [1]}})]
    )
    assert "provider_specific_fields" in settings(request, provider="anthropic")["messages"][0]
    assert "provider_specific_fields" not in settings(request, provider="openai")["messages"][0]


@pytest.mark.parametrize("arguments", ['{"a": 1}', ' {"a":  [1.0, "\u00e9"]}\n', "{}"])
def test_arguments_go_back_as_the_model_wrote_them(arguments: str) -> None:
    """M7"""
    request = ModelRequest([Message("assistant", "", (ToolCall("call_1", "f", arguments),))])
    assert settings(request)["messages"][0]["tool_calls"][0]["function"]["arguments"] == arguments


@given(
    st.text(max_size=30)
    | st.sampled_from(["", " ", "[1]", '{"a": ', "null", "{" * 9999, '{"a": NaN}', '{"\ud83d": 1}'])
)
def test_arguments_that_are_no_object_go_back_inside_one(arguments: str) -> None:
    """M7"""
    request = ModelRequest([Message("assistant", "", (ToolCall("call_1", "f", arguments),))])
    sent = settings(request)["messages"][0]["tool_calls"][0]["function"]["arguments"]
    assert isinstance(json.loads(sent), dict)
    sent.encode()


def test_text_that_has_no_encoding_is_replaced_before_it_goes_out() -> None:
    """M6"""
    request = ModelRequest([Message("user", "half \ud83d"), Message("tool", "\ude00", tool_call_id="call_1")])
    assert [message["content"] for message in settings(request)["messages"]] == ["half \ufffd", "\ufffd"]


def test_settings_of_the_user_win_and_secrets_are_revealed() -> None:
    """M22"""
    request = ModelRequest([Message("user", "?")], temperature=0.5)
    sent = settings(request, temperature=1.0, api_key=Secret("sk-12345678"), extra_headers={"X": Secret("y")})
    assert (sent["temperature"], sent["api_key"], sent["extra_headers"]) == (1.0, "sk-12345678", {"X": "y"})


def test_tools_of_the_provider_join_those_of_the_agent() -> None:
    """M22"""
    request = ModelRequest([Message("user", "?")], tools=(ToolSpec("mine", "", {}),))
    sent = settings(request, tools=[{"type": "mcp", "server_url": "litellm_proxy"}])
    assert [tool["type"] for tool in sent["tools"]] == ["function", "mcp"]
    assert "_skip_mcp_handler" not in sent


def test_a_closed_schema_is_asked_for_strictly() -> None:
    """M23"""
    request = ModelRequest([Message("user", "?")], output_schema={"name": "list[int]!", "schema": CLOSED})
    assert settings(request)["response_format"] == {
        "type": "json_schema",
        "json_schema": {"name": "list_int__", "schema": CLOSED, "strict": True},
    }


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "object", "properties": {"a": {}}, "required": [], "additionalProperties": False},
        {"type": "object", "properties": {"a": {"type": "object", "properties": {}}}, "required": ["a"]},
        {**CLOSED, "properties": {"a": {"anyOf": [{"type": "object"}, {"type": "null"}]}}},
    ],
)
def test_an_open_schema_is_asked_for_without_strictness(schema: dict[str, Any]) -> None:
    """M23"""
    request = ModelRequest([Message("user", "?")], output_schema={"name": "n", "schema": schema})
    assert "strict" not in settings(request)["response_format"]["json_schema"]


def test_a_schema_goes_only_to_models_that_take_it_and_only_for_objects() -> None:
    """M23"""
    request = ModelRequest([Message("user", "?")], output_schema={"name": "n", "schema": CLOSED})
    assert "response_format" not in settings(request, schema_supported=False)
    request = ModelRequest([Message("user", "?")], output_schema={"name": "n", "schema": {"type": "array"}})
    assert "response_format" not in settings(request)
