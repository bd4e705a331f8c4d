from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from overwinter.agents.models.text import SurrogateFilter, storable, storable_text

any_text = st.text(st.characters(), max_size=40)  # with surrogates, lone and in pairs
plain_data = st.recursive(
    st.none() | st.booleans() | st.integers() | any_text,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(any_text, inner, max_size=4),
    max_leaves=12,
)


@given(any_text)
def test_text_of_a_model_can_always_be_sent_and_stored(text: str) -> None:
    """M6"""
    clean = storable_text(text)
    clean.encode()
    assert storable_text(clean) == clean


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_text_without_lone_surrogates_stays_as_it_is(text: str) -> None:
    """M6"""
    assert storable_text(text) == text


def test_a_lone_surrogate_becomes_one_replacement_character() -> None:
    """M6"""
    assert storable_text("half \ud83d of it") == "half \ufffd of it"
    assert storable_text("\ude00\ud83d") == "\ufffd\ufffd"


@given(st.lists(any_text, max_size=6))
def test_pieces_of_a_stream_join_to_what_the_whole_would_be(pieces: list[str]) -> None:
    """M6"""
    surrogates = SurrogateFilter()
    streamed = "".join([*map(surrogates.feed, pieces), surrogates.finish()])
    assert streamed == storable_text("".join(pieces))


def test_an_emoji_cut_in_two_by_the_stream_is_put_together() -> None:
    """M6"""
    surrogates = SurrogateFilter()
    assert [surrogates.feed("a\ud83d"), surrogates.feed("\ude00b"), surrogates.finish()] == [
        "a",
        "\U0001f600b",
        "",
    ]


@given(plain_data)
def test_plain_data_is_cleaned_at_any_depth(data: object) -> None:
    """M6"""
    json.dumps(storable(data), ensure_ascii=False).encode()
