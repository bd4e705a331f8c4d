"""The models that speak HTTP, pointed at the server of the tests and asked whole or streaming."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import pytest
from tests.support.openai_server import Raw

from overwinter.agents.models import (
    LiteLLMModel,
    Message,
    Model,
    ModelReply,
    ModelRequest,
    OpenAICompatible,
    Price,
    ToolSpec,
)
from overwinter.errors import ModelError

if TYPE_CHECKING:
    from tests.support.openai_server import OpenAIServer

__all__ = ["HELLO", "KEY", "SEARCH", "Client", "Kind", "chunk", "failure", "local", "make_model", "sse"]

KEY = "sk-a-key-of-the-tests"
HELLO = ModelRequest([Message("user", "hello")])
SEARCH = ToolSpec(
    "search", "Search.", {"type": "object", "properties": {"q": {"type": "string"}}, "required": ["q"]}
)
Kind: TypeAlias = Literal["litellm", "direct"]


def make_model(
    kind: Kind,
    name: str = "gpt-4o-mini",
    *,
    args: dict[str, Any] | None = None,
    price: Price | None = None,
    timeout: float = 10.0,
) -> Model:
    """The model that OpenAI calls *name*, reached in one way or the other."""
    if kind == "litellm":
        return LiteLLMModel(f"openai/{name}", args=args, price=price, timeout=timeout)
    return OpenAICompatible(name, args=args, price=price, timeout=timeout)


def local(server: OpenAIServer, **settings: Any) -> OpenAICompatible:
    return OpenAICompatible("qwen", base_url=server.base_url, **settings)


async def failure(model: OpenAICompatible) -> ModelError:
    with pytest.raises(ModelError) as caught:
        await model.complete(HELLO)
    return caught.value


class Client:
    """A model and the server that it is pointed at; what it streamed is in ``streamed``."""

    def __init__(
        self, server: OpenAIServer, *, streaming: bool, kind: Kind, name: str = "gpt-4o-mini"
    ) -> None:
        self.server = server
        self.streaming = streaming
        self.kind: Kind = kind
        self.model = make_model(kind, name)
        self.streamed: list[str] = []

    async def ask(self, *messages: Message, args: dict[str, Any] | None = None, **request: Any) -> ModelReply:
        settings = {"api_base": self.server.base_url, "api_key": KEY, **(args or {})}
        asked = ModelRequest(list(messages) or [Message("user", "hello")], args=settings, **request)
        self.streamed.clear()
        return await self.model.complete(asked, on_text=self.streamed.append if self.streaming else None)

    async def fail(self, **request: Any) -> ModelError:
        with pytest.raises(ModelError) as caught:
            await self.ask(**request)
        return caught.value


def chunk(delta: dict[str, Any], finish_reason: str | None = None) -> dict[str, Any]:
    choice = {"index": 0, "delta": delta, "finish_reason": finish_reason}
    return {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [choice]}


def sse(*events: dict[str, Any], done: bool = True) -> Raw:
    body = b"".join(b"data: " + json.dumps(event).encode() + b"\n\n" for event in events)
    return Raw(body + (b"data: [DONE]\n\n" if done else b""), "text/event-stream")
