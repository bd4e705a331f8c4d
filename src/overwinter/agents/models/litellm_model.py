"""Any model litellm can reach."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

import msgspec

from overwinter.agents.models.failures import BrokenOff
from overwinter.agents.models.litellm_errors import model_error
from overwinter.agents.models.litellm_library import library, without_logging
from overwinter.agents.models.litellm_reply import StreamedReply, hear_refusals, reply_from
from overwinter.agents.models.litellm_request import settings_for
from overwinter.agents.models.price import Price, price_from_args
from overwinter.agents.models.side_loop import Relay, SideLoopStopped
from overwinter.errors import ModelError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from overwinter.agents.models.protocol import ModelReply, ModelRequest

__all__ = ["LiteLLMModel"]

# Retrying, falling back, streaming and the number of answers are decided here, not by settings.
_OURS = frozenset(
    {"fallbacks", "max_retries", "messages", "model", "n", "num_retries", "stream", "stream_options"}
)


class LiteLLMModel:
    """The model that litellm knows as ``name``: ``gpt-4o-mini``, ``anthropic/...``, ``ollama/llama3.2``.

    ``timeout`` is in seconds, for the answer or, of a stream, for its next piece. ``args`` are settings of
    this model alone (``api_key``, ``api_base``, ``top_p``, ...); those of a request win over them. ``price`` is for
    models that litellm does not know, or for a price of your own; it is what a reply costs then.

    litellm runs on an event loop in a thread of its own, shared by all models and all event loops of the
    process; ``aclose_litellm`` ends it. Objects in ``args`` that belong to another loop do not work there.
    """

    def __init__(
        self,
        name: str,
        *,
        timeout: float = 600.0,
        args: Mapping[str, Any] | None = None,
        price: Price | None = None,
    ) -> None:
        self._name = name
        self._timeout = timeout
        self._args = dict(args or {})
        self._provider = ""
        self._given_price = price or price_from_args(self._args)
        self._known_price: Price | None = None

    def __repr__(self) -> str:
        return f"LiteLLMModel({self._name!r})"

    @property
    def name(self) -> str:
        """The name litellm knows the model by."""
        return self._name

    @property
    def provider(self) -> str:
        """The provider, as litellm calls it (``openai``); before ``prepare`` the first part of the name."""
        return self._provider or self._name.partition("/")[0]

    @property
    def price(self) -> Price | None:
        """The price given, or what litellm's own list says; the list is there after ``prepare``."""
        return self._given_price or self._known_price

    async def prepare(self) -> None:
        """Import litellm, in a thread and once per process; the first time takes seconds.

        Raises ``ModelError`` when it cannot be imported. Cancelling it leaves the import to end by itself.
        """
        await library.prepare()
        if not self._provider:
            await library.run(self._learn)

    async def complete(
        self, request: ModelRequest, *, on_text: Callable[[str], None] | None = None
    ) -> ModelReply:
        """Ask once, streaming when ``on_text`` is given; raises ``ModelError``.

        A reply that breaks off in the middle is a retryable error. Cancelling it closes the connection.
        ``on_text`` is not called after either; what it raises itself is raised here.
        """
        args = {name: value for name, value in {**self._args, **request.args}.items() if name not in _OURS}
        relay = None if on_text is None else Relay(on_text)
        try:
            reply = await library.run(self._complete, request, args, relay)
        except (ModelError, SideLoopStopped) as error:
            if relay is not None and relay.error is not None:
                raise relay.error from None
            if isinstance(error, ModelError):
                raise
            raise model_error(error, name=self._name, args=args) from error
        finally:
            if relay is not None:
                relay.close()
        if relay is not None and relay.error is not None:
            raise relay.error
        return self._priced(reply)

    async def _learn(self) -> None:
        with contextlib.suppress(Exception):  # a name that litellm does not know is told of when it is asked
            model, self._provider, *_ = library.module.get_llm_provider(model=self._name)
            self._known_price = _listed_price(library.module.model_cost, self._name, self._provider, model)

    async def _complete(
        self, request: ModelRequest, args: dict[str, Any], relay: Relay[str] | None
    ) -> ModelReply:
        litellm = library.module
        try:
            if not self._provider:
                await self._learn()
            without_logging(litellm)
            settings = settings_for(
                request,
                args,
                provider=self.provider,
                schema_supported=request.output_schema is not None and _supports_schema(self._name, litellm),
            )
            settings = {"timeout": self._timeout, **settings, "model": self._name}
            settings.update(num_retries=0, max_retries=0)
            if relay is None:
                return await self._whole(litellm, request, settings)
            return await self._streamed(litellm, request, settings, relay)
        except SideLoopStopped:
            raise
        except Exception as error:  # noqa: BLE001  (litellm raises of every kind)
            told = model_error(error, name=self._name, args=args, litellm=litellm)
            # What litellm says may hold the key, and a traceback would print it.
            raise told from (None if told.status_code in (401, 403) else error)

    async def _whole(self, litellm: Any, request: ModelRequest, settings: dict[str, Any]) -> ModelReply:
        response = await litellm.acompletion(**settings)
        if not response.choices:
            raise BrokenOff("the reply holds no message")
        return reply_from(
            response,
            provider=self.provider,
            model=self._name,
            cost=self._cost(response, litellm),
            taken_ids=_ids(request),
        )

    async def _streamed(
        self, litellm: Any, request: ModelRequest, settings: dict[str, Any], relay: Relay[str]
    ) -> ModelReply:
        reply = StreamedReply(relay.send)
        stream = await litellm.acompletion(**settings, stream=True, stream_options={"include_usage": True})
        hear_refusals(stream)
        try:
            async for chunk in stream:
                reply.add(chunk)
        finally:
            await _close(stream)
        reply.finish()
        # litellm makes up a reason to finish for a stream that just ends.
        if getattr(stream, "received_finish_reason", "unknown") is None:
            raise BrokenOff("the stream ended before the reply did")
        response = litellm.stream_chunk_builder(reply.chunks, messages=settings["messages"])
        return reply.reply(
            response,
            provider=self.provider,
            model=self._name,
            cost=self._cost(response, litellm),
            taken_ids=_ids(request),
        )

    def _cost(self, response: Any, litellm: Any) -> float | None:
        """US dollars; None when litellm does not know the price, or when the one that was given is used."""
        if self._given_price is not None:
            return None
        # It was reckoned for a whole response already, which takes a tenth of the time of a call.
        hidden: dict[str, Any] = getattr(response, "_hidden_params", None) or {}
        if "response_cost" in hidden and (hidden["response_cost"] is not None or self._known_price is None):
            cost: float | None = hidden["response_cost"]
            return cost
        return _cost(response, self._name, litellm)

    def _priced(self, reply: ModelReply) -> ModelReply:
        if self._given_price is None or not reply.usage.total_tokens:
            return reply
        usage = msgspec.structs.replace(reply.usage, cost=self._given_price.of(reply.usage))
        return msgspec.structs.replace(reply, usage=usage)


def _ids(request: ModelRequest) -> set[str]:
    return {call.id for message in request.messages for call in message.tool_calls}


def _supports_schema(name: str, litellm: Any) -> bool:
    with contextlib.suppress(Exception):
        return bool(litellm.supports_response_schema(model=name))
    return False


def _cost(response: Any, name: str, litellm: Any) -> float | None:
    """US dollars; None when litellm does not know the price."""
    with contextlib.suppress(Exception):
        cost: float | None = litellm.completion_cost(completion_response=response, model=name)
        return cost
    return None


def _listed_price(
    listed: Mapping[str, Mapping[str, Any]], name: str, provider: str, model: str
) -> Price | None:
    """The price in litellm's list. Its own look-up may ask a server, and this must not."""
    for key in (name, f"{provider}/{model}", model):
        price = price_from_args(listed.get(key, {}))
        if price is not None:
            return price
    # Whatever runs there, litellm says that its replies cost nothing.
    return Price() if provider in ("ollama", "ollama_chat") else None


async def _close(stream: Any) -> None:
    """Close the connection of a stream that may not be at its end."""
    close = getattr(stream, "aclose", None)
    if close is not None:
        with contextlib.suppress(Exception):
            await close()
