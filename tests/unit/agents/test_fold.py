"""The state as the fold of what happened: from anywhere on, it comes to the same."""

from __future__ import annotations

from typing import TYPE_CHECKING, get_args

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.happenings import histories

from overwinter.agents.copying import copy_of
from overwinter.agents.history import Teller
from overwinter.agents.journal_records import JournalRecord, decode_record, encode_record
from overwinter.agents.records import StateBody
from overwinter.agents.state import AgentState
from overwinter.persistence.lines import journal_line, read_line

if TYPE_CHECKING:
    from collections.abc import Sequence

    from overwinter.agents.models.protocol import Message

many = settings(max_examples=150, deadline=None)


def folded(records: Sequence[JournalRecord], state: AgentState | None = None) -> AgentState:
    state = state or AgentState()
    for record in records:
        state.apply(record)
    return state


def as_stored(state: AgentState) -> bytes:
    return msgspec.json.encode(state.body())


@many
@given(histories(), st.data())
def test_a_document_and_the_records_behind_it_tell_what_all_records_do(
    records: list[JournalRecord], data: st.DataObject
) -> None:
    """H1: the state is the fold of the records, from the beginning or from a document on."""
    whole = folded(records)
    middle = data.draw(st.integers(0, len(records)))
    document = as_stored(folded(records[:middle]))
    restored = AgentState()
    restored.restore(msgspec.json.decode(document, type=StateBody))
    folded([decode_record(encode_record(record)) for record in records[middle:]], restored)
    assert as_stored(restored) == as_stored(whole)
    assert restored.run_ids - {""} == whole.run_ids - {""}


@many
@given(histories())
def test_a_record_comes_back_as_it_was(records: list[JournalRecord]) -> None:
    """H1: and what was written of a record is what is read of it."""
    for sequence, record in enumerate(records, 1):
        encoded = encode_record(record)
        line = read_line(journal_line(sequence, encoded))
        assert line is not None
        assert encode_record(decode_record(line.record)) == encoded


@many
@given(histories())
def test_no_conversation_carries_a_call_without_an_answer(records: list[JournalRecord]) -> None:
    """H2: whenever a model may be asked, each call before has its answer, directly behind the message that made it."""
    state = AgentState()
    for record in records:
        state.apply(record)
        if not state.open_calls:
            check_answers(state.conversation)


def check_answers(conversation: Sequence[Message]) -> None:
    wanted: list[str] = []
    for message in conversation:
        if message.role == "tool":
            assert message.tool_call_id in wanted
            wanted.remove(message.tool_call_id)
        else:
            assert not wanted
            wanted = [call.id for call in message.tool_calls]
    assert not wanted


@many
@given(histories())
def test_a_copy_knows_the_same_and_goes_its_own_way(records: list[JournalRecord]) -> None:
    state = folded(records)
    before = as_stored(state)
    copy = copy_of(state)
    assert as_stored(copy) == before
    copy.memory.set("new", 1)
    copy.conversation.clear()
    copy.runs.clear()
    copy.accepted.clear()
    assert as_stored(state) == before


@many
@given(histories())
def test_every_kind_of_record_can_be_told(records: list[JournalRecord]) -> None:
    """H3: each record is one step of the history, in one line."""
    teller = Teller()
    for sequence, record in enumerate(records, 1):
        line = read_line(journal_line(sequence, encode_record(record)))
        assert line is not None
        step = teller.tell(line)
        assert step.step == sequence
        assert "\n" not in step.summary
        assert len(step.summary) <= 120


def test_every_kind_of_record_has_words_of_its_own() -> None:
    from overwinter.agents import history

    assert set(history._SUMMARIES) == set(get_args(JournalRecord))
