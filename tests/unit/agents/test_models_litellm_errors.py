from __future__ import annotations

import sys
from typing import Any

import pytest

from overwinter.agents.models.failures import BrokenOff
from overwinter.agents.models.litellm_errors import model_error
from overwinter.agents.models.litellm_library import LiteLLM
from overwinter.errors import ModelError


class RateLimitError(Exception):
    status_code = 429

    def __init__(self, said: str, headers: dict[str, str] | None = None) -> None:
        super().__init__(said)
        self.litellm_response_headers = headers


def told(error: Exception, **args: Any) -> ModelError:
    return model_error(error, name="openai/gpt-4o-mini", args=args)


def test_an_error_says_which_model_and_what_happened() -> None:
    """M9"""
    error = told(RateLimitError("litellm.RateLimitError: RateLimitError: OpenAIException - slow\n\n  down. "))
    assert str(error) == "openai/gpt-4o-mini: too many requests, or the quota is used up (429): slow down"
    assert (error.model, error.status_code, error.retryable) == ("openai/gpt-4o-mini", 429, True)


def test_an_endless_error_is_cut() -> None:
    """M9"""
    assert len(str(told(RateLimitError("word " * 10_000)))) < 1200


@pytest.mark.parametrize(
    "error",
    [ConnectionResetError(), TimeoutError(), BrokenOff("no end")],
    ids=lambda error: type(error).__name__,
)
def test_what_did_not_arrive_is_retryable(error: Exception) -> None:
    """M11"""
    assert (told(error).retryable, told(error).status_code) == (True, None)


def test_an_error_in_the_middle_of_a_stream_is_told_by_its_cause() -> None:
    """M9"""
    error = ConnectionError("wrapped")
    error.original_exception = RateLimitError("really", {"Retry-After": "2"})  # type: ignore[attr-defined]
    assert (told(error).status_code, told(error).retry_after) == (429, 2.0)


def test_an_error_of_no_known_kind_is_not_retryable() -> None:
    """M9"""
    error = told(ValueError("unheard of"))
    assert not error.retryable
    assert str(error) == "openai/gpt-4o-mini: ValueError: unheard of"


def test_a_missing_package_is_not_taken_for_a_broken_connection() -> None:
    """M9"""
    error = ConnectionError("No module named 'boto3'")
    error.__context__ = ModuleNotFoundError("No module named 'boto3'")
    assert not told(error).retryable
    assert "lacks a package: No module named 'boto3'" in str(told(error))


def test_half_an_emoji_in_an_error_is_replaced() -> None:
    """M6"""
    str(told(ValueError("half \ud83d"))).encode()


def test_a_key_in_an_error_is_hidden() -> None:
    """M10"""
    error = told(RateLimitError("the key sk-12345678 is slow"), api_key="sk-12345678")
    assert "sk-12345678" not in str(error)


@pytest.mark.anyio
async def test_without_litellm_it_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """M14"""
    monkeypatch.setitem(sys.modules, "litellm", None)
    with pytest.raises(ModelError, match="pip install litellm") as caught:
        await LiteLLM().prepare()
    assert not caught.value.retryable
