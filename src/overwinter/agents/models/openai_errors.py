"""What goes wrong between us and an OpenAI-compatible server, told so that a reader knows what to do."""

from __future__ import annotations

import errno
import os
import re
from typing import TYPE_CHECKING, Any, cast

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
    from collections.abc import Mapping

    from overwinter.agents.models.endpoints import Endpoint

__all__ = ["NoAnswer", "Refused", "error_in", "key_missing", "model_error"]

_NO_FILES_LEFT = frozenset({errno.EMFILE, errno.ENFILE})
_STATUSES = {
    "authentication_error": 401,
    "insufficient_quota": 429,
    "invalid_request_error": 400,
    "rate_limit_error": 429,
    "rate_limit_exceeded": 429,
}


class Refused(Exception):
    """The server answered with an error; ``status`` is None where one in the middle of a stream names none."""

    def __init__(self, status: int | None, said: str, headers: Mapping[str, str]) -> None:
        super().__init__(said)
        self.status = status
        self.headers = {name.lower(): value for name, value in headers.items()}


class NoAnswer(Exception):
    """What came with a status of 200 is no chat completion."""


def error_in(answer: Mapping[str, Any], status: int | None, headers: Mapping[str, str]) -> Refused | None:
    """The error that *answer* tells, in the shape of OpenAI's or in one of those that others use."""
    told = answer.get("error") or _error_in_choice(answer)
    if not told and answer.get("object") != "error":
        return None
    fields = cast("Mapping[str, Any]", told if isinstance(told, dict) else answer)
    said = told if isinstance(told, str) else str(fields.get("message") or dict(fields))
    kinds = [fields.get(name) for name in ("code", "type", "status")]
    if status is None:
        status = next((kind for kind in kinds if isinstance(kind, int) and 400 <= kind < 600), None)
        status = status or next((_STATUSES[str(kind)] for kind in kinds if str(kind) in _STATUSES), None)
    telling = [str(kind) for kind in kinds if kind and str(kind) not in said and not isinstance(kind, int)]
    return Refused(status, f"{said} ({', '.join(telling)})" if telling else said, headers)


def _error_in_choice(answer: Mapping[str, Any]) -> Any:
    """Where OpenRouter puts the error of the provider behind it."""
    choices: Any = answer.get("choices")
    first: Any = choices[0] if isinstance(choices, list) and choices else None  # pyright: ignore[reportUnknownVariableType]
    return cast("dict[str, Any]", first).get("error") if isinstance(first, dict) else None


def key_missing(name: str, endpoint: Endpoint) -> ModelError:
    """There is no key for a provider that answers nobody without one."""
    return ModelError(
        f"{name}: there is no key for {endpoint.base_url}. {_key_advice(endpoint, given=False)}",
        model=name,
        status_code=401,
    )


def model_error(
    error: Exception, *, name: str, endpoint: Endpoint, key_given: bool, secrets: Mapping[str, Any]
) -> ModelError:
    """*error* as the ``ModelError`` to raise in its place, free of *secrets* and of those in the environment.

    Retryable are 408, 409, 425, 429 and everything from 500, timeouts, answers that are none, and connections that
    could not be made or that broke, in the middle of a stream too; not an account without credit, nor a certificate
    that is not trusted. *error* is the cause, as far as a traceback may print it.
    """
    hidden = credential_values({**secrets, "login_password": endpoint.login}, os.environ)
    said = scrub(shortened(str(error) or type(error).__name__), hidden)
    status = error.status if isinstance(error, Refused) else None
    what, advice = _what_happened(error, endpoint)
    message = advised(f"{name}: {what}: {said}".rstrip(":. "), status)
    if status == 401:
        advice = _key_advice(endpoint, given=key_given)
    told = ModelError(
        f"{message}. {advice}" if advice else message,
        model=name,
        retryable=_is_retryable(error, said),
        status_code=status,
        retry_after=retry_after(error.headers) if isinstance(error, Refused) else None,
    )
    if status not in (401, 403) and not _tells(error, hidden):
        told.__cause__ = error
    return told


def _tells(error: BaseException | None, hidden: frozenset[str]) -> bool:
    """Whether *error*, or what it came from, says something that is to be *hidden*."""
    while error is not None:
        said = str(error)
        if scrub(said, hidden) != said:
            return True
        error = error.__cause__ or error.__context__
    return False


def _what_happened(error: Exception, endpoint: Endpoint) -> tuple[str, str]:
    """What happened, and what to do about it."""
    where = endpoint.base_url
    if isinstance(error, Refused):
        status = error.status
        if status is None:
            return "the provider failed in the middle of the reply", ""
        if status == 404 or status < 400:
            return happened(status), f"Check the name of the model and base_url, which is {where}"
        return happened(status), ""
    if isinstance(error, BrokenOff):
        return "the reply broke off", ""
    if isinstance(error, NoAnswer):
        return "the answer is no chat completion", f"Check base_url, which is {where}: most end with /v1"
    if isinstance(error, TimeoutError):
        return "no answer in time", "Give it more seconds with timeout="
    if not isinstance(error, OSError) and not _is_of_connection(error):
        return type(error).__name__, ""
    if getattr(error, "errno", None) in _NO_FILES_LEFT:
        return "the connection failed", "Give fewer connections=, or let the process have more (ulimit -n)"
    if _is_distrust(error):
        return (
            "the connection failed",
            "Its certificate is not trusted; pass ssl_context= with the one that signed it",
        )
    return "the connection failed", "" if endpoint.known else f"Check that the server at {where} is running"


def _is_retryable(error: Exception, said: str) -> bool:
    if isinstance(error, Refused):
        return (error.status is None or may_pass(error.status)) and not is_out_of_credit(said)
    if isinstance(error, (NoAnswer, TimeoutError)):
        return True
    return (isinstance(error, OSError) or _is_of_connection(error)) and not _is_distrust(error)


def _is_of_connection(error: Exception) -> bool:
    import aiohttp  # which is there: somebody has called it

    return isinstance(error, aiohttp.ClientError) and not isinstance(error, aiohttp.InvalidURL)


def _is_distrust(error: Exception) -> bool:
    import ssl

    cause = getattr(error, "certificate_error", None) or getattr(error, "os_error", None) or error
    return isinstance(cause, ssl.SSLCertVerificationError)


def _key_advice(endpoint: Endpoint, *, given: bool) -> str:
    if given:
        return "Check the api_key"
    set_already = bool(re.sub(r"\s", "", os.environ.get(endpoint.key_variable, "")))
    doing = "Check the key in" if set_already else "Set"
    return f"{doing} the environment variable {endpoint.key_variable}, or pass api_key=Secret('...')"
