"""A model behind an OpenAI-compatible endpoint, asked directly."""

from __future__ import annotations

from functools import partial
from importlib import import_module
from typing import TYPE_CHECKING, Any

import msgspec
from anyio import to_thread

from overwinter.agents.models.endpoints import default_base_url, endpoint
from overwinter.agents.models.openai_errors import key_missing, model_error
from overwinter.agents.models.openai_exchange import Call, exchange
from overwinter.agents.models.openai_request import Destination, call_for, destination
from overwinter.agents.models.price import Price, price_from_args
from overwinter.agents.models.price_list import Listed, listed
from overwinter.agents.models.sessions import Sessions
from overwinter.errors import ConfigurationError, ModelError
from overwinter.persistence.credential_names import is_credential_name
from overwinter.persistence.secrets import Secret, redact

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Mapping

    from overwinter.agents.models.endpoints import Endpoint
    from overwinter.agents.models.protocol import ModelReply, ModelRequest

__all__ = ["OpenAICompatible"]


class OpenAICompatible:
    """The model that an OpenAI-compatible server calls ``model_name``, asked over aiohttp without litellm.

    OpenAI, vLLM, Ollama, llama.cpp, and most gateways. It streams, calls tools, and keeps what the server wants back
    verbatim. The connections of one such object are shared by all agents that it is given to, and kept open between
    calls; those of an event loop are closed when the loop ends, or by :meth:`aclose`. Retries are the agent's
    (``retry=``).

    :param base_url: up to and with ``/v1``; by default the environment variable ``OPENAI_BASE_URL``, then
        ``OPENAI_API_BASE``, then OpenAI's own.
    :param api_key: by default the environment variable of the provider (``GROQ_API_KEY`` for api.groq.com and so on),
        ``OPENAI_API_KEY`` for any host that is not known; ``""`` sends none. It is never written or logged.
    :param headers: more headers, such as an ``Authorization`` of another kind; a ``Secret`` is revealed only there.
    :param timeout: seconds for the answer or, of a stream, for its next piece.
    :param connections: how many at once; more calls wait. By default 1,000, or fewer where the process may not have
        so many files open.
    :param price: what a reply costs; by default what the server says, or what litellm's list says of its provider.
    :param takes_schema: whether it can be held to an output schema (``response_format``); by default what litellm's
        list says. vLLM and llama.cpp do.
    :param args: further members of each request (``top_p``, ``seed``, whatever the server knows). Those that a request
        of an agent brings (``model_args``) win, and there ``api_base``, ``api_key``, ``extra_headers``, ``extra_body``
        and ``timeout`` mean what they mean to litellm.
    :param ssl_context: for servers whose certificate the system does not trust.
    :raises ConfigurationError: a setting cannot work.
    """

    def __init__(
        self,
        model_name: str,
        *,
        base_url: str | None = None,
        api_key: str | Secret | None = None,
        headers: Mapping[str, str | Secret] | None = None,
        timeout: float = 600.0,
        connections: int | None = None,
        price: Price | None = None,
        takes_schema: bool | None = None,
        args: Mapping[str, Any] | None = None,
        ssl_context: ssl.SSLContext | None = None,
    ) -> None:
        if not model_name:
            raise ConfigurationError("model_name is empty; give the name by which the server knows the model")
        if timeout <= 0:
            raise ConfigurationError(f"timeout is {timeout}; give seconds, more than 0")
        if connections is not None and connections < 1:
            raise ConfigurationError(f"connections is {connections}; give 1 or more")
        if base_url is not None:
            endpoint(base_url)
        self._name = model_name
        self._base_url = Secret(base_url) if base_url is not None else None
        self._api_key = Secret(api_key) if isinstance(api_key, str) else api_key
        self._headers = dict(headers or {})
        self._timeout = timeout
        self._connections = connections
        self._args = dict(args or {})
        self._given_price = price or price_from_args(self._args)
        self._takes_schema = takes_schema
        self._listed: Listed | None = None
        self._sessions = Sessions(connections=connections, ssl_context=ssl_context)

    def __repr__(self) -> str:
        return f"OpenAICompatible({self._name!r}, base_url={redact(self.base_url)!r})"

    @property
    def name(self) -> str:
        """The name by which the server knows the model."""
        return self._name

    @property
    def base_url(self) -> str:
        """Where it is asked, without a password that may stand in the address."""
        return self._endpoint.base_url

    @property
    def provider(self) -> str:
        """The provider as litellm calls it (``openai``), or the address of a server that is nobody's in particular.

        What one provider wants back verbatim, and the keys that were given for it, go to no other.
        """
        return self._endpoint.provider

    @property
    def account(self) -> int:
        """As whom it asks, in a number that tells nothing else: limits of a provider hold for an account."""
        to = self._addressed({})
        shown = sorted(header for header in to.headers.items() if is_credential_name(header[0]))
        return hash((to.there.base_url, *shown))

    @property
    def price(self) -> Price | None:
        """The price given, or what litellm's own list says; the list was read after ``prepare``."""
        return self._given_price or (self._listed.price if self._listed else None)

    @property
    def description(self) -> dict[str, Any]:
        """The settings as plain data without credentials, for the configuration of an agent that is saved."""
        given = {
            "base_url": None if self._base_url is None else self.base_url,
            "headers": self._headers,
            "timeout": self._timeout,
            "connections": self._connections,
            "price": None if self._given_price is None else msgspec.to_builtins(self._given_price),
            "takes_schema": self._takes_schema,
            "args": self._args,
        }
        told = {name: value for name, value in given.items() if value is not None and value not in ({}, [])}
        plain: dict[str, Any] = redact({"kind": "OpenAICompatible", "model_name": self._name, **told})
        return plain

    async def prepare(self) -> None:
        """Import aiohttp and read the price, in a thread and once. Cancelling it leaves that to end by itself."""
        if self._listed is None:
            there = self._endpoint
            look_up = partial(_look_up, there.provider if there.known else "", self._name)
            self._listed = await to_thread.run_sync(look_up, abandon_on_cancel=True)

    async def complete(
        self, request: ModelRequest, *, on_text: Callable[[str], None] | None = None
    ) -> ModelReply:
        """Ask once, streaming when ``on_text`` is given; raises ``ModelError``.

        A reply that breaks off in the middle is a retryable error. Cancelling it closes the connection.
        ``on_text`` is not called after either; what it raises itself is raised here.
        """
        await self.prepare()
        to = self._destination(request)
        ear = None if on_text is None else _Ear(on_text)
        try:
            call = self._call(request, to, streaming=ear is not None)
            opened = await self._sessions.here()
            with opened as session:
                completion = await exchange(session, call, ear, proxy=opened.proxy_for(call.url))
            taken = {call.id for message in request.messages for call in message.tool_calls}
            reply = completion.reply(provider=self.provider, name=self._name, taken_ids=taken)
        except Exception as error:
            if ear is not None and ear.error is error:
                raise
            told = model_error(
                error,
                name=self._name,
                endpoint=to.there,
                key_given=to.key_given,
                secrets={"api_key": to.key, "headers": to.headers, "args": to.members},
            )
            # What the server says may hold the key, and a traceback would print it.
            raise told from told.__cause__
        return self._priced(reply)

    async def aclose(self) -> None:
        """Close the connections on this event loop, once no call is in progress there; harmless when repeated.

        The next call begins anew. A program that does not call it ends cleanly too: they are closed with the loop.
        """
        await self._sessions.aclose()

    @property
    def _endpoint(self) -> Endpoint:
        return endpoint(default_base_url() if self._base_url is None else self._base_url.reveal())

    def _destination(self, request: ModelRequest) -> Destination:
        try:
            to = self._addressed(request.args)
        except ConfigurationError as error:
            raise ModelError(f"{self._name}: {error}", model=self._name) from error
        except (AttributeError, TypeError, ValueError) as error:
            raise ModelError(f"{self._name}: a setting cannot be used: {error}", model=self._name) from error
        if to.lacks_key:
            raise key_missing(self._name, to.there)
        return to

    def _addressed(self, args: Mapping[str, Any]) -> Destination:
        return destination(
            {**self._args, **args},
            base_url=None if self._base_url is None else self._base_url.reveal(),
            api_key=self._api_key,
            headers=self._headers,
            timeout=self._timeout,
        )

    def _call(self, request: ModelRequest, to: Destination, *, streaming: bool) -> Call:
        takes_schema = self._takes_schema
        if takes_schema is None:
            takes_schema = self._listed is not None and self._listed.takes_schema
        return call_for(
            request,
            to,
            name=self._name,
            provider=self.provider,
            takes_schema=takes_schema,
            streaming=streaming,
        )

    def _priced(self, reply: ModelReply) -> ModelReply:
        price = self._given_price or (None if reply.usage.cost is not None else self.price)
        if price is None or not reply.usage.total_tokens:
            return reply
        usage = msgspec.structs.replace(reply.usage, cost=price.of(reply.usage))
        return msgspec.structs.replace(reply, usage=usage)


class _Ear:
    """Hands text over, and remembers what the hearer raises: that is no failure of the model."""

    def __init__(self, on_text: Callable[[str], None]) -> None:
        self._on_text = on_text
        self.error: Exception | None = None

    def __call__(self, text: str) -> None:
        try:
            self._on_text(text)
        except Exception as error:
            self.error = error
            raise


def _look_up(provider: str, name: str) -> Listed:
    import_module("aiohttp")  # takes a while, which is no business of the event loop
    return listed(provider, name) if provider else Listed()
