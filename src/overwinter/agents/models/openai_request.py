"""A request to an OpenAI-compatible server: where it goes, with which key, and what stands in it."""

from __future__ import annotations

import base64
import os
import re
from typing import TYPE_CHECKING, Any

import msgspec

from overwinter.agents.models.chat_request import chat_settings
from overwinter.agents.models.endpoints import Endpoint, default_base_url, endpoint
from overwinter.agents.models.openai_exchange import Call
from overwinter.persistence.secrets import reveal

if TYPE_CHECKING:
    from collections.abc import Mapping

    from overwinter.agents.models.protocol import ModelRequest
    from overwinter.persistence.secrets import Secret

__all__ = ["Destination", "call_for", "destination"]

# Retrying, falling back, streaming and the number of answers are decided here; some are litellm's alone.
_NOT_SENT = frozenset(
    {
        "allowed_openai_params",
        "cache_read_input_token_cost",
        "custom_llm_provider",
        "drop_params",
        "fallbacks",
        "input_cost_per_request",
        "input_cost_per_token",
        "max_retries",
        "messages",
        "model",
        "n",
        "num_retries",
        "output_cost_per_token",
        "stream",
    }
)
_ADDRESSING = ("api_base", "base_url", "api_key", "headers", "extra_headers", "timeout")
_COUNTS_THINKING = re.compile(r"(?:o\d|gpt-[5-9])")


class Destination(msgspec.Struct, frozen=True, gc=False):
    """Where a request goes, and as whose; ``members`` are what is left of the settings and stands in the body."""

    there: Endpoint
    key: str
    key_given: bool
    headers: dict[str, str]
    timeout: float
    members: dict[str, Any]

    def __repr__(self) -> str:
        return f"Destination({self.there.base_url!r})"  # the rest holds the key

    @property
    def lacks_key(self) -> bool:
        """Whether the provider is known to answer nobody who comes like this."""
        return self.there.known and not {"authorization", "api-key"} & {name.lower() for name in self.headers}


def destination(
    args: Mapping[str, Any],
    *,
    base_url: str | None,
    api_key: Secret | None,
    headers: Mapping[str, str | Secret],
    timeout: float,
) -> Destination:
    """What *args* and a model's own settings say together, the former first, and the environment last.

    :raises ConfigurationError: the address is none.
    """
    plain: dict[str, Any] = reveal(dict(args))
    addressing = {name: plain.pop(name, None) for name in _ADDRESSING}
    there = endpoint(addressing["api_base"] or addressing["base_url"] or base_url or default_base_url())
    key = addressing["api_key"] or (None if api_key is None else api_key.reveal())
    given = key is not None
    if key is None and not there.login:
        key = os.environ.get(there.key_variable)
    key = (key or "").strip()
    sent: dict[str, str] = {"Content-Type": "application/json"}
    if key:
        sent["Authorization"] = f"Bearer {key}"
    elif there.login:
        sent["Authorization"] = f"Basic {base64.b64encode(there.login.reveal().encode()).decode()}"
    more: dict[str, Any] = reveal(dict(headers))
    for headers_of_args in (addressing["headers"], addressing["extra_headers"]):
        more |= headers_of_args or {}
    for name, value in more.items():
        if name.lower() == "authorization":
            sent.pop("Authorization", None)
        sent[name] = str(value)
    seconds = addressing["timeout"]
    return Destination(
        there=there,
        key=key,
        key_given=given,
        headers=sent,
        timeout=float(seconds) if isinstance(seconds, (int, float)) else timeout,
        members=plain,
    )


def call_for(
    request: ModelRequest, to: Destination, *, name: str, provider: str, takes_schema: bool, streaming: bool
) -> Call:
    """*request* as it goes over the wire.

    :raises TypeError: a setting has no form in JSON.
    """
    extra: dict[str, Any] = dict(to.members.get("extra_body") or {})
    args = {
        member: value
        for member, value in to.members.items()
        if member not in _NOT_SENT and member != "extra_body"
    }
    body = {
        "model": name,
        **chat_settings(request, args, provider=provider, schema_supported=takes_schema),
        **extra,
    }
    if streaming:
        # A server that knows no ``stream_options`` can be spared it with ``stream_options: None``.
        body = {"stream_options": {"include_usage": True}, **body, "stream": True}
    else:
        body.pop("stream_options", None)
    if provider == "openai" and _COUNTS_THINKING.match(name) and "max_tokens" in body:
        body.setdefault("max_completion_tokens", body.pop("max_tokens"))  # the other is refused there
    sent = {member: value for member, value in body.items() if value is not None}
    return Call(url=to.there.url, headers=to.headers, body=msgspec.json.encode(sent), timeout=to.timeout)
