"""What a journal takes up, and dropping what is no longer wanted."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.disk import FailingDisk, UnsyncedDisk
from tests.support.journals import line, lines, sequences, write_segment
from tests.unit.persistence.test_journal import Unreadable

from overwinter.errors import WorkspaceError
from overwinter.persistence import (
    SegmentInfo,
    drop_segments,
    journal_bytes,
    list_segments,
    read_journal,
)
from overwinter.persistence.segments import segment_numbers, segment_path

if TYPE_CHECKING:
    from collections.abc import Callable

DISK = UnsyncedDisk()


@given(
    st.lists(st.lists(st.integers(1, 12), max_size=5), min_size=1, max_size=5),
    st.integers(0, 13),
)
def test_only_whole_segments_of_what_is_not_wanted_are_dropped(segments: list[list[int]], up_to: int) -> None:
    """K10: the oldest first, and the last never, whatever order and repetitions there are."""
    with TemporaryDirectory() as folder:
        journal_dir = Path(folder) / "journal"
        for number, held in enumerate(segments, 1):
            write_segment(journal_dir, number, held, b"rubbish\n")
        before = journal_bytes(journal_dir)
        freed = drop_segments(journal_dir, up_to_sequence=up_to, files=DISK)
        left = segment_numbers(journal_dir)
        dropped = [segments[number - 1] for number in range(1, len(segments) + 1) if number not in left]
        assert all(max(held, default=0) <= up_to for held in dropped)
        assert left == list(range(len(dropped) + 1, len(segments) + 1))
        assert len(left) == 1 or max(segments[left[0] - 1], default=0) > up_to
        assert journal_bytes(journal_dir) == before - freed


def test_what_is_left_reads_as_before(tmp_path: Path) -> None:
    """K10: from the given sequence on nothing is missing."""
    for number, held in enumerate([[1, 2], [3, 4], [5, 6], [7]], 1):
        write_segment(tmp_path, number, held)
    assert drop_segments(tmp_path, up_to_sequence=4) == len(b"".join(lines([1, 2, 3, 4])))
    assert sequences(read_journal(tmp_path, after=4)) == [5, 6, 7]
    assert drop_segments(tmp_path, up_to_sequence=5) == 0
    drop_segments(tmp_path, up_to_sequence=99)
    assert segment_numbers(tmp_path) == [4]


def test_the_folder_is_synced_after_each_segment_that_is_dropped(tmp_path: Path) -> None:
    """K10: a power cut then brings none back of which a later one is gone."""
    disk = FailingDisk()
    write_segment(tmp_path, 1, [1])
    write_segment(tmp_path, 2, [2])
    write_segment(tmp_path, 3, [3])
    drop_segments(tmp_path, up_to_sequence=0, files=disk)
    assert "sync_folder" not in disk.done
    drop_segments(tmp_path, up_to_sequence=2, files=disk)
    assert disk.done.count("sync_folder") == 2


def test_segments_are_listed_with_their_first_and_last_record(tmp_path: Path) -> None:
    """K10: so that what to drop can be chosen by age and by size."""
    one = write_segment(tmp_path, 1, b"rubbish\n", [1, 2, 3], b"torn")
    two = write_segment(tmp_path, 2, line(4, "x" * 300_000), [5])
    three = write_segment(tmp_path, 3, b"rubbish")
    os.utime(one, (1_000_000, 2_000_000))
    listed = list_segments(tmp_path)
    assert [(each.number, each.first, each.last) for each in listed] == [(1, 1, 3), (2, 4, 5), (3, 0, 0)]
    assert listed[0] == SegmentInfo(one, 1, one.stat().st_size, 1, 3, 2_000_000.0)
    assert [each.path for each in listed] == [one, two, three]
    assert sum(each.bytes for each in listed) == journal_bytes(tmp_path)


def test_where_there_is_no_journal_nothing_is_taken_up(tmp_path: Path) -> None:
    """K10: and there is nothing to drop."""
    missing = tmp_path / "journal"
    assert (journal_bytes(missing), list_segments(missing)) == (0, [])
    assert drop_segments(missing, up_to_sequence=9) == 0


def test_a_journal_that_cannot_be_looked_at_is_an_error(tmp_path: Path) -> None:
    """K10: nothing is dropped then."""
    write_segment(tmp_path, 1, [1])
    write_segment(tmp_path, 2, [2])
    disk = Unreadable(listing=False)
    uses: list[Callable[[], object]] = [
        lambda: list_segments(tmp_path, files=disk),
        lambda: journal_bytes(tmp_path, files=disk),
        lambda: drop_segments(tmp_path, up_to_sequence=1, files=disk),
    ]
    for use in uses:
        with pytest.raises(WorkspaceError, match=os.strerror(errno.EIO)):
            use()
    assert segment_numbers(tmp_path) == [1, 2]


def test_a_segment_that_cannot_be_removed_is_named(tmp_path: Path) -> None:
    """K10: those behind it stay as well, so that no hole comes about."""

    class Stubborn(UnsyncedDisk):
        def unlink(self, path: Path) -> None:
            raise OSError(errno.EACCES, os.strerror(errno.EACCES))

    for number in (1, 2, 3):
        write_segment(tmp_path, number, [number])
    with pytest.raises(WorkspaceError, match=r"000001\.jsonl cannot be removed"):
        drop_segments(tmp_path, up_to_sequence=2, files=Stubborn())
    assert segment_path(tmp_path, 1).exists()
    assert segment_numbers(tmp_path) == [1, 2, 3]
