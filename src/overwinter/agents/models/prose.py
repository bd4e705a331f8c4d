"""From any text to its sentences and words."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from msgspec import Struct

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["STOP_WORDS", "Sentence", "fold", "heading_of", "sentences_of", "single_line", "words_of"]

_LONGEST = 320  # characters; what goes on without an end is cut, as in logs, tables and minified code

_CONTROLS = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]+")
_HEADING = re.compile(r"#{1,6}\s")
_RULE = re.compile(r"[=\-*_~+|:\s]{3,}")
_ITEM = re.compile(r"(?:[-*+•]|\d{1,3}[.)])\s+")
_IMAGE_OR_LINK = re.compile(r"!\[[^\[\]]{0,200}\]\([^()]{0,500}\)|\[([^\[\]]{0,200})\]\([^()]{0,500}\)")
_TAG = re.compile(r"</?[A-Za-z][^<>]{0,200}>")
_EMPHASIS = re.compile(r"\*{1,3}(?=\S)|(?<=\S)\*{1,3}|(?<!\w)_{1,3}(?=\S)|(?<=\S)_{1,3}(?!\w)|`+")
_END = re.compile("(?<![.!?…])[.!?…]++[\"'”’)\\]]*+(?=\\s)|[。！？]++[”」』]*+")  # noqa: RUF001 - these end sentences too
_LAST_WORD = re.compile(r"(\S+?)[.!?…]+[\"'”’)\]]*\Z")  # noqa: RUF001
_WORD = re.compile("[\u3040-\u30ff\u3400-\u9fff]|[^\\W_]+(?:['’-][^\\W_]+)*")  # noqa: RUF001


def _set(words: str) -> frozenset[str]:
    return frozenset(words.split())


_ABBREVIATIONS = _set("al approx ca cf co dr e.g eg fig i.e ie inc jr mr mrs ms no nr p pp prof sr st vol vs")
STOP_WORDS = _set(
    "a about above across after afterward afterwards again against ago alike all almost along already"
    " also although always am among an and another any anybody anyone anything are around as ask asked at"
    " away back be became because become been before began begin begins behind being below beside best"
    " better between beyond both built but by call called came can cannot care carry certain clear close"
    " come common could cut day days did different do does doing done down during each early eight either"
    " else end enough especially even ever every everyone everything exactly example fact fall falls far"
    " fell few fifty first five for forty found four from further gave general get give given go goes gone"
    " good got great had half hand has have having he held help hence her here hers herself high him"
    " himself his hold how however hundred i if in include includes indeed instead into is it its itself"
    " just keep kept kind knew know known large larger largest last late later least leave left less let"
    " like likely little long longer longest look low made make making many matter may me mean means might"
    " moment month months more most mostly much must my name named near nearly need needed never new next"
    " nine no nobody none nor not nothing now of off often old on once one ones only onto open or order"
    " other others otherwise our out over own part particular parts people per perhaps place point"
    " possible present probably problem put quite ran rather reach reached really reason result right run"
    " runs said same saw say says second see seem seemed seen sent serve serves set seven several shall"
    " she should show side simply since single six sixty small so some somebody something sometimes soon"
    " sort stand stands start started still stood such sure take taken takes tell ten than that the their"
    " them themselves then there therefore these they thing things think third thirty this those though"
    " thought thousand three through thus time times to together told too took toward towards true try"
    " turn twenty twice two under until up upon us use used useful uses using usual usually various very"
    " via view want wants was way ways we well went were what whatever when where whether which while who"
    " whoever whole whom whose why will with within without word words work works world would write writes"
    " written wrote year years yes yet you your zero"
)
"""English words that say nothing about what a text is about."""


class Sentence(Struct, frozen=True):
    """One sentence; ``order`` is its number in the text, ``opens`` tells whether a paragraph begins with it."""

    text: str
    order: int
    opens: bool
    words: tuple[str, ...]


def sentences_of(text: str) -> list[Sentence]:
    """The sentences of plain text or Markdown, without headings, code and marks of emphasis.

    What has no sentences, such as a log, is taken line by line; what has no lines is cut.
    """
    found: list[Sentence] = []
    for paragraph in _paragraphs(text):
        for number, sentence in enumerate(_split(paragraph)):
            words = tuple(fold(word) for word in words_of(sentence))
            if words:
                found.append(Sentence(sentence, len(found), number == 0, words))
    return found


def heading_of(text: str) -> str:
    """The first heading, or else a short first line that is no sentence, or an empty string."""
    first = ""
    for line in map(str.strip, text.splitlines()):
        if match := _HEADING.match(line):
            return _plain(line[match.end() :].rstrip("# "))
        first = first or _plain(line)
    return first if len(first) <= 80 and first[-1:] not in ".!?:;,{}[]()<>" else ""


def words_of(text: str) -> list[str]:
    """The words of *text* in lower case; of Chinese and Japanese the characters."""
    return _WORD.findall(text.lower())


def fold(word: str) -> str:
    """*word* without the ending of a plural or a possessive, so that "bee", "bees" and "bee's" count as one."""
    for ending in ("'s", "’s"):  # noqa: RUF001
        word = word.removesuffix(ending)
    if len(word) > 4 and word.endswith("ies"):
        return f"{word[:-3]}y"
    if len(word) > 3 and word.endswith("s") and not word.endswith(("ss", "us", "is")):
        return word[:-1]
    return word


def single_line(text: str) -> str:
    """*text* in one line, without control characters."""
    return " ".join(_CONTROLS.sub(" ", text).split())


def _paragraphs(text: str) -> Iterator[list[str]]:
    """The paragraphs as lists of their lines."""
    lines = text.splitlines()
    fences = sum(line.lstrip().startswith(("```", "~~~")) for line in lines)
    fenced = False
    gathered: list[str] = []
    for line in (line.strip().lstrip("> ") for line in lines):
        fence = line.startswith(("```", "~~~"))
        if fence:
            # A text that was cut may hold only one end of a block, and then nobody knows what is inside.
            fenced = not fenced and fences % 2 == 0
        item = _ITEM.match(line)
        breaks = (
            fenced or fence or not line or line.startswith(("#", "|")) or _RULE.fullmatch(line) is not None
        )
        if (breaks or item) and gathered:
            yield gathered
            gathered = []
        if not breaks:
            gathered.append(line[item.end() :] if item else line)
    if gathered:
        yield gathered


def _split(lines: list[str]) -> Iterator[str]:
    whole = _plain(" ".join(lines))
    ends = [match.end() for match in _END.finditer(whole) if _is_end(whole, match)]
    if len(lines) > 6 and len(ends) < len(lines) / 6:
        for line in lines:
            yield from _cut(_plain(line))
        return
    start = 0
    for end in [*ends, len(whole)]:
        yield from _cut(whole[start:end].strip())
        start = end


def _is_end(text: str, match: re.Match[str]) -> bool:
    following = text[match.end() : match.end() + 4].lstrip()[:2].lstrip("\"'“‘([")[:1]  # noqa: RUF001
    if following.islower():
        return False
    word = _LAST_WORD.search(text[max(0, match.end() - 24) : match.end()])
    if word is None or not match[0].startswith("."):
        return True
    before = word[1].lstrip("\"'“‘([")  # noqa: RUF001
    return before.lower() not in _ABBREVIATIONS and not (len(before) == 1 and before.isupper())


def _cut(sentence: str) -> Iterator[str]:
    while len(sentence) > _LONGEST:
        at = sentence.rfind(" ", _LONGEST // 2, _LONGEST)
        at = at if at > 0 else _LONGEST
        yield f"{sentence[:at]} …"
        sentence = sentence[at:].strip()
    if sentence:
        yield sentence


def _plain(text: str) -> str:
    text = _IMAGE_OR_LINK.sub(lambda match: match[1] or "", text)
    return single_line(_EMPHASIS.sub("", _TAG.sub("", text)))
