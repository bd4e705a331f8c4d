"""What the commands print as JSON."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from overwinter.cli.listing import as_json

_TEXTS = st.text(st.characters(codec=None))  # halves of surrogate pairs included
_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | _TEXTS,
    lambda inner: st.lists(inner) | st.dictionaries(_TEXTS, inner),
    max_leaves=20,
)


@given(st.dictionaries(_TEXTS, _VALUES))
def test_it_is_what_python_makes_of_it_whatever_it_holds(document: dict[str, Any]) -> None:
    assert as_json(document) == json.dumps(document, indent=2) + "\n"


@pytest.mark.parametrize("text", ["\ud800", "\x1b[31m", "\u202e", "ä"])
def test_nothing_in_it_can_act_on_a_terminal(text: str) -> None:
    said = as_json({"name": text})
    assert said.isascii()
    assert "\x1b" not in said
    assert json.loads(said) == {"name": text}
