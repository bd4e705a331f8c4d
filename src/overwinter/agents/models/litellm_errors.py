"""What goes wrong in litellm, told so that a reader knows what to do."""

from __future__ import annotations

import contextlib
import os
import re
from typing import TYPE_CHECKING, Any

from overwinter.agents.models.failures import (
    BrokenOff,
    advised,
    happened,
    is_out_of_credit,
    may_pass,
    retry_after,
    shortened,
)
from overwinter.errors import ModelError
from overwinter.persistence.secrets import credential_values, scrub

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

__all__ = ["model_error"]

_PREFIXES = re.compile(r"\A(?:(?:litellm\.)?[A-Z]\w*(?: Error)?: (?=\S)|[A-Z]\w*Exception(?: \w+)? - )+")
_KEY_MISSING = re.compile(
    r"missing credentials|(?:api[_ ]?key|credentials?)\b.*\b(?:set|missing|required|not found)", re.IGNORECASE
)
_UNREACHED = frozenset(
    {"APIConnectionError", "ClientConnectionError", "ClientPayloadError", "TransportError"}
)


def model_error(error: Exception, *, name: str, args: Mapping[str, Any], litellm: Any = None) -> ModelError:
    """``error`` as the ``ModelError`` to raise in its place, free of credentials in ``args`` and environment.

    Retryable are 408, 409, 425, 429 and everything from 500, timeouts, and connections that could not be made
    or that broke, in the middle of a stream too; not an account without credit, nor a missing package.
    """
    original: Exception = getattr(error, "original_exception", None) or error
    said = _said(original)
    missing = next((cause for cause in _causes(error) if isinstance(cause, ImportError)), None)
    unreached = missing is None and _is_unreached(original)
    status: int | None = None if unreached or missing else getattr(original, "status_code", None)
    if status == 500 and not _headers(original) and _KEY_MISSING.search(said):
        status = 401
    what = _what_happened(status, original, unreached=unreached, missing=missing)
    message = f"{name}: {what}: {scrub(said, credential_values(args, os.environ))}".rstrip(":. ")
    message = advised(message, status)
    if status == 401:
        message = f"{message}. {_key_advice(name, args, litellm)}"
    return ModelError(
        message,
        model=name,
        retryable=unreached or (may_pass(status) and not _is_out_of_credit(error)),
        status_code=status,
        retry_after=retry_after(_headers(original) or dict(_response_headers(original))),
    )


def _said(error: Exception) -> str:
    return shortened(_PREFIXES.sub("", " ".join(str(error).split())))


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        yield error
        seen.add(id(error))
        error = error.__cause__ or error.__context__


def _is_unreached(error: Exception) -> bool:
    """Whether there is no whole answer: no connection, a broken one, or none in time."""
    if isinstance(error, (ConnectionError, TimeoutError)):
        return True
    names = {kind.__name__ for kind in type(error).__mro__}
    if not names.isdisjoint(_UNREACHED):
        return not _headers(error)
    return "InternalServerError" in names and str(error).endswith("Connection error.")


def _what_happened(
    status: int | None, error: Exception, *, unreached: bool, missing: BaseException | None
) -> str:
    if missing is not None:
        return "litellm lacks a package"
    if isinstance(error, BrokenOff):
        return "the reply broke off"
    if unreached:
        timed_out = any(isinstance(cause, TimeoutError) for cause in _causes(error))
        timed_out = timed_out or "Timeout" in type(error).__name__
        return "no answer in time" if timed_out else "the connection failed"
    if status is None:
        return type(error).__name__
    return happened(status)


def _is_out_of_credit(error: Exception) -> bool:
    return any(is_out_of_credit(str(cause)) for cause in _causes(error))


def _key_advice(name: str, args: Mapping[str, Any], litellm: Any) -> str:
    if args.get("api_key"):
        return "Check the api_key in model_args."
    variables = ""
    with contextlib.suppress(Exception):  # advice that cannot be had must not hide the error
        variables = " and ".join(litellm.validate_environment(model=name)["missing_keys"])
    if not variables:
        return "Check the key in the environment, or pass model_args={'api_key': Secret('...')}."
    return f"Set the environment variable {variables}, or pass model_args={{'api_key': Secret('...')}}."


def _headers(error: Exception) -> dict[str, str]:
    headers: Mapping[str, str] | None = getattr(error, "litellm_response_headers", None)
    return {name.lower(): value for name, value in (headers or {}).items()}


def _response_headers(error: Exception) -> Mapping[str, str]:
    headers: Mapping[str, str] = getattr(getattr(error, "response", None), "headers", {})
    return headers
