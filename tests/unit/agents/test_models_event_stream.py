from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from overwinter.agents.models.event_stream import EventStream


def events(*pieces: bytes) -> list[bytes]:
    stream = EventStream()
    found = [event for piece in pieces for event in stream.feed(piece)]
    return [*found, *stream.finish()]


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"])
def test_each_event_is_its_data(end: bytes) -> None:
    """M31"""
    lines = (b"data: one", b"", b"event: x", b"data:two", b"", b": a comment", b"data: [DONE]", b"", b"")
    assert events(end.join(lines)) == [b"one", b"two", b"[DONE]"]


def test_lines_of_one_event_are_lines_of_its_data() -> None:
    """M31"""
    assert events(b"data: {\ndata\ndata:  1}\nid: 7\n\n") == [b"{\n\n 1}"]


def test_an_event_without_an_end_is_given_at_the_end() -> None:
    """M31"""
    assert events(b"data: a\n\ndata: b") == [b"a", b"b"]
    assert events(b"data: b\r") == [b"b"]


def test_what_has_no_data_is_no_event() -> None:
    """M31"""
    assert events(b"\n\n: ping\n\nevent: end\nretry: 3\n\n") == []
    assert events() == []


def test_a_byte_order_mark_is_no_part_of_the_first_line() -> None:
    """M31"""
    assert events(b"\xef\xbb\xbfdata: a\n\n\xef\xbb\xbfdata: b\n\n") == [b"a"]


def test_an_event_is_given_as_soon_as_its_last_byte_is_there() -> None:
    """M31"""
    stream = EventStream()
    assert stream.feed(b"data: a\n") == []
    assert stream.feed(b"\n") == [b"a"]
    assert stream.feed(b"data: b\r\n\r") == []
    assert stream.feed(b"\n") == [b"b"]


LINES = st.lists(
    st.sampled_from([b"data: ", b"data:x", b"data", b"", b":", b"event: e", b"\xf0\x9f\x98\x80"])
    | st.binary(max_size=6).map(lambda some: b"data: " + some.replace(b"\r", b"").replace(b"\n", b"")),
    max_size=12,
)
ENDS = st.lists(st.sampled_from([b"\n", b"\r\n", b"\r"]), min_size=12, max_size=12)


@given(LINES, ENDS, st.lists(st.integers(0, 120), max_size=20))
def test_the_pieces_in_which_it_comes_make_no_difference(
    lines: list[bytes], ends: list[bytes], cuts: list[int]
) -> None:
    """M31"""
    stream = b"".join(line + end for line, end in zip(lines, ends, strict=False))
    places = [0, *sorted(cut for cut in cuts if cut <= len(stream)), len(stream)]
    pieces = [stream[start:end] for start, end in itertools.pairwise(places)]
    every_byte = [stream[at : at + 1] for at in range(len(stream))]
    assert events(*pieces) == events(*every_byte) == events(stream)
