"""Reading a journal: what was cut off, damaged, repeated or is missing, and what is made of it."""

from __future__ import annotations

import errno
import os
import random
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.disk import FailingDisk, UnsyncedDisk
from tests.support.journals import line, lines, record, sequences, write_segment

from overwinter.errors import CorruptState, WorkspaceError
from overwinter.persistence import (
    FileOperations,
    JournalEnd,
    JournalGap,
    find_end,
    journal_line,
    mend,
    read_journal,
)
from overwinter.persistence.segments import segment_numbers, segment_path

if TYPE_CHECKING:
    from collections.abc import Sequence


class Watching(UnsyncedDisk):
    """Notes which files are read, and how much of them."""

    def __init__(self) -> None:
        super().__init__()
        self.read: list[str] = []
        self.bytes = 0

    def read_bytes(self, path: Path) -> bytes:
        self.read.append(path.name)
        return super().read_bytes(path)

    def read_range(self, path: Path, start: int, length: int) -> bytes:
        self.read.append(path.name)
        data = super().read_range(path, start, length)
        self.bytes += len(data)
        return data


def journal_of(folder: Path, *segments: Sequence[bytes | Sequence[int]]) -> Path:
    """A journal of these segments."""
    journal_dir = folder / "journal"
    for number, pieces in enumerate(segments, 1):
        write_segment(journal_dir, number, *pieces)
    return journal_dir


def test_what_was_written_is_read_in_its_order(tmp_path: Path) -> None:
    """K2: over all segments."""
    journal_dir = journal_of(tmp_path, [[1, 2, 3]], [[4, 5]], [[6]])
    reading = read_journal(journal_dir)
    assert [each.record for each in reading.lines] == [record(sequence) for sequence in range(1, 7)]
    assert (reading.torn, reading.gaps) == ("", ())
    assert find_end(journal_dir) == JournalEnd(6, 3, len(line(6)))


def test_where_there_is_no_journal_there_are_no_records(tmp_path: Path) -> None:
    """K2: neither in a folder without segments, whatever else is in it."""
    assert find_end(tmp_path / "journal") == JournalEnd()
    assert read_journal(tmp_path / "journal").lines == []
    for name in ("notes.txt", "000000.jsonl", "1.jsonl", "000001.jsonl.bak", "x000001.jsonl"):
        (tmp_path / name).write_bytes(line(1))
    assert segment_numbers(tmp_path) == []
    assert mend(tmp_path) == JournalEnd()
    assert read_journal(tmp_path).lines == []


@given(st.integers(1, 12), st.integers(1, 5), st.data())
@settings(max_examples=60)
def test_every_torn_prefix_is_cut_to_its_whole_records(
    count: int, per_segment: int, data: st.DataObject
) -> None:
    """K3: and says so; the next record is appended behind the last whole one."""
    with TemporaryDirectory() as folder:
        numbers = list(range(1, count + 1))
        parts = [numbers[at : at + per_segment] for at in range(0, count, per_segment)]
        journal_dir = journal_of(Path(folder), *[[part] for part in parts])
        path = segment_path(journal_dir, len(parts))
        whole = path.read_bytes()
        cut = data.draw(st.integers(0, len(whole)))
        path.write_bytes(whole[:cut])
        left = parts[-1][: whole[:cut].count(b"\n")]
        expected = [*numbers[: -len(parts[-1])], *left]
        torn = cut > len(b"".join(lines(left)))

        reading = read_journal(journal_dir)
        assert sequences(reading) == expected
        assert bool(reading.torn) == torn
        end = mend(journal_dir, files=UnsyncedDisk())
        assert (end.sequence, end.segment, end.size) == (
            max(expected, default=0),
            len(parts),
            len(b"".join(lines(left))),
        )
        assert bool(end.torn) == torn
        assert not torn or path.name in end.torn
        assert path.read_bytes() == b"".join(lines(left))
        after = read_journal(journal_dir)
        assert (sequences(after), after.torn) == (expected, "")
        assert find_end(journal_dir).torn == ""


@given(st.integers(1, 10), st.integers(1, 4), st.data())
@settings(max_examples=150)
def test_a_byte_that_changed_anywhere_in_a_journal_is_noticed(
    count: int, per_segment: int, data: st.DataObject
) -> None:
    """K4: at the very end it is a torn record, before that the journal is corrupt."""
    with TemporaryDirectory() as folder:
        numbers = list(range(1, count + 1))
        parts = [numbers[at : at + per_segment] for at in range(0, count, per_segment)]
        journal_dir = journal_of(Path(folder), *[[part] for part in parts])
        which = data.draw(st.integers(1, len(parts)))
        path = segment_path(journal_dir, which)
        content = bytearray(path.read_bytes())
        at = data.draw(st.integers(0, len(content) - 1))
        content[at] ^= data.draw(st.integers(1, 255))
        path.write_bytes(content)
        hit = parts[which - 1][bytes(content[:at]).count(b"\n")]
        # Its newline makes one line of two.
        last_hit = hit + 1 if path.read_bytes().count(b"\n") < len(parts[which - 1]) else hit
        is_last = which == len(parts) and last_hit >= parts[-1][-1]
        if is_last or (last_hit > parts[which - 1][-1] and last_hit > count):
            reading = read_journal(journal_dir)
            assert reading.torn
            assert sequences(reading) == list(range(1, hit))
            assert mend(journal_dir, files=UnsyncedDisk()).sequence == hit - 1
        elif last_hit > parts[which - 1][-1]:
            # The newline at the end of an earlier segment: only its last record is gone.
            with pytest.raises(CorruptState, match=f"After record {hit - 1} comes record {hit + 1};"):
                read_journal(journal_dir)
        else:
            with pytest.raises(CorruptState) as caught:
                read_journal(journal_dir)
            assert f"After record {hit - 1} comes record {last_hit + 1};" in str(caught.value)
            assert str(path) in str(caught.value)
        assert sequences(read_journal(journal_dir, after=count)) == []


def test_damage_before_what_is_read_does_no_harm(tmp_path: Path) -> None:
    """K4: whoever has the state up to there needs nothing of it."""
    journal_dir = journal_of(tmp_path, [[1, 2], b"rubbish\n", [4, 5]])
    with pytest.raises(CorruptState, match=r"000001\.jsonl, line 3: .* After record 2 comes record 4"):
        read_journal(journal_dir)
    assert sequences(read_journal(journal_dir, after=3)) == [4, 5]


def test_a_gap_between_two_segments_is_found(tmp_path: Path) -> None:
    """K6: the message says where the next record stands."""
    journal_dir = journal_of(tmp_path, [[1, 2]], [[5, 6]])
    with pytest.raises(CorruptState, match=r"000002\.jsonl, line 1: .* After record 2 comes record 5"):
        read_journal(journal_dir)


def test_a_missing_beginning_is_a_gap(tmp_path: Path) -> None:
    """K6: unless it is not asked for."""
    journal_dir = journal_of(tmp_path, [[5, 6]])
    with pytest.raises(CorruptState, match="After record 0 comes record 5"):
        read_journal(journal_dir)
    assert sequences(read_journal(journal_dir, after=4)) == [5, 6]
    assert sequences(read_journal(journal_dir, after=5)) == [6]


def test_gaps_can_be_asked_for(tmp_path: Path) -> None:
    """K6: then each is listed with its place."""
    journal_dir = journal_of(tmp_path, [[3, 4], b"\0\0\0\n", [6]], [[9, 10], b"torn"])
    reading = read_journal(journal_dir, allow_gaps=True)
    assert sequences(reading) == [3, 4, 6, 9, 10]
    first, second = segment_path(journal_dir, 1), segment_path(journal_dir, 2)
    assert reading.gaps == (
        JournalGap(0, 3, first, 1),
        JournalGap(4, 6, first, 3),
        JournalGap(6, 9, second, 1),
    )
    assert reading.torn == f"{second}, line 3: what follows record 10 is no whole record"


def test_a_record_that_stands_alone_bridges_a_gap(tmp_path: Path) -> None:
    """K6: it carries the whole state."""
    journal_dir = journal_of(tmp_path, [[1, 2], b"rubbish\n", [4]], [line(9, base=True), [10]])
    reading = read_journal(journal_dir)
    assert sequences(reading) == [1, 2, 9, 10]
    assert [each.base for each in reading.lines] == [False, False, True, False]
    assert reading.gaps == ()


def test_records_that_were_had_already_are_skipped(tmp_path: Path) -> None:
    """K5: a replay writes again what it is not sure of."""
    journal_dir = journal_of(tmp_path, [[1, 2, 3]], [[2, 3, 4]], [[3, 4], b"", [5]])
    assert sequences(read_journal(journal_dir)) == [1, 2, 3, 4, 5]
    assert sequences(read_journal(journal_dir, after=3)) == [4, 5]
    assert find_end(journal_dir).sequence == 5


@pytest.mark.parametrize("damage", [b"", b"half a li\n", b"\0" * 5000 + b"\n", b"\0" * 5000 + line(3)[40:]])
def test_damage_is_harmless_where_all_that_it_hit_follows_whole(tmp_path: Path, damage: bytes) -> None:
    """K5: in the same segment or a later one, in the order in which it happened."""
    journal_dir = journal_of(tmp_path, [[1, 2], damage, [4, 5], [2, 3, 4]], [[5, 6]])
    assert sequences(read_journal(journal_dir)) == [1, 2, 3, 4, 5, 6]
    assert sequences(read_journal(journal_dir, after=4)) == [5, 6]


def test_what_was_only_half_repeated_is_still_a_gap(tmp_path: Path) -> None:
    """K6: records of which those before are missing are not put behind others."""
    journal_dir = journal_of(tmp_path, [[1, 2], b"rubbish\n", [4, 5], [3, 4]])
    with pytest.raises(CorruptState, match="After record 4 comes record 5"):
        read_journal(journal_dir)
    assert sequences(read_journal(journal_dir, allow_gaps=True)) == [1, 2, 3, 4, 5]


def test_a_segment_begun_to_repeat_another_may_be_the_damaged_one(tmp_path: Path) -> None:
    """K5: then the first is read after all."""
    journal_dir = journal_of(tmp_path, [[1, 2, 3, 4]], [[2], b"rubbish\n", [4, 5]])
    assert sequences(read_journal(journal_dir, after=2)) == [3, 4, 5]


def test_a_segment_that_repeats_old_records_hides_none_before_it(tmp_path: Path) -> None:
    """K5: nothing follows upon those."""
    journal_dir = journal_of(tmp_path, [[1, 2, 3]], [[4, 5, 6]], [[2]], [[2]])
    assert sequences(read_journal(journal_dir, after=4)) == [5, 6]
    assert sequences(read_journal(journal_dir, after=9)) == []


def test_two_different_records_of_one_sequence_are_corruption(tmp_path: Path) -> None:
    """K6: two have written; nobody can say whose is right."""
    journal_dir = journal_of(tmp_path, [[1, 2], line(2, "other"), [3]])
    with pytest.raises(CorruptState, match=r"000001\.jsonl, line 3: this is another record 2"):
        read_journal(journal_dir)
    reading = read_journal(journal_dir, allow_gaps=True)
    assert [each.record for each in reading.lines] == [record(1), record(2), record(3)]
    assert len(reading.gaps) == 1
    assert sequences(read_journal(journal_dir, after=2)) == [3]


def test_a_torn_end_that_others_follow_in_the_next_segment_is_harmless(tmp_path: Path) -> None:
    """K5: the disk would not let it be cut off, so the writer went on elsewhere."""
    journal_dir = journal_of(tmp_path, [[1, 2], line(3)[:20]], [[3, 4]])
    reading = read_journal(journal_dir)
    assert (sequences(reading), reading.torn) == ([1, 2, 3, 4], "")


@pytest.mark.parametrize("rest", [b"", b"\0" * 100, line(3)[:-1]])
def test_the_end_is_that_of_the_segment_before_when_the_last_holds_nothing(
    tmp_path: Path, rest: bytes
) -> None:
    """K3: it was begun and nothing came of it. A whole line without its newline counts for nothing either."""
    journal_dir = journal_of(tmp_path, [[1, 2]], [rest])
    end = mend(journal_dir, files=UnsyncedDisk())
    assert (end.sequence, end.segment, end.size) == (2, 2, 0)
    assert bool(end.torn) == bool(rest)
    assert segment_path(journal_dir, 2).read_bytes() == b""


def test_the_end_is_not_behind_what_the_segment_before_has(tmp_path: Path) -> None:
    """K3: where the last was begun to write anew what that one holds, and did not come so far."""
    journal_dir = journal_of(tmp_path, [[1, 2, 3]], [], [[2], line(3)[:9]])
    assert find_end(journal_dir).sequence == 3
    assert sequences(read_journal(journal_dir)) == [1, 2, 3]


def test_only_the_segments_that_are_needed_are_read(tmp_path: Path) -> None:
    """K7: from the last one backwards."""
    journal_dir = journal_of(tmp_path, [[1, 2]], [[3, 4]], [[5, 6]], [[7]])
    disk = Watching()
    assert sequences(read_journal(journal_dir, files=disk, after=5)) == [6, 7]
    assert disk.read == ["000004.jsonl", "000003.jsonl"]
    assert sequences(read_journal(journal_dir, files=disk, after=6)) == [7]
    assert disk.read[2:] == ["000004.jsonl"]


@pytest.mark.alone
def test_the_end_of_50_megabytes_is_found_by_reading_a_little(tmp_path: Path) -> None:
    """K7: neither time nor memory grows with the journal."""
    journal_dir = tmp_path / "journal"
    text = "x" * 2000
    number = 0
    for segment in range(1, 51):
        numbers = range(number + 1, number + 501)
        number += 500
        write_segment(journal_dir, segment, *lines(numbers, text))
    disk = Watching()
    begun = perf_counter()
    assert find_end(journal_dir, files=disk).sequence == number
    assert perf_counter() - begun < 1.0
    assert len(disk.read) == 2
    assert disk.bytes <= 2 << 16


def test_the_end_is_found_behind_a_very_long_record_and_much_rubbish(tmp_path: Path) -> None:
    """K7: the window grows until a whole record is in it."""
    long = line(2, "x" * 300_000)
    journal_dir = journal_of(tmp_path, [[1], long, b"\0" * 400_000, b"\n" * 70_000])
    assert find_end(journal_dir) == JournalEnd(2, 1, len(line(1)) + len(long), find_end(journal_dir).torn)
    assert "the last 470000 bytes, after record 2" in find_end(journal_dir).torn


def test_random_damage_never_gives_what_was_not_written(tmp_path: Path) -> None:
    """K4: whatever is overwritten, cut or moved about, each record that is read was written so."""
    chance = random.Random(7)
    written = {sequence: record(sequence, "y" * chance.randrange(50)) for sequence in range(1, 41)}
    for attempt in range(150):
        journal_dir = tmp_path / str(attempt)
        for segment in range(1, 5):
            numbers = range(segment * 10 - 9, segment * 10 + 1)
            content = bytearray(b"".join(journal_line(n, written[n]) for n in numbers))
            for _ in range(chance.randrange(2)):
                at, length = chance.randrange(len(content)), chance.randrange(60)
                content[at : at + length] = chance.choice([b"", b"\0" * length, chance.randbytes(length)])
            write_segment(journal_dir, segment, bytes(content))
        reading = read_journal(journal_dir, allow_gaps=True)
        assert all(written[each.sequence] == each.record for each in reading.lines)
        assert sequences(reading) == sorted({*sequences(reading)})
        complete = sequences(reading) == list(range(1, len(reading.lines) + 1))
        assert complete == (not reading.gaps)
        if reading.gaps:
            with pytest.raises(CorruptState):
                read_journal(journal_dir)


class Unreadable(FileOperations):
    """A disk that cannot be read."""

    def __init__(self, *, listing: bool) -> None:
        super().__init__()
        self.listing = listing

    def list(self, path: Path) -> Sequence[str]:
        if self.listing:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return super().list(path)

    def read_bytes(self, path: Path) -> bytes:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    def size(self, path: Path) -> int:
        raise OSError(errno.EIO, os.strerror(errno.EIO))


@pytest.mark.parametrize("listing", [True, False])
def test_a_journal_that_cannot_be_read_is_no_empty_journal(tmp_path: Path, listing: bool) -> None:
    """K4: the error says what the system said."""
    journal_dir = journal_of(tmp_path, [[1]])
    for use in (read_journal, find_end, mend):
        with pytest.raises(WorkspaceError, match=os.strerror(errno.EIO)):
            use(journal_dir, files=Unreadable(listing=listing))


@pytest.mark.parametrize("broken", ["truncate", "open_append", "fsync"])
def test_a_torn_end_that_cannot_be_cut_off_is_an_error(tmp_path: Path, broken: str) -> None:
    """K3: nobody then goes on behind it."""

    class Stubborn(FailingDisk):
        def truncate(self, path: Path, size: int) -> None:
            self._try("truncate", path)
            super().truncate(path, size)

        def open_append(self, path: Path) -> int:
            self._try("open_append", path)
            return super().open_append(path)

    journal_dir = journal_of(tmp_path, [[1], b"torn"])
    disk = Stubborn()
    disk.broken = {broken}
    with pytest.raises(WorkspaceError, match=r"000001\.jsonl has a torn end that cannot be cut off"):
        mend(journal_dir, files=disk)
