"""What a credential is called: the rule by which settings are kept out of files."""

from __future__ import annotations

import re
from itertools import pairwise

__all__ = ["is_credential_name", "words_of"]

_WORD = r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+"


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


_ALWAYS = _words(
    "apikey apikeys auth authorization bearer cookie cookies credential credentials jwt passphrase passwd"
    " password passwords pwd secret secrets"
)
_KEY_OWNERS = _words(
    "access account anthropic api auth azure cohere deepseek encryption gemini groq hf huggingface license"
    " master mistral openai openrouter private replicate secret service signing ssh subscription together xai"
)
_PASS_OWNERS = _words("db ftp mysql pg postgres proxy redis smtp user")
_TOKEN_OWNERS = _words("access api auth bearer refresh secret session")
_PHRASES = frozenset(
    {("connection", "string")}
    | {(owner, key) for owner in _KEY_OWNERS for key in ("key", "keys")}
    | {(owner, "pass") for owner in _PASS_OWNERS}
    | {(owner, "tokens") for owner in _TOKEN_OWNERS}
)
_NOT_TOKENS = _words(
    "begin bos cls continuation count end eos eot first last mask max min n next num number pad sep special"
    " start stop stopping total unk unknown"
)
_NOT_KEYS = _words("foreign primary public")
_HARMLESS_ENDS = _words("class count enabled endpoint file limit mode name path scheme type uri url")


def is_credential_name(name: str) -> bool:
    """Whether a setting of this name holds a credential: ``x-api-key`` does, ``max_tokens`` does not."""
    words = words_of(name)
    if not words or (len(words) > 1 and words[-1] in _HARMLESS_ENDS):
        return False
    before = words[-2] if len(words) > 1 else ""
    if words[-1] == "token":
        return before not in _NOT_TOKENS
    if words[-1] == "key" and before and name.isupper():
        return before not in _NOT_KEYS  # OPENROUTER_KEY: such an environment variable is hardly anything else
    return not (_ALWAYS.isdisjoint(words) and _PHRASES.isdisjoint(pairwise(words)))


def words_of(name: str) -> list[str]:
    """The words of a name in any usual spelling, in lower case: ``xApiKey`` gives ``x``, ``api``, ``key``."""
    return [word.lower() for word in re.findall(_WORD, name)]
