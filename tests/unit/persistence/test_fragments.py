"""Arrays that are encoded once and grow."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from overwinter.errors import SaveRejected
from overwinter.persistence.fragments import Fragments

TEXT = st.text(st.characters(codec="utf-8"))
ELEMENTS = st.dictionaries(TEXT, TEXT | st.integers(-(2**60), 2**60) | st.none(), max_size=3)


@given(st.lists(st.lists(ELEMENTS, max_size=5), max_size=5))
def test_pieces_are_the_elements_in_order_however_they_came(batches: list[list[dict[str, Any]]]) -> None:
    fragments = Fragments("items")
    elements: list[dict[str, Any]] = []
    for batch in batches:
        elements.extend(batch)
        fragments.update(elements)
        text = b"".join([b"{\n", *fragments.pieces(last=False), *Fragments("none").pieces(last=True), b"}\n"])
        assert json.loads(text) == {"items": elements, "none": []}
        assert (
            text.decode() == json.dumps({"items": elements, "none": []}, indent=2, ensure_ascii=False) + "\n"
        )


def test_many_elements_are_few_pieces() -> None:
    fragments = Fragments("items")
    fragments.update([{"text": "x" * 350}] * 10_000)
    assert len(fragments.pieces(last=True)) < 300


def test_only_what_is_new_is_encoded() -> None:

    fragments = Fragments("items")
    elements: list[Any] = [{"n": 1}]
    fragments.update(elements)
    elements[0]["n"] = float("nan")
    elements.append({"n": 2})
    fragments.update(elements)
    assert b"".join(fragments.pieces(last=True)).count(b'"n"') == 2


def test_an_element_that_cannot_be_stored_is_named() -> None:
    fragments = Fragments("items")
    with pytest.raises(SaveRejected) as refused:
        fragments.update([{"n": 1}, {"n": float("nan")}])
    assert refused.value.field == "items[1].n"
    fragments.update([{"n": 1}, {"n": 2}])
    assert json.loads(b"{" + b"".join(fragments.pieces(last=True)) + b"}") == {"items": [{"n": 1}, {"n": 2}]}


def test_what_was_just_read_is_encoded_without_a_look_back_and_in_portions() -> None:
    fragments = Fragments("items")
    elements = [{"n": number} for number in range(5)]
    assert fragments.update(elements, checked=True, most=3) == 3
    assert fragments.update(elements, checked=True, most=3) == 2
    assert fragments.update(elements, checked=True) == 0
    assert json.loads(b"{" + b"".join(fragments.pieces(last=True)) + b"}") == {"items": elements}
