from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import anyio
import msgspec
import pytest

from overwinter.agents.models import (
    Message,
    ModelRequest,
    OpenAICompatible,
    Price,
    ScriptedModel,
    ToolCall,
    price_list,
)
from overwinter.agents.models.chat_request import ORIGIN
from overwinter.agents.models.described import descriptions, remade
from overwinter.agents.models.endpoints import endpoint
from overwinter.agents.models.openai_errors import model_error
from overwinter.agents.models.openai_request import call_for, destination
from overwinter.agents.models.price_list import Listed, listed
from overwinter.errors import ConfigurationError
from overwinter.persistence.secrets import Secret

if TYPE_CHECKING:
    from pathlib import Path


def body(
    request: ModelRequest, name: str = "m", *, provider: str = "", streaming: bool = False, **args: Any
) -> Any:
    to = destination(args, base_url="http://localhost:1/v1", api_key=None, headers={}, timeout=1.0)
    call = call_for(request, to, name=name, provider=provider, takes_schema=False, streaming=streaming)
    return msgspec.json.decode(call.body)


ASKED = ModelRequest([Message("user", "?")], max_tokens=5)


@pytest.mark.parametrize(
    ("given", "base_url", "url", "provider"),
    [
        ("http://a:8000/v1/", "http://a:8000/v1", "http://a:8000/v1/chat/completions", "http://a:8000/v1"),
        ("https://api.groq.com/openai/v1", "https://api.groq.com/openai/v1", None, "groq"),
        ("http://a/v1/chat/completions", "http://a/v1", "http://a/v1/chat/completions", "http://a/v1"),
        ("http://u:p@a/v1?v=1", "http://a/v1?v=1", "http://a/v1/chat/completions?v=1", "http://a/v1"),
    ],
)
def test_an_address_names_its_provider(given: str, base_url: str, url: str | None, provider: str) -> None:
    """M30"""
    there = endpoint(given)
    assert (there.base_url, there.provider) == (base_url, provider)
    assert url is None or there.url == url


def test_models_that_count_their_thinking_get_their_limit_by_its_other_name() -> None:
    """M22"""
    assert body(ASKED, "gpt-5-mini", provider="openai")["max_completion_tokens"] == 5
    assert "max_tokens" not in body(ASKED, "o3", provider="openai")
    assert body(ASKED, "gpt-4o-mini", provider="openai")["max_tokens"] == 5
    assert body(ASKED, "gpt-5-mini")["max_tokens"] == 5


def test_streaming_is_decided_here() -> None:
    """M21"""
    assert "stream" not in body(ASKED, stream=True, n=4)
    sent = body(ASKED, streaming=True, stream=False, stream_options={"include_usage": False})
    assert sent["stream"]
    assert sent["stream_options"] == {"include_usage": False}


def test_groq_is_not_told_what_it_thought() -> None:
    """M2"""
    for provider, goes in (("groq", False), ("deepseek", True)):
        thought = Message("assistant", "So.", provider={"reasoning_content": "hm", ORIGIN: provider})
        sent = body(ModelRequest([thought]), provider=provider)["messages"][0]
        assert ("reasoning_content" in sent) is goes


def test_what_a_server_wanted_back_goes_to_no_other() -> None:
    """M2"""
    call = ToolCall("1", "f", "{}", {"extra_content": {"signature": "c2ln"}})
    thought = Message("assistant", "", (call,), provider={"reasoning_content": "hm", ORIGIN: "http://a/v1"})
    (sent,) = body(ModelRequest([thought]), provider="http://b/v1")["messages"]
    assert "reasoning_content" not in sent
    assert "extra_content" not in sent["tool_calls"][0]


def test_the_price_list_is_read_without_litellm() -> None:
    """L12"""
    found = listed("openai", "gpt-4o-mini")
    assert found.takes_schema
    assert found.price is not None
    assert 0 < found.price.input < found.price.output < 1e-5
    assert listed("openai", "of-my-own") == Listed()
    assert listed("groq", "gpt-4o-mini") == Listed()


@pytest.mark.anyio
async def test_models_that_prepare_at_once_read_the_price_list_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """M27"""
    reads: list[str] = []

    def read() -> Path:
        reads.append("")
        time.sleep(0.05)
        return real()

    real = price_list._path
    monkeypatch.setattr(price_list, "_path", read)
    price_list._read.cache_clear()
    async with anyio.create_task_group() as tasks:
        for _ in range(8):
            model = OpenAICompatible("gpt-4o-mini", base_url="https://api.openai.com/v1")
            tasks.start_soon(model.prepare)
    assert len(reads) == 1


def test_an_account_is_told_apart_by_address_and_key() -> None:
    """M30"""
    models = [
        OpenAICompatible("a", base_url="http://a/v1", api_key="k1"),
        OpenAICompatible("b", base_url="http://a/v1", api_key=Secret("k1")),
        OpenAICompatible("a", base_url="http://a/v1", api_key="k2"),
        OpenAICompatible("a", base_url="http://b/v1", api_key="k1"),
        OpenAICompatible("a", base_url="http://a/v1", api_key="", headers={"api-key": Secret("k3")}),
        OpenAICompatible("a", base_url="http://a/v1", api_key="", headers={"api-key": Secret("k4")}),
        OpenAICompatible("a", base_url="http://a/v1", api_key="k1", headers={"X-Team": "bees"}),
    ]
    one, same, key, address, header, another, team = (model.account for model in models)
    assert one == same == team
    assert len({one, key, address, header, another}) == 5


@pytest.mark.parametrize(
    "settings", [{"model_name": ""}, {"timeout": 0}, {"connections": 0}, {"base_url": "api.openai.com/v1"}]
)
def test_a_setting_that_cannot_work_is_refused(settings: dict[str, Any]) -> None:
    """M9"""
    with pytest.raises(ConfigurationError, match=next(iter(settings))):
        OpenAICompatible(**{"model_name": "m", **settings})


def test_too_many_open_files_and_strange_certificates_say_what_to_do() -> None:
    """M9"""
    import errno
    import ssl

    def told(error: Exception) -> Any:
        return model_error(error, name="m", endpoint=endpoint("http://a/v1"), key_given=False, secrets={})

    files = told(OSError(errno.EMFILE, "Too many open files"))
    assert files.retryable
    assert "ulimit -n" in str(files)
    strange = told(ssl.SSLCertVerificationError("self-signed certificate"))
    assert not strange.retryable
    assert "ssl_context=" in str(strange)


def test_a_price_in_the_settings_is_the_models_price() -> None:
    """L12"""
    args = {"input_cost_per_token": 0.5, "output_cost_per_token": 1.0}
    assert OpenAICompatible("m", args=args).price == Price(input=0.5, output=1.0)


def test_a_model_is_made_anew_from_its_description_without_its_credentials() -> None:
    """M32"""
    model = OpenAICompatible(
        "qwen",
        base_url="http://bee:a-password@a:8000/v1",
        api_key="a-secret-key",
        headers={"X-Team": "bees", "Authorization": "Token abcdefgh"},
        price=Price(input=0.5),
        takes_schema=True,
        args={"top_p": 0.5, "api_key": "another-key"},
    )
    written = msgspec.json.encode(model.description)
    assert descriptions([ScriptedModel(), model]) == [None, model.description]
    for secret in (b"a-password", b"a-secret-key", b"abcdefgh", b"another-key"):
        assert secret not in written
    again = remade(msgspec.json.decode(written))
    assert isinstance(again, OpenAICompatible)
    assert again.base_url == "http://a:8000/v1"
    assert again.price == Price(input=0.5)
    kept = {**again.description}
    assert kept["args"] == {"top_p": 0.5}
    assert kept["headers"] == {"X-Team": "bees"}


@pytest.mark.parametrize(
    "description",
    [
        {"kind": "Other"},
        {"kind": "OpenAICompatible", "model_name": "m", "import": "os"},
        {"kind": "OpenAICompatible", "model_name": "m", "base_url": 5},
        {"kind": "OpenAICompatible", "model_name": "m", "args": "abc"},
        ["OpenAICompatible"],
    ],
)
def test_a_description_of_another_kind_is_refused(description: dict[str, Any]) -> None:
    """M32"""
    with pytest.raises(ConfigurationError):
        remade(description)


def test_models_that_their_names_describe_need_no_description() -> None:
    """M32"""
    assert descriptions([ScriptedModel()]) is None
    assert remade(None) is None
