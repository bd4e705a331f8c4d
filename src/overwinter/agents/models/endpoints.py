"""Addresses of OpenAI-compatible servers: what is called there, whose it is, and where its key stands."""

from __future__ import annotations

import os
from functools import lru_cache
from urllib.parse import urlsplit

from msgspec import Struct

from overwinter.errors import ConfigurationError
from overwinter.persistence.secrets import Secret

__all__ = ["Endpoint", "default_base_url", "endpoint"]

_OPENAI = "https://api.openai.com/v1"
_KEY = "OPENAI_API_KEY"

# Hosts that need a key: what litellm calls the provider, in its price list too, and the variable that holds the key.
# A key that was meant for OpenAI is never sent to one of them.
_KNOWN = {
    "api.openai.com": ("openai", _KEY),
    "api.cerebras.ai": ("cerebras", "CEREBRAS_API_KEY"),
    "api.deepseek.com": ("deepseek", "DEEPSEEK_API_KEY"),
    "api.fireworks.ai": ("fireworks_ai", "FIREWORKS_API_KEY"),
    "api.groq.com": ("groq", "GROQ_API_KEY"),
    "api.mistral.ai": ("mistral", "MISTRAL_API_KEY"),
    "api.together.xyz": ("together_ai", "TOGETHER_API_KEY"),
    "api.x.ai": ("xai", "XAI_API_KEY"),
    "generativelanguage.googleapis.com": ("gemini", "GEMINI_API_KEY"),
    "openrouter.ai": ("openrouter", "OPENROUTER_API_KEY"),
}


class Endpoint(Struct, frozen=True):
    """Where chat completions are asked for.

    ``base_url`` is the address without what stands before an ``@``, which is in ``login``. ``known`` says that the
    provider has a name, a price list, and no use for a request without a key.
    """

    base_url: str
    url: str
    provider: str
    key_variable: str
    known: bool
    login: Secret


def default_base_url() -> str:
    """What the environment names, or else OpenAI's own address."""
    return os.environ.get("OPENAI_BASE_URL") or os.environ.get("OPENAI_API_BASE") or _OPENAI


@lru_cache(maxsize=64)
def endpoint(base_url: str) -> Endpoint:
    """The endpoint at *base_url*, which may have a query: it stays behind the path.

    :raises ConfigurationError: it is no address of the web.
    """
    try:
        parts = urlsplit(base_url.strip())
        host, _ = parts.hostname, parts.port
    except ValueError as error:
        raise _unusable(str(error)) from error
    if parts.scheme not in ("http", "https") or not host:
        raise _unusable("it is to look like http://localhost:8000/v1")
    login, _, address = parts.netloc.rpartition("@")
    clean = parts._replace(netloc=address, fragment="", path=parts.path.rstrip("/"))
    path = clean.path.removesuffix("/chat/completions")
    clean = clean._replace(path=path)
    provider, key_variable = _KNOWN.get(host, ("", _KEY))
    return Endpoint(
        base_url=clean.geturl(),
        url=clean._replace(path=f"{path}/chat/completions").geturl(),
        provider=provider or clean._replace(query="").geturl(),
        key_variable=key_variable,
        known=bool(provider),
        login=Secret(login),
    )


def _unusable(why: str) -> ConfigurationError:
    return ConfigurationError(f"base_url cannot be used: {why}")  # not quoted: it may hold a password
