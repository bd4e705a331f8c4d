from __future__ import annotations

import itertools
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from overwinter.agents.models import ToolCall
from overwinter.agents.models.chat_calls import Calls, call_fields
from overwinter.agents.models.openai_reply import Completion


def assembled(pieces: list[dict[str, Any]], taken: tuple[str, ...] = ()) -> tuple[ToolCall, ...]:
    calls = Calls()
    for piece in pieces:
        calls.add_piece(piece.get("index"), call_fields(piece))
    return calls.finished(taken)


def test_what_is_neither_id_name_nor_arguments_is_the_providers() -> None:
    """M2"""
    piece = {
        "index": 0,
        "id": 7,
        "type": "function",
        "function": {"name": "f", "arguments": None, "strict": True},
        "extra_content": {"signature": "c2ln"},
    }
    (call,) = assembled([piece])
    assert call == ToolCall(
        "7", "f", "", {"extra_content": {"signature": "c2ln"}, "function": {"strict": True}}
    )


def test_a_call_without_a_name_is_none() -> None:
    """M4"""
    assert assembled([{"index": 0, "id": "1", "function": {"arguments": "{}"}}]) == ()


def named(name: str, arguments: str, **more: Any) -> dict[str, Any]:
    return {"function": {"name": name, "arguments": arguments}, **more}


@pytest.mark.parametrize("index", [{}, {"index": 0}], ids=["without an index", "one index for all"])
def test_whole_calls_of_one_tool_without_ids_are_calls_of_their_own(index: dict[str, Any]) -> None:
    """M4"""
    calls = assembled(
        [named("f", '{"a":1}', **index), named("f", '{"a":2}', **index), named("f", "{}", **index)]
    )
    assert [(call.name, call.arguments) for call in calls] == [
        ("f", '{"a":1}'),
        ("f", '{"a":2}'),
        ("f", "{}"),
    ]
    assert len({call.id for call in calls}) == 3


def test_a_name_that_is_said_in_every_piece_makes_no_more_calls() -> None:
    """M4"""
    pieces = [named("f", piece, index=0) for piece in ("", '{"a"', ": {}", "}", "")]
    assert [call.arguments for call in assembled(pieces)] == ['{"a": {}}']


def test_an_id_that_is_made_anew_for_every_piece_makes_no_more_calls() -> None:
    """M4"""
    first = {"index": 0, "id": "1", "function": {"name": "f", "arguments": ""}}
    more = [
        {"index": 0, "id": str(at), "function": {"arguments": piece}}
        for at, piece in enumerate(('{"a"', ": 2}"), 2)
    ]
    assert assembled([first, *more]) == (ToolCall("1", "f", '{"a": 2}'),)


ARGUMENTS = st.dictionaries(st.text(max_size=3), st.text(max_size=8) | st.integers(), max_size=3)


@given(st.lists(st.tuples(st.sampled_from(["search", "write"]), ARGUMENTS), max_size=4), st.data())
def test_fragments_join_to_the_calls_whichever_way_they_are_cut(
    wanted: list[tuple[str, dict[str, Any]]], data: st.DataObject
) -> None:
    """M4"""
    queues: list[list[dict[str, Any]]] = []
    for index, (name, arguments) in enumerate(wanted):
        text = json.dumps(arguments)
        cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=4)))
        places = [0, *cuts, len(text)]
        parts = [text[start:end] for start, end in itertools.pairwise(places)]
        again = data.draw(st.booleans())
        queues.append(
            [
                {
                    "index": index,
                    **({"id": f"c{index}"} if again or not at else {}),
                    "function": {"arguments": part, **({"name": name} if again or not at else {})},
                }
                for at, part in enumerate(parts)
            ]
        )
    pieces = [queue.pop(0) for queue in queues]  # they begin in order, and take turns as they like
    while any(queues):
        pieces.append(data.draw(st.sampled_from([queue for queue in queues if queue])).pop(0))
    completion = Completion()
    for piece in pieces:
        completion.add_chunk({"choices": [{"delta": {"tool_calls": [piece]}}]})
    completion.add_chunk({"choices": [{"delta": {}, "finish_reason": "tool_calls"}]})
    completion.finish()
    calls = completion.reply(provider="p", name="m", taken_ids=()).message.tool_calls
    assert [(call.id, call.name, json.loads(call.arguments)) for call in calls] == [
        (f"c{index}", name, arguments) for index, (name, arguments) in enumerate(wanted)
    ]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(0, 9) | st.text(max_size=4),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                [
                    "choices",
                    "delta",
                    "message",
                    "content",
                    "tool_calls",
                    "function",
                    "usage",
                    "index",
                    "text",
                    "id",
                ]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@given(st.dictionaries(st.sampled_from(["choices", "usage", "model", "id"]), JSON, max_size=4))
def test_a_chunk_of_any_shape_is_borne(chunk: dict[str, Any]) -> None:
    """M31"""
    completion = Completion()
    completion.add_chunk(chunk)
    completion.finish_reason = "stop"
    completion.finish()
    reply = completion.reply(provider="p", name="m", taken_ids=())
    assert reply.usage.input_tokens >= 0
