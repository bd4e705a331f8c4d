"""What a text says, in its own sentences: no network, no chance, and no understanding either.

Sentences are ranked by continuous LexRank: G. Erkan and D. R. Radev, "LexRank: Graph-based Lexical Centrality as
Salience in Text Summarization", Journal of Artificial Intelligence Research 22 (2004), 457-479. A sentence counts when
it shares rare words with many others that count. To that come small weights for place and length, and a sentence that
repeats a chosen one is passed over, after J. Carbonell and J. Goldstein's maximal marginal relevance (SIGIR 1998).
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from typing import TYPE_CHECKING

from overwinter.agents.models.prose import STOP_WORDS, fold, sentences_of, words_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from overwinter.agents.models.prose import Sentence

__all__ = ["best_sentences", "extract", "keywords", "most_telling", "shared_words", "summary_length"]

_DAMPING = 0.85
_ROUNDS = 25
_TOO_ALIKE = 0.5
_RANKED_AT_ONCE = 150
_BLOCK = 60
_LEANING = frozenset(
    (
        "also",
        "and",
        "but",
        "he",
        "her",
        "hence",
        "his",
        "however",
        "it",
        "its",
        "nor",
        "or",
        "she",
        "so",
        "such",
        "that",
        "then",
        "they",
        "these",
        "this",
        "those",
        "thus",
    )
)


def extract(text: str, count: int | None = None) -> str:
    """The *count* sentences that say most of *text*, in their order; as many as suit its length unless given."""
    sentences = sentences_of(text)
    chosen = best_sentences(sentences, summary_length(len(sentences)) if count is None else count)
    return " ".join(sentence.text for sentence in chosen)


def summary_length(sentences: int) -> int:
    """How many sentences stand for so many: 1 of 4, 4 of 35, 7 of any number."""
    return min(7, round(1 + math.log2(sentences / 4))) if sentences > 5 else min(sentences, 1)


def best_sentences(sentences: Sequence[Sentence], count: int) -> list[Sentence]:
    """The *count* sentences that say most, in their order. The time it takes grows in proportion to their number."""
    while len(sentences) > _RANKED_AT_ONCE:
        blocks = [sentences[start : start + _BLOCK] for start in range(0, len(sentences), _BLOCK)]
        sentences = [sentence for block in blocks for sentence in _choose(block, max(1, len(block) // 3))]
    return _choose(sentences, count)


def keywords(text: str, count: int = 8) -> list[str]:
    """The words that *text* uses most, the most frequent first, each in its most frequent form."""
    forms = _forms(text)
    ranked = sorted(forms.items(), key=lambda item: (-item[1].total(), item[0]))
    return [_most_frequent(counted) for _, counted in ranked[:count]]


def shared_words(texts: Sequence[str], count: int = 6) -> list[tuple[str, int]]:
    """The words that most of *texts* use, and in how many each stands; only such as stand in two or more."""
    forms: defaultdict[str, Counter[str]] = defaultdict(Counter)
    holders: Counter[str] = Counter()
    for text in texts:
        found = _forms(text)
        holders.update(found.keys())
        for word, counted in found.items():
            forms[word].update(counted)
    shared = [word for word, held in holders.items() if held >= 2]
    shared.sort(key=lambda word: (-holders[word], -forms[word].total(), word))
    return [(_most_frequent(forms[word]), holders[word]) for word in shared[:count]]


def most_telling(texts: Sequence[str], words: Iterable[str]) -> tuple[int, str] | None:
    """Which of *texts* has the sentence that holds most of *words*, and that sentence; ``None`` when none holds two."""
    wanted = {fold(word) for word in words}
    best: tuple[int, int, int, str] | None = None
    for number, text in enumerate(texts):
        for sentence in sentences_of(text):
            held = len(wanted.intersection(sentence.words))
            if held >= 2 and (best is None or (held, -len(sentence.words)) > best[:2]):
                best = (held, -len(sentence.words), number, sentence.text)
    return None if best is None else (best[2], best[3])


def _choose(sentences: Sequence[Sentence], count: int) -> list[Sentence]:
    vectors = _vectors(sentences)
    alike = _similarities(vectors)
    scores = _centrality(alike, len(sentences))
    ranked = sorted(range(len(sentences)), key=lambda at: (-scores[at] * _weight(sentences[at]), at))
    chosen: list[int] = []
    for at in ranked:
        if len(chosen) == count:
            break
        if all(alike[at].get(other, 0.0) < _TOO_ALIKE for other in chosen):
            chosen.append(at)
    return [sentences[at] for at in sorted(chosen)]


def _vectors(sentences: Sequence[Sentence]) -> list[dict[str, float]]:
    """The sentences as vectors of length 1: how often each word stands there, and how rare it is elsewhere."""
    counted = [Counter(word for word in sentence.words if word not in STOP_WORDS) for sentence in sentences]
    holders = Counter(word for words in counted for word in words)
    vectors: list[dict[str, float]] = []
    for words in counted:
        vector = {word: times * math.log(1 + len(sentences) / holders[word]) for word, times in words.items()}
        length = math.hypot(*vector.values()) or 1.0
        vectors.append({word: value / length for word, value in vector.items()})
    return vectors


def _similarities(vectors: Sequence[dict[str, float]]) -> list[dict[int, float]]:
    """For each vector those with which it shares words, and the cosine of the angle between them."""
    holders: defaultdict[str, list[int]] = defaultdict(list)
    alike: list[dict[int, float]] = [{} for _ in vectors]
    for at, vector in enumerate(vectors):
        for word, value in vector.items():
            for other in holders[word]:
                cosine = alike[at].get(other, 0.0) + value * vectors[other][word]
                alike[at][other] = alike[other][at] = cosine
            holders[word].append(at)
    return alike


def _centrality(alike: Sequence[dict[int, float]], count: int) -> list[float]:
    """PageRank over the graph of similarities, by power iteration."""
    totals = [sum(edges.values()) for edges in alike]
    scores = [1.0 / count] * count if count else []
    for _ in range(_ROUNDS):
        scores = [
            (1 - _DAMPING) / count
            + _DAMPING * sum(scores[other] * cosine / totals[other] for other, cosine in edges.items())
            for edges in alike
        ]
    return scores


def _weight(sentence: Sentence) -> float:
    """More for what opens a text or a paragraph; less for what is cut short, runs on, or leans on its predecessor."""
    weight = 1.3 if sentence.order == 0 else 1.15 if sentence.opens else 1.0
    length = len(sentence.words)
    if length < 6 or sentence.text.endswith("…"):
        weight *= 0.4
    elif length < 15:
        weight *= 0.6 if length < 11 else 0.85
    elif length > 45:
        weight *= 0.8
    return weight * (0.7 if sentence.words[0] in _LEANING else 1.0)


def _forms(text: str) -> dict[str, Counter[str]]:
    """The words that say something, and how often each of their forms stands in *text*."""
    counted: Counter[str] = Counter()
    for line in text.splitlines():  # not at once: one search of a long text would hold up every other thread
        counted.update(words_of(line))
    forms: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for word, times in counted.items():
        if _says_something(word):
            forms[fold(word)][word] = times
    return forms


def _says_something(word: str) -> bool:
    return word not in STOP_WORDS and not word[0].isdigit() and (len(word) > 2 or not word.isascii())


def _most_frequent(forms: Counter[str]) -> str:
    return min(forms, key=lambda form: (-forms[form], form))
