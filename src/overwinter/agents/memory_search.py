"""Finding what a memory keeps by the words in it."""

from __future__ import annotations

import re
import unicodedata
from heapq import nsmallest
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    import msgspec

__all__ = ["search"]

_WORD = re.compile(r"[^\W_]+")
# What msgspec escapes is never part of a word: quotes, backslashes and control characters.
_ESCAPE = re.compile(r"\\(?:u[0-9a-fA-F]{4}|.)")
# Scripts without spaces between words: Thai, Lao, Tibetan, Myanmar, Khmer, kana and Chinese characters.
_UNSPACED = re.compile(
    r"[\u0e00-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]"
)


def search(entries: Iterable[tuple[str, msgspec.Raw]], query: str, limit: int) -> list[str]:
    """The keys of the *limit* entries that fit *query* best, the best first.

    The order is by coordination level and then by term frequency, the two oldest measures of retrieval (Cleverdon
    1967; Luhn 1957): first by how many different words of the query an entry has, then by how many of them stand in
    its key, then by how often they occur in all; entries that fit equally well stay in their order. Words are compared
    whole, in Unicode's compatibility form (NFKC) and case-folded, and an underscore parts them; in scripts without
    spaces a word may be part of a longer run. The words of a value are those of its JSON: of strings, member names,
    numbers, and ``true``, ``false`` and ``null``.

    It looks at every entry and keeps no index, so that nothing is paid while nobody searches: some 10 ms for 10,000
    entries of 200 characters.
    """
    wanted = [(word, bool(_UNSPACED.search(word))) for word in dict.fromkeys(_WORD.findall(_fold(query)))]
    found: list[tuple[int, int, int, int, str]] = []
    for number, (key, raw) in enumerate(entries):
        folded_key, text = _fold(key), _fold(_text_of(raw))
        different = key_hits = occurrences = 0
        for word, anywhere in wanted:
            in_key, in_text = _count(word, folded_key, anywhere), _count(word, text, anywhere)
            different += bool(in_key or in_text)
            key_hits += bool(in_key)
            occurrences += in_key + in_text
        if different:
            found.append((-different, -key_hits, -occurrences, number, key))
    return [key for *_, key in nsmallest(limit, found)]


def _text_of(raw: msgspec.Raw) -> str:
    text = bytes(raw).decode()
    return _ESCAPE.sub(" ", text) if "\\" in text else text


def _fold(text: str) -> str:
    if text.isascii():
        return text.lower()
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())


def _count(word: str, text: str, anywhere: bool) -> int:
    """How often *word* stands in *text*: as a whole word, or *anywhere*."""
    if word not in text:
        return 0
    if anywhere:
        return text.count(word)
    count, size, start = 0, len(word), text.find(word)
    while start >= 0:
        end = start + size
        if not (text[start - 1 : start].isalnum() or text[end : end + 1].isalnum()):
            count += 1
        start = text.find(word, end)
    return count
