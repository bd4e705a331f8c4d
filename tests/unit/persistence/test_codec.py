"""What is accepted comes back as it was; anything else is refused, and named."""

from __future__ import annotations

import dataclasses
import decimal
import enum
import json
import marshal
import sys
import uuid
from collections import OrderedDict, defaultdict
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from overwinter.errors import SaveRejected
from overwinter.persistence import MAX_DEPTH, Secret, encode, encode_checked, find_unstorable, pretty
from overwinter.persistence.storable import find_difference

storable = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers(-(10**400), 10**400)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=6) | st.dictionaries(st.text(max_size=8), inner, max_size=6),
    max_leaves=30,
)


class Colour(enum.Enum):
    RED = "red"


class Shade(str, enum.Enum):  # noqa: UP042
    DARK = "dark"


class Text(str):
    __slots__ = ()


class Number(int):
    pass


class Items(list[Any]):
    pass


unstorable = st.one_of(
    st.sampled_from([float("nan"), float("inf"), float("-inf")]),
    st.sampled_from(["\ud800", "a\udfffb", Text("a"), Number(1), Shade.DARK, Colour.RED]),
    st.binary(max_size=4),
    st.tuples(st.integers()),
    st.sets(st.integers(), max_size=2),
    st.dictionaries(st.integers(), st.none(), min_size=1, max_size=2),
    st.sampled_from([10**4300, -(10**4300), 10**5000]),
    st.sampled_from([OrderedDict(a=1), defaultdict(int, a=1), Items([1])]),
    st.sampled_from(
        [datetime(2030, 1, 1, tzinfo=UTC), decimal.Decimal(1), uuid.UUID(int=1), 1j, object(), print]
    ),
    st.just(Secret("swordfish")),
)


@given(storable)
@example([True, 1, 1.0, False, 0, 0.0, -0.0])
@example({"": {"\0": "\u2028"}})
@example([2**63, 2**64, -(2**63) - 1, 10**4299, 5e-324, 1e308, 1e16])
def test_what_is_accepted_comes_back_the_same_types_included(value: Any) -> None:
    """P23: compared by marshal, to which True, 1 and 1.0 are three values."""
    encoded = encode_checked(value, what="value")
    assert marshal.dumps(msgspec.json.decode(encoded), 2) == marshal.dumps(value, 2)
    assert json.loads(encoded) == value
    assert find_unstorable(value) is None
    assert find_difference(value, msgspec.json.decode(encoded)) is None


@given(storable, unstorable, st.sampled_from(["list", "dict", "deep"]))
def test_anything_else_is_refused_and_the_field_named(good: Any, bad: Any, where: str) -> None:
    """P24: wherever it stands."""
    value, field = {
        "list": ([good, bad, good], "value[1]"),
        "dict": ({"a": good, "b": bad}, "value.b"),
        "deep": ({"a": [[good], {"b": (inner := {"c d": bad})}], "z": inner}, "value.a[1].b['c d']"),
    }[where]
    with pytest.raises(SaveRejected) as caught:
        encode_checked(value, what="value")
    assert caught.value.field == field
    assert str(caught.value).startswith(field + " ")


@pytest.mark.parametrize(
    ("value", "field", "said"),
    [
        ({"scores": [1, 2, 3, float("nan")]}, "memory.scores[3]", "is nan"),
        ({"scores": [float("-inf")]}, "memory.scores[0]", "is -inf"),
        ({"note": "cut \ud83d"}, "memory.note", r"lone surrogate '\ud83d' at 4"),
        ({"cut \ud83d": 1}, "memory", "has the key 'cut \\ud83d', with a lone surrogate"),
        ({"a": {1: "x"}}, "memory.a", "has the key 1, an int"),
        ({"a": {("x" * 50,): 1}}, "memory.a", "…, a tuple"),
        (b"raw", "memory", "is bytes"),
        (bytearray(b"raw"), "memory", "is a bytearray"),
        ({"n": 10**5000}, "memory.n", "more than 4,300 digits"),
        ({"n": -(10**4300)}, "memory.n", "more than 4,300 digits"),
        ({"t": [(1, 2)]}, "memory.t[0]", "is a tuple, which would come back as a list"),
        ({"k": Secret("swordfish")}, "memory.k", "is a Secret"),
        ({"o": object()}, "memory.o", "is an object"),
        ({"e": Colour.RED}, "memory.e", "is a Colour"),
    ],
)
def test_the_message_says_what_is_wrong_and_what_is_intact(value: Any, field: str, said: str) -> None:
    """P24: for a person."""
    with pytest.raises(SaveRejected, match="what was saved before is intact") as caught:
        encode_checked(value, what="memory")
    assert caught.value.field == field
    assert said in str(caught.value)
    assert "swordfish" not in str(caught.value)


def test_a_value_that_contains_itself_is_refused() -> None:
    """P25: cycles through lists and dicts."""
    cycle: dict[str, Any] = {"first": [1], "again": []}
    cycle["again"].append(cycle)
    with pytest.raises(SaveRejected, match="contains itself") as caught:
        encode_checked(cycle, what="memory")
    assert caught.value.field == "memory.again[0]"


def test_a_value_that_stands_in_two_places_is_accepted() -> None:
    """P25: sharing is no cycle."""
    shared = {"a": [1]}
    assert encode_checked([shared, shared], what="value") == b'[{"a":[1]},{"a":[1]}]'


@pytest.mark.parametrize("depth", [MAX_DEPTH + 1, 990, 5_000, 100_000])
@pytest.mark.parametrize("kind", ["list", "dict"])
def test_any_depth_is_refused_without_a_recursion_error(depth: int, kind: str) -> None:
    """P25: also one that msgspec would still have encoded."""
    value: Any = [] if kind == "list" else {}
    for _ in range(depth - 1):
        value = [value] if kind == "list" else {"a": value}
    with pytest.raises(SaveRejected, match="is nested more than 200 deep") as caught:
        encode_checked(value, what="value")
    assert len(caught.value.field) < 100


def test_the_deepest_accepted_value_is_read_by_plain_json_in_a_deep_stack() -> None:
    """P25: the limit leaves room for the stack of whoever loads."""
    value: Any = [0]
    for _ in range(MAX_DEPTH - 1):
        value = [value]
    encoded = encode_checked(value, what="value")
    assert encode_checked(Step(1, WHEN, extra=value[0]), what="step")
    wide = encode_checked([[number] for number in range(2 * MAX_DEPTH)], what="value")

    def down(levels: int) -> Any:
        return down(levels - 1) if levels else json.loads(encoded)

    assert down(300) == value
    assert len(json.loads(wide)) == 2 * MAX_DEPTH


class Step(msgspec.Struct):
    number: int
    when: datetime
    tags: tuple[str, ...] = ()
    cost: float | None = None
    extra: Any = None
    left: Step | None = None


class Tally(msgspec.Struct, eq=False):
    counts: dict[int, str] = {}
    seen: frozenset[Any] = frozenset()
    tones: list[Colour] = []


@dataclasses.dataclass
class Point:
    x: float
    y: float


WHEN = datetime(2030, 1, 1, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    "value",
    [
        Step(1, WHEN),
        Step(1, WHEN, ("a",), 0.5, {"any": [1, None]}, Step(2, WHEN.astimezone())),
        Tally({1: "a"}, frozenset({1, "x"}), [Colour.RED]),
        Point(0.5, -0.0),
    ],
)
def test_a_struct_or_dataclass_is_compared_through_its_own_type(value: Any) -> None:
    """P26: tuples, int keys, sets, enums and dates have a type to come back to."""
    encoded = encode_checked(value, what="value", type=type(value))
    assert encode_checked(value, what="value") == encoded
    assert find_difference(value, msgspec.json.decode(encoded, type=type(value))) is None


@pytest.mark.parametrize(
    ("value", "field", "said"),
    [
        (Step(True, WHEN), "step.number", "Expected `int`, got `bool`"),
        (Step(1, WHEN, cost=float("nan")), "step.cost", "is nan"),
        (
            Step(1, WHEN, left=Step(1, WHEN, extra=[(1,)])),
            "step.left.extra[0]",
            "is a tuple and would come back as a list",
        ),
        (Step(1, WHEN, ["a"]), "step.tags", "is a list and would come back as a tuple"),  # type: ignore[arg-type]
        (Step(1, WHEN, extra=Shade.DARK), "step.extra", "is a Shade and would come back as a str"),
        (Step(1, WHEN, extra={1: 2}), "step.extra", "another value"),
        (Step(1, WHEN, extra={Colour.RED: 2}), "step.extra", "another value"),
        (Step(1, WHEN, extra="\ud800"), "step.extra", "lone surrogate"),
        (Step(1, WHEN, extra=b"raw"), "step.extra", "is bytes and would come back as a str"),
        (Step(1, WHEN, extra=object()), "step.extra", "is an object, which cannot be stored"),
        (Step(1, WHEN, extra=Secret("x")), "step.extra", "is a Secret"),
        (Step(1, WHEN, extra=decimal.Decimal("sNaN")), "step.extra", "would come back as a str"),
        (Tally({True: "a"}), "step.counts", "has the key True, a bool, which cannot be stored"),
        (Tally({1: "a", "\ud800": "b"}), "step.counts", "which cannot be stored"),  # type: ignore[dict-item]
        (Step(1, WHEN, extra={"a": Items([1])}), "step.extra.a", "is an Items and would come back as a list"),
        (Tally(seen=frozenset({Shade.DARK})), "step.seen", "another value"),
        (Point(float("inf"), 0), "step.x", "is inf"),
        (Point(2**53 + 1, 0), "step.x", "is an int and would come back as a float"),
    ],
)
def test_a_field_that_does_not_hold_what_its_type_says_is_refused(value: Any, field: str, said: str) -> None:
    """P26: named, like any other."""
    with pytest.raises(SaveRejected) as caught:
        encode_checked(value, what="step")
    assert caught.value.field == field
    assert said in str(caught.value)


def test_two_values_differ_where_the_path_says() -> None:
    """P24: also where only the text does."""
    assert find_difference({"a": [1, "x"]}, {"a": [1, "y"]}) == (
        ".a[1]",
        "would come back with another value",
    )
    assert find_difference([1], [1, 2]) == ("", "would come back with another value")
    assert find_difference(Step(1, WHEN), Step(2, WHEN)) == (".number", "would come back with another value")
    assert find_difference({"a": {}}, {"a": {"b": 1}}) == (".a", "would come back with another value")
    assert find_difference({"a": 1, "b": 2}, {"b": 2, "a": 1}) == ("", "would come back with another value")


@given(storable, storable)
@example([True, 1.0, {"a": 1}], [1, 1, {"a": True}])
@example({"a": 1, "b": 2}, {"b": 2, "a": 1})
@example([0.0], [-0.0])
def test_the_quick_look_overlooks_nothing_that_the_walk_finds(one: Any, other: Any) -> None:
    """P24: what is said to be the same without a walk is the same."""
    for ours, theirs in ((one, other), (one, msgspec.json.decode(encode(one)))):
        for pair in ((ours, theirs), (Step(1, WHEN, extra=ours), Step(1, WHEN, extra=theirs))):
            quick = find_difference(*pair)
            with pytest.MonkeyPatch.context() as patched:
                patched.setattr("overwinter.persistence.storable._same", lambda *_: False)
                assert find_difference(*pair) == quick


def test_the_quick_look_is_left_where_the_stack_ends() -> None:
    """P24: the walk needs no stack."""
    value: list[Any] = []
    for _ in range(sys.getrecursionlimit() * 2):
        value = [value]
    assert find_difference(value, value) is None
    assert find_difference(value, [value]) is not None


def test_an_int_may_come_back_as_the_equal_float_where_the_type_says_float() -> None:
    """P26: as Python's own typing lets it."""
    assert encode_checked(Point(1, 2), what="point") == b'{"x":1,"y":2}'


def test_a_type_that_plain_data_has_anyway_changes_nothing() -> None:
    """P23: ``type=dict`` is no licence for int keys, nor ``type=int`` for True."""
    assert encode_checked({"a": 1}, what="value", type=dict) == b'{"a":1}'
    with pytest.raises(SaveRejected, match="use str keys"):
        encode_checked({1: 1}, what="value", type=dict)
    with pytest.raises(SaveRejected, match="got `bool`"):
        encode_checked(True, what="value", type=int)


def test_a_value_that_changes_while_it_is_saved_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """P24: it is not known what was stored."""
    monkeypatch.setattr("overwinter.persistence.codec.find_difference", lambda value, decoded: None)
    monkeypatch.setattr("marshal.dumps", lambda value, version: id(value))
    with pytest.raises(SaveRejected, match="changed while it was being saved") as caught:
        encode_checked({"a": 1}, what="value")
    assert caught.value.field == "value"


@given(storable, st.integers(0, 4))
def test_pretty_is_laid_out_as_json_dumps_does(value: Any, level: int) -> None:
    """P27: but for how a float is spelled."""
    spelled = json.loads(json.dumps(value), parse_float=lambda text: 0.5)
    laid_out = pretty(encode(spelled), level).decode()
    expected = json.dumps(spelled, indent=2, ensure_ascii=False).replace("\n", "\n" + "  " * level)
    assert laid_out.replace("\x7f", "") == expected.replace("\x7f", "")
    assert json.loads(pretty(encode(value), level)) == value
