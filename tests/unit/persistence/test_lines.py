"""One record a line, for people and for jq; and no byte of it can change unnoticed."""

from __future__ import annotations

import json
from zlib import crc32

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from overwinter.errors import SchemaTooNew
from overwinter.persistence import (
    JOURNAL_VERSION,
    JournalLine,
    LogLine,
    journal_line,
    log_line,
    read_line,
    read_log_line,
)

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)
RECORDS = st.dictionaries(st.text(), VALUES, max_size=5).map(msgspec.json.encode)
SEQUENCES = st.integers(1, 10**18 - 1)


def of_version(version: int, record: bytes = b"{}", sequence: int = 7) -> bytes:
    """A sound line of another version."""
    checksum = crc32(b"%d:%d:0:%b" % (sequence, version, record))
    return b'{"sequence":%d,"checksum":"%08x","schema_version":%d,"record":%b}\n' % (
        sequence,
        checksum,
        version,
        record,
    )


def test_a_line_is_one_json_object_that_says_what_it_is() -> None:
    """K1: its sequence, a checksum, the schema version and the record."""
    line = journal_line(17, b'{"type":"user_said","text":"hello"}')
    assert line.endswith(b"}\n")
    assert line.count(b"\n") == 1
    assert json.loads(line) == {
        "sequence": 17,
        "checksum": "2c8895e8",
        "schema_version": 1,
        "record": {"type": "user_said", "text": "hello"},
    }
    assert json.loads(journal_line(1, b"{}", base=True))["base"] is True


@given(sequence=SEQUENCES, record=RECORDS, base=st.booleans())
def test_every_record_comes_back_byte_for_byte(sequence: int, record: bytes, base: bool) -> None:
    """K2: whatever is in it."""
    line = journal_line(sequence, record, base=base)
    expected = JournalLine(sequence, JOURNAL_VERSION, base, record)
    assert read_line(line) == expected
    assert read_line(line.removesuffix(b"\n")) == expected
    assert json.loads(line)["record"] == json.loads(record)


@given(sequence=SEQUENCES, record=RECORDS, folder=st.text(), incarnation=st.text())
def test_every_line_comes_back_from_the_log_as_it_was(
    sequence: int, record: bytes, folder: str, incarnation: str
) -> None:
    """K2: with the journal it belongs to."""
    line = journal_line(sequence, record)
    logged = log_line(folder, incarnation, line)
    assert read_log_line(logged) == LogLine(folder, incarnation, sequence, line)
    assert read_log_line(logged.removesuffix(b"\n")) == LogLine(folder, incarnation, sequence, line)
    assert json.loads(logged)["line"] == json.loads(line)
    assert logged.count(b"\n") == 1


@given(record=RECORDS, base=st.booleans(), data=st.data())
def test_a_byte_that_changed_is_noticed_wherever_it_is(
    record: bytes, base: bool, data: st.DataObject
) -> None:
    """K4: in the record, in the sequence, and in the checksum itself."""
    line = journal_line(data.draw(SEQUENCES), record, base=base)
    logged = log_line("agents/queen-0123", "ab", line)
    for whole, read in ((line, read_line), (logged, read_log_line)):
        at = data.draw(st.integers(0, len(whole) - 2))
        other = whole[at] ^ data.draw(st.integers(1, 255))
        assert read(whole[:at] + bytes([other]) + whole[at + 1 :]) is None


@given(record=RECORDS, data=st.data())
def test_a_line_that_was_cut_off_is_noticed(record: bytes, data: st.DataObject) -> None:
    """K3: anywhere but at its newline, which is its reader's business."""
    line = journal_line(data.draw(SEQUENCES), record)
    logged = log_line("agents/queen-0123", "ab", line)
    for whole, read in ((line, read_line), (logged, read_log_line)):
        assert read(whole[: data.draw(st.integers(0, len(whole) - 2))]) is None


@given(st.binary())
def test_anything_else_is_no_line(data: bytes) -> None:
    """K4: and no error either."""
    assert read_line(data) is None
    assert read_log_line(data) is None


@pytest.mark.parametrize("sequence", [0, -1])
def test_sequences_begin_with_one(sequence: int) -> None:
    """K1: none is less."""
    with pytest.raises(ValueError, match="begin with 1"):
        journal_line(sequence, b"{}")
    assert read_line(of_version(1, sequence=sequence)) is None


def test_a_record_of_several_lines_is_refused() -> None:
    """K1: it would be damage to whoever reads it."""
    with pytest.raises(ValueError, match="line break"):
        journal_line(1, b'{\n"a":1}')


def test_a_sound_line_of_a_later_version_is_refused_and_not_taken_for_damage() -> None:
    """K11: the error names both versions and the file."""
    later = of_version(JOURNAL_VERSION + 1)
    with pytest.raises(SchemaTooNew, match=r"000001\.jsonl has schema version 2; .* up to version 1"):
        read_line(later, "000001.jsonl")
    with pytest.raises(SchemaTooNew, match="schema version 2"):
        read_log_line(log_line("agents/queen", "ab", later), "the log")
    assert read_line(later.replace(b"{}", b"[]")) is None


def test_a_log_of_a_later_version_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """K11: the log's own version counts too."""
    monkeypatch.setattr("overwinter.persistence.lines._LOG_VERSION", 2)
    logged = log_line("agents/queen", "ab", journal_line(1, b"{}"))
    monkeypatch.undo()
    with pytest.raises(SchemaTooNew, match="has schema version 2"):
        read_log_line(logged)


def test_a_line_of_an_earlier_version_is_read_as_what_it_is() -> None:
    """K11: bringing it up to date is the journal's business."""
    assert read_line(of_version(0)) == JournalLine(7, 0, False, b"{}")


def test_a_sound_log_line_around_something_else_is_damage() -> None:
    """K4: it holds no record."""
    assert read_log_line(log_line("agents/queen", "ab", b'{"no":"record"}')) is None
