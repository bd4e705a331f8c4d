"""Credentials are found by what they are called, and are never written."""

from __future__ import annotations

import copy
import dataclasses
import enum
import json
import pickle
import uuid
from pathlib import Path, PurePosixPath
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from overwinter.errors import SaveRejected
from overwinter.persistence import (
    REDACTED,
    Secret,
    credential_values,
    encode_checked,
    is_credential_name,
    redact,
    reveal,
    scrub,
)


def words(text: str) -> list[str]:
    return text.split()


CREDENTIALS = words("""
    api_key apiKey api-key APIKEY x-api-key X-Api-Key apikey openai_api_key OPENAI_API_KEY OPENROUTER_KEY
    azure_openai_key token accessToken access_token auth_token refresh_tokens bearerToken HF_TOKEN github_token
    session_token id_token csrf-token X-Amz-Security-Token aws_secret_access_key AWS_ACCESS_KEY_ID password
    db_password DB_PASS smtp_pass passwd passphrase Authorization Proxy-Authorization Cookie Set-Cookie cookies
    client_secret clientSecret secret webhookSecret credentials google_application_credentials private_key
    privateKey signing_key Ocp-Apim-Subscription-Key connection_string jwt auth basic_auth bearer api_keys
    token_secret
""")

SETTINGS = words("""
    max_tokens maxTokens max_completion_tokens budget_tokens stopping_token stop_token eos_token pad_token_id
    tokenizer token_count tokens tokenize next_token key keys keyboard primary_key PRIMARY_KEY public_key
    sort_key cache_key KEY monkey author authority authors bypass compass first_pass secretary password_file
    auth_type auth_url token_url secret_name cookie_path credentials_path access_token_url api_base model_name
    session agent_name private key_name _ 7 é
""")


@pytest.mark.parametrize("name", CREDENTIALS)
def test_what_is_called_like_a_credential_is_one(name: str) -> None:
    """P28: in every spelling."""
    assert is_credential_name(name)


@pytest.mark.parametrize("name", ["", *SETTINGS])
def test_an_ordinary_setting_is_kept(name: str) -> None:
    """P29: tokens of a tokenizer and keys of a dict are no credentials."""
    assert not is_credential_name(name)


@given(
    st.sampled_from(CREDENTIALS),
    st.recursive(
        st.just("swordfish-1"),
        lambda inner: (
            st.lists(inner, min_size=1, max_size=2)
            | st.dictionaries(st.sampled_from(["a", "extra_headers", "value"]), inner, min_size=1, max_size=2)
            | st.tuples(inner)
        ),
        max_leaves=4,
    ),
    st.lists(st.sampled_from(["model_args", "0", "headers", "items"]), max_size=4),
)
def test_a_credential_is_hidden_at_any_depth(name: str, held: Any, around: list[str]) -> None:
    """P28: whatever holds it and whatever it holds."""
    settings: Any = {name: held, "kept": "as it is"}
    for step in around:
        settings = [settings] if step == "items" else {step: settings}
    hidden = json.dumps(redact(settings))
    assert "swordfish" not in hidden
    assert REDACTED in hidden
    assert "as it is" in hidden
    assert credential_values(settings, {}) == {"swordfish-1"}


class Mode(enum.Enum):
    FAST = "fast"


class Model(msgspec.Struct):
    name: str
    api_key: str


@dataclasses.dataclass
class Client:
    password: str
    where: Path


class Opaque:
    def __repr__(self) -> str:
        return "Opaque(api_key='swordfish-1')"


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"api_key": None, "token": "", "password": False}, {"api_key": None, "token": "", "password": False}),
        ({"token": 123456, "secret": b"x", "cookie": {}}, {"token": REDACTED, "secret": REDACTED, "cookie": REDACTED}),
        (Secret("x"), REDACTED),
        ({"a": [Secret("x"), (Secret("y"),)]}, {"a": [REDACTED, [REDACTED]]}),
        (
            {"extra_headers": [("Authorization", "Bearer x"), ["X-Title", "bees"], ("a", "b", "c")]},
            {"extra_headers": [["Authorization", REDACTED], ["X-Title", "bees"], ["a", "b", "c"]]},
        ),
        ({"stop": [["token", "x"]]}, {"stop": [["token", "x"]]}),
        (
            {"env": [{"name": "HF_TOKEN", "value": "x"}, {"name": "HOME", "value": "/"}]},
            {"env": [{"name": "HF_TOKEN", "value": REDACTED}, {"name": "HOME", "value": "/"}]},
        ),
        (
            {"args": ["--api-key", "x", "--token=x", "HF_TOKEN=x", "-v", "--token", 5, "a=b", "--model", "m"]},
            {
                "args": [
                    "--api-key", REDACTED, f"--token={REDACTED}", f"HF_TOKEN={REDACTED}",
                    "-v", "--token", 5, "a=b", "--model", "m",
                ]
            },
        ),
        ({"prose": "the password is x, the token y"}, {"prose": "the password is x, the token y"}),
        ([Model("m", "x")], [{"name": "m", "api_key": REDACTED}]),
        (Client("x", Path("a")), {"password": REDACTED, "where": "a"}),
        ({Mode.FAST: Mode.FAST, 1: {2.5}}, {"fast": "fast", "1": [2.5]}),
        ({"p": PurePosixPath("/a"), "u": uuid.UUID(int=0)}, {"p": "/a", "u": "00000000-0000-0000-0000-000000000000"}),
        ({"o": Opaque(), "b": b"x", "f": len}, {"o": f"{__name__}.Opaque", "b": "builtins.bytes", "f": "builtins.len"}),
        ({"schema": Model}, {"schema": f"{__name__}.Model"}),
        (frozenset({1}), [1]),
        (1.5, 1.5),
    ],
)  # fmt: skip
def test_settings_become_plain_data_without_credentials(settings: Any, expected: Any) -> None:
    """P28: one case a kind."""
    before = copy.deepcopy(settings) if not isinstance(settings, dict) or "o" not in settings else settings
    assert redact(settings) == expected
    assert encode_checked(redact(settings), what="settings")
    assert settings == before


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        (
            "postgresql://bee:s3cret@db:5432/hive?sslmode=on",
            f"postgresql://{REDACTED}@db:5432/hive?sslmode=on",
        ),
        ("https://ghp_abc@github.com/a/b", f"https://{REDACTED}@github.com/a/b"),
        ("https://u:p@ss@host/x", f"https://{REDACTED}@host/x"),
        ("jdbc:mysql://u:p@host/x", f"jdbc:mysql://{REDACTED}@host/x"),
        ("https://h/v1?key=abc&model=m&api_key=d", f"https://h/v1?key={REDACTED}&model=m&api_key={REDACTED}"),
        ("https://h/f#access_token=abc", f"https://h/f#access_token={REDACTED}"),
        ("https://h/f?X-Amz-Signature=a&sig=b", None),
        (" https://u:p@h ", f" https://{REDACTED}@h "),
        ("https://medium.com/@bee?max_tokens=5", "https://medium.com/@bee?max_tokens=5"),
        ("see https://u:p@h", "see https://u:p@h"),
    ],
)
def test_what_a_url_carries_is_hidden(url: str, expected: str | None) -> None:
    """P31: before the ``@``, and in parameters."""
    expected = expected or f"https://h/f?X-Amz-Signature=a&sig={REDACTED}"
    assert redact({"base_url": url, "urls": [url]}) == {"base_url": expected, "urls": [expected]}


def test_settings_that_contain_themselves_or_have_no_end_are_cut() -> None:
    """P28: nothing overflows."""
    cycle: list[Any] = [{"token": "x"}]
    cycle += [cycle, cycle]
    assert redact(cycle) == [{"token": REDACTED}, "[contains itself]", "[contains itself]"]
    deep: Any = "bottom"
    for _ in range(1000):
        deep = [deep]
    assert "[nested too deeply]" in json.dumps(redact(deep))
    assert credential_values({"token": deep}, {}) == frozenset()


def test_a_secret_tells_its_text_only_to_reveal() -> None:
    """P30: not to print, format, JSON, pickle or msgspec."""
    secret = Secret("swordfish")
    for text in (
        repr(secret),
        str(secret),
        f"{secret}",
        repr({"a": secret}),
        json.dumps([secret], default=str),
    ):
        assert "swordfish" not in text
    assert secret.reveal() == "swordfish"
    with pytest.raises(TypeError, match="cannot be pickled"):
        pickle.dumps(secret)
    with pytest.raises(TypeError):
        msgspec.json.encode(secret)
    with pytest.raises(TypeError):
        json.dumps(secret)
    with pytest.raises(SaveRejected, match="secrets are never written"):
        encode_checked({"a": [secret]}, what="memory")
    assert not hasattr(secret, "__dict__")


def test_a_secret_is_a_value() -> None:
    """P30: equal by text to another secret, never to the text."""
    secret = Secret("swordfish")
    assert secret == Secret("swordfish")
    assert secret != Secret("marlin")
    assert secret != "swordfish"
    assert len({secret, Secret("swordfish"), "swordfish"}) == 2
    assert copy.copy(secret) is secret
    assert copy.deepcopy([secret]) == [secret]
    assert secret
    assert not Secret("")


def test_reveal_puts_the_texts_in_their_places() -> None:
    """P30: for the model's adapter, and without touching the original."""
    settings = {"a": Secret("x"), "b": [Secret("y"), (Secret("z"), 1)], "c": {Secret("w")}, "d": Opaque}
    assert reveal(settings) == {"a": "x", "b": ["y", ("z", 1)], "c": {"w"}, "d": Opaque}
    assert settings["a"] == Secret("x")


def test_what_a_provider_repeats_of_a_credential_is_scrubbed() -> None:
    """P32: from settings and from the environment, the longest first."""
    settings = {
        "api_key": "sk-12345678",
        "headers": {"Authorization": "Bearer abcdefgh-long"},
        "token": "short",
    }
    environ = {
        "OPENAI_API_KEY": "sk-12345678-90",
        "HOME": "/home/bee-bee",
        "DATABASE_URL": "pg://u:pass-word@h",
    }
    values = credential_values(settings, environ)
    assert values == {
        "sk-12345678", "sk-12345678-90", "Bearer abcdefgh-long", "abcdefgh-long", "u:pass-word", "pass-word",
    }  # fmt: skip
    said = "401: bad key sk-12345678-90, sk-12345678 or abcdefgh-long, short, for /home/bee-bee, pass-word"
    assert scrub(said, values) == (
        f"401: bad key {REDACTED}, {REDACTED} or {REDACTED}, short, for /home/bee-bee, {REDACTED}"
    )
    assert scrub("abc", ["abc"]) == "abc"
